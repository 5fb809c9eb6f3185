/*
 * Sessions of the sending engine with a peer that says whatever it likes.  What leaves is lines;
 * every recipient of every transaction has exactly one outcome; an uncertain one is a 4yz.
 */
#include "relay/base/buf.h"
#include "relay/base/must.h"
#include "relay/smtp/smtp_client.h"
#include "tests/fuzz/fuzz.h"

enum { RCPT_COUNT = 3, MAILS_MAX = 4, TURNS_MAX = 1 << 14 };

static const char message[] = "Subject: x\r\n\r\n.dot\r\n..\r\nlast\r\n";

struct session {
	struct smtp_client *client;
	struct smtp_client_mail mail;   /* borrowed by the engine */
	struct fuzz_pieces pieces;
	size_t body_given, mail_count, outcome_count, wrote;
	bool waits, waiting, sending, failed;
	unsigned int outcomes;          /* a bit for each recipient */
};

static void
on_ready(void *ctx)
{
	must(!((struct session *)ctx)->failed);
}

static enum smtp_client_body
on_body(void *ctx, struct span *piece_out)
{
	struct session *s = ctx;
	size_t left = sizeof(message) - 1 - s->body_given;

	must(s->sending);
	if (s->waits && fuzz_piece(&s->pieces, 100) == 2) {
		s->waiting = true;
		return SMTP_CLIENT_BODY_WAIT;
	}
	if (left == 0)
		return SMTP_CLIENT_BODY_END;
	*piece_out = span_make(message + s->body_given, fuzz_piece(&s->pieces, left));
	s->body_given += piece_out->len;
	return SMTP_CLIENT_BODY_PIECE;
}

static void
on_outcome(void *ctx, const struct smtp_client_outcome *outcome)
{
	struct session *s = ctx;
	unsigned int bit = 1u << outcome->rcpt;
	struct span text = span_from_cstr(outcome->reply.text);

	must(s->sending && outcome->rcpt < RCPT_COUNT && !(s->outcomes & bit));
	s->outcomes |= bit;
	must(reply_is_positive(&outcome->reply) || reply_is_transient(&outcome->reply) ||
	    reply_is_permanent(&outcome->reply));
	must(!outcome->uncertain || reply_is_transient(&outcome->reply));
	must(!reply_is_positive(&outcome->reply) ||
	    (outcome->from_peer && outcome->at == SMTP_CLIENT_AT_END &&
	    s->body_given == sizeof(message) - 1));
	must(!span_has_control(text));
}

static void
on_done(void *ctx)
{
	struct session *s = ctx;

	must(s->sending && s->outcomes == (1u << RCPT_COUNT) - 1);
	s->sending = false;
}

static void
on_failed(void *ctx, const struct smtp_client_failure *failure)
{
	struct session *s = ctx;

	must(!s->failed && !s->sending);
	must(reply_is_transient(&failure->reply) || reply_is_permanent(&failure->reply));
	s->failed = true;
}

static int
on_auth(void *ctx, bool has_challenge, struct span challenge, struct buf *response)
{
	struct session *s = ctx;

	(void)challenge;
	if (fuzz_piece(&s->pieces, 100) == 5)
		return -1;
	(void)buf_append_cstr(response, has_challenge ? "secret" : "");
	return 0;
}

static const struct smtp_client_ops ops = {
	.ready = on_ready, .body = on_body, .outcome = on_outcome, .done = on_done,
	.failed = on_failed, .auth = on_auth,
};

/* Everything that can leave leaves; commands are whole lines. */
static bool
write_out(struct session *s, struct buf *commands)
{
	bool any = false;

	for (size_t turns = 0; turns < TURNS_MAX; turns++) {
		bool is_body;
		struct span piece = smtp_client_output(s->client, &is_body);

		if (piece.len == 0)
			return any;
		any = true;
		if (!is_body)
			(void)buf_append(commands, piece);
		smtp_client_wrote(s->client, fuzz_piece(&s->pieces, piece.len));
		if (!is_body)
			buf_clear(commands);
	}
	must(!"output ends");
	return any;
}

