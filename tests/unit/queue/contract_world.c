#include "tests/unit/queue/contract_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/clock.h"

enum {
	WAIT_MS_MAX = 20000,
	QUIET_MS = 12,                  /* longer than any delay of the backend in memory */
};

/* ---- events -------------------------------------------------------------------- */

static struct contract_event *
add_event(struct contract *world, char kind, queue_id id)
{
	assert_true(pthread_equal(world->thread, pthread_self()));
	assert_true(world->event_count < CONTRACT_EVENTS_MAX);
	struct contract_event *event = &world->events[world->event_count++];

	*event = (struct contract_event){ .kind = kind, .id = id };
	return event;
}

static void
offered(void *ctx, const struct queue_item *item, struct envelope **envelope)
{
	struct contract_event *event = add_event(ctx, 'o', item->id);

	event->had_envelope = *envelope != NULL;
	event->found_at_start = item->found_at_start;
}

static void
revoked(void *ctx, queue_id id, void *user)
{
	add_event(ctx, 'r', id)->user = user;
}

static void
changed(void *ctx, const struct queue_item *item)
{
	add_event(ctx, 'c', item->id)->due_ms = item->due_ms;
}

static void
pressure(void *ctx, enum queue_pressure level, const char *why)
{
	(void)why;
	add_event(ctx, 'p', 0)->pressure = level;
}

/* ---- birth and death --------------------------------------------------------------- */

void
contract_init(struct contract *world, const struct contract_factory *factory)
{
	memset(world, 0, sizeof(*world));
	world->factory = factory;
	world->thread = pthread_self();
	random_init_system(&world->random);
	world->place = factory->make();
	contract_open(world);
}

void
contract_open(struct contract *world)
{
	struct queue_settings settings;
	struct err err;

	world->hub = loop_new(clock_system(), &err);
	world->worker = loop_new(clock_system(), &err);
	queue_settings_init(&settings);
	settings.hub = world->hub;
	settings.random = &world->random;
	settings.events = (struct queue_events){ offered, revoked, changed, pressure };
	settings.ctx = world;
	settings.allow_volatile = true;
	settings.segment_bytes = 256 << 10;
	settings.reserve_bytes = 64 << 10;
	settings.floor_bytes = 1 << 20;
	world->queue = world->factory->open(world->place, &settings, &err);
	if (!world->queue)
		fail_msg("open: %s", err.text);
	world->port = queue_port_open(world->queue, world->worker);
	queue_start(world->queue);
	assert_int_equal(world->event_count, 0);        /* offers come from the loop */
	contract_turns(world);
}

void
contract_close(struct contract *world)
{
	if (!world->queue)
		return;
	queue_port_close(&world->port);
	queue_close(&world->queue);
	loop_free(&world->worker);
	loop_free(&world->hub);
}

void
contract_reopen(struct contract *world)
{
	contract_close(world);
	contract_forget(world);
	contract_open(world);
}

void
contract_fini(struct contract *world)
{
	contract_close(world);
	world->factory->destroy(world->place);
}

/* ---- time ----------------------------------------------------------------------------- */

static void
turn(struct contract *world)
{
	loop_turn(world->worker, 0);
	loop_turn(world->hub, 1);
}

void
contract_turns(struct contract *world)
{
	uint64_t end_ms = clock_monotonic_ms(clock_system()) + QUIET_MS;

	while (clock_monotonic_ms(clock_system()) < end_ms)
		turn(world);
}

enum queue_result
contract_wait(struct contract *world, const struct contract_answer *answer)
{
	uint64_t end_ms = clock_monotonic_ms(clock_system()) + WAIT_MS_MAX;

	while (answer->count == 0 && clock_monotonic_ms(clock_system()) < end_ms)
		turn(world);
	assert_int_equal(answer->count, 1);
	contract_turns(world);
	assert_int_equal(answer->count, 1);
	return answer->result;
}

void
contract_wait_event(struct contract *world, char kind, queue_id id)
{
	uint64_t end_ms = clock_monotonic_ms(clock_system()) + WAIT_MS_MAX;

	while (!contract_find(world, kind, id) && clock_monotonic_ms(clock_system()) < end_ms)
		turn(world);
	if (!contract_find(world, kind, id))
		fail_msg("no event '%c' of %llx", kind, (unsigned long long)id);
}

