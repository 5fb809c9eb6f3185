#include "queue/spool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "queue/mutant.h"
#include "relay/base/container_of.h"
#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

enum {
	SEGMENT_BYTES_MIN = 64 << 10,
	CHUNK_BYTES_MAX = 256 << 10,
	READS_MAX = 1 << 16,
	WHY_BYTES = 80,
};

/* What the committer tells the hub. */
struct note {
	struct inbox_item item;
	struct spool *spool;
	struct commit_segment segment;
	enum queue_pressure pressure;
	char why[WHY_BYTES];
};

static struct note *
note_new(void *ctx, void (*run)(struct inbox_item *item))
{
	struct note *note = mem_alloc(sizeof(*note));

	note->spool = ctx;
	note->item.run = run;
	return note;
}

static void
opened_at_hub(struct inbox_item *item)
{
	struct note *note = container_of(item, struct note, item);

	(void)segments_add(&note->spool->segments, note->segment.slot, note->segment.file,
	    note->segment.mark, note->segment.capacity);
	mem_free(&note);
}

static void
opened(void *ctx, const struct commit_segment *segment)
{
	struct note *note = note_new(ctx, opened_at_hub);

	note->segment = *segment;
	inbox_send(note->spool->inbox, &note->item);
}

static void
sealed_at_hub(struct inbox_item *item)
{
	struct note *note = container_of(item, struct note, item);
	struct spool *spool = note->spool;
	struct segment *segment = segments_at(&spool->segments, note->segment.slot);

	segment->state = SEGMENT_SEALED;
	segment->end = note->segment.end;
	segment->footer = note->segment.footer;
	segment->sealed_ms = spool_now_ms(spool);
	space_look_at(spool, note->segment.slot);
	if (spool_pressure(spool) == PRESSURE_NONE)
		mover_look(spool->mover);
	mem_free(&note);
}

static void
sealed(void *ctx, const struct commit_segment *segment)
{
	struct note *note = note_new(ctx, sealed_at_hub);

	note->segment = *segment;
	inbox_send(note->spool->inbox, &note->item);
}

static void
freed_at_hub(struct inbox_item *item)
{
	struct note *note = container_of(item, struct note, item);

	segments_drop(&note->spool->segments, note->segment.slot);
	mem_free(&note);
}

static void
freed(void *ctx, uint32_t slot)
{
	struct note *note = note_new(ctx, freed_at_hub);

	note->segment.slot = slot;
	inbox_send(note->spool->inbox, &note->item);
}

static void
pressure_at_hub(struct inbox_item *item)
{
	struct note *note = container_of(item, struct note, item);
	struct spool *spool = note->spool;

	(void)snprintf(spool->pressure_why, sizeof(spool->pressure_why), "%s", note->why);
	if (note->pressure != PRESSURE_NO_LOG) {
		change_resume_all(spool);
		space_look(spool);
		mover_look(spool->mover);
	}
	spool->settings.events.pressure(spool->settings.ctx, note->pressure, spool->pressure_why);
	mem_free(&note);
}

static void
pressure_changed(void *ctx, enum queue_pressure pressure, const char *why)
{
	struct note *note = note_new(ctx, pressure_at_hub);

	note->pressure = pressure;
	(void)snprintf(note->why, sizeof(note->why), "%.79s", why);
	atomic_store(&note->spool->pressure, (int)pressure);
	inbox_send(note->spool->inbox, &note->item);
}

/* ---- settings ------------------------------------------------------------------- */

void
queue_settings_init(struct queue_settings *settings)
{
	*settings = (struct queue_settings){
		.port_count_max = 64,
		.reader_count = 2,
		.segment_bytes = (uint64_t)64 << 20,
		.gather_ms = 2,
		.body_memory_bytes = (size_t)64 << 20,
		.body_cache_bytes = (size_t)32 << 20,
		.message_bytes_max = (uint64_t)100 << 20,
		.floor_bytes = (uint64_t)64 << 20,
		.reserve_bytes = (uint64_t)8 << 20,
		.pool_segments_max = 8,
		.move_percent = 20,
		.move_after_ms = 10 * 1000,
		.scrub_bytes_second = (uint64_t)4 << 20,
	};
}

