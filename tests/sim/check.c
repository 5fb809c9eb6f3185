/*
 * What must be true in the end, whatever happened (RELIABILITY.md, C1 to C6):
 *   - a recipient of an acknowledged letter has it, once and octet by octet; or, having no box,
 *     is told of to the sender;
 *   - nobody has a letter twice, acknowledged or not, nor one that was not for them, nor one
 *     whose end was never sent;
 *   - before a letter stand the trace fields of four machines, and nothing else;
 *   - no notification speaks of somebody who has a box.
 */
#include <stdio.h>
#include <string.h>

#include "relay/base/must.h"
#include "tests/sim/letters.h"

/* A hop whose 250 was lost is taken again, and each copy may end in a notification of its own. */
enum { SIM_WAYS = 3 };

struct tally {
	uint64_t copies[LETTERS_MAX][SIM_USERS];
	uint64_t notices[LETTERS_MAX];
};

/* The first place of TEXT in BYTES, or the length. */
static size_t
find(struct span bytes, const char *text)
{
	const char *place = memmem(bytes.data, bytes.len, text, strlen(text));

	return place ? (size_t)(place - bytes.data) : bytes.len;
}

static bool
letter_number(struct span message, size_t *number_out)
{
	static const char key[] = "X-Sim-Letter: ";
	size_t at = find(message, key);
	uint64_t number;
	struct span digits;

	if (at == message.len)
		return false;
	digits = span_skip(message, at + sizeof(key) - 1);
	digits.len = find(digits, "\n");
	if (!span_parse_u64(span_trim(digits), LETTERS_MAX - 1, &number))
		return false;
	*number_out = number;
	return true;
}

/* The From_ line, Return-Path, Delivered-To and a Received field for each hop, in this order. */
static bool
is_our_trace(struct span head)
{
	static const char *const fields[] = {
		"From ", "Return-Path: <", "Delivered-To: ", "Received: ", "Received: ",
		"Received: ",
	};
	size_t count = 0;

	while (head.len > 0) {
		struct span line = span_first(head, find(head, "\n"));
		bool folded = line.len > 0 && (line.data[0] == '\t' || line.data[0] == ' ');

		if (line.len == head.len)
			return false;
		head = span_skip(head, line.len + 1);
		if (folded && count > 3)
			continue;
		if (count == sizeof(fields) / sizeof(fields[0]) ||
		    !span_starts_with(line, span_from_cstr(fields[count++])))
			return false;
	}
	return count == sizeof(fields) / sizeof(fields[0]);
}

/*
 * The octets in the box are those of the letter, with LF for CRLF and From_ lines quoted, behind
 * trace fields.
 */
static bool
is_whole(const struct letters *letters, size_t number, struct span message)
{
	struct buf sent, quoted;
	struct span rest, line;
	bool same;

	buf_init(&sent, 1 << 20);
	buf_init(&quoted, 1 << 20);
	letter_print(letters, number, &sent);
	rest = buf_span(&sent);
	while (rest.len > 0) {
		size_t len = find(rest, "\r\n");

		line = span_first(rest, len);
		rest = span_skip(rest, len + 2);
		if (span_starts_with(line, SPAN("From ")))
			(void)buf_append_byte(&quoted, '>');
		(void)buf_append(&quoted, line);
		(void)buf_append_byte(&quoted, '\n');
	}
	must(!buf_overflowed(&sent) && !buf_overflowed(&quoted));
	same = message.len >= buf_len(&quoted) &&
	    span_equal(span_skip(message, message.len - buf_len(&quoted)), buf_span(&quoted)) &&
	    is_our_trace(span_first(message, message.len - buf_len(&quoted)));
	buf_fini(&sent);
	buf_fini(&quoted);
	return same;
}

/* Cuts the first message off an mbox: it ends before a blank line and the next From_ line. */
static bool
take_message(struct span *box, struct span *message_out)
{
	size_t end;

	if (box->len == 0)
		return false;
	end = find(*box, "\n\nFrom ");
	*message_out = span_first(*box, end < box->len ? end + 1 : box->len);
	*box = end < box->len ? span_skip(*box, end + 2) : span_make("", 0);
	return true;
}

static struct span
without_last_blank(struct span message)
{
	if (message.len > 1 && message.data[message.len - 1] == '\n' &&
	    message.data[message.len - 2] == '\n')
		message.len--;
	return message;
}

