#include "mailbox/mbox_search.h"

#include <string.h>

#include "mailbox/mutant.h"
#include "relay/base/base32.h"
#include "relay/base/crc32c.h"
#include "relay/base/mem.h"
#include "relay/base/span.h"

enum {
	WINDOW_BYTES = 64 * 1024,
	FROM_LINE_BYTES_MAX = 512,      /* a path and a time are shorter */
	HEADER_SLACK_BYTES = 64 * 1024, /* that readers may add to a header */
};

/*
 * A search is a function that says where in a window what it looks for begins, or that it does
 * not; it sees LINE_BYTES more than it may find something in, so that nothing is cut.
 */
typedef bool finder(const void *what, struct span window, size_t begin_max, size_t *at_out);

static int
search(struct mbox *mbox, finder *find, const void *what, uint64_t start, uint64_t end,
       uint64_t *at_out, struct err *err)
{
	char *window = mem_alloc(WINDOW_BYTES);
	int result = 0;

	*at_out = end;
	while (start < end && *at_out == end && result == 0) {
		uint64_t left = mbox->stat.size - start;
		size_t len = left < WINDOW_BYTES ? (size_t)left : WINDOW_BYTES;
		size_t begin_max = len == left ? len : len - FROM_LINE_BYTES_MAX;
		size_t at;

		if (begin_max > end - start)
			begin_max = (size_t)(end - start);
		result = box_disk_read_all(mbox->settings->lock.disk, mbox->file, window, len,
					   start, err);
		if (result == 0 && find(what, span_make(window, len), begin_max, &at))
			*at_out = start + at;
		start += begin_max;
	}
	mem_free(&window);
	return result < 0 ? err_wrap(err, "%s", mbox->settings->path) : 0;
}

static bool
is_one_of(struct span word, const char *words)
{
	size_t at;

	return word.len == 3 && span_find(span_from_cstr(words), word, &at) && at % 3 == 0;
}

/* " Tue Nov " somewhere in it. */
static bool
has_day_and_month(struct span line)
{
	struct span word, before = span_make("", 0);

	while (span_take_word(&line, &word)) {
		if (is_one_of(before, "SunMonTueWedThuFriSat") &&
		    is_one_of(word, "JanFebMarAprMayJunJulAugSepOctNovDec"))
			return true;
		before = word;
	}
	return false;
}

/* Is what stands at this place of a window quoted: '>' before it, up to the start of the line? */
static bool
is_quoted(struct span window, size_t at)
{
	size_t before = at;

	while (before > 0 && window.data[before - 1] == '>')
		before--;
	return before < at && (before == 0 || window.data[before - 1] == '\n');
}

static bool
find_from_line(const void *what, struct span window, size_t begin_max, size_t *at_out)
{
	size_t base = 0, at;

	(void)what;
	while (span_find(span_skip(window, base), SPAN("From "), &at) && base + at < begin_max) {
		struct span line = span_first(span_skip(window, base + at), FROM_LINE_BYTES_MAX);
		struct span rest;

		(void)span_split(line, '\n', &line, &rest);
		if (has_day_and_month(line) && !is_quoted(window, base + at)) {
			*at_out = base + at;
			return true;
		}
		base += at + 1;
	}
	return false;
}

static bool
find_text(const void *what, struct span window, size_t begin_max, size_t *at_out)
{
	const struct span *text = what;

	return span_find(window, *text, at_out) && *at_out < begin_max;
}

int
mbox_search_from_line(struct mbox *mbox, uint64_t start, uint64_t end, uint64_t *at_out,
		      struct err *err)
{
	return search(mbox, find_from_line, NULL, start, end, at_out, err);
}

int
mbox_search_sum(struct mbox *mbox, uint64_t start, uint64_t end, uint32_t *crc_out,
		struct err *err)
{
	char *window = mem_alloc(WINDOW_BYTES);
	int result = 0;

	*crc_out = 0;
	while (start < end && result == 0) {
		size_t len = end - start < WINDOW_BYTES ? (size_t)(end - start) : WINDOW_BYTES;

		result = box_disk_read_all(mbox->settings->lock.disk, mbox->file, window, len,
					   start, err);
		if (result == 0)
			*crc_out = crc32c(*crc_out, window, len);
		start += len;
	}
	mem_free(&window);
	return result < 0 ? err_wrap(err, "%s", mbox->settings->path) : 0;
}

static bool
find_zero(const void *what, struct span window, size_t begin_max, size_t *at_out)
{
	const char *zero = memchr(window.data, '\0', begin_max);

	(void)what;
	*at_out = zero != NULL ? (size_t)(zero - window.data) : 0;
	return zero != NULL;
}

