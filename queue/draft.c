#include "queue/spool.h"

#include "queue/envelope_codec.h"
#include "relay/base/container_of.h"
#include "relay/base/cursor.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

enum {
	STREAM_AFTER_BYTES = 256 << 10, /* what is smaller is written in one piece */
	KEEP_BYTES_MAX = 1 << 20,       /* what is larger does not stay in memory */
	MESSAGE_BYTES_EXTRA = 4096,
};

/* One chunk on its way to the log while the rest of the body still arrives. */
struct chunk_job {
	struct commit_job job;
	struct inbox_item item;
	struct log_record record;
	struct draft *draft;
	struct body_chunk *chunk;
	uint32_t at;
};

/* Segments that a draft no longer needs. */
struct unpin_note {
	struct inbox_item item;
	struct spool *spool;
	uint32_t count;
	uint32_t slots[];
};

static struct draft *
draft_of(const struct queue_draft *face)
{
	return container_of(face, struct draft, face);
}

/* ---- chunks -------------------------------------------------------------------- */

static struct draft_chunk *
add_chunk(struct draft *draft, size_t capacity)
{
	if (draft->chunk_count == draft->chunk_capacity) {
		draft->chunk_capacity = draft->chunk_capacity ? 2 * draft->chunk_capacity : 2;
		draft->chunks = mem_resize_array(draft->chunks, draft->chunk_capacity,
		    sizeof(draft->chunks[0]));
	}
	struct draft_chunk *added = &draft->chunks[draft->chunk_count++];

	*added = (struct draft_chunk){
		.chunk = body_chunk_new(&draft->port->spool->budget, capacity),
		.place = PLACE_NONE,
	};
	draft->open_chunk = added->chunk;
	draft_has_grown(draft, capacity);
	return added;
}

static void draft_end_abort(struct draft *draft);
static void draft_end_commit(struct draft *draft);

/* On the port: the chunk is durable, or the draft is lost. */
static void
chunk_arrived(struct inbox_item *item)
{
	struct chunk_job *done = container_of(item, struct chunk_job, item);
	struct draft *draft = done->draft;
	struct draft_chunk *chunk = &draft->chunks[done->at];

	must(draft->waiting_count > 0);
	draft->waiting_count--;
	if (done->job.result == QUEUE_DONE) {
		chunk->place = done->record.place;
		draft->durable_bytes += chunk->bytes;
		if (draft->bytes > KEEP_BYTES_MAX || draft->is_pressed)
			body_chunk_release(&chunk->chunk);
	} else if (draft->result == QUEUE_DONE) {
		/* Whatever became of the chunk, without a commit record there is no message. */
		draft->result = done->job.result == QUEUE_FULL ? QUEUE_FULL : QUEUE_FAILED;
	}
	bool tell = done->job.result == QUEUE_DONE && !draft->aborted && !draft->commit_call;

	body_chunk_release(&done->chunk);
	mem_free(&done);
	if (draft->waiting_count == 0 && draft->aborted)
		draft_end_abort(draft);
	else if (draft->waiting_count == 0 && draft->commit_call)
		draft_end_commit(draft);
	else if (tell && draft->events.durable)
		draft->events.durable(draft->ctx, draft->durable_bytes);
}

/* On the hub: its segment may not be freed while the draft lives. */
static void
chunk_at_hub(struct inbox_item *item)
{
	struct chunk_job *done = container_of(item, struct chunk_job, item);
	struct port *port = done->draft->port;

	if (done->job.result == QUEUE_DONE)
		segments_pin(&port->spool->segments, done->record.place.slot);
	done->item.run = chunk_arrived;
	inbox_send(port->inbox, &done->item);
}

static void
chunk_reported(struct commit_job *job)
{
	struct chunk_job *done = container_of(job, struct chunk_job, job);

	done->item.run = chunk_at_hub;
	inbox_send(done->draft->port->spool->inbox, &done->item);
}

