/*
 * The two engines against each other, in every way that they can speak: with and without
 * PIPELINING and CHUNKING, SMTP and LMTP, in pieces of any size, bodies of every kind.  What the
 * server's application was given is what the client's application gave, octet by octet.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/buf.h"
#include "relay/base/random.h"
#include "relay/smtp/smtp_client.h"
#include "relay/smtp/smtp_server.h"

enum { RCPTS = 5, BODY_MAX = 4096, TURNS_MAX = 200000, WIRE_MAX = 1 << 20 };

struct pair {
	struct random_seeded random;
	struct smtp_server_settings server_settings;
	struct smtp_client_settings client_settings;
	struct smtp_server *server;
	struct smtp_client *client;
	struct buf to_server, to_client, received;
	char body[BODY_MAX];
	size_t body_len, body_given;
	unsigned int refused;           /* a bit for each recipient that is refused */
	struct reply outcomes[RCPTS];
	bool uncertain[RCPTS];
	unsigned int outcome_count, done_count, ready_count, failed_count, ended_count;
	bool parks, parked;
	struct reply parked_reply;
};

static size_t
some(struct pair *p, size_t max)
{
	return max == 0 ? 0 : 1 + (size_t)random_below(&p->random.random, max);
}

/* ---- the server's application ---- */

static enum step
say(struct pair *p, struct reply *reply, uint16_t code, const char *status)
{
	reply_set(reply, code, status, "ok");
	if (!p->parks)
		return STEP_REPLY;
	p->parked = true;
	p->parked_reply = *reply;
	return STEP_PARK;
}

static enum step
s_open(void *ctx, struct reply *reply)
{
	return say(ctx, reply, 220, "");
}

static enum step
s_hello(void *ctx, const struct smtp_hello *hello, struct reply *reply)
{
	(void)hello;
	return say(ctx, reply, 250, "");
}

static enum step
s_mail(void *ctx, const struct smtp_mail *mail, struct reply *reply)
{
	(void)mail;
	return say(ctx, reply, 250, "2.1.0");
}

static enum step
s_rcpt(void *ctx, const struct smtp_rcpt *rcpt, struct reply *reply)
{
	struct pair *p = ctx;
	unsigned int number = (unsigned int)(rcpt->to.local.data[1] - '0');

	if (p->refused & 1u << number)
		return say(p, reply, 550, "5.1.1");
	return say(p, reply, 250, "2.1.5");
}

static enum step
s_data(void *ctx, struct reply *reply)
{
	return say(ctx, reply, 354, "");
}

static size_t
s_body(void *ctx, struct span octets)
{
	struct pair *p = ctx;
	size_t take = (size_t)random_below(&p->random.random, octets.len + 1);

	assert_int_equal(buf_append(&p->received, span_first(octets, take)), 0);
	return take;
}

static enum step
s_end(void *ctx, const struct smtp_body_facts *facts, struct reply *reply)
{
	struct pair *p = ctx;

	p->ended_count++;
	assert_int_equal(facts->octets, buf_len(&p->received));
	return say(p, reply, 250, "2.0.0");
}

static void
s_outcome(void *ctx, size_t index, struct reply *reply)
{
	(void)ctx;
	reply_set(reply, 250, "2.0.0", "recipient %zu", index);
}

static void
s_reset(void *ctx, enum smtp_reset reason)
{
	(void)ctx;
	(void)reason;
}

static void
s_closed(void *ctx)
{
	(void)ctx;
}

static const struct smtp_server_ops server_ops = {
	.open = s_open, .hello = s_hello, .mail = s_mail, .rcpt = s_rcpt, .data = s_data,
	.body = s_body, .end = s_end, .outcome = s_outcome, .reset = s_reset, .closed = s_closed,
};

/* ---- the client's application ---- */

static void
c_ready(void *ctx)
{
	((struct pair *)ctx)->ready_count++;
}

static enum smtp_client_body
c_body(void *ctx, struct span *piece_out)
{
	struct pair *p = ctx;
	size_t len = some(p, p->body_len - p->body_given);

	if (random_below(&p->random.random, 4) == 0)
		return SMTP_CLIENT_BODY_WAIT;
	if (len == 0)
		return SMTP_CLIENT_BODY_END;
	*piece_out = span_make(p->body + p->body_given, len);
	p->body_given += len;
	return SMTP_CLIENT_BODY_PIECE;
}

