#include "queue/spool.h"

#include <stdio.h>

#include "queue/id.h"
#include "relay/base/container_of.h"
#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

enum {
	OFFERS_A_TURN = 256,
	DAMAGE_COUNT_MAX = 10000,       /* listed; all are counted */
};

uint64_t
spool_now_ms(const struct spool *spool)
{
	int64_t now = (int64_t)loop_now_ms(spool->settings.hub) + spool->queue_offset_ms;

	return now > 0 ? (uint64_t)now : 0;
}

enum queue_pressure
spool_pressure(const struct spool *spool)
{
	return (enum queue_pressure)atomic_load_explicit(&spool->pressure, memory_order_relaxed);
}

size_t
spool_state_bytes_max(const struct spool *spool)
{
	uint64_t bytes = spool->settings.segment_bytes / 2;

	return bytes < STATE_BYTES_MAX ? (size_t)bytes : STATE_BYTES_MAX;
}

/* ---- items --------------------------------------------------------------------- */

static struct span
domain_of(struct span address)
{
	struct span local, domain;

	return span_split_last(address, '@', &local, &domain) ? domain : SPAN("");
}

static int64_t
due_for_hub(const struct spool *spool, int64_t due_ms)
{
	return due_ms ? due_ms - spool->queue_offset_ms : 0;
}

static void
item_rcpts(const struct spool *spool, struct entry *entry, struct queue_item *item)
{
	const struct entry_rcpt *first = NULL;

	for (uint32_t i = 0; i < entry->rcpt_count; i++) {
		const struct entry_rcpt *rcpt = entry_rcpt(entry, i);

		if (!entry_rcpt_is_open(rcpt))
			continue;
		item->open_count++;
		if (!first || rcpt->due_ms < first->due_ms)
			first = rcpt;
	}
	if (first) {
		item->reason = (enum queue_reason)first->reason;
		item->due_ms = due_for_hub(spool, first->due_ms);
	}
}

void
spool_item(const struct spool *spool, struct entry *entry, struct queue_item *item_out)
{
	const struct names *names = &spool->index.names;
	uint64_t now_ms = spool_now_ms(spool);

	*item_out = (struct queue_item){
		.id = entry->id,
		.body_bytes = entry->body_bytes,
		.arrival_wall_ms = queue_id_wall_ms(entry->id),
		.age_ms = now_ms > entry->accepted_ms ? now_ms - entry->accepted_ms : 0,
		.sender = names_text(names, entry->sender),
		.sender_domain = domain_of(names_text(names, entry->sender)),
		.client = names_text(names, entry->client),
		.rcpt_count = entry->rcpt_count,
		.held = (entry->flags & ENTRY_HELD) || spool->all_held,
		.is_notification = entry->flags & ENTRY_NOTIFICATION,
		.found_at_start = entry->flags & ENTRY_FOUND_AT_START,
		.damaged = entry->flags & ENTRY_DAMAGED,
		.delay_notice_sent = entry->flags & ENTRY_DELAY_NOTICE_SENT,
		.revision = entry->revision,
		.user = entry->user,
	};
	item_rcpts(spool, entry, item_out);
	if (item_out->held)
		item_out->reason = REASON_HELD;
	if (item_out->damaged)
		item_out->reason = REASON_DAMAGED;
}

/* ---- events --------------------------------------------------------------------- */

void
spool_offer(struct spool *spool, struct entry *entry, struct envelope *envelope)
{
	uint16_t stops = ENTRY_HELD | ENTRY_DAMAGED | ENTRY_DONE | ENTRY_OFFERED;

	if (!(entry->flags & stops) && !spool->all_held && spool->started) {
		struct queue_item item;

		entry->flags |= ENTRY_OFFERED;
		entry->flags &= (uint16_t)~ENTRY_TO_OFFER;
		spool_item(spool, entry, &item);
		spool->settings.events.offered(spool->settings.ctx, &item, &envelope);
	} else if (!spool->started) {
		entry->flags |= ENTRY_TO_OFFER;
	}
	envelope_free(&envelope);
}

void
spool_revoke(struct spool *spool, struct entry *entry)
{
	if (!(entry->flags & ENTRY_OFFERED))
		return;
	void *user = entry->user;

	entry->flags &= (uint16_t)~ENTRY_OFFERED;
	entry->user = NULL;
	spool->settings.events.revoked(spool->settings.ctx, entry->id, user);
}

void
spool_changed(struct spool *spool, struct entry *entry)
{
	struct queue_item item;

	if (!(entry->flags & ENTRY_OFFERED))
		return;
	spool_item(spool, entry, &item);
	spool->settings.events.changed(spool->settings.ctx, &item);
}

