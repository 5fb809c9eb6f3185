/*
 * Notifications: whatever senders, recipients and hosts say of themselves, the notification is
 * lines of bounded length, and its parts are as many as its boundary says.
 */
#include "relay/base/arena.h"
#include "relay/base/buf.h"
#include "relay/base/must.h"
#include "relay/mail/dsn.h"
#include "relay/smtp/smtp_param.h"
#include "tests/fuzz/fuzz.h"

enum { RCPTS_MAX = 4, NOTICE_BYTES_MAX = 1 << 20 };

struct letter {
	struct arena arena;
	struct dsn dsn;
	struct dsn_rcpt rcpts[RCPTS_MAX];
	struct reply replies[RCPTS_MAX];
};

/* "MAIL args|RCPT args|reply|host|RCPT args|..." */
static bool
read_letter(struct letter *letter, struct span input, unsigned int choice)
{
	struct dsn *dsn = &letter->dsn;
	struct smtp_mail mail;
	struct reply refusal;

	if (!smtp_mail_parse(&mail, fuzz_field(&input), UINT32_MAX, &letter->arena, &refusal) ||
	    address_is_null(&mail.from))
		return false;
	dsn->hostname = SPAN("relay1.example.net");
	dsn->postmaster = choice & 1 ? SPAN("help@example.net") : SPAN("");
	dsn->id = 42;
	dsn->original_id = SPAN("0123456789ABC");
	dsn->sender = address_text(&mail.from, &letter->arena);
	dsn->envid = mail.envid;
	dsn->arrival_ms = 1700000000000;
	dsn->now_ms = 1700000100000;
	dsn->ret = mail.ret;
	dsn->original_is_8bit = choice & 2;
	dsn->smtputf8 = mail.smtputf8;
	dsn->rcpts = letter->rcpts;
	while (input.len > 0 && dsn->rcpt_count < RCPTS_MAX) {
		struct dsn_rcpt *it = &letter->rcpts[dsn->rcpt_count];
		struct reply *reply = &letter->replies[dsn->rcpt_count];
		struct smtp_rcpt rcpt;

		if (!smtp_rcpt_parse(&rcpt, fuzz_field(&input), UINT32_MAX, mail.smtputf8,
		    &letter->arena, &refusal))
			return dsn->rcpt_count > 0;
		it->address = address_text(&rcpt.to, &letter->arena);
		it->orcpt = rcpt.orcpt;
		it->action = (enum dsn_action)(choice >> 2 & 3);
		it->expired = choice & 16;
		reply_set_foreign(reply, 550, SPAN("5.1.1"), fuzz_field(&input));
		it->reply = choice & 32 ? NULL : reply;
		it->remote_host = fuzz_field(&input);
		it->last_attempt_ms = dsn->now_ms;
		dsn->rcpt_count++;
	}
	return dsn->rcpt_count > 0;
}

static size_t
count_lines(struct span text, struct span prefix)
{
	size_t count = 0;
	size_t at;

	while (text.len > 0) {
		count += span_starts_with(text, prefix);
		if (!span_find_byte(text, '\n', &at))
			break;
		text = span_skip(text, at + 1);
	}
	return count;
}

static void
check_notice(struct span head, struct span all)
{
	struct span boundary;
	size_t at;

	must(span_find(head, SPAN("boundary=\""), &at));
	must(span_split(span_skip(head, at + 10), '"', &boundary, &(struct span){ 0 }));
	must(boundary.len > 4 && boundary.len <= 70);
	must(count_lines(all, boundary) == 0);
	must(count_lines(all, SPAN("Content-Type: message/delivery-status")) <= 1);
	must(count_lines(head, SPAN("From: ")) == 1);
	must(count_lines(head, SPAN("To: ")) == 1);
	must(count_lines(head, SPAN("Subject: ")) == 1);
	must(count_lines(head, SPAN("Reporting-MTA: ")) == 1);

	struct buf marker;

	buf_init(&marker, 128);
	(void)buf_appendf(&marker, "--%.*s", SPAN_ARGS(boundary));
	must(count_lines(all, buf_span(&marker)) == 4);
	buf_fini(&marker);
}

void
fuzz_notice(struct span input)
{
	unsigned int choice = fuzz_choice(&input);
	struct letter letter = { 0 };
	struct buf head;
	struct buf all;

	arena_init(&letter.arena, 0);
	buf_init(&head, NOTICE_BYTES_MAX);
	buf_init(&all, NOTICE_BYTES_MAX);
	if (read_letter(&letter, input, choice) &&
	    dsn_compose_head(&letter.dsn, choice & 64, &head) == 0) {
		fuzz_check_lines(buf_span(&head), 1000);
		must(dsn_compose(&letter.dsn, SPAN("Subject: it\r\n\r\nbody\r\n"), choice & 64,
		    &all) == 0);
		fuzz_check_lines(buf_span(&all), 1000);
		must(span_starts_with(buf_span(&all), buf_span(&head)));
		must(dsn_needs_utf8(&letter.dsn) || dsn_needs_8bit(&letter.dsn) ||
		    span_is_ascii(buf_span(&all)));
		check_notice(buf_span(&head), buf_span(&all));
	}
	buf_fini(&head);
	buf_fini(&all);
	arena_fini(&letter.arena);
}
