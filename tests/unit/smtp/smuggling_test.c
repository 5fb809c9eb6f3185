/*
 * Smuggling, through two relays: every string over {CR, LF, '.', 'a'} up to eight octets in the
 * place of the end of data is said to a receiving engine.  What it takes for one message, a
 * sending engine passes on, by DATA and by BDAT, and the next receiving engine has it as one
 * message again, octet by octet.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/buf.h"
#include "relay/smtp/smtp_client.h"
#include "relay/smtp/smtp_server.h"

enum { STRING_LEN_MAX = 8, BODY_MAX = 256, TURNS_MAX = 1000 };

/* ---- a relay's way in: it takes everything */

struct hop {
	struct smtp_server *server;
	struct buf body;                /* of the last message */
	unsigned int begun, taken;
};

static enum step
yes(struct reply *reply, uint16_t code)
{
	reply_set(reply, code, "", "ok");
	return STEP_REPLY;
}

static enum step
on_open(void *ctx, struct reply *reply)
{
	(void)ctx;
	return yes(reply, 220);
}

static enum step
on_hello(void *ctx, const struct smtp_hello *hello, struct reply *reply)
{
	(void)ctx;
	(void)hello;
	return yes(reply, 250);
}

static enum step
on_mail(void *ctx, const struct smtp_mail *mail, struct reply *reply)
{
	struct hop *hop = ctx;

	(void)mail;
	hop->begun++;
	buf_clear(&hop->body);
	return yes(reply, 250);
}

static enum step
on_rcpt(void *ctx, const struct smtp_rcpt *rcpt, struct reply *reply)
{
	(void)ctx;
	(void)rcpt;
	return yes(reply, 250);
}

static enum step
on_data(void *ctx, struct reply *reply)
{
	(void)ctx;
	return yes(reply, 354);
}

static size_t
on_body(void *ctx, struct span octets)
{
	struct hop *hop = ctx;

	assert_int_equal(buf_append(&hop->body, octets), 0);
	return octets.len;
}

static enum step
on_end(void *ctx, const struct smtp_body_facts *facts, struct reply *reply)
{
	struct hop *hop = ctx;

	assert_int_equal(facts->octets, buf_len(&hop->body));
	hop->taken++;
	return yes(reply, 250);
}

static void
on_reset(void *ctx, enum smtp_reset reason)
{
	(void)ctx;
	(void)reason;
}

static void
on_closed(void *ctx)
{
	(void)ctx;
}

static const struct smtp_server_ops server_ops = {
	.open = on_open, .hello = on_hello, .mail = on_mail, .rcpt = on_rcpt, .data = on_data,
	.body = on_body, .end = on_end, .reset = on_reset, .closed = on_closed,
};

static void
hop_begin(struct hop *hop, const struct smtp_server_settings *settings)
{
	*hop = (struct hop){ .begun = 0 };
	buf_init(&hop->body, BODY_MAX);
	hop->server = smtp_server_new(settings, &server_ops, hop);
	smtp_server_open(hop->server);
}

static void
hop_end(struct hop *hop)
{
	smtp_server_free(&hop->server);
	buf_fini(&hop->body);
}

/* Each part is said when the replies to the one before have been read. */
static void
say(struct hop *hop, struct span text)
{
	struct buf *out = smtp_server_output(hop->server);

	(void)smtp_server_feed(hop->server, text);
	buf_consume(out, buf_len(out));
}

/* ---- and its way out */

struct sender {
	struct span body;
	bool given, done;
	unsigned int code;
};

static void
on_ready(void *ctx)
{
	(void)ctx;
}

static enum smtp_client_body
give_body(void *ctx, struct span *piece_out)
{
	struct sender *sender = ctx;

	if (sender->given || sender->body.len == 0)
		return SMTP_CLIENT_BODY_END;
	sender->given = true;
	*piece_out = sender->body;
	return SMTP_CLIENT_BODY_PIECE;
}

static void
on_outcome(void *ctx, const struct smtp_client_outcome *outcome)
{
	((struct sender *)ctx)->code = outcome->reply.code;
}

static void
on_done(void *ctx)
{
	((struct sender *)ctx)->done = true;
}

static void
on_failed(void *ctx, const struct smtp_client_failure *failure)
{
	(void)ctx;
	fail_msg("the sender failed: %s", failure->err.text);
}

static const struct smtp_client_ops client_ops = {
	.ready = on_ready, .body = give_body, .outcome = on_outcome, .done = on_done,
	.failed = on_failed,
};