static void
c_outcome(void *ctx, const struct smtp_client_outcome *outcome)
{
	struct pair *p = ctx;

	assert_int_equal(p->outcomes[outcome->rcpt].code, 0);
	p->outcomes[outcome->rcpt] = outcome->reply;
	p->uncertain[outcome->rcpt] = outcome->uncertain;
	p->outcome_count++;
}

static void
c_done(void *ctx)
{
	((struct pair *)ctx)->done_count++;
}

static void
c_failed(void *ctx, const struct smtp_client_failure *failure)
{
	(void)failure;
	((struct pair *)ctx)->failed_count++;
}

static const struct smtp_client_ops client_ops = {
	.ready = c_ready, .body = c_body, .outcome = c_outcome, .done = c_done, .failed = c_failed,
};

/* ---- the wire ---- */

static bool
move_client(struct pair *p)
{
	bool is_body;
	struct span piece = smtp_client_output(p->client, &is_body);
	size_t len = some(p, piece.len);

	if (smtp_client_wants(p->client) == SMTP_CLIENT_WANTS_BODY)
		smtp_client_resume(p->client);
	if (len == 0)
		return false;
	assert_int_equal(buf_append(&p->to_server, span_first(piece, len)), 0);
	smtp_client_wrote(p->client, len);
	return true;
}

static bool
move_server(struct pair *p)
{
	struct buf *out = smtp_server_output(p->server);
	size_t shown = some(p, buf_len(&p->to_server));
	size_t read = smtp_server_feed(p->server, span_first(buf_span(&p->to_server), shown));
	size_t len;

	buf_consume(&p->to_server, read);
	if (smtp_server_wants(p->server) == SMTP_SERVER_WANTS_ROOM)
		smtp_server_resume(p->server);
	if (p->parked && random_below(&p->random.random, 2)) {
		p->parked = false;
		smtp_server_answer(p->server, &p->parked_reply);
	}
	len = some(p, buf_len(out));
	assert_int_equal(buf_append(&p->to_client, span_first(buf_span(out), len)), 0);
	buf_consume(out, len);
	shown = some(p, buf_len(&p->to_client));
	buf_consume(&p->to_client, smtp_client_feed(p->client, span_first(buf_span(&p->to_client),
	    shown)));
	return read || len;
}

static void
run_until(struct pair *p, const unsigned int *count, unsigned int wanted)
{
	for (unsigned int turn = 0; *count < wanted; turn++) {
		assert_true(turn < TURNS_MAX);
		assert_int_equal(p->failed_count, 0);
		(void)move_client(p);
		(void)move_server(p);
	}
}

static void
make_body(struct pair *p)
{
	static const char *const parts[] = { "\r\n", ".", "..\r\n", "a", "From me\r\n", "\r\n.\r\n",
	    "xyz" };
	size_t wanted = (size_t)random_below(&p->random.random, BODY_MAX - 16);

	p->body_len = p->body_given = 0;
	while (p->body_len < wanted) {
		const char *part = parts[random_below(&p->random.random, 7)];

		memcpy(p->body + p->body_len, part, strlen(part));
		p->body_len += strlen(part);
	}
	memcpy(p->body + p->body_len, "\r\n", 2);
	p->body_len += 2;
}

