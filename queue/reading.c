#include "queue/spool.h"

#include "queue/envelope_codec.h"
#include "queue/mutant.h"
#include "relay/base/container_of.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

enum {
	READS_A_PORT_MAX = 16,
	FIRST_READ_BYTES = 2048,        /* most envelopes and all states fit */
};

/* ---- records --------------------------------------------------------------- */

struct record_source
source_of(struct spool *spool, struct place place)
{
	const struct segment *segment = segments_at(&spool->segments, place.slot);

	return (struct record_source){
		.disk = spool->settings.disk,
		.file = segment->file,
		.mark = segment->mark,
		.place = place,
	};
}

static int
read_payload(const struct record_source *source, const struct record_header *header,
    const char *first, size_t first_size, char *payload, struct err *err)
{
	size_t have = first_size - RECORD_HEADER_BYTES;

	if (have > header->payload_bytes)
		have = header->payload_bytes;
	memcpy(payload, first + RECORD_HEADER_BYTES, have);
	if (have < header->payload_bytes &&
	    disk_read_all(source->disk, source->file, payload + have,
		header->payload_bytes - have,
		place_offset(source->place) + RECORD_HEADER_BYTES + have, err) < 0)
		return -1;
	if (!record_payload_matches(header, span_make(payload, header->payload_bytes)))
		return err_set(err, ERR_DAMAGED, "payload");
	return 0;
}

static int
read_any(const struct record_source *source, uint64_t id, struct record_header *header_out,
    char **payload_out, struct err *err)
{
	char first[FIRST_READ_BYTES];
	size_t got;

	if (disk_read(source->disk, source->file, first, sizeof(first),
		place_offset(source->place), &got, err) < 0)
		return -1;
	if (got < RECORD_HEADER_BYTES || !record_header_read(header_out, source->mark, first))
		return err_set(err, ERR_DAMAGED, "record header");
	if (header_out->id != id)
		return err_set(err, ERR_DAMAGED, "record of another message");
	*payload_out = mem_resize_array(NULL, (size_t)header_out->payload_bytes + 1, 1);
	if (read_payload(source, header_out, first, got, *payload_out, err) < 0) {
		mem_free(payload_out);
		return -1;
	}
	return 0;
}

static int
wrap(const struct record_source *source, struct err *err)
{
	return err_wrap(err, "segment %llu at %llu", (unsigned long long)source->mark.number,
	    (unsigned long long)place_offset(source->place));
}

int
source_read(const struct record_source *source, enum record_type type, uint64_t id,
    struct record_header *header_out, char **payload_out, struct err *err)
{
	if (read_any(source, id, header_out, payload_out, err) < 0)
		return wrap(source, err);
	if (header_out->type != type) {
		mem_free(payload_out);
		(void)err_set(err, ERR_DAMAGED, "a %s instead of a %s",
		    record_type_name(header_out->type), record_type_name(type));
		return wrap(source, err);
	}
	return 0;
}

/* The notification's own id is in its record; the parent is inside. */
static int
read_parent_state(const struct record_source *source, uint64_t id, char **memory_out,
    struct span *state_out, struct err *err)
{
	char head[RECORD_HEADER_BYTES];
	struct record_header header;
	struct message_record record;

	if (disk_read_all(source->disk, source->file, head, sizeof(head),
		place_offset(source->place), err) < 0)
		return -1;
	if (!record_header_read(&header, source->mark, head))
		return err_set(err, ERR_DAMAGED, "record header");
	if (header.type == RECORD_STATE)
		return err_set(err, ERR_DAMAGED, "record of another message");
	if (read_any(source, header.id, &header, memory_out, err) < 0)
		return -1;
	if (header.type != RECORD_MESSAGE ||
	    !message_record_read(&record, span_make(*memory_out, header.payload_bytes)) ||
	    record.parent_id != id) {
		mem_free(memory_out);
		return err_set(err, ERR_DAMAGED, "no state in it");
	}
	*state_out = record.parent_state;
	return 0;
}

