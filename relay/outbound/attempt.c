#include "relay/outbound/pool_private.h"

#include <stdio.h>
#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"

/*
 * One job, run to its end: host after host until every recipient is decided, each
 * host over a warm connection or a new one.  Nothing here decides what becomes of
 * the mail; it only tells what was said.
 */

static void next_host(struct attempt *attempt);

static struct job_host *
host_of(struct attempt *attempt)
{
	return &attempt->job->hosts[attempt->at];
}

static void
finish(struct attempt *attempt)
{
	if (attempt->feeding)
		body_feed_stop(&attempt->feed);
	attempt->feeding = false;
	pool_finish(attempt);
}

static void
keep_text(char *room, size_t size, const char *text)
{
	size_t len = strnlen(text, size - 1);

	memcpy(room, text, len);
	room[len] = '\0';
}

static void
host_is_bad(struct attempt *attempt, enum retry_class class, const char *words)
{
	struct job_host *host = host_of(attempt);

	host->state = JOB_HOST_BAD;
	host->class = class;
	keep_text(host->words, sizeof(host->words), words);
}

static void
remember_peer(struct attempt *attempt, struct call *call)
{
	const struct way *way = attempt->job->way;
	const char *text = call_peer_text(call);
	struct job_host *host = host_of(attempt);

	/* By the host's own name, whatever name its certificate has. */
	if (way->policy.name && strncmp(text, way->policy.name, strlen(way->policy.name)) == 0)
		(void)snprintf(host->peer, sizeof(host->peer), "%s%s",
		    way->hosts[host->host].name, text + strlen(way->policy.name));
	else
		keep_text(host->peer, JOB_PEER_BYTES, text);
}

/* Connections that have taken mail and are there still, this one too. */
static uint32_t
proven_links(const struct attempt *attempt)
{
	const struct link *link;
	uint32_t count = 1;

	TAILQ_FOREACH(link, &attempt->site->links, of_site)
		count += link != attempt->link && link->message_count > 0;
	return count;
}

static void
host_is_good(struct attempt *attempt)
{
	struct job_host *host = host_of(attempt);
	const struct tls_info *tls = call_tls_info(attempt->link->call);

	host->state = JOB_HOST_GOOD;
	host->fresh = attempt->opened;
	if (host->fresh)
		host->proven = proven_links(attempt);
	if (tls)
		(void)snprintf(host->tls, sizeof(host->tls), "%s %s", tls->version, tls->cipher);
	else
		keep_text(host->tls, sizeof(host->tls), "none");
}

/* ---- a transaction ---- */

static void
body_is_ready(void *ctx)
{
	struct attempt *attempt = ctx;

	call_body_ready(attempt->link->call);
}

/* As many recipients as the peer takes in one transaction, by its own word or as was seen. */
static size_t
sent_count(const struct attempt *attempt)
{
	uint64_t stated = call_limits(attempt->link->call).rcpt_count_max;
	uint64_t seen = attempt->site->rcpt_count_max;
	size_t count = attempt->rcpt_count;

	if (stated && count > stated)
		count = stated;
	if (seen && count > seen)
		count = seen;
	return count;
}

static void
send_message(struct attempt *attempt)
{
	struct job *job = attempt->job;

	body_feed_start(&attempt->feed, attempt->pool->settings.port, job->id, job->body,
	    body_is_ready, attempt);
	attempt->feeding = true;
	attempt->sending = true;
	attempt->sent_count = sent_count(attempt);
	call_send(attempt->link->call, &(struct call_message){
		.envelope = job->envelope,
		.rcpts = attempt->rcpts,
		.rcpt_count = attempt->sent_count,
		.body = &attempt->feed.source,
		.body_bytes = job->envelope->body_bytes,
	});
}