/* ---- answers ---------------------------------------------------------------------------- */

struct contract_answer
contract_ask(struct contract *world)
{
	world->in_call = true;
	return (struct contract_answer){ .world = world };
}

void
contract_asked(struct contract *world, const struct contract_answer *answer)
{
	world->in_call = false;
	assert_int_equal(answer->count, 0);
}

static struct contract_answer *
answered(void *ctx, enum queue_result result)
{
	struct contract_answer *answer = ctx;

	assert_false(answer->world->in_call);
	assert_true(pthread_equal(answer->world->thread, pthread_self()));
	answer->count++;
	answer->result = result;
	return answer;
}

void
contract_done(void *ctx, enum queue_result result)
{
	(void)answered(ctx, result);
}

void
contract_got(void *ctx, enum queue_result result, struct envelope *envelope)
{
	assert_int_equal(result == QUEUE_DONE, envelope != NULL);
	answered(ctx, result)->envelope = envelope;
}

void
contract_begun(void *ctx, enum queue_result result, uint32_t batch)
{
	answered(ctx, result)->batch = batch;
}

void
contract_resumed(void *ctx, enum queue_result result, enum queue_transaction what,
    struct queue_draft *draft, struct span reply)
{
	struct contract_answer *answer = answered(ctx, result);

	(void)reply;
	answer->transaction = what;
	answer->draft = draft;
}

const struct contract_event *
contract_find(const struct contract *world, char kind, queue_id id)
{
	for (size_t i = world->event_count; i-- > 0;) {
		if (world->events[i].kind == kind && world->events[i].id == id)
			return &world->events[i];
	}
	return NULL;
}

size_t
contract_count(const struct contract *world, char kind, queue_id id)
{
	size_t count = 0;

	for (size_t i = 0; i < world->event_count; i++)
		count += world->events[i].kind == kind && world->events[i].id == id;
	return count;
}

void
contract_forget(struct contract *world)
{
	world->event_count = 0;
}

/* ---- messages ----------------------------------------------------------------------------- */

struct envelope *
contract_envelope(const char *sender, const char *rcpts)
{
	struct envelope *envelope = envelope_new();
	struct span rest = span_from_cstr(rcpts), part;

	envelope->sender = envelope_keep(envelope, span_from_cstr(sender));
	envelope->client_address = envelope_keep(envelope, SPAN("192.0.2.1"));
	envelope->protocol = PROTOCOL_ESMTPS;
	while (span_take_part(&rest, ',', &part)) {
		struct envelope_rcpt *rcpt = envelope_add_rcpt(envelope, part);
		struct span local, domain;

		(void)span_split_last(rcpt->address, '@', &local, &domain);
		rcpt->domain = domain;
	}
	return envelope;
}

static char
octet(queue_id id, size_t at)
{
	return (char)('a' + (id + at * 7 + at / 251) % 26);
}

struct queue_draft *
contract_draft(struct contract *world, struct queue_port *port, queue_id id, size_t body_bytes)
{
	const struct queue_draft_terms terms = { .id = id };
	struct queue_draft *draft = queue_begin(port, &terms, NULL, NULL);
	uint64_t end_ms = clock_monotonic_ms(clock_system()) + WAIT_MS_MAX;
	char piece[1000];

	assert_int_equal(queue_draft_id(draft), id);
	for (size_t at = 0; at < body_bytes;) {
		size_t count = body_bytes - at < sizeof(piece) ? body_bytes - at : sizeof(piece);

		for (size_t i = 0; i < count; i++)
			piece[i] = octet(id, at + i);
		size_t taken = queue_append(draft, span_make(piece, count));

		if (taken == SIZE_MAX)
			return draft;
		assert_true(taken <= count);
		at += taken;
		if (taken < count)
			turn(world);
		assert_true(clock_monotonic_ms(clock_system()) < end_ms);
	}
	assert_int_equal(queue_draft_bytes(draft), body_bytes);
	return draft;
}

