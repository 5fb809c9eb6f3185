#include "queue/move.h"

#include "relay/base/mem.h"

/*
 * Which segments are emptied, and how fast.  The index does not say which
 * messages are in a segment, so all of it is walked once for all segments that
 * are being emptied, a slice a turn.  One step is a bounded number of octets;
 * after it the mover rests in proportion to the time that it took, so that it has
 * at most move_percent of the disk's time.
 */
enum {
	/*
	 * A quarter alive: three octets come back for each that is moved, so over a
	 * whole life at most a third of all that is written is moves.
	 */
	LIVE_PERCENT_MAX = 25,
	LIVE_PERCENT_MAX_SHORT = 90,    /* the disk is short: any gain counts */
	SEGMENTS_A_PASS_MAX = 32,
	STEP_BYTES = 256 << 10,
	STEP_MESSAGES_MAX = 64,
	WALK_A_TURN = 512,
	PASSES_A_LOOK_MAX = 4,          /* tiny segments could chase each other for ever */
	LOOK_INTERVAL_MS = 1000,
};

static bool
is_short(const struct spool *spool)
{
	return spool_pressure(spool) == PRESSURE_REFUSE;
}

static uint64_t
now_us(const struct mover *mover)
{
	return clock_monotonic_us(loop_clock(mover->spool->settings.hub));
}

/* Those that were tried in vain have their peace until the next look. */
static void
leave_segments(struct segments *segments, bool was_tried)
{
	for (uint32_t i = 0; i < segments->slot_count; i++) {
		struct segment *segment = &segments->slots[i];

		if (segment->state != SEGMENT_MOVING)
			continue;
		segment->state = SEGMENT_SEALED;
		segment->is_left_alone = was_tried && segment->live_count > 0;
	}
}

static void
pass_over(struct mover *mover)
{
	mover->is_moving = false;
	leave_segments(&mover->spool->segments, true);
	space_look(mover->spool);
}

void
mover_step_over(struct mover *mover)
{
	uint32_t percent = mover->spool->settings.move_percent;

	if (mover->is_stopped || !mover->is_moving)
		return;
	if (mover->has_failed || mover->at_end) {
		pass_over(mover);
		return;
	}
	uint64_t took_us = now_us(mover) - mover->step_begun_us;
	uint64_t rest_ms = is_short(mover->spool) || percent >= 100 ? 0 :
	    took_us * (100 - percent) / (percent > 0 ? percent : 1) / 1000;

	mover->step_bytes = 0;
	if (rest_ms > 0)
		loop_timer_start(mover->spool->settings.hub, &mover->rest_timer, rest_ms);
	else
		loop_at_turn_end(mover->spool->settings.hub, &mover->walk_task);
}

static void
walk(void *ctx)
{
	struct mover *mover = ctx;
	struct spool *spool = mover->spool;

	if (mover->step_bytes == 0)
		mover->step_begun_us = now_us(mover);
	mover->in_flight++;             /* ours, so that no move that ends at once ends the step */
	for (int i = 0; i < WALK_A_TURN && !mover->has_failed; i++) {
		uint64_t at = mover->at;

		if (mover->step_bytes >= STEP_BYTES || mover->in_flight > STEP_MESSAGES_MAX)
			break;
		struct entry *entry = index_next(&spool->index, &mover->at);

		if (!entry) {
			mover->at_end = true;
			break;
		}
		if (move_is_due(spool, entry)) {
			mover->step_bytes += entry->body_bytes + SEGMENT_MESSAGE_COST;
			move_submit(mover, entry, at);
		}
	}
	bool is_full = mover->step_bytes > 0 || mover->at_end || mover->has_failed;

	if (--mover->in_flight > 0)
		return;
	if (is_full)
		mover_step_over(mover);
	else
		loop_at_turn_end(spool->settings.hub, &mover->walk_task);
}

/* ---- which segments ------------------------------------------------------------------------ */

