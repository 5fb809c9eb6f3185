#include "relay/spool_tool.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "queue/snapshot_disk.h"
#include "relay/base/clock.h"
#include "relay/base/file.h"
#include "relay/base/mem.h"

enum {
	TURN_MS = 100,
	PIECE_BYTES = 64 << 10,
	LIST_STEP = 200,
	MESSAGE_BYTES_MAX_LOG = 31,     /* whatever was accepted once is taken here */
};

struct spool_tool {
	struct disk *real, *snapshot;
	struct loop *hub;
	struct random random;
	struct queue *queue;
	struct queue_found found;
};

/* ---- events: nobody schedules anything here --------------------------------------- */

static void
offered(void *ctx, const struct queue_item *item, struct envelope **envelope)
{
	(void)ctx;
	(void)item;
	(void)envelope;
}

static void
revoked(void *ctx, queue_id id, void *user)
{
	(void)ctx;
	(void)id;
	(void)user;
}

static void
changed(void *ctx, const struct queue_item *item)
{
	(void)ctx;
	(void)item;
}

static void
pressure(void *ctx, enum queue_pressure level, const char *why)
{
	(void)ctx;
	(void)level;
	(void)why;
}

/* ---- birth and death ----------------------------------------------------------------- */

/* systemd's id of this machine, as relayd records it; zeros: not known. */
static void
read_machine_id(uint8_t id_out[16])
{
	struct buf text;
	uint64_t half[2] = { 0 };

	buf_init(&text, 64);
	if (file_read_whole("/etc/machine-id", &text, NULL) == 0) {
		struct span hex = span_trim(buf_span(&text));

		if (hex.len == 32 && span_parse_hex(span_first(hex, 16), &half[0]) &&
		    span_parse_hex(span_skip(hex, 16), &half[1]))
			memcpy(id_out, half, sizeof(half));
	}
	buf_fini(&text);
}

static int
check_is_spool(const char *directory, struct err *err)
{
	char *identity = mem_format("%s/spool", directory);
	bool is_there = file_exists(identity);

	mem_free(&identity);
	return is_there ? 0 : err_set(err, ERR_NOT_FOUND, "%s: there is no spool", directory);
}

static int
open_queue(struct spool_tool *tool, enum spool_access access, struct err *err)
{
	struct queue_settings settings;

	queue_settings_init(&settings);
	settings.disk = tool->real;
	if (access == SPOOL_LOOK)
		settings.disk = tool->snapshot = snapshot_disk_open(tool->real);
	else
		read_machine_id(settings.machine_id);
	settings.hub = tool->hub;
	settings.random = &tool->random;
	settings.events = (struct queue_events){ offered, revoked, changed, pressure };
	settings.allow_volatile = true;
	settings.adopt = access == SPOOL_ADOPT || access == SPOOL_ADOPT_NEW_NODE;
	settings.adopt_new_node_id = access == SPOOL_ADOPT_NEW_NODE;
	settings.message_bytes_max = (uint64_t)1 << MESSAGE_BYTES_MAX_LOG;
	settings.move_percent = 0;
	settings.scrub_bytes_second = 0;
	tool->queue = queue_open(&settings, &tool->found, err);
	return tool->queue ? 0 : -1;
}

struct spool_tool *
spool_tool_open(const char *directory, enum spool_access access, struct err *err)
{
	struct spool_tool *tool = mem_alloc(sizeof(*tool));

	random_init_system(&tool->random);
	if (access == SPOOL_CHANGE || check_is_spool(directory, err) == 0) {
		tool->hub = loop_new(clock_system(), err);
		tool->real = tool->hub ? disk_posix_open(directory, err) : NULL;
		if (tool->real && open_queue(tool, access, err) == 0) {
			queue_start(tool->queue);
			return tool;
		}
	}
	spool_tool_close(&tool);
	return NULL;
}

void
spool_tool_close(struct spool_tool **tool_pointer)
{
	struct spool_tool *tool = *tool_pointer;

	if (!tool)
		return;
	if (tool->queue)
		queue_close(&tool->queue);
	snapshot_disk_close(&tool->snapshot);
	disk_posix_close(&tool->real);
	loop_free(&tool->hub);
	mem_free(tool_pointer);
}

struct queue *
spool_tool_queue(struct spool_tool *tool)
{
	return tool->queue;
}

const struct queue_found *
spool_tool_found(const struct spool_tool *tool)
{
	return &tool->found;
}

/* ---- walking ---------------------------------------------------------------------------- */

struct walk {
	queue_id *ids;
	size_t count;
};

static void
note_id(void *ctx, const struct queue_item *item)
{
	struct walk *walk = ctx;

	if ((walk->count & (walk->count - 1)) == 0)
		walk->ids = mem_resize_array(walk->ids, walk->count ? 2 * walk->count : 1,
		    sizeof(walk->ids[0]));
	walk->ids[walk->count++] = item->id;
}

