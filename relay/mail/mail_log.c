#include "relay/mail/mail_log.h"

#include "relay/base/buf.h"
#include "relay/base/log.h"
#include "relay/base/must.h"

static void
optional_span(struct log_line *line, const char *key, struct span value)
{
	if (value.len > 0)
		log_span(line, key, value);
}

/* An address as people write it: in brackets, and the null sender as "<>". */
static void
path(struct log_line *line, const char *key, struct span address)
{
	struct buf text;

	buf_init(&text, LOG_LINE_BYTES_MAX);
	(void)buf_append_byte(&text, '<');
	(void)buf_append(&text, span_first(address, LOG_LINE_BYTES_MAX / 2));
	(void)buf_append_byte(&text, '>');
	log_span(line, key, buf_span(&text));
	buf_fini(&text);
}

static void
begin(struct log_line *line, const char *event, uint64_t id, struct span origin)
{
	log_begin_mail(line, event);
	if (id != 0)
		log_id(line, "id", id);
	optional_span(line, "origin", origin);
}

static void
words(struct log_line *line, const struct reply *reply)
{
	if (!reply || reply->code == 0)
		return;
	log_u64(line, "code", reply->code);
	optional_span(line, "status", span_from_cstr(reply->status));
	log_cstr(line, "reply", reply->text);
}

void
mail_log_accepted(const struct mail_log_accepted *event)
{
	const struct envelope *envelope = event->envelope;
	struct log_line line;

	begin(&line, "accepted", event->id, envelope->origin);
	path(&line, "from", envelope->sender);
	log_u64(&line, "nrcpt", envelope->rcpt_count);
	log_u64(&line, "size", envelope->body_bytes);
	optional_span(&line, "msgid", event->message_id);
	log_cstr(&line, "proto", envelope_protocol_name(envelope->protocol));
	optional_span(&line, "client", envelope->client_address);
	optional_span(&line, "hello", envelope->client_hello);
	optional_span(&line, "auth", envelope->auth_user);
	optional_span(&line, "listener", envelope->listener);
	optional_span(&line, "tls", event->tls);
	optional_span(&line, "about", envelope->parent);
	log_end(&line);
}

void
mail_log_refused(const struct mail_log_refused *event)
{
	struct log_line line;

	begin(&line, "refused", 0, span_make(NULL, 0));
	log_span(&line, "stage", event->stage);
	path(&line, "from", event->sender);
	path(&line, "to", event->rcpt);
	log_cstr(&line, "proto", envelope_protocol_name(event->protocol));
	optional_span(&line, "client", event->client_address);
	optional_span(&line, "hello", event->client_hello);
	optional_span(&line, "listener", event->listener);
	words(&line, event->reply);
	log_end(&line);
}

void
mail_log_attempt(const struct mail_log_attempt *event)
{
	struct log_line line;

	begin(&line, "attempt", event->id, event->origin);
	log_u64(&line, "nrcpt", event->rcpt_count);
	optional_span(&line, "dest", event->destination);
	optional_span(&line, "host", event->host);
	log_u64(&line, "attempt", event->attempt);
	log_end(&line);
}

static void
begin_outcome(struct log_line *line, const char *name, const struct mail_log_outcome *event)
{
	begin(line, name, event->id, event->origin);
	path(line, "from", event->sender);
	path(line, "to", event->rcpt);
	optional_span(line, "dest", event->destination);
	optional_span(line, "host", event->host);
	optional_span(line, "tls", event->tls);
	log_u64(line, "attempt", event->attempt);
	log_duration(line, "age", event->age_ms);
	words(line, event->reply);
}

void
mail_log_delivered(const struct mail_log_outcome *event)
{
	struct log_line line;

	begin_outcome(&line, "delivered", event);
	log_end(&line);
}

/* What is tried again says why it waits and for how long. */
static void
waiting(const char *name, const struct mail_log_outcome *event)
{
	struct log_line line;

	begin_outcome(&line, name, event);
	optional_span(&line, "class", event->error_class);
	optional_span(&line, "reason", event->reason);
	log_duration(&line, "next", event->next_ms);
	log_end(&line);
}