static void
send_mail(struct session *s, unsigned int choice)
{
	static const struct smtp_client_rcpt rcpts[RCPT_COUNT] = {
		{ .address = { "a@example.net", 13 }, .notify = NOTIFY_NEVER },
		{ .address = { "b@example.net", 13 }, .orcpt = { "rfc822;b@x", 10 } },
		{ .address = { "c@example.net", 13 } },
	};
	s->mail = (struct smtp_client_mail){
		.sender = choice & 1 ? SPAN("") : SPAN("sender@example.org"),
		.rcpts = rcpts,
		.rcpt_count = RCPT_COUNT,
		.body_bytes = sizeof(message) - 1,
		.needs_8bit = choice & 2,
		.needs_utf8 = choice & 4,
		.ret = choice & 8 ? RET_FULL : RET_UNSPECIFIED,
		.envid = choice & 8 ? SPAN("x+2By") : SPAN(""),
		.transid = choice & 16 ? SPAN("1.2@n") : SPAN(""),
		.origin = choice & 32 ? SPAN("n.1") : SPAN(""),
	};

	s->sending = true;
	s->outcomes = 0;
	s->body_given = 0;
	s->mail_count++;
	smtp_client_send(s->client, &s->mail);
}

static void
talk(struct session *s, struct span input, unsigned int choice)
{
	struct buf commands;
	size_t shown = 0;

	buf_init(&commands, 1 << 20);
	for (size_t turns = 0; turns < TURNS_MAX; turns++) {
		bool moved = write_out(s, &commands);
		size_t took = smtp_client_feed(s->client, span_first(input, shown));

		must(took <= shown);
		moved |= took > 0;
		must(smtp_client_reply_count(s->client) > 0 ||
		    !smtp_client_greeting(s->client)->code);
		must(!smtp_client_uses_chunking(s->client) ||
		    smtp_peer_offers(smtp_client_peer(s->client), SMTP_CHUNKING));
		must(smtp_client_at_name(smtp_client_at(s->client))[0] != '\0');
		input = span_skip(input, took);
		shown -= took;
		switch (smtp_client_wants(s->client)) {
		case SMTP_CLIENT_WANTS_INPUT:
			if (moved)
				continue;
			if (shown == input.len)
				goto out;
			shown += fuzz_piece(&s->pieces, input.len - shown);
			continue;
		case SMTP_CLIENT_WANTS_MAIL:
			if (s->mail_count < MAILS_MAX)
				send_mail(s, choice);
			else
				smtp_client_quit(s->client);
			continue;
		case SMTP_CLIENT_WANTS_BODY:
			smtp_client_resume(s->client);
			continue;
		case SMTP_CLIENT_WANTS_TLS:
			if (shown < input.len || choice & 64)
				shown += shown < input.len;
			if (shown > 0)
				continue;
			smtp_client_tls_done(s->client);
			must(smtp_client_is_tls(s->client));
			continue;
		case SMTP_CLIENT_WANTS_CLOSE:
		case SMTP_CLIENT_WANTS_CUT:
			goto out;
		}
	}
	must(!"the engine comes to rest");
out:
	buf_fini(&commands);
}

void
fuzz_client(struct span input)
{
	unsigned int choice = fuzz_choice(&input);
	unsigned int mail_choice = fuzz_choice(&input);
	struct session s = { .waits = choice & 1 };
	const struct smtp_client_settings settings = {
		.hostname = SPAN("relay1.example.net"),
		.lmtp = choice & 2,
		.tls = choice & 4 ? SMTP_CLIENT_TLS_IF_OFFERED : SMTP_CLIENT_TLS_NEVER,
		.mechanism = choice & 8 ? SPAN("PLAIN") : SPAN(""),
		.use_chunking = choice & 16,
		.eager_bytes_max = choice & 32 ? 1000 : 0,
		.chunk_bytes_max = choice & 64 ? 7 : 0,
		.pipeline_count_max = choice & 128 ? 2 : 0,
	};
	struct reply lost;

	s.pieces = fuzz_pieces_init(fuzz_choice(&input));
	s.client = smtp_client_new(&settings, &ops, &s);
	talk(&s, input, mail_choice);
	reply_set(&lost, 450, "4.4.2", "connection lost");
	smtp_client_lost(s.client, &lost);
	must(!s.sending);
	smtp_client_free(&s.client);
}
