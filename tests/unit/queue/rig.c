#include "tests/unit/queue/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/queue/fake_loop.h"
#include "relay/base/mem.h"

static struct rig_event *
add_event(struct rig *rig, char kind)
{
	assert_true(rig->event_count < RIG_EVENTS_MAX);
	struct rig_event *event = &rig->events[rig->event_count++];

	*event = (struct rig_event){ .kind = kind };
	return event;
}

static void
offered(void *ctx, const struct queue_item *item, struct envelope **envelope)
{
	struct rig_event *event = add_event(ctx, 'o');

	event->id = item->id;
	event->item = *item;
	event->had_envelope = *envelope != NULL;
}

static void
revoked(void *ctx, queue_id id, void *user)
{
	(void)user;
	add_event(ctx, 'r')->id = id;
}

static void
changed(void *ctx, const struct queue_item *item)
{
	struct rig_event *event = add_event(ctx, 'c');

	event->id = item->id;
	event->item = *item;
}

static void
pressure(void *ctx, enum queue_pressure level, const char *why)
{
	(void)why;
	add_event(ctx, 'p')->pressure = level;
}

void
rig_init(struct rig *rig)
{
	memset(rig, 0, sizeof(*rig));
	memory_disk_init(&rig->disk);
	clock_manual_init(&rig->clock, 1000, INT64_C(1767225600000));
	random_init_seeded(&rig->random, 42);
	queue_settings_init(&rig->settings);
	rig->settings.random = &rig->random.random;
	rig->settings.events = (struct queue_events){ offered, revoked, changed, pressure };
	rig->settings.ctx = rig;
	rig->settings.segment_bytes = 256 << 10;
	rig->settings.reserve_bytes = 64 << 10;
	rig->settings.floor_bytes = 0;
	rig->settings.gather_ms = 0;
}

void
rig_open(struct rig *rig)
{
	struct err err;

	rig->hub = loop_new(&rig->clock.clock, &err);
	rig->worker = loop_new(&rig->clock.clock, &err);
	rig->settings.disk = &rig->disk.disk;
	rig->settings.hub = rig->hub;
	rig->queue = queue_open(&rig->settings, &rig->found, &err);
	if (!rig->queue)
		fail_msg("open: %s", err.text);
	rig->port = queue_port_open(rig->queue, rig->worker);
	queue_start(rig->queue);
	rig_run(rig);
}

void
rig_run(struct rig *rig)
{
	(void)rig;
	fake_run();
}

void
rig_close(struct rig *rig)
{
	if (!rig->queue)
		return;
	queue_port_close(&rig->port);
	queue_close(&rig->queue);
	loop_free(&rig->worker);
	loop_free(&rig->hub);
}

void
rig_crash(struct rig *rig)
{
	struct memory_disk copy;

	memory_disk_copy(&copy, &rig->disk);
	rig_close(rig);
	memory_disk_fini(&rig->disk);
	/* The queue's disk is a pointer into the rig, so the copy moves in. */
	rig->disk = copy;
	rig_forget_events(rig);
	rig_open(rig);
}

void
rig_fini(struct rig *rig)
{
	rig_close(rig);
	memory_disk_fini(&rig->disk);
}

size_t
rig_count(const struct rig *rig, char kind)
{
	size_t count = 0;

	for (size_t i = 0; i < rig->event_count; i++)
		count += rig->events[i].kind == kind;
	return count;
}

const struct rig_event *
rig_find(const struct rig *rig, char kind, queue_id id)
{
	for (size_t i = rig->event_count; i-- > 0;) {
		if (rig->events[i].kind == kind && rig->events[i].id == id)
			return &rig->events[i];
	}
	return NULL;
}

void
rig_forget_events(struct rig *rig)
{
	rig->event_count = 0;
}

void
rig_done(void *ctx, enum queue_result result)
{
	struct rig_answer *answer = ctx;

	answer->count++;
	answer->result = result;
}

void
rig_got_envelope(void *ctx, enum queue_result result, struct envelope *envelope)
{
	struct rig_answer *answer = ctx;

	answer->count++;
	answer->result = result;
	answer->envelope = envelope;
}

void
rig_begun(void *ctx, enum queue_result result, uint32_t batch)
{
	struct rig_answer *answer = ctx;

	answer->count++;
	answer->result = result;
	answer->batch = batch;
}