void
mail_log_deferred(const struct mail_log_outcome *event)
{
	waiting("deferred", event);
}

void
mail_log_uncertain(const struct mail_log_outcome *event)
{
	waiting("uncertain", event);
}

void
mail_log_bounced(const struct mail_log_outcome *event)
{
	struct log_line line;

	begin_outcome(&line, "bounced", event);
	log_end(&line);
}

void
mail_log_expired(const struct mail_log_outcome *event)
{
	struct log_line line;

	begin_outcome(&line, "expired", event);
	log_end(&line);
}

void
mail_log_relayed(const struct mail_log_outcome *event)
{
	struct log_line line;

	begin_outcome(&line, "relayed", event);
	log_end(&line);
}

void
mail_log_rebound(uint64_t id, struct span origin, struct span rcpt, struct span was_host,
    struct span destination)
{
	struct log_line line;

	begin(&line, "rebound", id, origin);
	path(&line, "to", rcpt);
	optional_span(&line, "was", was_host);
	optional_span(&line, "dest", destination);
	log_end(&line);
}

const char *
mail_log_why_name(enum mail_log_why why)
{
	switch (why) {
	case DISCARDED_NULL_SENDER: return "null-sender";
	case DISCARDED_NOTIFY_NEVER: return "notify-never";
	case DISCARDED_BY_OPERATOR: return "operator";
	case DISCARDED_DOUBLE_BOUNCE: return "double-bounce";
	}
	must_not_reach();
}

void
mail_log_discarded(uint64_t id, struct span origin, struct span sender, struct span rcpt,
    enum mail_log_why why)
{
	struct log_line line;

	begin(&line, "discarded", id, origin);
	path(&line, "from", sender);
	path(&line, "to", rcpt);
	log_cstr(&line, "why", mail_log_why_name(why));
	log_end(&line);
}

void
mail_log_notified(uint64_t id, uint64_t notification_id, struct span to, struct span action,
    size_t rcpt_count)
{
	struct log_line line;

	begin(&line, "notified", id, span_make(NULL, 0));
	log_span(&line, "action", action);
	log_u64(&line, "nrcpt", rcpt_count);
	path(&line, "to", to);
	log_id(&line, "notice", notification_id);
	log_end(&line);
}

static void
stored(const char *name, const struct mail_log_stored *event)
{
	struct log_line line;

	begin(&line, name, event->id, event->origin);
	path(&line, "from", event->sender);
	path(&line, "to", event->rcpt);
	optional_span(&line, "box", event->box);
	log_u64(&line, "size", event->bytes);
	log_end(&line);
}

void
mail_log_stored(const struct mail_log_stored *event)
{
	stored("stored", event);
}

void
mail_log_absorbed(const struct mail_log_stored *event)
{
	stored("absorbed", event);
}

static void
deed(const char *name, uint64_t id, struct span by, struct span why)
{
	struct log_line line;

	begin(&line, name, id, span_make(NULL, 0));
	optional_span(&line, "by", by);
	optional_span(&line, "why", why);
	log_end(&line);
}

void
mail_log_held(uint64_t id, struct span by, struct span why)
{
	deed("held", id, by, why);
}

void
mail_log_released(uint64_t id, struct span by, struct span why)
{
	deed("released", id, by, why);
}

void
mail_log_retried(uint64_t id, struct span by, struct span why)
{
	deed("retried", id, by, why);
}

void
mail_log_removed(uint64_t id, struct span by, struct span why)
{
	deed("removed", id, by, why);
}

void
mail_log_resumed(uint64_t id, struct span by, uint64_t offset)
{
	struct log_line line;

	begin(&line, "resumed", id, span_make(NULL, 0));
	optional_span(&line, "by", by);
	log_u64(&line, "offset", offset);
	log_end(&line);
}

void
mail_log_done(uint64_t id, struct span origin, uint64_t age_ms)
{
	struct log_line line;

	begin(&line, "done", id, origin);
	log_duration(&line, "age", age_ms);
	log_end(&line);
}