static bool
send_rest(struct attempt *attempt)
{
	size_t *rcpts = attempt->again_rcpts;

	/* Those that no host has decided come with them: they are asked anew. */
	if (attempt->again_count == 0)
		return false;
	for (size_t i = 0; i < attempt->rcpt_count; i++)
		rcpts[attempt->again_count++] = attempt->rcpts[i];
	attempt->again_rcpts = attempt->rcpts;
	attempt->rcpts = rcpts;
	attempt->rcpt_count = attempt->again_count;
	attempt->again_count = 0;
	send_message(attempt);
	return true;
}

/* Recipients that wanted another transaction and got none go to the next host. */
static void
again_is_untried(struct attempt *attempt)
{
	for (size_t i = 0; i < attempt->again_count; i++)
		attempt->rcpts[attempt->rcpt_count++] = attempt->again_rcpts[i];
	attempt->again_count = 0;
}

/* Our own side could not go on: nobody's fault but ours. */
static bool
body_failed(struct attempt *attempt)
{
	struct job *job = attempt->job;
	const struct body_feed *feed = &attempt->feed;

	if (!feed->denied && (!feed->ended || feed->result == QUEUE_DONE))
		return false;
	if (body_feed_result(feed) == QUEUE_DAMAGED || body_feed_result(feed) == QUEUE_NOT_FOUND) {
		job->end = JOB_DAMAGED;
		err_set(&job->err, ERR_DAMAGED, "the body cannot be read back whole (%s)",
		    queue_result_name(body_feed_result(feed)));
	} else {
		job->end = JOB_LOCAL;
		err_set(&job->err, ERR_BUSY, "the queue cannot give the body now");
	}
	return true;
}

static void
leave_link(struct attempt *attempt)
{
	struct link *link = attempt->link;

	link->attempt = NULL;
	attempt->link = NULL;
	call_quit(link->call);
}

static void
call_message_done(void *ctx, struct call *call, const struct call_outcome *outcomes, size_t count)
{
	struct link *link = ctx;
	struct attempt *attempt = link->attempt;

	must(attempt && attempt->sending);
	attempt->sending = false;
	remember_peer(attempt, call);
	attempt_hear_all(attempt, outcomes, count);
	(void)body_failed(attempt);
	body_feed_stop(&attempt->feed);
	attempt->feeding = false;
	if (!call_is_ready(call))
		return;                 /* closed() says why */
	if (attempt->again_count > 0 && pool_link_is_spent(link)) {
		/* The rest over a new connection to the same host. */
		again_is_untried(attempt);
		leave_link(attempt);
		attempt->again = true;
		next_host(attempt);
		return;
	}
	if (send_rest(attempt))
		return;
	if (attempt->rcpt_count == 0) {
		host_is_good(attempt);
		pool_release_link(link);
		finish(attempt);
		return;
	}
	/* It talks, but takes no mail. */
	host_is_bad(attempt, RETRY_OTHER, outcomes[0].reply.text);
	leave_link(attempt);
	attempt->at++;
	next_host(attempt);
}

/* ---- a connection ---- */

static enum retry_class
class_of_end(const struct call_result *result)
{
	switch (result->end) {
	case CALL_END_TLS:
		return RETRY_TLS;
	case CALL_END_PROTOCOL:
		return RETRY_PROTOCOL;
	case CALL_END_GREETING:
		return RETRY_REPUTATION;
	case CALL_END_CONNECT:
	case CALL_END_TIMEOUT:
	case CALL_END_LOST:
	case CALL_END_CLOSING:
	case CALL_END_QUIT:
	case CALL_END_IDLE:
		return RETRY_CONNECT;
	}
	must_not_reach();
}

static void
words_of_end(const struct call_result *result, char words[JOB_WORDS_BYTES])
{
	const struct reply *reply = &result->reply;

	if (result->from_peer)
		(void)snprintf(words, JOB_WORDS_BYTES, "%.40s: %u %s%s%.100s", result->err.text,
		    reply->code, reply->status, reply->status[0] ? " " : "", reply->text);
	else
		(void)snprintf(words, JOB_WORDS_BYTES, "%s: %.150s", call_end_name(result->end),
		    result->err.text);
}

static bool
nothing_decided(const struct attempt *attempt)
{
	return attempt->rcpt_count + attempt->again_count == attempt->job->outcome_count;
}