int
source_read_state(const struct record_source *source, uint64_t id, char **memory_out,
    struct span *state_out, struct err *err)
{
	struct record_header header;

	if (read_any(source, id, &header, memory_out, err) == 0) {
		if (header.type == RECORD_STATE) {
			*state_out = span_make(*memory_out, header.payload_bytes);
			return 0;
		}
		mem_free(memory_out);
		(void)err_set(err, ERR_DAMAGED, "no state");
		return wrap(source, err);
	}
	if (read_parent_state(source, id, memory_out, state_out, err) < 0)
		return wrap(source, err);
	return 0;
}

/* ---- reader threads ------------------------------------------------------------- */

/* Of its own, because its done() may come when all else is gone. */
struct reader_job {
	struct work_job job;
	struct pinned_read *read;
	struct inbox *inbox;
};

static void
run_read(void *ctx)
{
	struct reader_job *job = ctx;
	struct pinned_read *read = job->read;

	read->work(read);
	inbox_send(job->inbox, &read->item);
}

static void
free_job(void *ctx)
{
	struct reader_job *job = ctx;

	mem_free(&job);
}

static void
submit_read(struct port *port, struct pinned_read *read)
{
	struct err err;

	port->read_count++;
	if (!port->spool->readers) {    /* at the end, when no loop waits for us any more */
		read->work(read);
		inbox_send(port->inbox, &read->item);
		return;
	}
	struct reader_job *job = mem_alloc(sizeof(*job));

	job->read = read;
	job->inbox = port->inbox;
	work_job_init(&job->job, run_read, free_job, NULL, job);
	int result = work_submit(port->spool->readers, port->loop, &job->job, &err);

	must(result == 0);      /* the pool has room for all reads of all ports */
}

static void
read_arrived(struct inbox_item *item)
{
	struct pinned_read *read = container_of(item, struct pinned_read, item);
	struct port *port = read->port;
	struct pinned_read *waiting = STAILQ_FIRST(&port->reads_waiting);

	port->read_count--;
	if (waiting) {
		STAILQ_REMOVE_HEAD(&port->reads_waiting, next);
		submit_read(port, waiting);
	}
	read->done(read);
}

void
pinned_read_start(struct port *port, struct pinned_read *read)
{
	read->port = port;
	read->item.run = read_arrived;
	if (port->read_count < READS_A_PORT_MAX)
		submit_read(port, read);
	else
		STAILQ_INSERT_TAIL(&port->reads_waiting, read, next);
}

void
reading_finish(struct spool *spool)
{
	for (size_t i = 0; i < spool->port_count; i++) {
		struct port *port = spool->ports[i];
		struct pinned_read *read;

		while ((read = STAILQ_FIRST(&port->reads_waiting)) != NULL) {
			STAILQ_REMOVE_HEAD(&port->reads_waiting, next);
			port->read_count++;
			read->work(read);
			inbox_send(port->inbox, &read->item);
		}
	}
}

void
pinned_read_pin(struct spool *spool, const struct pinned_read *read)
{
	if (mutant(MUTANT_READ_UNPINNED))
		return;
	for (uint32_t i = 0; i < read->source_count; i++)
		segments_pin(&spool->segments, read->sources[i].place.slot);
}

void
pinned_read_unpin(struct spool *spool, const struct pinned_read *read)
{
	if (mutant(MUTANT_READ_UNPINNED))
		return;
	for (uint32_t i = 0; i < read->source_count; i++) {
		segments_unpin(&spool->segments, read->sources[i].place.slot);
		space_look_at(spool, read->sources[i].place.slot);
	}
}

/* ---- envelopes -------------------------------------------------------------------- */

struct envelope_read {
	struct call call;
	struct inbox_item hub_item;
	struct pinned_read read;
	queue_id id;
	queue_got_envelope *got;
	void *ctx;
	struct envelope *envelope;
	struct err err;
};