static void
take_settings(struct spool *spool, const struct queue_settings *settings)
{
	spool->settings = *settings;
	spool->settings.segment_bytes = record_block_align(settings->segment_bytes);
	if (spool->settings.segment_bytes < SEGMENT_BYTES_MIN)
		spool->settings.segment_bytes = SEGMENT_BYTES_MIN;
	if (spool->settings.message_bytes_max > UINT32_MAX)
		spool->settings.message_bytes_max = UINT32_MAX;
	if (spool->settings.reserve_bytes > spool->settings.segment_bytes)
		spool->settings.reserve_bytes = spool->settings.segment_bytes;
	/* Several chunks fit into a segment, so that little of it is left over. */
	spool->chunk_bytes_max = CHUNK_BYTES_MAX;
	if (spool->chunk_bytes_max > spool->settings.segment_bytes / 8)
		spool->chunk_bytes_max = (uint32_t)(spool->settings.segment_bytes / 8);
}

/* ---- before anything is read ------------------------------------------------------ */

static int
check_disk(struct spool *spool, struct queue_found *found, struct err *err)
{
	struct disk *disk = spool->settings.disk;
	enum disk_kind kind = DISK_KIND_STABLE;
	int error = disk->ops->kind(disk, &kind);

	if (error)
		return err_set(err, ERR_SYSTEM, "%s: %s", disk->place, strerror(error));
	found->volatile_disk = kind != DISK_KIND_STABLE;
	if (found->volatile_disk && !spool->settings.allow_volatile)
		return err_set(err, ERR_DENIED, "%s is on %s: mail would be gone with the %s; "
		    "set allow_volatile_spool = yes for a test", disk->place,
		    kind == DISK_KIND_TMPFS ? "tmpfs" : "an overlay",
		    kind == DISK_KIND_TMPFS ? "power" : "container");
	error = disk->ops->lock(disk, "lock", &spool->lock);
	if (error)
		return err_set(err, error == EWOULDBLOCK ? ERR_BUSY : ERR_SYSTEM, "%s: %s",
		    disk->place, error == EWOULDBLOCK ? "another process has this spool" :
		    strerror(error));
	return 0;
}

static bool
machine_differs(const struct spool *spool, const struct spool_identity *identity)
{
	static const uint8_t unknown[16];

	return memcmp(identity->machine_id, unknown, sizeof(unknown)) != 0 &&
	    memcmp(spool->settings.machine_id, unknown, sizeof(unknown)) != 0 &&
	    memcmp(identity->machine_id, spool->settings.machine_id, sizeof(unknown)) != 0;
}

static void
list_any(void *ctx, const char *name)
{
	size_t len = strlen(name);

	if (len > 4 && strcmp(name + len - 4, ".seg") == 0)
		*(bool *)ctx = true;
}

/* An identity is made only for a directory that has no mail in it. */
static int
make_identity(struct spool *spool, struct spool_identity *identity, struct err *err)
{
	struct disk *disk = spool->settings.disk;
	bool has_segments = false;

	int error = disk->ops->list(disk, list_any, &has_segments);

	if (error)
		return err_set(err, ERR_SYSTEM, "%s: cannot be listed: %s", disk->place,
		    strerror(error));
	if (has_segments)
		return err_set(err, ERR_DAMAGED, "%s has segments and no file \"spool\"",
		    disk->place);
	*identity = (struct spool_identity){
		.version = RECORD_FORMAT_VERSION,
		.node_id = random_u64(spool->settings.random),
		.created_wall_ms = loop_wall_ms(spool->settings.hub),
	};
	memcpy(identity->machine_id, spool->settings.machine_id, sizeof(identity->machine_id));
	random_fill(spool->settings.random, identity->salt_key, sizeof(identity->salt_key));
	return identity_write(disk, identity, err);
}

static int
find_identity(struct spool *spool, struct spool_identity *identity, struct queue_found *found,
    struct err *err)
{
	struct disk *disk = spool->settings.disk;

	if (identity_read(disk, identity, err) < 0)
		return err->kind == ERR_NOT_FOUND ? make_identity(spool, identity, err) : -1;
	/*
	 * Whoever was here before may have been killed between a name and its sync: what
	 * is found by its name now must be found by it after a power cut too.
	 */
	if (!mutant(MUTANT_NO_SYNC_AT_START) && disk_sync_dir(disk, err) < 0)
		return -1;
	if (!machine_differs(spool, identity))
		return 0;
	if (!spool->settings.adopt) {
		found->foreign_machine = true;
		spool->all_held = true;
		return 0;
	}
	memcpy(identity->machine_id, spool->settings.machine_id, sizeof(identity->machine_id));
	if (spool->settings.adopt_new_node_id)
		identity->node_id = random_u64(spool->settings.random);
	return identity_write(disk, identity, err);
}

