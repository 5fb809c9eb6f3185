#include "queue/spool.h"

#include <stdio.h>

#include "relay/base/container_of.h"

/* What the hub answers from memory: no disk, no waiting. */

static struct spool *
spool_of(const struct queue *face)
{
	return container_of(face, struct spool, face);
}

struct body *
view_body_in_memory(struct queue *face, queue_id id)
{
	struct entry *entry = index_find(&spool_of(face)->index, id);

	return entry && entry->cached ? body_hold(entry->cached->body) : NULL;
}

void
view_set_user(struct queue *face, queue_id id, void *user)
{
	struct entry *entry = index_find(&spool_of(face)->index, id);

	if (entry)
		entry->user = user;
}

void
view_set_reason(struct queue *face, queue_id id, uint32_t rcpt, enum queue_reason reason)
{
	struct entry *entry = index_find(&spool_of(face)->index, id);

	if (!entry)
		return;
	for (uint32_t i = 0; i < entry->rcpt_count; i++) {
		struct entry_rcpt *at = entry_rcpt(entry, i);

		if ((rcpt == QUEUE_ALL_RCPTS || rcpt == i) && entry_rcpt_is_open(at))
			at->reason = (uint8_t)reason;
	}
}

bool
view_find(struct queue *face, queue_id id, struct queue_item *item_out)
{
	struct spool *spool = spool_of(face);
	struct entry *entry = index_find(&spool->index, id);

	if (!entry)
		return false;
	spool_item(spool, entry, item_out);
	return true;
}

bool
view_find_rcpt(struct queue *face, queue_id id, uint32_t at, struct queue_rcpt *rcpt_out)
{
	struct spool *spool = spool_of(face);
	struct entry *entry = index_find(&spool->index, id);

	if (!entry || at >= entry->rcpt_count)
		return false;
	const struct entry_rcpt *rcpt = entry_rcpt(entry, at);

	*rcpt_out = (struct queue_rcpt){
		.domain = names_text(&spool->index.names, rcpt->domain),
		.domain_id = rcpt->domain,
		.state = (enum rcpt_state)rcpt->state,
		.class = (enum retry_class)rcpt->class,
		.reason = (enum queue_reason)rcpt->reason,
		.attempt_count = rcpt->attempt_count,
		.class_attempt_count = rcpt->class_attempt_count,
		.due_ms = rcpt->due_ms ? rcpt->due_ms - spool->queue_offset_ms : 0,
	};
	return true;
}

bool
view_make_due(struct queue *face, queue_id id, int64_t due_ms)
{
	struct spool *spool = spool_of(face);
	struct entry *entry = index_find(&spool->index, id);

	if (!entry || (entry->flags & ENTRY_DONE))
		return false;
	for (uint32_t i = 0; i < entry->rcpt_count; i++) {
		struct entry_rcpt *rcpt = entry_rcpt(entry, i);

		if (entry_rcpt_is_open(rcpt))
			rcpt->due_ms = due_ms > 0 && due_ms + spool->queue_offset_ms > 0 ?
			    due_ms + spool->queue_offset_ms : 0;
	}
	spool_changed(spool, entry);
	return true;
}

bool
view_list(struct queue *face, struct queue_cursor *cursor, size_t item_count_max,
    queue_listed *each, void *ctx)
{
	struct spool *spool = spool_of(face);

	for (size_t i = 0; i < item_count_max; i++) {
		struct entry *entry = index_next(&spool->index, &cursor->place);
		struct queue_item item;

		if (!entry)
			return false;
		spool_item(spool, entry, &item);
		each(ctx, &item);
	}
	return true;
}

bool
view_list_damage(struct queue *face, size_t at, struct queue_damage *damage_out)
{
	struct spool *spool = spool_of(face);

	if (at >= spool->damage_count)
		return false;
	*damage_out = spool->damage[at];
	return true;
}

uint64_t
view_node_id(const struct queue *face)
{
	return spool_of(face)->node_id;
}

struct queue_port *
view_hub_port(struct queue *face)
{
	return &spool_of(face)->hub_port->face;
}

static void
count_segments(const struct spool *spool, struct queue_stats *stats)
{
	for (uint32_t i = 0; i < spool->segments.slot_count; i++) {
		const struct segment *segment = &spool->segments.slots[i];

		if (segment->state == SEGMENT_NONE)
			continue;
		stats->segment_live_count++;
		stats->segment_bytes += segment->capacity;
	}
	stats->segment_pool_count = atomic_load_explicit(&spool->committer.counts.free_count,
	    memory_order_relaxed);
}

void
view_stats(const struct queue *face, struct queue_stats *stats_out)
{
	const struct spool *spool = spool_of(face);
	const struct committer_counts *counts = &spool->committer.counts;

	*stats_out = (struct queue_stats){
		.message_count = spool->index.entry_count,
		.message_bytes = spool->message_bytes,
		.held_count = spool->held_count,
		.open_rcpt_count = spool->open_rcpt_count,
		.accepted_count = spool->accepted_count,
		.settled_count = spool->settled_count,
		.batch_count = atomic_load(&counts->batch_count),
		.batch_message_count = atomic_load(&counts->message_count),
		.written_bytes = atomic_load(&counts->written_bytes),
		.sync_us_total = atomic_load(&counts->sync_us_total),
		.sync_us_max = atomic_load(&counts->sync_us_max),
		.sync_failed_count = atomic_load(&counts->sync_failed_count),
		.disk_free_bytes = atomic_load(&counts->disk_free_bytes),
		.live_bytes = spool->segments.live_bytes,
		.moved_bytes = spool->moved_bytes,
		.damaged_count = spool->damaged_total,
		.body_memory_bytes = atomic_load(&spool->budget.bytes),
		.body_cache_bytes = spool->cache_bytes,
		.index_bytes = index_bytes(&spool->index),
		.pressure = spool_pressure(spool),
	};
	count_segments(spool, stats_out);
	scrub_count(spool->scrub, stats_out);
	(void)snprintf(stats_out->pressure_why, sizeof(stats_out->pressure_why), "%s",
	    spool->pressure_why);
	(void)snprintf(stats_out->place, sizeof(stats_out->place), "%.127s",
	    spool->settings.disk->place);
	(void)snprintf(stats_out->node_id, sizeof(stats_out->node_id), "%016llx",
	    (unsigned long long)spool->node_id);
}

struct loop *
view_writer_loop(const struct queue *face)
{
	return spool_of(face)->committer_loop;
}