static void
offer_slice(void *ctx)
{
	struct spool *spool = ctx;
	struct entry *entry;

	for (int i = 0; i < OFFERS_A_TURN; i++) {
		entry = index_next(&spool->index, &spool->offer_at);
		if (!entry)
			return;
		if (entry->flags & ENTRY_TO_OFFER)
			spool_offer(spool, entry, NULL);
	}
	loop_at_turn_end(spool->settings.hub, &spool->offer_task);
}

void
spool_start(struct queue *face)
{
	struct spool *spool = container_of(face, struct spool, face);

	must(!spool->started);
	spool->started = true;
	loop_task_init(&spool->offer_task, offer_slice, spool);
	loop_at_turn_end(spool->settings.hub, &spool->offer_task);
	mover_start(spool->mover);
	scrub_start(spool->scrub);
}

/* ---- bodies in memory --------------------------------------------------------------- */

void
spool_evict(struct spool *spool, struct entry *entry)
{
	struct cached_body *cached = entry->cached;

	if (!cached)
		return;
	TAILQ_REMOVE(&spool->cache, cached, link);
	spool->cache_bytes -= cached->bytes;
	entry->cached = NULL;
	body_release(&cached->body);
	mem_free(&cached);
}

static void
evict_down_to(struct spool *spool, uint64_t bytes_max)
{
	struct cached_body *oldest;

	while (spool->cache_bytes > bytes_max && (oldest = TAILQ_FIRST(&spool->cache)) != NULL)
		spool_evict(spool, oldest->entry);
}

/* A draft somewhere waits for memory: what is kept for sending is on the disk too. */
void
spool_evict_wanted(struct inbox_item *item)
{
	struct spool *spool = container_of(item, struct spool, evict_item);

	atomic_store(&spool->evict_wanted, false);
	evict_down_to(spool, spool->cache_bytes / 2);
}

static void
cache_body(struct spool *spool, struct entry *entry, struct message_commit *commit)
{
	struct body_chunk **chunks;

	if (commit->record.body_bytes > spool->settings.body_cache_bytes / 4)
		return;
	for (uint32_t i = 0; i < commit->chunk_count; i++) {
		if (!commit->chunks[i].chunk)
			return;
	}
	struct cached_body *cached = mem_alloc(sizeof(*cached));

	chunks = mem_alloc_array(commit->chunk_count + 1, sizeof(chunks[0]));
	for (uint32_t i = 0; i < commit->chunk_count; i++) {
		cached->bytes += commit->chunks[i].chunk->capacity;
		chunks[i] = commit->chunks[i].chunk;
		commit->chunks[i].chunk = NULL;
	}
	cached->body = body_new(chunks, commit->chunk_count, commit->record.body_bytes,
	    commit->record.digest);
	mem_free(&chunks);
	cached->entry = entry;
	entry->cached = cached;
	TAILQ_INSERT_TAIL(&spool->cache, cached, link);
	spool->cache_bytes += cached->bytes;
	evict_down_to(spool, spool->settings.body_cache_bytes);
}

/* ---- the index ---------------------------------------------------------------------------- */

static void
each_place(struct entry *entry, void (*act)(struct segments *segments, struct place place,
    uint64_t cost), struct segments *segments)
{
	uint64_t chunk_cost = segment_chunk_cost(entry);

	if (!place_is_none(entry->message))
		act(segments, entry->message, SEGMENT_MESSAGE_COST);
	if (!place_is_none(entry->state))
		act(segments, entry->state, SEGMENT_STATE_COST);
	for (uint32_t i = 0; i < entry->chunk_count; i++) {
		struct place place = *entry_chunk(entry, i);

		if (!place_is_none(place))
			act(segments, place, chunk_cost);
	}
}

void
spool_account(struct spool *spool, struct entry *entry)
{
	each_place(entry, segments_use, &spool->segments);
	spool->message_bytes += entry->body_bytes;
	spool->held_count += !!(entry->flags & ENTRY_HELD);
	spool->open_rcpt_count += entry_open_count(entry);
}

static void
look_at_slots(struct spool *spool, struct entry *entry)
{
	if (!place_is_none(entry->message))
		space_look_at(spool, entry->message.slot);
	if (!place_is_none(entry->state))
		space_look_at(spool, entry->state.slot);
	for (uint32_t i = 0; i < entry->chunk_count; i++) {
		if (!place_is_none(*entry_chunk(entry, i)))
			space_look_at(spool, entry_chunk(entry, i)->slot);
	}
}