static void
converse(struct smtp_client *client, struct hop *hop, const bool *until)
{
	struct buf *replies = smtp_server_output(hop->server);

	for (unsigned int turn = 0; turn < TURNS_MAX && !*until; turn++) {
		bool is_body;
		struct span piece = smtp_client_output(client, &is_body);

		if (piece.len > 0) {
			assert_int_equal(smtp_server_feed(hop->server, piece), piece.len);
			smtp_client_wrote(client, piece.len);
		}
		buf_consume(replies, smtp_client_feed(client, buf_span(replies)));
	}
}

static void
pass_on(struct span body, bool chunking, const struct smtp_server_settings *settings)
{
	const struct smtp_client_settings client_settings = {
		.hostname = SPAN("relay1.example"), .use_chunking = chunking,
	};
	const struct smtp_client_rcpt rcpt = { .address = SPAN("c@d.example") };
	const struct smtp_client_mail mail = { .sender = SPAN("a@b.example"), .rcpts = &rcpt,
		.rcpt_count = 1, .body_bytes = body.len };
	struct sender sender = { .body = body };
	struct smtp_client *client = smtp_client_new(&client_settings, &client_ops, &sender);
	const bool never = false;
	struct hop hop;

	hop_begin(&hop, settings);
	for (unsigned int turn = 0; turn < TURNS_MAX &&
	    smtp_client_wants(client) != SMTP_CLIENT_WANTS_MAIL; turn += TURNS_MAX / 2)
		converse(client, &hop, &never);
	smtp_client_send(client, &mail);
	converse(client, &hop, &sender.done);
	assert_true(sender.done);
	assert_int_equal(sender.code, 250);
	assert_int_equal(hop.begun, 1);
	assert_int_equal(hop.taken, 1);
	assert_int_equal(buf_len(&hop.body), body.len);
	assert_memory_equal(buf_span(&hop.body).data, body.data, body.len);
	hop_end(&hop);
	smtp_client_free(&client);
}

/* ---- what must come of it */

/*
 * The reference: whether TEXT ends a message before a CR or LF stands alone, and which one.  It
 * looks for the first CRLF "." CRLF, then at the octets before it, then takes dots away.
 */
static bool
is_message(struct span text, struct buf *body_out)
{
	struct buf framed;
	size_t end;
	bool good;

	buf_init(&framed, BODY_MAX);
	(void)buf_append(&framed, SPAN("\r\n"));
	(void)buf_append(&framed, text);
	text = buf_span(&framed);
	good = span_find(text, SPAN("\r\n.\r\n"), &end);
	text = span_first(text, end + 2);
	for (size_t i = 0; good && i < text.len; i++)
		good = text.data[i] == '\r' ? i + 1 < text.len && text.data[i + 1] == '\n'
					    : text.data[i] != '\n' || text.data[i - 1] == '\r';
	for (size_t i = 2; good && i < text.len; i++)
		if (text.data[i] != '.' || text.data[i - 1] != '\n')
			(void)buf_append_byte(body_out, text.data[i]);
	buf_fini(&framed);
	return good;
}

static bool
through_two_relays(struct span text, const struct smtp_server_settings *settings)
{
	struct buf expected;
	struct hop hop;
	bool is_one;

	buf_init(&expected, BODY_MAX);
	is_one = is_message(text, &expected);
	hop_begin(&hop, settings);
	say(&hop, SPAN(""));
	say(&hop, SPAN("EHLO x\r\n"));
	say(&hop, SPAN("MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"));
	say(&hop, text);
	assert_int_equal(hop.begun, 1);
	assert_int_equal(hop.taken, is_one ? 1 : 0);
	if (is_one) {
		assert_int_equal(buf_len(&hop.body), buf_len(&expected));
		assert_memory_equal(buf_span(&hop.body).data, buf_span(&expected).data,
		    buf_len(&expected));
		pass_on(buf_span(&hop.body), false, settings);
		pass_on(buf_span(&hop.body), true, settings);
	}
	hop_end(&hop);
	buf_fini(&expected);
	return is_one;
}

static void
one_message_stays_one(void **state)
{
	static const char letters[] = "\r\n.a";
	struct smtp_server_settings settings;
	size_t count = 0, messages = 0;

	(void)state;
	smtp_server_settings_init(&settings);
	settings.hostname = SPAN("relay2.example");
	for (size_t len = 0; len <= STRING_LEN_MAX; len++)
		for (uint32_t number = 0; number < 1u << 2 * len; number++) {
			char text[64] = "x";
			size_t size = 1;

			for (size_t i = 0; i < len; i++)
				text[size++] = letters[number >> 2 * i & 3];
			memcpy(text + size, "b\r\n.\r\n", 6);
			messages += through_two_relays(span_make(text, size + 6), &settings);
			count++;
		}
	assert_int_equal(count, 87381);
	assert_in_range(messages, 1000, 20000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_message_stays_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
