#include "queue/spool.h"

#include "queue/mutant.h"
#include "relay/base/container_of.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

/*
 * A body piece by piece: from memory when it is whole there, else from disk by
 * the reader threads, checked chunk by chunk and, at the end, as a whole.  One
 * thing is under way at a time: the hub looks up and pins, a reader thread reads,
 * or the piece is on its way to the port.
 */
struct body_reader {
	struct queue_body_reader face;
	LIST_ENTRY(body_reader) link;
	struct port *port;
	struct inbox_item item;
	struct pinned_read read;
	struct queue_body_events events;
	void *ctx;
	queue_id id;
	enum queue_result result;
	struct err err;

	struct body *body;              /* in memory; or ... */
	struct record_source message;   /* ... on disk, all pinned */
	struct record_source *chunks;
	uint32_t chunk_count, chunk_next;
	bool has_expected;
	uint8_t expected[DIGEST_BYTES];
	struct digest digest;
	char *piece;
	size_t piece_bytes;

	bool is_busy;
	bool is_closed;
	bool is_pinned;
};

static struct body_reader *
reader_of(struct queue_body_reader *face)
{
	return container_of(face, struct body_reader, face);
}

/* ---- on the hub -------------------------------------------------------------- */

static void
each_slot(struct body_reader *reader, void (*act)(struct spool *spool, uint32_t slot))
{
	struct spool *spool = reader->port->spool;

	if (mutant(MUTANT_READ_UNPINNED))
		return;
	act(spool, reader->message.place.slot);
	for (uint32_t i = 0; i < reader->chunk_count; i++)
		act(spool, reader->chunks[i].place.slot);
}

static void
pin(struct spool *spool, uint32_t slot)
{
	segments_pin(&spool->segments, slot);
}

static void
unpin(struct spool *spool, uint32_t slot)
{
	segments_unpin(&spool->segments, slot);
	space_look_at(spool, slot);
}

static void
look_up(struct body_reader *reader, struct entry *entry)
{
	struct spool *spool = reader->port->spool;

	if (!entry || (entry->flags & ENTRY_DONE)) {
		reader->result = QUEUE_NOT_FOUND;
		return;
	}
	if (entry->cached) {
		reader->body = body_hold(entry->cached->body);
		reader->chunk_count = reader->body->chunk_count;
		return;
	}
	if ((entry->flags & ENTRY_DAMAGED) || place_is_none(entry->message)) {
		reader->result = QUEUE_DAMAGED;
		return;
	}
	reader->message = source_of(spool, entry->message);
	reader->chunk_count = entry->chunk_count;
	reader->chunks = mem_alloc_array(entry->chunk_count, sizeof(reader->chunks[0]));
	for (uint32_t i = 0; i < entry->chunk_count; i++)
		reader->chunks[i] = source_of(spool, *entry_chunk(entry, i));
	reader->is_pinned = true;
	each_slot(reader, pin);
}

static void
reader_free(struct body_reader *reader)
{
	body_release(&reader->body);
	digest_fini(&reader->digest);
	mem_free(&reader->chunks);
	mem_free(&reader->piece);
	mem_free(&reader);
}

static void
end_at_hub(struct inbox_item *item)
{
	struct body_reader *reader = container_of(item, struct body_reader, item);

	if (reader->is_pinned)
		each_slot(reader, unpin);
	if (reader->result == QUEUE_DAMAGED && reader->err.kind != ERR_NONE)
		spool_damaged(reader->port->spool, reader->id, reader->message.mark.number,
		    place_offset(reader->message.place), &reader->err);
	reader_free(reader);
}

/* ---- on a reader thread --------------------------------------------------------- */

/* What could not be read may be readable later; what is wrong stays wrong. */
static void
reader_fail(struct body_reader *reader)
{
	reader->result = reader->err.kind == ERR_SYSTEM ? QUEUE_FAILED : QUEUE_DAMAGED;
}

static int
read_expected(struct body_reader *reader)
{
	struct record_header header;
	struct message_record record;
	char *payload;

	if (source_read(&reader->message, RECORD_MESSAGE, reader->id, &header, &payload,
		&reader->err) < 0)
		return -1;
	bool is_good = message_record_read(&record, span_make(payload, header.payload_bytes)) &&
	    record.chunk_count == reader->chunk_count;

	memcpy(reader->expected, record.digest, DIGEST_BYTES);
	mem_free(&payload);
	if (!is_good)
		return err_set(&reader->err, ERR_DAMAGED, "commit record does not fit");
	reader->has_expected = true;
	return 0;
}