struct envelope *
rig_envelope(const char *sender, const char *rcpts)
{
	struct envelope *envelope = envelope_new();
	struct span rest = span_from_cstr(rcpts), part;

	envelope->sender = envelope_keep(envelope, span_from_cstr(sender));
	envelope->client_address = envelope_keep(envelope, SPAN("192.0.2.1"));
	envelope->client_hello = envelope_keep(envelope, SPAN("client.example.org"));
	envelope->protocol = PROTOCOL_ESMTPS;
	while (span_take_part(&rest, ',', &part)) {
		struct span local, domain;
		struct envelope_rcpt *rcpt = envelope_add_rcpt(envelope, part);

		(void)span_split_last(rcpt->address, '@', &local, &domain);
		rcpt->domain = domain;
	}
	return envelope;
}

char
rig_octet(queue_id id, size_t at)
{
	return (char)('a' + (id + at * 7 + at / 251) % 26);
}

queue_id
rig_send(struct rig *rig, const char *sender, const char *rcpts, size_t body_bytes,
    enum queue_result *result_out)
{
	struct queue_draft_terms terms = { .id = queue_new_id(rig->port) };
	struct queue_draft *draft = queue_begin(rig->port, &terms, NULL, NULL);
	struct envelope *envelope = rig_envelope(sender, rcpts);
	struct rig_answer answer = { 0 };
	char piece[1000];

	for (size_t at = 0; at < body_bytes;) {
		size_t count = body_bytes - at < sizeof(piece) ? body_bytes - at : sizeof(piece);

		for (size_t i = 0; i < count; i++)
			piece[i] = rig_octet(terms.id, at + i);
		size_t taken = queue_append(draft, span_make(piece, count));

		if (taken == SIZE_MAX)
			break;
		at += taken;
		if (taken < count)
			rig_run(rig);
	}
	(void)queue_commit(&draft, &envelope, NULL, rig_done, &answer);
	assert_null(draft);
	assert_null(envelope);
	assert_int_equal(answer.count, 0);
	rig_run(rig);
	assert_int_equal(answer.count, 1);
	if (result_out)
		*result_out = answer.result;
	else
		assert_int_equal(answer.result, QUEUE_DONE);
	return terms.id;
}

struct body_check {
	struct queue_body_reader *reader;
	queue_id id;
	size_t at, bytes;
	bool is_wrong, has_ended;
	enum queue_result result;
};

static void
check_piece(void *ctx, struct span bytes)
{
	struct body_check *check = ctx;

	for (size_t i = 0; i < bytes.len; i++)
		check->is_wrong |= bytes.data[i] != rig_octet(check->id, check->at + i);
	check->at += bytes.len;
	queue_body_next(check->reader);
}

static void
check_ended(void *ctx, enum queue_result result)
{
	struct body_check *check = ctx;

	check->has_ended = true;
	check->result = result;
	if (result == QUEUE_DONE && (check->is_wrong || check->at != check->bytes))
		check->result = QUEUE_CONFLICT;
	queue_body_close(&check->reader);
}

enum queue_result
rig_read(struct rig *rig, queue_id id, size_t body_bytes)
{
	struct body_check check = { .id = id, .bytes = body_bytes };
	struct queue_body_events events = { check_piece, check_ended };

	check.reader = queue_body_open(rig->port, id, &events, &check);
	rig_run(rig);
	assert_true(check.has_ended);
	assert_null(check.reader);
	return check.result;
}

enum queue_result
rig_outcome(struct rig *rig, queue_id id, uint32_t rcpt, enum rcpt_state state, const char *words)
{
	struct queue_outcome outcome = {
		.rcpt = rcpt,
		.state = state,
		.reason = state == RCPT_WAITING ? REASON_WAITING_RETRY : REASON_NONE,
		.class = RETRY_GREYLISTED,
		.due_ms = (int64_t)loop_now_ms(rig->hub) + 60000,
		.tried = true,
		.host = SPAN("mx.example.net[192.0.2.9]:25"),
	};
	struct queue_change change = { .outcomes = &outcome, .outcome_count = 1 };
	struct rig_answer answer = { 0 };

	reply_set(&outcome.reply, state == RCPT_WAITING ? 451 : 250, "", "%s", words);
	(void)queue_update(rig->queue, id, &change, rig_done, &answer);
	assert_int_equal(answer.count, 0);
	rig_run(rig);
	assert_int_equal(answer.count, 1);
	return answer.result;
}

static void
count_item(void *ctx, const struct queue_item *item)
{
	(void)item;
	(*(size_t *)ctx)++;
}

size_t
rig_listed(struct rig *rig)
{
	struct queue_cursor cursor = { 0 };
	size_t count = 0;

	while (queue_list(rig->queue, &cursor, 7, count_item, &count))
		;
	return count;
}