static void
submit_chunk(struct draft *draft, uint32_t at)
{
	struct draft_chunk *chunk = &draft->chunks[at];
	struct chunk_job *todo = mem_alloc(sizeof(*todo));

	todo->draft = draft;
	todo->at = at;
	todo->chunk = body_chunk_hold(chunk->chunk);
	todo->record = (struct log_record){
		.type = RECORD_CHUNK,
		.id = draft->id,
		.sequence = at,
		.payload_bytes = chunk->chunk->bytes,
		.payload_crc = chunk->chunk->crc,
		.payload = chunk->chunk->data,
	};
	todo->job = (struct commit_job){
		.class = COMMIT_MAIL,
		.records = &todo->record,
		.record_count = 1,
		.stream = &draft->stream,
		.reported = chunk_reported,
	};
	draft->waiting_count++;
	commit_submit(&draft->port->spool->committer, &todo->job);
}

static void
seal_open_chunk(struct draft *draft)
{
	if (!draft->open_chunk)
		return;
	body_chunk_seal(draft->open_chunk);
	draft->chunks[draft->chunk_count - 1].bytes = draft->open_chunk->bytes;
	draft->open_chunk = NULL;
}

/* A large body goes to the log as it comes; a small one waits for its commit record. */
static void
stream_chunks(struct draft *draft)
{
	if (draft->never_streams ||
	    (draft->bytes < STREAM_AFTER_BYTES && !draft->is_pressed))
		return;
	while (draft->submitted_count < draft->chunk_count)
		submit_chunk(draft, draft->submitted_count++);
}

void
draft_relieve(struct draft *draft)
{
	draft->is_pressed = true;
	seal_open_chunk(draft);
	stream_chunks(draft);
	for (uint32_t i = 0; i < draft->chunk_count; i++) {
		if (!place_is_none(draft->chunks[i].place))
			body_chunk_release(&draft->chunks[i].chunk);
	}
}

/* ---- the face ---------------------------------------------------------------------- */

static char *
text_of(struct span text)
{
	return span_is_empty(text) ? NULL : mem_dup_text(text.data, text.len);
}

struct queue_draft *
draft_begin(struct queue_port *face, const struct queue_draft_terms *terms,
    const struct queue_draft_events *events, void *ctx)
{
	struct port *port = container_of(face, struct port, face);
	struct draft *draft = mem_alloc(sizeof(*draft));

	must(port->is_open);
	draft->face.backend = face->backend;
	draft->port = port;
	draft->id = terms->id;
	draft->size_hint = terms->size_hint;
	draft->transid = text_of(terms->transid);
	draft->owner = text_of(terms->owner);
	draft->ctx = ctx;
	if (events)
		draft->events = *events;
	draft->never_streams = port == port->spool->hub_port;
	digest_init(&draft->digest);
	LIST_INSERT_HEAD(&port->drafts, draft, link);
	return &draft->face;
}

size_t
draft_append(struct queue_draft *face, struct span bytes)
{
	struct draft *draft = draft_of(face);
	size_t taken = 0;

	if (draft->result == QUEUE_DONE &&
	    draft->bytes + bytes.len > draft->port->spool->settings.message_bytes_max)
		draft->result = QUEUE_FAILED;
	if (draft->result != QUEUE_DONE)
		return SIZE_MAX;
	while (taken < bytes.len) {
		if (!draft->open_chunk) {
			size_t capacity = draft_next_capacity(draft);

			stream_chunks(draft);
			if (!draft_takes_room(draft, capacity))
				break;
			(void)add_chunk(draft, capacity);
		}
		size_t count = body_chunk_append(draft->open_chunk, span_skip(bytes, taken));

		taken += count;
		draft->bytes += count;
		if (draft->open_chunk->bytes == draft->open_chunk->capacity)
			seal_open_chunk(draft);
	}
	digest_update(&draft->digest, span_first(bytes, taken));
	return taken;
}

enum queue_result
draft_result(const struct queue_draft *face)
{
	return draft_of(face)->result;
}

uint64_t
draft_bytes(const struct queue_draft *face)
{
	return draft_of(face)->bytes;
}

queue_id
draft_id(const struct queue_draft *face)
{
	return draft_of(face)->id;
}

