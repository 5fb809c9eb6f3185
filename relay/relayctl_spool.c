#include "relay/relayctl_spool.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "relay/base/file.h"
#include "relay/base/mem.h"
#include "relay/daemon/control.h"
#include "relay/spool_tool.h"

enum {
	EXIT_DAMAGED = 65,
	OUTPUT_BYTES_MAX = 16 << 20,
};

struct job {
	const char *spool, *place;      /* its directory; where files go or come from */
	bool json, new_node_id;
	struct spool_tool *tool;
	int place_fd;
	struct buf out;
	uint64_t count, bytes, skipped_count, bad_count;
};

static int
fail(const struct err *err)
{
	(void)fprintf(stderr, "relayctl: %s\n", err->text);
	switch (err->kind) {
	case ERR_BUSY:
		return CONTROL_TRY_AGAIN;
	case ERR_DENIED:
		return CONTROL_DENIED;
	case ERR_NOT_FOUND:
		return CONTROL_UNAVAILABLE;
	default:
		return CONTROL_IO;
	}
}

static void
complain(struct job *job, queue_id id, const char *what)
{
	char text[QUEUE_ID_BYTES];

	queue_id_print(id, text);
	(void)fprintf(stderr, "relayctl: %s: %s\n", text, what);
	job->bad_count++;
}

static int
end(const struct job *job, const char *what)
{
	if (!job->json)
		(void)printf("%" PRIu64 " messages (%" PRIu64 " octets) %s, %" PRIu64 " bad\n",
		    job->count, job->bytes, what, job->bad_count);
	if (fflush(stdout) != 0)
		return CONTROL_IO;
	return job->bad_count ? EXIT_DAMAGED : CONTROL_OK;
}

static void
print_line(struct job *job, struct json *json)
{
	buf_clear(&job->out);
	(void)json_print(json, &job->out);
	(void)printf("%.*s\n", (int)buf_len(&job->out), buf_span(&job->out).data);
	json_free(&json);
}

/* ---- check ------------------------------------------------------------------------------- */

static int
check_message(void *ctx, const struct queue_item *item)
{
	struct job *job = ctx;
	struct envelope *envelope;
	struct err err;

	job->count++;
	job->bytes += item->body_bytes;
	if (spool_tool_envelope(job->tool, item->id, &envelope) != QUEUE_DONE)
		complain(job, item->id, "its envelope cannot be read");
	else if (envelope->rcpt_count != item->rcpt_count)
		complain(job, item->id, "envelope and index know different recipients");
	else if (spool_tool_body(job->tool, item->id, -1, &err) != QUEUE_DONE)
		complain(job, item->id, err.text);
	envelope_free(&envelope);
	return 0;
}

static int
check(struct job *job)
{
	const struct queue_found *found = spool_tool_found(job->tool);
	struct queue_damage damage;

	(void)spool_tool_walk(job->tool, check_message, job);
	for (size_t i = 0; queue_list_damage(spool_tool_queue(job->tool), i, &damage); i++) {
		char id[QUEUE_ID_BYTES] = "-";

		if (damage.id)
			queue_id_print(damage.id, id);
		(void)fprintf(stderr, "relayctl: segment %" PRIu64 " at %" PRIu64 ", message %s: "
		    "%s\n", damage.segment, damage.offset, id, damage.what);
		job->bad_count++;
	}
	if (job->count != found->message_count) {
		(void)fprintf(stderr, "relayctl: %" PRIu64 " messages found, %" PRIu64
		    " listed\n", found->message_count, job->count);
		job->bad_count++;
	}
	if (!job->json)
		(void)printf("%s: node %s, format %" PRIu64 ", %" PRIu64 " segments; %" PRIu64
		    " records that no later batch vouches for, %" PRIu64 " octets of a batch that "
		    "never ended\n", job->spool, found->node_id, found->format_version,
		    found->segment_count, found->suspect_count, found->torn_bytes);
	return end(job, "checked");
}