int
spool_tool_walk(struct spool_tool *tool, spool_tool_each *each, void *ctx)
{
	struct queue_cursor cursor = { 0 };
	struct walk walk = { 0 };
	int result = 0;

	while (queue_list(tool->queue, &cursor, LIST_STEP, note_id, &walk))
		;
	for (size_t i = 0; i < walk.count && result == 0; i++) {
		struct queue_item item;

		if (queue_find(tool->queue, walk.ids[i], &item))
			result = each(ctx, &item);
	}
	mem_free(&walk.ids);
	return result;
}

/* ---- waiting calls ------------------------------------------------------------------------ */

struct waiting {
	bool is_over;
	enum queue_result result;
	struct envelope *envelope;
	struct queue_body_reader *reader;
	int fd;
	struct err *err;
};

static void
done(void *ctx, enum queue_result result)
{
	struct waiting *waiting = ctx;

	waiting->result = result;
	waiting->is_over = true;
}

static enum queue_result
wait_for(struct spool_tool *tool, const struct waiting *waiting)
{
	while (!waiting->is_over)
		loop_turn(tool->hub, TURN_MS);
	return waiting->result;
}

static void
got_envelope(void *ctx, enum queue_result result, struct envelope *envelope)
{
	((struct waiting *)ctx)->envelope = envelope;
	done(ctx, result);
}

enum queue_result
spool_tool_envelope(struct spool_tool *tool, queue_id id, struct envelope **envelope_out)
{
	struct waiting waiting = { 0 };

	(void)queue_read_envelope(queue_hub_port(tool->queue), id, got_envelope, &waiting);
	(void)wait_for(tool, &waiting);
	*envelope_out = waiting.envelope;
	return waiting.result;
}

static void
got_piece(void *ctx, struct span bytes)
{
	struct waiting *waiting = ctx;

	if (waiting->fd >= 0 && file_write_all(waiting->fd, bytes, waiting->err) < 0)
		done(ctx, QUEUE_FAILED);
	else
		queue_body_next(waiting->reader);
}

enum queue_result
spool_tool_body(struct spool_tool *tool, queue_id id, int fd, struct err *err)
{
	static const struct queue_body_events events = { got_piece, done };
	struct waiting waiting = { .fd = fd, .err = err };

	waiting.reader = queue_body_open(queue_hub_port(tool->queue), id, &events, &waiting);
	enum queue_result result = wait_for(tool, &waiting);

	queue_body_close(&waiting.reader);
	if (result != QUEUE_DONE && result != QUEUE_FAILED)
		(void)err_set(err, ERR_DAMAGED, "the body is %s", queue_result_name(result));
	return result;
}

static bool
append_all(struct spool_tool *tool, struct queue_draft *draft, struct span bytes)
{
	while (bytes.len > 0) {
		size_t taken = queue_append(draft, bytes);

		if (taken == SIZE_MAX)
			return false;
		bytes = span_skip(bytes, taken);
		if (bytes.len > 0)
			loop_turn(tool->hub, TURN_MS);
	}
	return true;
}

/* False when the file cannot be read; a draft that failed says so at its commit. */
static bool
fill(struct spool_tool *tool, struct queue_draft *draft, int fd, struct err *err)
{
	char *piece = mem_alloc(PIECE_BYTES);
	ssize_t got;

	while ((got = read(fd, piece, PIECE_BYTES)) > 0 || (got < 0 && errno == EINTR)) {
		if (got > 0 && !append_all(tool, draft, span_make(piece, (size_t)got)))
			break;
	}
	if (got < 0)
		(void)err_set_errno(err, "read");
	mem_free(&piece);
	return got >= 0;
}

enum queue_result
spool_tool_add(struct spool_tool *tool, queue_id id, struct envelope **envelope, int body_fd,
    struct err *err)
{
	const struct queue_draft_terms terms = { .id = id };
	struct queue_draft *draft = queue_begin(queue_hub_port(tool->queue), &terms, NULL, NULL);
	struct waiting waiting = { 0 };

	if (!fill(tool, draft, body_fd, err)) {
		queue_abort(&draft);
		envelope_free(envelope);
		return QUEUE_FAILED;
	}
	(void)queue_commit(&draft, envelope, NULL, done, &waiting);
	if (wait_for(tool, &waiting) != QUEUE_DONE)
		(void)err_set(err, ERR_SYSTEM, "the spool says: %s",
		    queue_result_name(waiting.result));
	/* The hub hears of it by another way. */
	struct queue_item item;

	while (waiting.result == QUEUE_DONE && !queue_find(tool->queue, id, &item))
		loop_turn(tool->hub, TURN_MS);
	return waiting.result;
}

enum queue_result
spool_tool_update(struct spool_tool *tool, queue_id id, const struct queue_outcome *outcomes,
    size_t count)
{
	const struct queue_change change = { .outcomes = outcomes, .outcome_count = count };
	struct waiting waiting = { 0 };

	(void)queue_update(tool->queue, id, &change, done, &waiting);
	return wait_for(tool, &waiting);
}

enum queue_result
spool_tool_hold(struct spool_tool *tool, queue_id id)
{
	struct waiting waiting = { 0 };

	(void)queue_hold(tool->queue, id, SPAN("held before the import"), done, &waiting);
	return wait_for(tool, &waiting);
}
