#include "queue/spool.h"

#include <stdio.h>

#include "queue/scan.h"
#include "relay/base/container_of.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

/*
 * The scrub: each sealed segment is read through and checked once a day, by a
 * reader thread, a second's worth of octets each second.  What is damaged is set
 * aside before anybody needs it: its message is shown and not sent, its segment is
 * kept as it is.
 */
enum {
	SLICE_INTERVAL_MS = 1000,
	PERIOD_MS = 24 * 3600 * 1000,
	FINDINGS_MAX = 64,              /* a slice; the next day's finds the rest */
};

struct finding {
	uint64_t offset, id;
	char what[80];
};

struct scrub {
	struct spool *spool;
	struct loop_timer timer;
	struct pinned_read read;
	bool is_reading;

	uint32_t slot;
	uint64_t number;                /* of its segment; 0: none is being read */
	uint64_t offset, end;
	uint64_t slice_bytes;
	struct scan scan;
	struct finding findings[FINDINGS_MAX];
	uint32_t finding_count;
	uint64_t bytes, damaged_count;
};

/* ---- a slice, on a reader thread -------------------------------------------- */

static void
take_finding(void *ctx, uint64_t offset, uint64_t id, const char *what)
{
	struct scrub *scrub = ctx;

	if (scrub->finding_count == FINDINGS_MAX)
		return;
	struct finding *finding = &scrub->findings[scrub->finding_count++];

	*finding = (struct finding){ .offset = offset, .id = id };
	(void)snprintf(finding->what, sizeof(finding->what), "%s", what);
}

static void
slice_work(struct pinned_read *read)
{
	struct scrub *scrub = container_of(read, struct scrub, read);

	(void)scan_run(&scrub->scan, scrub->offset);
	scan_fini(&scrub->scan);
}

/* ---- on the hub ------------------------------------------------------------------ */

/* Whether a record that the index needs is there. */
static bool
is_needed(const struct scrub *scrub, struct entry *entry, uint64_t offset)
{
	struct place place = place_make(scrub->slot, offset);

	if (place_equal(entry->message, place) || place_equal(entry->state, place))
		return true;
	for (uint32_t i = 0; i < entry->chunk_count; i++) {
		if (place_equal(*entry_chunk(entry, i), place))
			return true;
	}
	return false;
}

static void
take_damage(struct scrub *scrub, struct segment *segment, const struct finding *finding)
{
	struct spool *spool = scrub->spool;
	struct entry *entry = index_find(&spool->index, finding->id);
	struct err err;

	if (finding->id != 0 && (!entry || !is_needed(scrub, entry, finding->offset)))
		return;                 /* it was dead already */
	scrub->damaged_count++;
	segment->has_damage = true;
	(void)err_set(&err, ERR_DAMAGED, "found by the scrub: %s", finding->what);
	if (entry) {
		spool_damaged(spool, finding->id, scrub->number, finding->offset, &err);
		return;
	}
	struct queue_damage damage = { .segment = scrub->number, .offset = finding->offset };

	(void)snprintf(damage.what, sizeof(damage.what), "%.79s", err.text);
	spool_add_damage(spool, &damage);
}

static void
slice_done(struct pinned_read *read)
{
	struct scrub *scrub = container_of(read, struct scrub, read);
	struct spool *spool = scrub->spool;
	struct segment *segment = segments_at(&spool->segments, scrub->slot);

	scrub->is_reading = false;
	for (uint32_t i = 0; i < scrub->finding_count; i++)
		take_damage(scrub, segment, &scrub->findings[i]);
	scrub->bytes += scrub->scan.stopped_at - scrub->offset;
	/* A slice that ends where it began has met the end, or what nobody can read. */
	bool is_over = scrub->scan.stopped_at >= scrub->end ||
	    scrub->scan.stopped_at == scrub->offset;

	scrub->offset = scrub->scan.stopped_at;
	segments_unpin(&spool->segments, scrub->slot);
	if (is_over) {
		segment->scrubbed_ms = spool_now_ms(spool);
		scrub->number = 0;
	}
	space_look_at(spool, scrub->slot);
}

static uint64_t
looked_at_ms(const struct segment *segment)
{
	return segment->scrubbed_ms > segment->sealed_ms ? segment->scrubbed_ms :
	    segment->sealed_ms;
}

/* The one that was not looked at for longest.  Those found at start come first. */
static bool
choose(struct scrub *scrub)
{
	struct spool *spool = scrub->spool;
	uint64_t now_ms = spool_now_ms(spool);
	struct segment *best = NULL;

	for (uint32_t i = 0; i < spool->segments.slot_count; i++) {
		struct segment *segment = &spool->segments.slots[i];

		if (segment->state != SEGMENT_SEALED || segment->live_count == 0)
			continue;
		if (looked_at_ms(segment) > 0 && now_ms - looked_at_ms(segment) < PERIOD_MS)
			continue;
		if (best && looked_at_ms(best) <= looked_at_ms(segment))
			continue;
		best = segment;
		scrub->slot = i;
	}
	if (!best)
		return false;
	scrub->number = best->mark.number;
	scrub->offset = RECORD_BLOCK_BYTES;
	scrub->end = best->end;
	return true;
}

static bool
is_still_there(const struct scrub *scrub)
{
	const struct segment *segment;

	if (scrub->number == 0)
		return false;
	segment = &scrub->spool->segments.slots[scrub->slot];
	return (segment->state == SEGMENT_SEALED || segment->state == SEGMENT_MOVING) &&
	    segment->mark.number == scrub->number;
}

static void
timer_fired(void *ctx)
{
	struct scrub *scrub = ctx;
	struct spool *spool = scrub->spool;

	loop_timer_start(spool->settings.hub, &scrub->timer, SLICE_INTERVAL_MS);
	if (scrub->is_reading || (!is_still_there(scrub) && !choose(scrub)))
		return;
	const struct segment *segment = segments_at(&spool->segments, scrub->slot);

	scrub->scan = (struct scan){
		.disk = spool->settings.disk,
		.file = segment->file,
		.mark = segment->mark,
		.end = scrub->end,
		.vouched_end = scrub->end,
		.stop_at = scrub->offset + scrub->slice_bytes,
		.check_chunks = true,
		.damage = take_finding,
		.ctx = scrub,
	};
	scrub->finding_count = 0;
	scrub->is_reading = true;
	scrub->read.work = slice_work;
	scrub->read.done = slice_done;
	segments_pin(&spool->segments, scrub->slot);
	pinned_read_start(spool->hub_port, &scrub->read);
}

struct scrub *
scrub_new(struct spool *spool)
{
	struct scrub *scrub = mem_alloc(sizeof(*scrub));

	scrub->spool = spool;
	scrub->slice_bytes = spool->settings.scrub_bytes_second;
	loop_timer_init(&scrub->timer, timer_fired, scrub);
	return scrub;
}

void
scrub_start(struct scrub *scrub)
{
	if (scrub->slice_bytes > 0)
		loop_timer_start(scrub->spool->settings.hub, &scrub->timer, SLICE_INTERVAL_MS);
}

void
scrub_stop(struct scrub *scrub)
{
	loop_timer_stop(scrub->spool->settings.hub, &scrub->timer);
}

void
scrub_count(const struct scrub *scrub, struct queue_stats *stats)
{
	stats->scrubbed_bytes = scrub->bytes;
	stats->scrub_damaged_count = scrub->damaged_count;
}

void
scrub_free(struct scrub **scrub)
{
	mem_free(scrub);
}