/* ---- dump --------------------------------------------------------------------------------- */

static int
dump_message(void *ctx, const struct queue_item *item)
{
	struct job *job = ctx;
	struct envelope *envelope;

	job->count++;
	job->bytes += item->body_bytes;
	if (spool_tool_envelope(job->tool, item->id, &envelope) != QUEUE_DONE) {
		complain(job, item->id, "its envelope cannot be read");
		return 0;
	}
	if (job->json) {
		print_line(job, spool_json_write(envelope, item));
	} else {
		char id[QUEUE_ID_BYTES], when[CLOCK_TEXT_BYTES];

		queue_id_print(item->id, id);
		clock_print_iso(queue_id_wall_ms(item->id), when);
		(void)printf("%s  %s  %10" PRIu64 "%s  <%.*s>\n", id, when, item->body_bytes,
		    item->held ? "  held" : "", (int)envelope->sender.len,
		    envelope->sender.data ? envelope->sender.data : "");
		for (size_t i = 0; i < envelope->rcpt_count; i++) {
			const struct envelope_rcpt *rcpt = &envelope->rcpts[i];

			(void)printf("    %-9s  <%.*s>\n", rcpt_state_name(rcpt->state),
			    (int)rcpt->address.len, rcpt->address.data);
		}
	}
	envelope_free(&envelope);
	return 0;
}

static int
dump(struct job *job)
{
	(void)spool_tool_walk(job->tool, dump_message, job);
	return end(job, "listed");
}

/* ---- export --------------------------------------------------------------------------------- */

/* The body is there and synced before the envelope that makes it a message. */
static int
write_message(struct job *job, const struct queue_item *item, const struct envelope *envelope,
    struct err *err)
{
	char id[QUEUE_ID_BYTES];

	queue_id_print(item->id, id);
	char *eml = mem_format("%s.eml", id), *json_name = mem_format("%s.json", id);
	struct json *json = spool_json_write(envelope, item);
	int result = -1;
	int fd = -1;

	if (file_remove_at(job->place_fd, json_name, err) == 0 &&
	    file_remove_at(job->place_fd, eml, err) == 0)
		fd = file_create_at(job->place_fd, eml, err);
	if (fd >= 0 && spool_tool_body(job->tool, item->id, fd, err) == QUEUE_DONE &&
	    file_sync(fd, err) == 0) {
		buf_clear(&job->out);
		(void)json_print_indented(json, &job->out);
		(void)buf_append_byte(&job->out, '\n');
		result = file_replace_at(job->place_fd, json_name, buf_span(&job->out), 0600, err);
	}
	file_close(&fd);
	if (result < 0)
		(void)file_remove_at(job->place_fd, eml, NULL);
	json_free(&json);
	mem_free(&eml);
	mem_free(&json_name);
	return result;
}

static int
export_message(void *ctx, const struct queue_item *item)
{
	struct job *job = ctx;
	struct envelope *envelope;
	struct err err;

	if (spool_tool_envelope(job->tool, item->id, &envelope) != QUEUE_DONE) {
		complain(job, item->id, "its envelope cannot be read");
		return 0;
	}
	if (write_message(job, item, envelope, &err) < 0) {
		complain(job, item->id, err.text);
	} else {
		job->count++;
		job->bytes += item->body_bytes;
	}
	envelope_free(&envelope);
	return 0;
}

static int
export_all(struct job *job)
{
	(void)spool_tool_walk(job->tool, export_message, job);
	return end(job, "exported");
}

/* ---- import --------------------------------------------------------------------------------- */

