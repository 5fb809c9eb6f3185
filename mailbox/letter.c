#include "mailbox/letter.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "relay/base/file.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

/*
 * The first chunk stays in memory also when the rest is in the file, because it holds the
 * header; the file has everything behind it.
 */
struct letter {
	atomic_uint holders;
	struct letter_budget *budget;
	bool sealed;
	bool ends_in_lf;
	uint64_t bytes;
	uint64_t added_bytes;           /* by quoting */
	uint64_t line_count;            /* CRs left out */
	struct mbox_quote quote;
	uint64_t file_bytes;
	int file;
	size_t memory_bytes;            /* capacity of all chunks */
	size_t chunk_count;
	struct letter_chunk {
		char *data;
		size_t len;
		size_t capacity;
	} chunks[LETTER_SPILL_BYTES / LETTER_CHUNK_BYTES];
};

enum {
	CHUNK_COUNT_MAX = LETTER_SPILL_BYTES / LETTER_CHUNK_BYTES,
	FIRST_CHUNK_BYTES = 4096,       /* grows to LETTER_CHUNK_BYTES */
};

struct letter *
letter_new(struct letter_budget *budget)
{
	struct letter *letter = mem_alloc(sizeof(*letter));

	atomic_init(&letter->holders, 1);
	letter->budget = budget;
	letter->file = -1;
	letter->ends_in_lf = true;
	mbox_quote_init(&letter->quote);
	return letter;
}

struct letter *
letter_hold(struct letter *letter)
{
	atomic_fetch_add_explicit(&letter->holders, 1, memory_order_relaxed);
	return letter;
}

static void
account(struct letter *letter, size_t add, size_t drop)
{
	letter->memory_bytes += add;
	letter->memory_bytes -= drop;
	atomic_fetch_add_explicit(&letter->budget->bytes, add, memory_order_relaxed);
	atomic_fetch_sub_explicit(&letter->budget->bytes, drop, memory_order_relaxed);
}

void
letter_release(struct letter **letter_ptr)
{
	struct letter *letter = *letter_ptr;

	*letter_ptr = NULL;
	if (letter == NULL ||
	    atomic_fetch_sub_explicit(&letter->holders, 1, memory_order_acq_rel) > 1)
		return;
	account(letter, 0, letter->memory_bytes);
	for (size_t i = 0; i < letter->chunk_count; i++)
		mem_free(&letter->chunks[i].data);
	file_close(&letter->file);
	mem_free(&letter);
}

bool
letter_must_spill(const struct letter *letter)
{
	size_t in_use = atomic_load_explicit(&letter->budget->bytes, memory_order_relaxed);

	if (letter->chunk_count < 2)
		return false;

	const struct letter_chunk *last = &letter->chunks[letter->chunk_count - 1];

	if (last->len < last->capacity)
		return false;
	return letter->chunk_count == CHUNK_COUNT_MAX ||
	       (letter->memory_bytes > LETTER_SPILL_BYTES_MIN &&
	       in_use >= letter->budget->bytes_max);
}

/* Room behind the last chunk's octets; NULL when the letter must be spilled. */
static struct letter_chunk *
writable_chunk(struct letter *letter)
{
	struct letter_chunk *last =
		letter->chunk_count > 0 ? &letter->chunks[letter->chunk_count - 1] : NULL;

	if (last != NULL && last->len < last->capacity)
		return last;
	if (last != NULL && last->capacity < LETTER_CHUNK_BYTES) {
		size_t capacity = 4 * last->capacity;

		last->data = mem_resize_array(last->data, capacity, 1);
		account(letter, capacity, last->capacity);
		last->capacity = capacity;
		return last;
	}
	if (last != NULL && letter_must_spill(letter))
		return NULL;

	struct letter_chunk *chunk = &letter->chunks[letter->chunk_count++];

	chunk->capacity = letter->chunk_count == 1 ? FIRST_CHUNK_BYTES : LETTER_CHUNK_BYTES;
	chunk->data = mem_alloc(chunk->capacity);
	chunk->len = 0;
	account(letter, chunk->capacity, 0);
	return chunk;
}

/* What quoting will add to this text. */
static void
count_quotes(struct letter *letter, struct span text)
{
	while (text.len > 0) {
		struct span piece;

		text = span_skip(text, mbox_quote_next(&letter->quote, text, &piece));
		letter->added_bytes += mbox_quote_is_added(piece);
	}
}