/* ---- threads ----------------------------------------------------------------------- */

static int
start_threads(struct spool *spool, struct err *err)
{
	struct work_pool_settings pool = {
		.name = "reader",
		.thread_count = spool->settings.reader_count,
		.job_count_max = READS_MAX,
	};

	spool->readers = work_pool_new(&pool, err);
	if (!spool->readers)
		return -1;
	committer_start(&spool->committer);
	spool->committer_thread = work_loop_start("committer", spool->committer_loop, err);
	if (spool->committer_thread)
		return 0;
	committer_stop(&spool->committer);
	return -1;
}

static int
make_committer(struct spool *spool, const struct spool_identity *identity, struct err *err)
{
	spool->committer_loop = loop_new(loop_clock(spool->settings.hub), err);
	if (!spool->committer_loop)
		return -1;
	struct committer_settings settings = {
		.disk = spool->settings.disk,
		.loop = spool->committer_loop,
		.events = { opened, sealed, freed, pressure_changed },
		.ctx = spool,
		.node_id = identity->node_id,
		.segment_bytes = spool->settings.segment_bytes,
		.gather_ms = spool->settings.gather_ms,
		.floor_bytes = spool->settings.floor_bytes,
		.reserve_bytes = spool->settings.reserve_bytes,
		.free_count_max = spool->settings.pool_segments_max,
		.id_last = &spool->id_last,
	};

	memcpy(settings.salt_key, identity->salt_key, sizeof(settings.salt_key));
	committer_init(&spool->committer, &settings);
	return 0;
}

/* ---- death ---------------------------------------------------------------------------- */

static void
drain_all(struct spool *spool)
{
	/* An item may send another one; each round gets every one a step further. */
	for (int i = 0; i < 16; i++) {
		inbox_drain(spool->inbox);
		for (size_t j = 0; j < spool->port_count; j++)
			inbox_drain(spool->ports[j]->inbox);
	}
}

/* Jobs on their way to it are refused, and their reports still find who waits for them. */
static void
end_committer(struct spool *spool)
{
	if (!spool->committer_loop)
		return;
	committer_refuse(&spool->committer);
	loop_free(&spool->committer_loop);
	drain_all(spool);
	committer_fini(&spool->committer);
}

static void
spool_free(struct spool *spool)
{
	end_committer(spool);
	change_drop_all(spool);
	space_fini(spool);
	mover_free(&spool->mover);
	scrub_free(&spool->scrub);
	drain_all(spool);
	for (struct cached_body *cached; (cached = TAILQ_FIRST(&spool->cache)) != NULL;)
		spool_evict(spool, cached->entry);
	for (size_t i = 0; i < spool->port_count; i++)
		port_free(spool->ports[i]);
	mem_free(&spool->ports);
	inbox_close(&spool->inbox);
	index_fini(&spool->index);
	segments_fini(&spool->segments);
	if (spool->lock >= 0)
		(void)spool->settings.disk->ops->unlock(spool->settings.disk, spool->lock);
	mem_free(&spool->damage);
	mem_free(&spool);
}

static void
no_offer(void *ctx, const struct queue_item *item, struct envelope **envelope)
{
	(void)ctx;
	(void)item;
	(void)envelope;
}

static void
no_revoke(void *ctx, queue_id id, void *user)
{
	(void)ctx;
	(void)id;
	(void)user;
}

static void
no_change(void *ctx, const struct queue_item *item)
{
	(void)ctx;
	(void)item;
}

static void
no_pressure(void *ctx, enum queue_pressure pressure, const char *why)
{
	(void)ctx;
	(void)pressure;
	(void)why;
}

static void
spool_close(struct queue *face)
{
	struct spool *spool = container_of(face, struct spool, face);

	spool->settings.events = (struct queue_events){ no_offer, no_revoke, no_change,
	    no_pressure };
	loop_task_cancel(spool->settings.hub, &spool->offer_task);
	mover_stop(spool->mover);
	scrub_stop(spool->scrub);
	if (spool->hub_port->is_open)
		port_close(&spool->hub_port->face);
	for (size_t i = 0; i < spool->port_count; i++)
		must(!spool->ports[i]->is_open);
	/* Reads in line are done, and what they lead to is written, before the threads end. */
	reading_finish(spool);
	work_pool_free(&spool->readers);
	drain_all(spool);
	work_loop_stop(spool->committer_thread);
	work_join(&spool->committer_thread);
	committer_stop(&spool->committer);
	drain_all(spool);
	spool_free(spool);
}