/* What became of its recipients elsewhere stays so. */
static enum queue_result
apply_outcomes(struct job *job, const struct envelope *envelope, queue_id id)
{
	struct queue_outcome *outcomes = mem_alloc_array(envelope->rcpt_count,
	    sizeof(outcomes[0]));

	for (size_t i = 0; i < envelope->rcpt_count; i++) {
		const struct envelope_rcpt *rcpt = &envelope->rcpts[i];

		outcomes[i] = (struct queue_outcome){
			.rcpt = (uint32_t)i,
			.state = rcpt->state,
			.reason = rcpt->state == RCPT_WAITING ? REASON_WAITING_RETRY :
			    rcpt->state == RCPT_UNCERTAIN ? REASON_UNCERTAIN : REASON_NONE,
			.tried = rcpt->attempt_count > 0,
			.reply = rcpt->last,
			.host = rcpt->last_host,
		};
	}
	enum queue_result result = spool_tool_update(job->tool, id, outcomes,
	    envelope->rcpt_count);

	mem_free(&outcomes);
	return result;
}

/* An import that was cut off before: the message is there, its outcomes may not be. */
static bool
is_complete(struct job *job, const struct spool_message *message)
{
	struct queue_item item;

	return message->is_untouched || (queue_find(spool_tool_queue(job->tool), message->id,
	    &item) && item.revision > 0);
}

static int
finish(struct job *job, const struct spool_message *message, const struct envelope *envelope,
    struct err *err)
{
	struct queue_item item;

	if (!is_complete(job, message) &&
	    apply_outcomes(job, envelope, message->id) != QUEUE_DONE)
		return err_set(err, ERR_SYSTEM, "its outcomes cannot be recorded");
	if (message->held && queue_find(spool_tool_queue(job->tool), message->id, &item) &&
	    !item.held && spool_tool_hold(job->tool, message->id) != QUEUE_DONE)
		return err_set(err, ERR_SYSTEM, "it cannot be held");
	return 0;
}

static int
add_message(struct job *job, struct spool_message *message, const char *eml, struct err *err)
{
	struct queue_item item;
	bool is_there = queue_find(spool_tool_queue(job->tool), message->id, &item);

	if (is_there && (is_complete(job, message) || item.revision > 0)) {
		job->skipped_count++;
		return finish(job, message, message->envelope, err);
	}
	if (!is_there) {
		struct envelope *copy = envelope_copy(message->envelope);
		int fd = file_open_at(job->place_fd, eml, O_RDONLY, 0, err);

		if (fd < 0) {
			envelope_free(&copy);
			return -1;
		}
		enum queue_result result = spool_tool_add(job->tool, message->id, &copy, fd, err);

		file_close(&fd);
		if (result != QUEUE_DONE)
			return -1;
	}
	job->count++;
	return finish(job, message, message->envelope, err);
}

/* An envelope that lacks its body, or has another one, is no message. */
static int
check_body(struct job *job, const struct json *json, const char *eml, struct err *err)
{
	int fd = file_open_at(job->place_fd, eml, O_RDONLY, 0, err);
	int64_t wanted = -1;
	uint64_t size;

	if (fd < 0)
		return -1;
	int result = file_size(fd, &size, err);

	file_close(&fd);
	if (result == 0 && (!json_get_int(json, "bytes", &wanted) || (uint64_t)wanted != size))
		return err_set(err, ERR_FORMAT, "%s has %" PRIu64 " octets, its envelope says "
		    "%" PRId64, eml, size, wanted);
	job->bytes += result == 0 ? size : 0;
	return result;
}

static int
import_file(struct job *job, const char *name, struct err *err)
{
	char *path = mem_format("%s/%s", job->place, name);
	char *eml = mem_format("%.*s.eml", (int)(strlen(name) - strlen(".json")), name);
	struct spool_message message = { 0 };
	struct json *json = NULL;
	int result = -1;

	buf_clear(&job->out);
	if (file_read_whole(path, &job->out, err) == 0 &&
	    json_parse(span_trim(buf_span(&job->out)), &json, err) == 0 &&
	    check_body(job, json, eml, err) == 0 && spool_json_read(json, &message, err) == 0)
		result = add_message(job, &message, eml, err);
	envelope_free(&message.envelope);
	json_free(&json);
	mem_free(&eml);
	mem_free(&path);
	return result;
}