void
spool_settled(struct spool *spool, struct entry *entry, uint64_t mark_number)
{
	spool_revoke(spool, entry);
	if (!place_is_none(entry->message))
		segment_set_dead(segments_at(&spool->segments, entry->message.slot),
		    entry->ordinal, mark_number);
	each_place(entry, segments_unuse, &spool->segments);
	spool_evict(spool, entry);
	spool->message_bytes -= entry->body_bytes;
	spool->held_count -= !!(entry->flags & ENTRY_HELD);
	spool->settled_count++;
	look_at_slots(spool, entry);
	index_remove(&spool->index, entry);
}

/* Records of an entry whose message was accepted a moment ago. */
static struct entry *
add_entry(struct spool *spool, const struct message_commit *commit)
{
	const struct envelope *envelope = commit->envelope;
	struct index *index = &spool->index;
	struct entry *entry = index_add(index, commit->id);
	const struct log_record *last = &commit->records[commit->job.record_count - 1];

	entry->message = last->place;
	entry->ordinal = last->sequence;
	entry->body_bytes = (uint32_t)commit->record.body_bytes;
	entry->accepted_ms = commit->record.accepted_ms;
	entry->sender = names_hold(&index->names, envelope->sender);
	entry->client = names_hold(&index->names, envelope->client_address);
	if (envelope->parent.len > 0)
		entry->flags |= ENTRY_NOTIFICATION;
	index_set_rcpt_count(index, entry, (uint32_t)envelope->rcpt_count);
	for (uint32_t i = 0; i < entry->rcpt_count; i++)
		entry_rcpt(entry, i)->domain = names_hold(&index->names, envelope->rcpts[i].domain);
	index_set_chunk_count(index, entry, commit->chunk_count);
	for (uint32_t i = 0; i < commit->chunk_count; i++)
		*entry_chunk(entry, i) = i < commit->streamed_count ? commit->chunks[i].place :
		    commit->records[i - commit->streamed_count].place;
	return entry;
}

static void
unpin_streamed(struct spool *spool, const struct message_commit *commit)
{
	for (uint32_t i = 0; i < commit->streamed_count; i++) {
		segments_unpin(&spool->segments, commit->chunks[i].place.slot);
		space_look_at(spool, commit->chunks[i].place.slot);
	}
}

void
spool_take_commit(struct message_commit *commit)
{
	struct spool *spool = commit->spool;
	struct change *change = commit->change;
	enum queue_result result = commit->job.result;
	struct entry *entry = NULL;
	struct place place = PLACE_NONE;

	if (result == QUEUE_DONE) {
		entry = add_entry(spool, commit);
		place = entry->message;
		spool_account(spool, entry);
		spool->accepted_count++;
	} else if (change && result == QUEUE_UNKNOWN) {
		change_notice_reported(change, result, place);  /* it keeps the commit */
		return;
	}
	unpin_streamed(spool, commit);
	if (entry)
		cache_body(spool, entry, commit);
	if (change)
		change_notice_reported(change, result, place);
	struct envelope *envelope = commit->envelope;

	commit->envelope = NULL;
	if (!change || result == QUEUE_DONE)
		message_commit_free(commit);
	if (entry)
		spool_offer(spool, entry, envelope);
	else
		envelope_free(&envelope);
}

/*
 * ---- damage
 * ------------------------------------------------------------------------------------
 */

void
spool_add_damage(struct spool *spool, const struct queue_damage *damage)
{
	/* The scrub comes by every day. */
	for (size_t i = 0; i < spool->damage_count; i++) {
		if (spool->damage[i].segment == damage->segment && damage->segment != 0 &&
		    spool->damage[i].offset == damage->offset)
			return;
	}
	spool->damaged_total++;
	if (spool->damage_count == DAMAGE_COUNT_MAX)
		return;
	if (spool->damage_count == spool->damage_capacity) {
		spool->damage_capacity = spool->damage_capacity ? 2 * spool->damage_capacity : 16;
		spool->damage = mem_resize_array(spool->damage, spool->damage_capacity,
		    sizeof(spool->damage[0]));
	}
	spool->damage[spool->damage_count++] = *damage;
}

void
spool_damaged(struct spool *spool, queue_id id, uint64_t segment, uint64_t offset,
    const struct err *err)
{
	struct queue_damage damage = { .segment = segment, .offset = offset, .id = id };
	struct entry *entry = index_find(&spool->index, id);
	char text[QUEUE_ID_BYTES];

	queue_id_print(id, text);
	log_error("queue: message %s cannot be read back: %s", text, err->text);
	if (!entry || (entry->flags & ENTRY_DAMAGED))
		return;
	(void)snprintf(damage.what, sizeof(damage.what), "%.79s", err->text);
	spool_add_damage(spool, &damage);
	spool_revoke(spool, entry);
	entry->flags |= ENTRY_DAMAGED;
	spool_evict(spool, entry);
}