static int
check_user(const struct letters *letters, int user, struct tally *tally, struct err *err)
{
	struct span box = span_make("", 0), message;
	char name[16];
	size_t number;

	(void)snprintf(name, sizeof(name), "u%d", user);
	(void)network_box(name, &box.data, &box.len);
	while (take_message(&box, &message)) {
		message = without_last_blank(message);
		if (!span_starts_with(message, SPAN("From ")))
			return err_set(err, ERR_DAMAGED, "box %s: no From_ line in its place",
			    name);
		if (!letter_number(message, &number) || number >= letters->count)
			return err_set(err, ERR_DAMAGED, "box %s: a message that nobody sent",
			    name);
		if (!is_whole(letters, number, message))
			return err_set(err, ERR_DAMAGED, "box %s: letter %zu is not what was sent",
			    name, number);
		tally->copies[number][user]++;
	}
	return 0;
}

static int
check_sender(const struct letters *letters, int sender, struct tally *tally, struct err *err)
{
	struct span box = span_make("", 0), message;
	char name[16];
	size_t number;

	(void)snprintf(name, sizeof(name), "s%d", sender);
	(void)network_box(name, &box.data, &box.len);
	while (take_message(&box, &message)) {
		if (!letter_number(message, &number) || number >= letters->count)
			return err_set(err, ERR_DAMAGED, "box %s: a notification of no letter",
			    name);
		if (letters->letters[number].sender != sender)
			return err_set(err, ERR_DAMAGED, "box %s: a notification for another",
			    name);
		if (find(message, "Action: failed") == message.len)
			return err_set(err, ERR_DAMAGED, "box %s: letter %zu: not of a failure",
			    name, number);
		if (find(message, "Final-Recipient: rfc822; nobody@") == message.len)
			return err_set(err, ERR_DAMAGED, "box %s: letter %zu: failed for a box that"
			    " is there", name, number);
		tally->notices[number]++;
	}
	return 0;
}

static int
check_letter(const struct letters *letters, size_t number, const struct tally *tally,
    struct err *err)
{
	const struct letter *letter = &letters->letters[number];
	uint64_t wanted[SIM_USERS] = {0};
	bool nobody = false;

	for (size_t i = 0; i < letter->rcpt_count; i++) {
		if (!letter->accepted[i])
			continue;
		if (letter->rcpts[i] == LETTER_NOBODY)
			nobody = true;
		else
			wanted[letter->rcpts[i]] = 1;
	}
	for (int user = 0; user < SIM_USERS; user++) {
		uint64_t copies = tally->copies[number][user];

		if (copies > 1)
			return err_set(err, ERR_DAMAGED, "u%d has letter %zu %lu times", user,
			    number, (unsigned long)copies);
		if (copies > wanted[user])
			return err_set(err, ERR_DAMAGED, "u%d has letter %zu, which was for others",
			    user, number);
		if (copies > 0 && !letter->sent_whole)
			return err_set(err, ERR_DAMAGED, "u%d has letter %zu, of which the end was"
			    " never sent", user, number);
		if (letter->acknowledged && copies < wanted[user])
			return err_set(err, ERR_DAMAGED, "u%d has not letter %zu, which was"
			    " acknowledged", user, number);
	}
	if (tally->notices[number] > (nobody ? SIM_WAYS : 0))
		return err_set(err, ERR_DAMAGED, "letter %zu: %lu notifications", number,
		    (unsigned long)tally->notices[number]);
	if (letter->acknowledged && nobody && tally->notices[number] == 0)
		return err_set(err, ERR_DAMAGED, "letter %zu failed for nobody and its"
		    " sender was not told", number);
	return 0;
}

int
letters_check(const struct letters *letters, struct letters_found *found_out, struct err *err)
{
	struct tally tally = { .notices = {0} };

	memset(found_out, 0, sizeof(*found_out));
	for (int user = 0; user < SIM_USERS; user++)
		if (check_user(letters, user, &tally, err) < 0)
			return -1;
	for (int sender = 0; sender < SIM_SENDERS; sender++)
		if (check_sender(letters, sender, &tally, err) < 0)
			return -1;
	for (size_t i = 0; i < letters->count; i++) {
		if (check_letter(letters, i, &tally, err) < 0)
			return -1;
		found_out->acknowledged += letters->letters[i].acknowledged;
		found_out->notices += tally.notices[i];
		for (int user = 0; user < SIM_USERS; user++)
			found_out->copies += tally.copies[i][user];
	}
	return 0;
}