static void
envelope_finish(struct call *call, bool asked)
{
	struct envelope_read *todo = container_of(call, struct envelope_read, call);
	struct envelope *envelope = todo->envelope;

	if (asked)
		todo->got(todo->ctx, call->result, envelope);
	else
		envelope_free(&envelope);
	mem_free(&todo);
}

static void
overlay_state(struct envelope_read *todo)
{
	char *memory;
	struct span bytes;

	if (source_read_state(&todo->read.sources[1], todo->id, &memory, &bytes, &todo->err) < 0)
		return;         /* its words are lost; what became of whom the index says */
	struct message_state *state = state_decode(bytes);

	if (state)
		state_overlay(state, todo->envelope);
	state_free(&state);
	mem_free(&memory);
}

static void
envelope_work(struct pinned_read *read)
{
	struct envelope_read *todo = container_of(read, struct envelope_read, read);
	struct message_record record;
	struct record_header header;
	char *payload;

	if (source_read(&read->sources[0], RECORD_MESSAGE, todo->id, &header, &payload,
		&todo->err) < 0)
		return;
	if (message_record_read(&record, span_make(payload, header.payload_bytes)))
		todo->envelope = envelope_decode(record.envelope);
	mem_free(&payload);
	if (!todo->envelope)
		(void)err_set(&todo->err, ERR_DAMAGED, "envelope cannot be decoded");
	else if (read->source_count > 1)
		overlay_state(todo);
}

/* The index may be ahead of the disk while a change is under way. */
static void
overlay_index(struct spool *spool, struct envelope_read *todo)
{
	struct entry *entry = index_find(&spool->index, todo->id);

	if (!entry || entry->rcpt_count != todo->envelope->rcpt_count)
		return;
	for (uint32_t i = 0; i < entry->rcpt_count; i++) {
		todo->envelope->rcpts[i].state = (enum rcpt_state)entry_rcpt(entry, i)->state;
		todo->envelope->rcpts[i].attempt_count = entry_rcpt(entry, i)->attempt_count;
	}
}

static void
envelope_done(struct pinned_read *read)
{
	struct envelope_read *todo = container_of(read, struct envelope_read, read);
	struct spool *spool = read->port->spool;

	pinned_read_unpin(spool, read);
	if (todo->envelope) {
		overlay_index(spool, todo);
		call_answer(&todo->call, QUEUE_DONE);
		return;
	}
	spool_damaged(spool, todo->id, read->sources[0].mark.number,
	    place_offset(read->sources[0].place), &todo->err);
	call_answer(&todo->call, QUEUE_DAMAGED);
}

static void
envelope_at_hub(struct inbox_item *item)
{
	struct envelope_read *todo = container_of(item, struct envelope_read, hub_item);
	struct spool *spool = todo->call.port->spool;
	struct entry *entry = index_find(&spool->index, todo->id);

	if (!entry) {
		call_answer(&todo->call, QUEUE_NOT_FOUND);
		return;
	}
	if (place_is_none(entry->message)) {
		call_answer(&todo->call, QUEUE_DAMAGED);
		return;
	}
	todo->read.sources[todo->read.source_count++] = source_of(spool, entry->message);
	if (!place_is_none(entry->state))
		todo->read.sources[todo->read.source_count++] = source_of(spool, entry->state);
	pinned_read_pin(spool, &todo->read);
	pinned_read_start(spool->hub_port, &todo->read);
}

struct token
reading_envelope(struct queue_port *face, queue_id id, queue_got_envelope *got, void *ctx)
{
	struct port *port = container_of(face, struct port, face);
	struct envelope_read *todo = mem_alloc(sizeof(*todo));

	todo->id = id;
	todo->got = got;
	todo->ctx = ctx;
	todo->read.work = envelope_work;
	todo->read.done = envelope_done;
	struct token token = call_begin(&todo->call, port, envelope_finish);

	todo->hub_item.run = envelope_at_hub;
	inbox_send(port->spool->inbox, &todo->hub_item);
	return token;
}