static void
one_message(struct pair *p)
{
	static const char *const addresses[RCPTS] = { "r0@x.example", "r1@x.example",
	    "r2@x.example",
		"r3@x.example", "r4@x.example" };
	struct smtp_client_rcpt rcpts[RCPTS] = { 0 };
	unsigned int done = p->done_count, ended = p->ended_count, ready = p->ready_count;

	make_body(p);
	p->refused = (unsigned int)random_below(&p->random.random, 1u << RCPTS);
	p->outcome_count = 0;
	memset(p->outcomes, 0, sizeof(p->outcomes));
	buf_clear(&p->received);
	for (size_t i = 0; i < RCPTS; i++)
		rcpts[i].address = span_from_cstr(addresses[i]);

	struct smtp_client_mail mail = {
		.sender = SPAN("s@x.example"), .rcpts = rcpts, .rcpt_count = RCPTS,
		    .body_bytes = p->body_len,
	};
	bool all_refused = p->refused == (1u << RCPTS) - 1;

	smtp_client_send(p->client, &mail);
	run_until(p, &p->done_count, done + 1);
	run_until(p, &p->ready_count, ready + 1);
	assert_int_equal(p->outcome_count, RCPTS);
	for (unsigned int i = 0; i < RCPTS; i++) {
		assert_int_equal(p->outcomes[i].code, p->refused & 1u << i ? 550 : 250);
		assert_false(p->uncertain[i]);
	}
	if (all_refused)
		return;
	assert_int_equal(p->ended_count, ended + 1);
	assert_int_equal(buf_len(&p->received), p->body_len);
	assert_memory_equal(buf_span(&p->received).data, p->body, p->body_len);
}

static void
pair_begin(struct pair *p, uint64_t seed)
{
	*p = (struct pair){ 0 };
	random_init_seeded(&p->random, seed);
	smtp_server_settings_init(&p->server_settings);
	p->server_settings.hostname = SPAN("server.example");
	p->server_settings.lmtp = seed & 1;
	if (seed & 2)
		p->server_settings.offered &= ~(uint32_t)SMTP_PIPELINING;
	p->server_settings.error_count_max = p->server_settings.useless_count_max = 0;
	p->parks = seed & 4;
	p->client_settings = (struct smtp_client_settings){
		.hostname = SPAN("client.example"), .lmtp = seed & 1, .use_chunking = seed & 8,
		.eager_bytes_max = seed & 16 ? 2000 : 0, .chunk_bytes_max = seed & 32 ? 100 : 0,
		.pipeline_count_max = seed & 64 ? 3 : 0,
	};
	buf_init(&p->to_server, WIRE_MAX);
	buf_init(&p->to_client, WIRE_MAX);
	buf_init(&p->received, WIRE_MAX);
	p->server = smtp_server_new(&p->server_settings, &server_ops, p);
	p->client = smtp_client_new(&p->client_settings, &client_ops, p);
	smtp_server_open(p->server);
	run_until(p, &p->ready_count, 1);
}

static void
pair_end(struct pair *p)
{
	smtp_client_free(&p->client);
	smtp_server_free(&p->server);
	buf_fini(&p->to_server);
	buf_fini(&p->to_client);
	buf_fini(&p->received);
}

static void
every_way_of_speaking(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 512; seed++) {
		struct pair p;

		pair_begin(&p, seed);
		for (unsigned int i = 0; i < 6; i++)
			one_message(&p);
		pair_end(&p);
	}
}

/* Cut after any number of turns: each recipient has one outcome, and 2yz only with a message. */
static void
cut_at_any_time(void **state)
{
	unsigned int uncertain = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 4000; seed++) {
		struct pair p;
		struct smtp_client_rcpt rcpt = { .address = SPAN("r0@x.example") };
		struct smtp_client_mail mail = { .sender = SPAN(""), .rcpts = &rcpt,
		    .rcpt_count = 1 };
		struct reply lost;

		pair_begin(&p, seed);
		make_body(&p);
		mail.body_bytes = p.body_len;
		smtp_client_send(p.client, &mail);
		for (uint64_t turn = random_below(&p.random.random, 60); turn > 0 &&
		    p.done_count == 0; turn--) {
			(void)move_client(&p);
			(void)move_server(&p);
		}
		reply_set(&lost, 450, "4.4.2", "the connection was lost");
		smtp_client_lost(p.client, &lost);
		smtp_client_lost(p.client, &lost);
		assert_int_equal(p.outcome_count, 1);
		assert_int_equal(p.done_count, 1);
		assert_int_equal(p.failed_count, 1);
		/* A message that the server has, and nobody told us: that must be uncertain. */
		if (p.ended_count == 1)
			assert_true(p.outcomes[0].code == 250 || p.uncertain[0]);
		else
			assert_int_not_equal(p.outcomes[0].code, 250);
		uncertain += p.uncertain[0];
		pair_end(&p);
	}
	assert_true(uncertain > 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_way_of_speaking),
		cmocka_unit_test(cut_at_any_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