int
mbox_search_is_start(struct mbox *mbox, uint64_t at, bool *is_out, struct err *err)
{
	char before[2];
	size_t len = at < sizeof(before) ? (size_t)at : sizeof(before);

	*is_out = at <= mbox->stat.size;
	if (len == 0 || !*is_out)
		return 0;
	if (box_disk_read_all(mbox->settings->lock.disk, mbox->file, before, len, at - len,
			      err) < 0)
		return err_wrap(err, "%s", mbox->settings->path);
	*is_out = before[0] == '\n' && before[len - 1] == '\n';
	return 0;
}

/* The last From_ line before AT and not before START; AT if there is none. */
static int
find_last_from(struct mbox *mbox, uint64_t start, uint64_t at, uint64_t *from_out, struct err *err)
{
	const struct span from = SPAN("From ");
	uint64_t found;

	*from_out = at;
	for (uint64_t next = start; next < at; next = found + 1) {
		bool is_start;

		if (search(mbox, find_text, &from, next, at, &found, err) < 0)
			return -1;
		if (found == at)
			break;
		if (mbox_search_is_start(mbox, found, &is_start, err) < 0)
			return -1;
		if (is_start)
			*from_out = found;
	}
	return 0;
}

/*
 * The id stands AT, its header ends before BODY: is all of the header there, from its From_ line
 * on?  Where a disk never got a sector there are zeros, and then it is no message for readers;
 * unless it is the header as it was written, with zeros that came with the letter.
 */
static int
has_header(struct mbox *mbox, const struct intent_entry *entry, uint64_t at, uint64_t body,
	   bool *has_out, struct err *err)
{
	uint64_t room = (uint64_t)entry->id_at + HEADER_SLACK_BYTES;
	uint64_t start, zero;
	uint32_t crc;

	*has_out = false;
	if (find_last_from(mbox, at > room ? at - room : 0, at, &start, err) < 0)
		return -1;
	if (start == at)
		return 0;
	if (mbox_search_sum(mbox, start, body, &crc, err) < 0 ||
	    search(mbox, find_zero, NULL, start, body, &zero, err) < 0)
		return -1;
	*has_out = zero == body || crc == entry->head_crc;
	return 0;
}

/* The id stands AT: is the body behind that header the one we delivered? */
static int
has_body(struct mbox *mbox, const struct intent_entry *entry, uint64_t at, bool *has_out,
	 struct err *err)
{
	const struct span empty_line = SPAN("\n\n");
	uint64_t end = mbox->stat.size, body;
	uint32_t crc;

	*has_out = mailbox_mutant(MAILBOX_MUTANT_ID_IS_ENOUGH);
	if (*has_out)
		return 0;
	if (end - at > entry->body_at + HEADER_SLACK_BYTES)
		end = at + entry->body_at + HEADER_SLACK_BYTES;
	if (search(mbox, find_text, &empty_line, at, end, &body, err) < 0)
		return -1;
	/* A message without a body cannot be told from the torn beginning of one. */
	body += empty_line.len;
	if (body >= end + empty_line.len || entry->body_bytes == 0 ||
	    mbox->stat.size - body < entry->body_bytes || body > mbox->stat.size)
		return 0;
	if (has_header(mbox, entry, at, body, has_out, err) < 0)
		return -1;
	if (!*has_out)
		return 0;
	if (mbox_search_sum(mbox, body, body + entry->body_bytes, &crc, err) < 0)
		return -1;
	*has_out = crc == entry->body_crc;
	return 0;
}

int
mbox_search_delivery(struct mbox *mbox, const struct intent_entry *entry, uint64_t bytes_max,
		     bool *found_out, struct err *err)
{
	char text[BASE32_U64_BYTES];
	uint64_t size = mbox->stat.size;
	uint64_t at = size > bytes_max ? size - bytes_max : 0;
	struct span id;

	base32_print_u64(entry->delivery_id, text);
	id = span_make(text, BASE32_U64_CHARS);
	*found_out = false;
	/* The id may also stand where somebody quotes a header: look at each. */
	while (at < size && !*found_out) {
		if (search(mbox, find_text, &id, at, size, &at, err) < 0)
			return -1;
		if (at < size && has_body(mbox, entry, at, found_out, err) < 0)
			return -1;
		at++;
	}
	return 0;
}

int
mbox_search_count(struct mbox *mbox, uint64_t *count_out, struct err *err)
{
	const struct span separator = SPAN("\n\nFrom ");
	uint64_t size = mbox->stat.size, at = 0;

	*count_out = size > 0;
	while (at < size) {
		if (search(mbox, find_text, &separator, at, size, &at, err) < 0)
			return -1;
		*count_out += at < size;
		at++;
	}
	return 0;
}