enum queue_result
contract_try_send(struct contract *world, const char *rcpts, size_t body_bytes, queue_id *id_out)
{
	queue_id id = queue_new_id(world->port);
	struct queue_draft *draft = contract_draft(world, world->port, id, body_bytes);
	struct envelope *envelope = contract_envelope("sender@example.org", rcpts);
	struct contract_answer answer = contract_ask(world);

	(void)queue_commit(&draft, &envelope, NULL, contract_done, &answer);
	assert_null(draft);
	assert_null(envelope);
	contract_asked(world, &answer);
	assert_int_equal(contract_count(world, 'o', id), 0);
	*id_out = id;
	return contract_wait(world, &answer);
}

queue_id
contract_send(struct contract *world, const char *rcpts, size_t body_bytes)
{
	queue_id id;

	assert_int_equal(contract_try_send(world, rcpts, body_bytes, &id), QUEUE_DONE);
	contract_wait_event(world, 'o', id);
	return id;
}

struct reading {
	struct contract_answer answer;
	struct queue_body_reader *reader;
	queue_id id;
	size_t at;
	bool is_wrong;
};

static void
got_piece(void *ctx, struct span bytes)
{
	struct reading *reading = ctx;

	assert_false(reading->answer.world->in_call);
	for (size_t i = 0; i < bytes.len; i++)
		reading->is_wrong |= bytes.data[i] != octet(reading->id, reading->at + i);
	reading->at += bytes.len;
	queue_body_next(reading->reader);
}

static void
got_end(void *ctx, enum queue_result result)
{
	struct reading *reading = ctx;

	contract_done(&reading->answer, result);
	queue_body_close(&reading->reader);
}

enum queue_result
contract_read(struct contract *world, queue_id id, size_t body_bytes)
{
	const struct queue_body_events events = { got_piece, got_end };
	struct reading reading = { .id = id };

	reading.answer = contract_ask(world);
	reading.reader = queue_body_open(world->port, id, &events, &reading);
	contract_asked(world, &reading.answer);
	enum queue_result result = contract_wait(world, &reading.answer);

	assert_null(reading.reader);
	if (result == QUEUE_DONE && (reading.is_wrong || reading.at != body_bytes))
		return QUEUE_CONFLICT;
	return result;
}

struct envelope *
contract_envelope_of(struct contract *world, queue_id id)
{
	struct contract_answer answer = contract_ask(world);

	(void)queue_read_envelope(world->port, id, contract_got, &answer);
	contract_asked(world, &answer);
	assert_int_equal(contract_wait(world, &answer), QUEUE_DONE);
	return answer.envelope;
}

enum queue_result
contract_outcome(struct contract *world, queue_id id, uint32_t rcpt, enum rcpt_state state,
    const char *words)
{
	struct queue_outcome outcome = {
		.rcpt = rcpt,
		.state = state,
		.reason = state == RCPT_WAITING ? REASON_WAITING_RETRY : REASON_NONE,
		.class = RETRY_GREYLISTED,
		.due_ms = (int64_t)loop_now_ms(world->hub) + 60000,
		.tried = true,
		.host = SPAN("mx.example.net[192.0.2.9]:25"),
	};
	const struct queue_change change = { .outcomes = &outcome, .outcome_count = 1 };
	struct contract_answer answer = contract_ask(world);

	reply_set(&outcome.reply, state == RCPT_WAITING ? 451 : 250, "", "%s", words);
	(void)queue_update(world->queue, id, &change, contract_done, &answer);
	contract_asked(world, &answer);
	return contract_wait(world, &answer);
}

struct counting {
	queue_id id;
	size_t count;
};

static void
count_item(void *ctx, const struct queue_item *item)
{
	struct counting *counting = ctx;

	counting->count += counting->id == 0 || counting->id == item->id;
}

size_t
contract_listed(struct contract *world, queue_id id)
{
	struct queue_cursor cursor = { 0 };
	struct counting counting = { .id = id };

	while (queue_list(world->queue, &cursor, 7, count_item, &counting))
		;
	return counting.count;
}