static int
visit_file(void *ctx, const char *name, struct err *err)
{
	struct job *job = ctx;
	size_t len = strlen(name);
	struct err why;

	(void)err;
	if (len <= strlen(".json") || strcmp(name + len - strlen(".json"), ".json") != 0)
		return 0;
	if (import_file(job, name, &why) < 0) {
		(void)fprintf(stderr, "relayctl: %s: %s\n", name, why.text);
		job->bad_count++;
	}
	return 0;
}

static int
import_all(struct job *job)
{
	struct err err;

	if (file_list(job->place_fd, visit_file, job, &err) < 0)
		return fail(&err);
	if (!job->json && job->skipped_count)
		(void)printf("%" PRIu64 " were there already\n", job->skipped_count);
	return end(job, "imported");
}

static int
adopt(struct job *job)
{
	(void)printf("%s: node %s, now this machine's\n", job->spool,
	    spool_tool_found(job->tool)->node_id);
	return CONTROL_OK;
}

/* ---- the command line ------------------------------------------------------------------------ */

static const struct deed {
	const char *name, *usage;
	enum spool_access access;
	int place_count;                /* 1: a directory of files comes behind the spool's */
	int (*run)(struct job *job);
} deeds[] = {
	{ "check", "[-j] SPOOL", SPOOL_LOOK, 0, check },
	{ "dump", "[-j] SPOOL", SPOOL_LOOK, 0, dump },
	{ "export", "SPOOL DIRECTORY", SPOOL_LOOK, 1, export_all },
	{ "import", "SPOOL DIRECTORY", SPOOL_CHANGE, 1, import_all },
	{ "adopt", "[--new-node-id] SPOOL", SPOOL_ADOPT, 0, adopt },
};

enum { DEED_COUNT = sizeof(deeds) / sizeof(deeds[0]) };

static int
usage(void)
{
	(void)fprintf(stderr, "usage, with the daemon off:\n");
	for (int i = 0; i < DEED_COUNT; i++)
		(void)fprintf(stderr, "  relayctl spool %s %s\n", deeds[i].name, deeds[i].usage);
	return CONTROL_USAGE;
}

static int
open_place(struct job *job, const struct deed *deed, struct err *err)
{
	job->place_fd = -1;
	if (deed->place_count == 0)
		return 0;
	if (deed->access == SPOOL_LOOK &&
	    file_make_dir_at(AT_FDCWD, job->place, 0700, err) < 0)
		return -1;
	job->place_fd = file_open_dir(job->place, err);
	return job->place_fd < 0 ? -1 : 0;
}

static int
run(struct job *job, const struct deed *deed)
{
	enum spool_access access = job->new_node_id ? SPOOL_ADOPT_NEW_NODE : deed->access;
	struct err err;
	int code;

	if (open_place(job, deed, &err) < 0)
		return fail(&err);
	job->tool = spool_tool_open(job->spool, access, &err);
	buf_init(&job->out, OUTPUT_BYTES_MAX);
	code = job->tool ? deed->run(job) : fail(&err);
	buf_fini(&job->out);
	spool_tool_close(&job->tool);
	file_close(&job->place_fd);
	return code;
}

int
relayctl_spool(int argc, char **argv)
{
	const struct deed *deed = NULL;
	const char *words[2] = { NULL, NULL };
	struct job job = { 0 };
	int word_count = 0;

	for (int i = 0; argc > 0 && i < DEED_COUNT; i++) {
		if (strcmp(argv[0], deeds[i].name) == 0)
			deed = &deeds[i];
	}
	if (!deed)
		return usage();
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "-j") == 0)
			job.json = true;
		else if (strcmp(argv[i], "--new-node-id") == 0 && deed->access == SPOOL_ADOPT)
			job.new_node_id = true;
		else if (argv[i][0] == '-' || word_count == 2)
			return usage();
		else
			words[word_count++] = argv[i];
	}
	if (word_count != 1 + deed->place_count)
		return usage();
	job.spool = words[0];
	job.place = words[1];
	return run(&job, deed);
}