static bool
is_worth_moving(const struct spool *spool, const struct segment *segment)
{
	bool short_of_room = is_short(spool);
	uint64_t percent = short_of_room ? LIVE_PERCENT_MAX_SHORT : LIVE_PERCENT_MAX;

	return segment->state == SEGMENT_SEALED && !segment->has_damage &&
	    !segment->is_left_alone && segment->live_count > 0 &&
	    segment->live_bytes * 100 <= segment->capacity * percent &&
	    (short_of_room ||
	    spool_now_ms(spool) >= segment->sealed_ms + spool->settings.move_after_ms);
}

/* Where the disk is short the copies must not use up what outcomes need. */
static uint64_t
bytes_a_pass(const struct spool *spool)
{
	uint64_t room = atomic_load(&spool->committer.counts.open_room) / 2;

	if (!is_short(spool))
		return UINT64_MAX;
	return room > spool->settings.reserve_bytes / 4 ? room : spool->settings.reserve_bytes / 4;
}

/*
 * A move costs marks and FREEs too: where segments are small these alone could
 * fill the room that is won, for ever.
 */
static uint64_t
gain_min(const struct spool *spool)
{
	uint64_t bytes = spool->settings.segment_bytes;

	return is_short(spool) ? bytes / 2 : bytes + bytes / 4;
}

static struct segment *
emptiest(struct spool *spool)
{
	struct segment *best = NULL;

	for (uint32_t i = 0; i < spool->segments.slot_count; i++) {
		struct segment *segment = &spool->segments.slots[i];

		if (is_worth_moving(spool, segment) &&
		    (!best || segment->live_bytes < best->live_bytes))
			best = segment;
	}
	return best;
}

void
mover_look(struct mover *mover)
{
	struct spool *spool = mover->spool;
	uint64_t bytes_max = bytes_a_pass(spool);
	uint64_t bytes = 0, gain = 0;
	struct segment *segment;

	if (mover->is_moving || mover->is_stopped || !spool->started ||
	    mover->pass_count >= PASSES_A_LOOK_MAX ||
	    spool->settings.move_percent == 0 || spool_pressure(spool) == PRESSURE_NO_LOG)
		return;
	for (int i = 0; i < SEGMENTS_A_PASS_MAX && (segment = emptiest(spool)) != NULL; i++) {
		bytes += segment->live_bytes;
		if (bytes > bytes_max)
			break;
		gain += segment->capacity - segment->live_bytes;
		segment->state = SEGMENT_MOVING;
	}
	if (gain < gain_min(spool)) {
		leave_segments(&spool->segments, false);
		return;
	}
	mover->is_moving = true;
	mover->pass_count++;
	mover->at = 0;
	mover->at_end = false;
	mover->has_failed = false;
	mover->step_bytes = 0;
	loop_at_turn_end(spool->settings.hub, &mover->walk_task);
}

static void
look_timer_fired(void *ctx)
{
	struct mover *mover = ctx;
	struct segments *segments = &mover->spool->segments;

	for (uint32_t i = 0; i < segments->slot_count; i++)
		segments->slots[i].is_left_alone = false;
	mover->pass_count = 0;
	mover_look(mover);
	loop_timer_start(mover->spool->settings.hub, &mover->look_timer, LOOK_INTERVAL_MS);
}

struct mover *
mover_new(struct spool *spool)
{
	struct mover *mover = mem_alloc(sizeof(*mover));

	mover->spool = spool;
	loop_timer_init(&mover->look_timer, look_timer_fired, mover);
	loop_timer_init(&mover->rest_timer, walk, mover);
	loop_task_init(&mover->walk_task, walk, mover);
	return mover;
}

void
mover_start(struct mover *mover)
{
	loop_timer_start(mover->spool->settings.hub, &mover->look_timer, 0);
}

void
mover_stop(struct mover *mover)
{
	struct loop *hub = mover->spool->settings.hub;

	mover->is_stopped = true;
	loop_timer_stop(hub, &mover->look_timer);
	loop_timer_stop(hub, &mover->rest_timer);
	loop_task_cancel(hub, &mover->walk_task);
}

void
mover_free(struct mover **mover)
{
	mem_free(mover);
}