size_t
letter_append(struct letter *letter, struct span wire)
{
	size_t taken = 0;

	must(!letter->sealed);
	while (taken < wire.len) {
		if (wire.data[taken] == '\r') {
			letter->line_count++;
			taken++;
			continue;
		}

		struct letter_chunk *chunk = writable_chunk(letter);

		if (chunk == NULL)
			break;

		struct span rest = span_first(span_skip(wire, taken), chunk->capacity - chunk->len);
		const char *cr = memchr(rest.data, '\r', rest.len);

		if (cr != NULL)
			rest.len = (size_t)(cr - rest.data);
		memcpy(chunk->data + chunk->len, rest.data, rest.len);
		count_quotes(letter, span_make(chunk->data + chunk->len, rest.len));
		chunk->len += rest.len;
		letter->bytes += rest.len;
		letter->ends_in_lf = rest.data[rest.len - 1] == '\n';
		taken += rest.len;
	}
	return taken;
}

/* A file that has no name, or none after this: /proc or the kernel may lack O_TMPFILE. */
static int
open_nameless(const struct letter *letter, int directory_fd, struct err *err)
{
	int fd = file_open_at(directory_fd, ".", O_TMPFILE | O_RDWR, 0600, NULL);

	if (fd >= 0)
		return fd;

	char name[40];

	(void)snprintf(name, sizeof(name), "letter-%" PRIxPTR, (uintptr_t)letter);
	(void)unlinkat(directory_fd, name, 0);  /* of a letter before us that a crash cut short */
	fd = file_create_at(directory_fd, name, err);
	if (fd >= 0 && file_remove_at(directory_fd, name, err) < 0)
		file_close(&fd);
	return fd;
}

int
letter_spill(struct letter *letter, int directory_fd, struct err *err)
{
	must(!letter->sealed && letter->chunk_count > 1);
	if (letter->file < 0) {
		letter->file = open_nameless(letter, directory_fd, err);
		if (letter->file < 0)
			return -1;
	}
	while (letter->chunk_count > 1) {
		/* In order: the file ends with what the last chunk had. */
		struct letter_chunk *chunk = &letter->chunks[1];

		if (file_write_all_at(letter->file, span_make(chunk->data, chunk->len),
				      letter->file_bytes, err) < 0)
			return err_wrap(err, "temporary file for a message");
		letter->file_bytes += chunk->len;
		account(letter, 0, chunk->capacity);
		mem_free(&chunk->data);
		letter->chunk_count--;
		memmove(chunk, chunk + 1, (letter->chunk_count - 1) * sizeof(*chunk));
	}
	return 0;
}

void
letter_seal(struct letter *letter)
{
	must(!letter->sealed);
	letter->sealed = true;
}

uint64_t
letter_bytes(const struct letter *letter)
{
	return letter->bytes;
}

uint64_t
letter_quoted_bytes(const struct letter *letter)
{
	return letter->bytes + letter->added_bytes;
}

uint64_t
letter_wire_bytes(const struct letter *letter)
{
	return letter->bytes + letter->line_count;
}

bool
letter_ends_in_lf(const struct letter *letter)
{
	return letter->ends_in_lf;
}

struct span
letter_header(const struct letter *letter)
{
	if (letter->chunk_count == 0)
		return span_make("", 0);
	return span_make(letter->chunks[0].data, letter->chunks[0].len);
}

size_t
letter_memory_bytes(const struct letter *letter)
{
	return letter->memory_bytes;
}

void
letter_reader_init(struct letter_reader *reader, const struct letter *letter)
{
	must(letter->sealed);
	*reader = (struct letter_reader){ .letter = letter };
}

void
letter_reader_fini(struct letter_reader *reader)
{
	mem_free(&reader->window);
}

/* The part in the file lies between the first chunk and the others. */
static int
read_from_file(struct letter_reader *reader, uint64_t at, struct span *text_out, struct err *err)
{
	const struct letter *letter = reader->letter;
	uint64_t left = letter->file_bytes - at;
	size_t len = left < LETTER_CHUNK_BYTES ? (size_t)left : LETTER_CHUNK_BYTES;

	if (reader->window == NULL)
		reader->window = mem_alloc(LETTER_CHUNK_BYTES);
	if (file_read_all_at(letter->file, reader->window, len, at, err) < 0)
		return err_wrap(err, "temporary file of a message");
	*text_out = span_make(reader->window, len);
	reader->offset += len;
	return 0;
}

int
letter_read(struct letter_reader *reader, struct span *text_out, struct err *err)
{
	const struct letter *letter = reader->letter;
	size_t first_bytes = letter_header(letter).len;

	*text_out = span_make("", 0);
	if (reader->offset >= first_bytes && reader->offset < first_bytes + letter->file_bytes)
		return read_from_file(reader, reader->offset - first_bytes, text_out, err);
	if (reader->chunk == letter->chunk_count)
		return 0;

	const struct letter_chunk *chunk = &letter->chunks[reader->chunk++];

	*text_out = span_make(chunk->data, chunk->len);
	reader->offset += chunk->len;
	return 0;
}