uint64_t
draft_digest64(const struct queue_draft *face)
{
	uint8_t value[DIGEST_BYTES];

	digest_peek(&draft_of(face)->digest, value);
	return cursor_load_u64(value);
}

/* ---- the end of a draft ----------------------------------------------------------------- */

static void
draft_free(struct draft *draft)
{
	draft_stop_waiting(draft);
	draft_is_over(draft);
	LIST_REMOVE(draft, link);
	digest_fini(&draft->digest);
	for (uint32_t i = 0; i < draft->chunk_count; i++)
		body_chunk_release(&draft->chunks[i].chunk);
	mem_free(&draft->chunks);
	mem_free(&draft->transid);
	mem_free(&draft->owner);
	mem_free(&draft->commit_reply);
	envelope_free(&draft->commit_envelope);
	mem_free(&draft);
}

static void
unpin_arrived(struct inbox_item *item)
{
	struct unpin_note *note = container_of(item, struct unpin_note, item);

	for (uint32_t i = 0; i < note->count; i++) {
		segments_unpin(&note->spool->segments, note->slots[i]);
		space_look_at(note->spool, note->slots[i]);
	}
	mem_free(&note);
}

static void
unpin_chunks(struct spool *spool, const struct draft_chunk *chunks, uint32_t chunk_count)
{
	struct unpin_note *note = mem_alloc(sizeof(*note) + chunk_count * sizeof(note->slots[0]));

	note->spool = spool;
	note->item.run = unpin_arrived;
	for (uint32_t i = 0; i < chunk_count; i++) {
		if (!place_is_none(chunks[i].place))
			note->slots[note->count++] = chunks[i].place.slot;
	}
	if (note->count > 0)
		inbox_send(spool->inbox, &note->item);
	else
		mem_free(&note);
}

static void
draft_end_abort(struct draft *draft)
{
	unpin_chunks(draft->port->spool, draft->chunks, draft->chunk_count);
	draft_free(draft);
}

void
draft_abort(struct queue_draft *face)
{
	struct draft *draft = draft_of(face);

	must(!draft->aborted);
	draft->aborted = true;
	draft_stop_waiting(draft);
	draft_is_over(draft);
	if (draft->waiting_count == 0)
		draft_end_abort(draft);
}

static void
draft_end_commit(struct draft *draft)
{
	struct done_call *call = draft->commit_call;

	if (draft->result != QUEUE_DONE) {
		call_answer(&call->call, draft->result);
		draft_end_abort(draft);
		return;
	}
	struct envelope *envelope = draft->commit_envelope;
	char *reply = draft->commit_reply;

	draft->commit_envelope = NULL;
	draft->commit_reply = NULL;
	struct message_commit *commit = message_commit_new(draft, envelope,
	    span_from_cstr(reply));

	mem_free(&reply);
	commit->call = call;
	message_commit_submit(commit);
}

struct token
draft_commit(struct queue_draft *face, struct envelope *envelope,
    const struct queue_commit_terms *terms, queue_done *done, void *ctx)
{
	struct draft *draft = draft_of(face);
	struct token token;

	draft_stop_waiting(draft);
	draft_is_over(draft);
	draft->commit_call = done_call_new(draft->port, done, ctx, &token);
	draft->commit_envelope = envelope;
	if (terms)
		draft->commit_reply = text_of(terms->reply);
	if (draft->waiting_count == 0)
		draft_end_commit(draft);
	return token;
}

/*
 * ---- the commit record
 * ------------------------------------------------------------------------
 */