/* A warm connection that had died before we used it says nothing about the host. */
static bool
was_stale(const struct attempt *attempt, const struct call_result *result)
{
	return !attempt->opened && !attempt->again && nothing_decided(attempt) &&
	    (result->end == CALL_END_LOST || result->end == CALL_END_CLOSING ||
	    result->end == CALL_END_IDLE || result->end == CALL_END_QUIT);
}

static void
call_closed(void *ctx, struct call *call, const struct call_result *result)
{
	struct link *link = ctx;
	struct attempt *attempt = link->attempt;
	char words[JOB_WORDS_BYTES];
	bool stale;

	if (!attempt) {
		pool_idle_link_closed(link);
		return;
	}
	remember_peer(attempt, call);
	again_is_untried(attempt);
	stale = was_stale(attempt, result);
	words_of_end(result, words);
	if (attempt->job->end == JOB_TRIED && !stale) {
		if (attempt->rcpt_count == 0 && !attempt->job->lost)
			host_is_good(attempt);
		else
			host_is_bad(attempt, class_of_end(result), words);
		if (result->from_peer)
			host_of(attempt)->said = result->reply;
		if (result->was_ready && attempt->rcpt_count > 0)
			attempt->job->lost = true;
	}
	pool_drop_link(link);
	if (attempt->job->end != JOB_TRIED || attempt->rcpt_count == 0) {
		finish(attempt);
		return;
	}
	if (stale)
		attempt->again = true;
	else
		attempt->at++;
	next_host(attempt);
}

static void
call_opened(void *ctx, struct call *call)
{
	struct link *link = ctx;
	struct attempt *attempt = link->attempt;

	if (!attempt) {
		call_quit(call);
		return;
	}
	remember_peer(attempt, call);
	send_message(attempt);
}

static const struct call_ops call_ops = {
	.ready = call_opened,
	.message_done = call_message_done,
	.closed = call_closed,
};

static void
open_call(struct attempt *attempt, const struct endpoint *addresses, size_t address_count)
{
	const struct way *way = attempt->job->way;
	const struct way_host *host = &way->hosts[host_of(attempt)->host];
	const struct route_timeouts *timeouts = &way->timeouts;
	const char *name = way->policy.name ? way->policy.name : host->name;
	struct link *link = pool_add_link(attempt, host_of(attempt)->host);

	attempt->opened = true;
	link->call = call_start(attempt->pool->settings.loop, &(struct call_settings){
		.host = span_from_cstr(name),
		.addresses = addresses,
		.address_count = address_count,
		.source_ipv4 = way->has_source_ipv4 ? &way->source_ipv4 : NULL,
		.source_ipv6 = way->has_source_ipv6 ? &way->source_ipv6 : NULL,
		.protocol = way->protocol,
		.hello = span_from_cstr(way->hello),
		.tls = way->tls,
		.tls_implicit = way->policy.implicit,
		.tls_context = way->contexts[attempt->pool->settings.worker],
		.fingerprints = way->policy.fingerprint_count ? way->policy.fingerprints : NULL,
		.fingerprint_count = way->policy.fingerprint_count,
		.login = way->login,
		.connect_timeout_ms = timeouts->connect_ms,
		.greeting_timeout_ms = timeouts->greeting_ms,
		.hello_timeout_ms = timeouts->command_ms,
		.mail_timeout_ms = timeouts->command_ms,
		.data_timeout_ms = timeouts->data_ms,
		.body_timeout_ms = timeouts->body_ms,
		.dot_timeout_ms = timeouts->dot_ms,
		.idle_timeout_ms = timeouts->idle_ms ? timeouts->idle_ms :
		    attempt->pool->settings.idle_ms,
	}, &call_ops, link);
}