/* ---- birth ------------------------------------------------------------------------------- */

static const struct queue_backend spool_backend = {
	.start = spool_start,
	.close = spool_close,
	.port_open = port_open,
	.port_close = port_close,
	.cancel = port_cancel,
	.hub_port = view_hub_port,
	.new_id = port_new_id,
	.may_deliver = port_may_deliver,
	.pressure = port_pressure,
	.begin = draft_begin,
	.append = draft_append,
	.draft_result = draft_result,
	.draft_bytes = draft_bytes,
	.draft_id = draft_id,
	.draft_digest64 = draft_digest64,
	.commit = draft_commit,
	.abort = draft_abort,
	.park = draft_abort,
	.resume = port_resume,
	.settle_below = port_settle_below,
	.read_envelope = reading_envelope,
	.body_open = reading_body_open,
	.body_next = reading_body_next,
	.body_close = reading_body_close,
	.body_in_memory = view_body_in_memory,
	.set_user = view_set_user,
	.set_reason = view_set_reason,
	.find = view_find,
	.find_rcpt = view_find_rcpt,
	.attempt = change_attempt,
	.update = change_update,
	.hold = change_hold,
	.release = change_release,
	.remove = change_remove,
	.make_due = view_make_due,
	.list = view_list,
	.list_damage = view_list_damage,
	.stats = view_stats,
	.writer_loop = view_writer_loop,
	.node_id = view_node_id,
};

static struct spool *
spool_new(const struct queue_settings *settings)
{
	struct spool *spool = mem_alloc(sizeof(*spool));

	spool->face.backend = &spool_backend;
	spool->lock = -1;
	take_settings(spool, settings);
	spool->inbox = inbox_new(settings->hub);
	spool->ports = mem_alloc_array(settings->port_count_max + 1, sizeof(spool->ports[0]));
	spool->settings.port_count_max++;       /* the hub's own */
	index_init(&spool->index);
	segments_init(&spool->segments);
	TAILQ_INIT(&spool->cache);
	body_budget_init(&spool->budget, settings->body_memory_bytes, ports_wake, spool);
	spool->evict_item.run = spool_evict_wanted;
	spool->id_nonce = random_below(settings->random, UINT16_MAX);
	space_init(spool);
	spool->mover = mover_new(spool);
	spool->scrub = scrub_new(spool);
	spool->hub_port = container_of(port_open(&spool->face, settings->hub), struct port, face);
	return spool;
}

static void
log_found(const struct spool *spool, const struct queue_found *found)
{
	log_info("queue: spool %s node %s: %" PRIu64 " messages (%" PRIu64 " octets) in %" PRIu64
	    " segments, %" PRIu64 " records copied, %" PRIu64 " damaged, %" PRIu64 " ms%s%s",
	    spool->settings.disk->place, found->node_id, found->message_count,
	    found->message_bytes, found->segment_count, found->suspect_count,
	    found->damaged_count, found->elapsed_ms,
	    found->volatile_disk ? ", VOLATILE: lost with the machine" : "",
	    found->foreign_machine ? ", made by another machine: held until adopted" : "");
}

struct queue *
queue_open(const struct queue_settings *settings, struct queue_found *found_out, struct err *err)
{
	const struct clock *clock = loop_clock(settings->hub);
	uint64_t begun_ms = clock_monotonic_ms(clock);
	struct spool *spool = spool_new(settings);
	struct spool_identity identity;

	*found_out = (struct queue_found){ .format_version = RECORD_FORMAT_VERSION };
	if (check_disk(spool, found_out, err) < 0 ||
	    find_identity(spool, &identity, found_out, err) < 0 ||
	    make_committer(spool, &identity, err) < 0 ||
	    spool_recover(spool, found_out, err) < 0 || start_threads(spool, err) < 0) {
		if (spool->readers)
			work_pool_free(&spool->readers);
		spool_free(spool);
		return NULL;
	}
	spool->node_id = identity.node_id;
	(void)snprintf(found_out->node_id, sizeof(found_out->node_id), "%016" PRIx64,
	    identity.node_id);
	found_out->elapsed_ms = clock_monotonic_ms(clock) - begun_ms;
	log_found(spool, found_out);
	space_look(spool);
	return &spool->face;
}