static void
check_whole(struct body_reader *reader)
{
	uint8_t value[DIGEST_BYTES];

	digest_final(&reader->digest, value);
	if (memcmp(value, reader->expected, DIGEST_BYTES) == 0 || mutant(MUTANT_NO_DIGEST))
		return;
	(void)err_set(&reader->err, ERR_DAMAGED, "the body is not what was accepted");
	reader->result = QUEUE_DAMAGED;
}

static void
reader_work(struct pinned_read *read)
{
	struct body_reader *reader = container_of(read, struct body_reader, read);
	struct record_header header;

	mem_free(&reader->piece);
	if (!reader->has_expected && read_expected(reader) < 0) {
		reader_fail(reader);
		return;
	}
	if (reader->chunk_next == reader->chunk_count) {
		check_whole(reader);
		return;
	}
	if (source_read(&reader->chunks[reader->chunk_next], RECORD_CHUNK, reader->id, &header,
		&reader->piece, &reader->err) < 0) {
		reader_fail(reader);
		return;
	}
	if (header.sequence != reader->chunk_next) {
		(void)err_set(&reader->err, ERR_DAMAGED, "chunk %u instead of %u",
		    header.sequence, reader->chunk_next);
		reader_fail(reader);
		return;
	}
	reader->piece_bytes = header.payload_bytes;
	digest_update(&reader->digest, span_make(reader->piece, reader->piece_bytes));
}

/* ---- on the port -------------------------------------------------------------------- */

static void
reader_end(struct body_reader *reader)
{
	LIST_REMOVE(reader, link);
	reader->item.run = end_at_hub;
	inbox_send(reader->port->spool->inbox, &reader->item);
}

/* True when there is a piece. */
static bool
take_piece(struct body_reader *reader, struct span *piece_out)
{
	if (reader->result != QUEUE_DONE || reader->chunk_next == reader->chunk_count)
		return false;
	*piece_out = reader->body ? body_span(reader->body, reader->chunk_next) :
	    span_make(reader->piece, reader->piece_bytes);
	reader->chunk_next++;
	return true;
}

static void
reader_deliver(struct body_reader *reader)
{
	struct span piece;

	reader->is_busy = false;
	if (reader->is_closed)
		reader_end(reader);
	else if (take_piece(reader, &piece))
		reader->events.piece(reader->ctx, piece);
	else
		reader->events.ended(reader->ctx, reader->result);
}

static void
reader_arrived(struct inbox_item *item)
{
	reader_deliver(container_of(item, struct body_reader, item));
}

static void
reader_read(struct pinned_read *read)
{
	reader_deliver(container_of(read, struct body_reader, read));
}

static void
reader_go_on(struct body_reader *reader)
{
	if (reader->body || reader->result != QUEUE_DONE) {
		reader->item.run = reader_arrived;
		inbox_send(reader->port->inbox, &reader->item);
		return;
	}
	reader->read.work = reader_work;
	reader->read.done = reader_read;
	pinned_read_start(reader->port, &reader->read);
}

static void
reader_looked_up(struct inbox_item *item)
{
	struct body_reader *reader = container_of(item, struct body_reader, item);

	if (reader->is_closed)
		reader_end(reader);
	else
		reader_go_on(reader);
}

static void
reader_at_hub(struct inbox_item *item)
{
	struct body_reader *reader = container_of(item, struct body_reader, item);

	look_up(reader, index_find(&reader->port->spool->index, reader->id));
	reader->item.run = reader_looked_up;
	inbox_send(reader->port->inbox, &reader->item);
}

struct queue_body_reader *
reading_body_open(struct queue_port *face, queue_id id, const struct queue_body_events *events,
    void *ctx)
{
	struct port *port = container_of(face, struct port, face);
	struct body_reader *reader = mem_alloc(sizeof(*reader));

	reader->face.backend = face->backend;
	reader->port = port;
	reader->id = id;
	reader->events = *events;
	reader->ctx = ctx;
	reader->is_busy = true;
	digest_init(&reader->digest);
	LIST_INSERT_HEAD(&port->readers, reader, link);
	reader->item.run = reader_at_hub;
	inbox_send(port->spool->inbox, &reader->item);
	return &reader->face;
}

void
reading_body_next(struct queue_body_reader *face)
{
	struct body_reader *reader = reader_of(face);

	must(!reader->is_busy && !reader->is_closed);
	reader->is_busy = true;
	reader_go_on(reader);
}

void
reading_body_close(struct queue_body_reader *face)
{
	struct body_reader *reader = reader_of(face);

	must(!reader->is_closed);
	reader->is_closed = true;
	if (!reader->is_busy)
		reader_end(reader);
}

void
reading_close_all(struct port *port)
{
	struct body_reader *reader, *next;

	for (reader = LIST_FIRST(&port->readers); reader; reader = next) {
		next = LIST_NEXT(reader, link);
		if (!reader->is_closed)
			reading_body_close(&reader->face);
	}
}