static void
addresses_known(void *ctx, const struct resolver_answer *answer)
{
	struct attempt *attempt = ctx;
	struct endpoint addresses[RESOLVER_ADDRESS_COUNT_MAX];
	size_t count = 0;
	char words[JOB_WORDS_BYTES];

	attempt->question = NULL;
	if (answer->status == RESOLVER_OK &&
	    way_leads_home(attempt->job->way, answer->addresses, answer->address_count)) {
		/* In order of preference, so what follows is no better than we are. */
		host_of(attempt)->is_own = true;
		host_is_bad(attempt, RETRY_DNS, "this exchanger is this relay itself");
		finish(attempt);
		return;
	}
	if (answer->status == RESOLVER_OK) {
		for (; count < answer->address_count && count < RESOLVER_ADDRESS_COUNT_MAX; count++)
			addresses[count] = answer->addresses[count];
		count = way_filter(attempt->job->way, addresses, count);
	}
	if (count > 0) {
		open_call(attempt, addresses, count);
		return;
	}
	(void)snprintf(words, sizeof(words), "no address of %.100s: %.80s",
	    attempt->job->way->hosts[host_of(attempt)->host].name,
	    answer->status == RESOLVER_OK ? "none that may be used" :
	    answer->text ? answer->text : resolver_status_name(answer->status));
	host_is_bad(attempt, RETRY_DNS, words);
	attempt->at++;
	next_host(attempt);
}

static void
use_link(struct attempt *attempt, struct link *link)
{
	attempt->opened = false;
	attempt->link = link;
	link->attempt = attempt;
	send_message(attempt);
}

static void
next_host(struct attempt *attempt)
{
	const struct way *way = attempt->job->way;
	struct link *link;

	if (attempt->at == attempt->job->host_count) {
		finish(attempt);
		return;
	}

	const struct way_host *host = &way->hosts[host_of(attempt)->host];

	link = attempt->again ? NULL : pool_take_idle(attempt->site, host_of(attempt)->host);
	if (link) {
		use_link(attempt, link);
		return;
	}
	attempt->question = resolver_ask_addresses(attempt->pool->resolver,
	    span_from_cstr(host->name), host->port,
	    way->is_named ? RESOLVER_CONFIGURED_HOST : RESOLVER_DNS, addresses_known, attempt);
}

/* ---- beginning and end ---- */

void
attempt_start(struct site *site, struct job *job, struct link *link)
{
	struct pool *pool = site->pool;
	struct attempt *attempt = mem_alloc(sizeof(*attempt));

	attempt->pool = pool;
	attempt->site = site;
	attempt->job = job;
	attempt->rcpts = mem_alloc_array(job->outcome_count, sizeof(*attempt->rcpts));
	attempt->again_rcpts = mem_alloc_array(job->outcome_count, sizeof(*attempt->rcpts));
	for (size_t i = 0; i < job->outcome_count; i++)
		attempt->rcpts[i] = job->outcomes[i].rcpt;
	attempt->rcpt_count = job->outcome_count;
	job->end = JOB_TRIED;
	site->attempt_count++;
	TAILQ_INSERT_TAIL(&pool->attempts, attempt, of_pool);

	if (link)
		use_link(attempt, link);
	else
		next_host(attempt);
}

static void
give_up_transaction(struct attempt *attempt)
{
	for (size_t i = 0; i < attempt->sent_count; i++) {
		struct job_outcome *outcome = attempt_outcome_of(attempt->job, attempt->rcpts[i]);

		outcome->fate = CALL_FATE_UNCERTAIN;
		outcome->decided = true;
		outcome->host = (uint8_t)attempt->at;
		reply_set(&outcome->reply, 451, "4.4.2",
		    "we ended the connection after the message had been sent");
	}
	attempt->rcpt_count = 0;
}

void
attempt_cut(struct attempt *attempt, bool force)
{
	bool sent = attempt->sending && attempt->feed.last_given;

	if (sent && !force)
		return;
	if (attempt->question)
		resolver_cancel(&attempt->question);
	if (sent)
		give_up_transaction(attempt);
	if (attempt->link) {
		remember_peer(attempt, attempt->link->call);
		pool_drop_link(attempt->link);
	}
	attempt->job->end = JOB_CUT;
	finish(attempt);
}