struct message_commit *
message_commit_new(struct draft *draft, struct envelope *envelope, struct span reply)
{
	struct spool *spool = draft->port->spool;
	struct message_commit *commit = mem_alloc(sizeof(*commit));

	must(draft->waiting_count == 0 && draft->result == QUEUE_DONE);
	seal_open_chunk(draft);
	commit->spool = spool;
	commit->id = draft->id;
	commit->envelope = envelope;
	commit->chunks = draft->chunks;
	commit->chunk_count = draft->chunk_count;
	commit->transid = draft->transid;
	commit->owner = draft->owner;
	commit->reply = text_of(reply);
	while (commit->streamed_count < commit->chunk_count &&
	    !place_is_none(commit->chunks[commit->streamed_count].place))
		commit->streamed_count++;
	envelope->body_bytes = draft->bytes;
	if (envelope->arrival_ms == 0)
		envelope->arrival_ms = loop_wall_ms(draft->port->loop);
	commit->record = (struct message_record){
		.chunk_count = draft->chunk_count,
		.body_bytes = draft->bytes,
		.accepted_ms = (uint64_t)((int64_t)loop_now_ms(draft->port->loop) +
		    spool->queue_offset_ms),
		.transid = span_from_cstr(commit->transid),
		.owner = span_from_cstr(commit->owner),
		.reply = span_from_cstr(commit->reply),
	};
	digest_final(&draft->digest, commit->record.digest);
	draft->chunks = NULL;
	draft->chunk_count = 0;
	draft->transid = NULL;
	draft->owner = NULL;
	draft_free(draft);
	return commit;
}

void
message_commit_free(struct message_commit *commit)
{
	envelope_free(&commit->envelope);
	for (uint32_t i = 0; i < commit->chunk_count; i++)
		body_chunk_release(&commit->chunks[i].chunk);
	mem_free(&commit->chunks);
	mem_free(&commit->records);
	mem_free(&commit->transid);
	mem_free(&commit->owner);
	mem_free(&commit->reply);
	buf_fini(&commit->payload);
	mem_free(&commit);
}

static void
commit_at_hub(struct inbox_item *item)
{
	spool_take_commit(container_of(item, struct message_commit, hub_item));
}

/* The port first: its 250 is what a client waits for. */
static void
commit_reported(struct commit_job *job)
{
	struct message_commit *commit = container_of(job, struct message_commit, job);

	if (commit->call)
		call_answer(&commit->call->call, job->result);
	commit->call = NULL;
	commit->hub_item.run = commit_at_hub;
	inbox_send(commit->spool->inbox, &commit->hub_item);
}

static void
encode(struct message_commit *commit)
{
	struct buf envelope;

	buf_init(&envelope, ENVELOPE_BYTES_MAX);
	envelope_encode(commit->envelope, &envelope);
	commit->record.envelope = buf_span(&envelope);
	buf_init(&commit->payload, ENVELOPE_BYTES_MAX + STATE_BYTES_MAX + MESSAGE_BYTES_EXTRA);
	message_record_put(&commit->payload, &commit->record);
	if (buf_overflowed(&envelope))
		commit->payload.overflowed = true;
	buf_fini(&envelope);
}

void
message_commit_submit(struct message_commit *commit)
{
	uint32_t count = 0;

	/* Again after the log was lost: what its first try left. */
	mem_free(&commit->records);
	buf_fini(&commit->payload);
	encode(commit);
	commit->job = (struct commit_job){
		.class = commit->change ? COMMIT_OUTCOME : COMMIT_MAIL,
		.reported = commit_reported,
	};
	if (buf_overflowed(&commit->payload) ||
	    state_bytes_max((uint32_t)commit->envelope->rcpt_count) >
	    spool_state_bytes_max(commit->spool)) {
		commit->job.result = QUEUE_FAILED;      /* an envelope beyond all bounds */
		commit_reported(&commit->job);
		return;
	}
	commit->records = mem_alloc_array(commit->chunk_count - commit->streamed_count + 1,
	    sizeof(commit->records[0]));
	for (uint32_t i = commit->streamed_count; i < commit->chunk_count; i++) {
		const struct body_chunk *chunk = commit->chunks[i].chunk;

		commit->records[count++] = (struct log_record){
			.type = RECORD_CHUNK,
			.id = commit->id,
			.sequence = i,
			.payload_bytes = chunk->bytes,
			.payload_crc = chunk->crc,
			.payload = chunk->data,
		};
	}
	log_record_set(&commit->records[count++], RECORD_MESSAGE, commit->id, 0,
	    buf_span(&commit->payload));
	commit->job.records = commit->records;
	commit->job.record_count = count;
	commit_submit(&commit->spool->committer, &commit->job);
}
