#include "tests/bench/spool/feed.h"

#include <stdatomic.h>
#include <string.h>

#include "relay/base/clock.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/net/work.h"

enum {
	TURN_MS = 20,
	SETTLE_MS_MAX = 120 * 1000,
	LONG_MS = 3600 * 1000,          /* a deferral that outlasts any run */
};

struct producer {
	struct feed_thread *thread;
	struct queue_draft *draft;
	size_t appended;
	uint64_t committed_us;
};

struct feed_thread {
	struct feed *feed;
	struct loop *loop;
	struct work_thread *work;
	struct queue_port *port;
	struct loop_post post;
	struct producer *producers;
	size_t producer_count;
};

struct feed {
	char *directory;
	struct disk *disk;
	struct random random;
	struct loop *hub;
	struct queue *queue;
	struct feed_thread *threads;
	size_t thread_count;
	enum feed_fate fate;
	uint64_t offered_count;
	void (*each_turn)(void *ctx);
	void *each_turn_ctx;

	/* Of a run; set while no producer works. */
	size_t body_bytes;
	char *body;
	atomic_int_least64_t left;
	atomic_size_t working;
	atomic_uint_least64_t failed_count, commit_us;
	struct loop_post finished_post;
	bool is_finished;
};

/* ---- the hub's side -------------------------------------------------------------- */

static void
ignore_done(void *ctx, enum queue_result result)
{
	(void)ctx;
	(void)result;
}

static void
settle(struct feed *feed, queue_id id, enum rcpt_state state)
{
	struct queue_outcome outcome = {
		.state = state,
		.reason = state == RCPT_WAITING ? REASON_WAITING_RETRY : REASON_NONE,
		.class = RETRY_CONNECT,
		.due_ms = (int64_t)loop_now_ms(feed->hub) + LONG_MS,
		.tried = true,
		.host = SPAN("mx.example.net[192.0.2.9]:25"),
	};
	const struct queue_change change = { .outcomes = &outcome, .outcome_count = 1 };

	reply_set(&outcome.reply, state == RCPT_WAITING ? 451 : 250, "", "so be it");
	(void)queue_update(feed->queue, id, &change, ignore_done, NULL);
}

static void
offered(void *ctx, const struct queue_item *item, struct envelope **envelope)
{
	struct feed *feed = ctx;

	(void)envelope;
	feed->offered_count++;
	switch (feed->fate) {
	case FEED_KEEP:
		return;
	case FEED_DELIVER:
		settle(feed, item->id, RCPT_DELIVERED);
		return;
	case FEED_DELIVER_HALF:
		settle(feed, item->id, feed->offered_count % 2 ? RCPT_DELIVERED : RCPT_WAITING);
		return;
	}
	must_not_reach();
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

static void
finished(void *ctx)
{
	((struct feed *)ctx)->is_finished = true;
}

/* ---- producers, each on its thread ------------------------------------------------ */

static void produce(struct producer *producer);

static void
committed(void *ctx, enum queue_result result)
{
	struct producer *producer = ctx;
	struct feed *feed = producer->thread->feed;

	(void)atomic_fetch_add(&feed->commit_us,
	    clock_monotonic_us(clock_system()) - producer->committed_us);
	if (result != QUEUE_DONE)
		(void)atomic_fetch_add(&feed->failed_count, 1);
	produce(producer);
}

static struct envelope *
make_envelope(void)
{
	struct envelope *envelope = envelope_new();
	struct envelope_rcpt *rcpt = envelope_add_rcpt(envelope, SPAN("user@example.net"));

	rcpt->domain = span_make(rcpt->address.data + strlen("user@"), strlen("example.net"));
	envelope->sender = envelope_keep(envelope, SPAN("sender@example.org"));
	envelope->client_address = envelope_keep(envelope, SPAN("192.0.2.1"));
	envelope->client_hello = envelope_keep(envelope, SPAN("client.example.org"));
	envelope->protocol = PROTOCOL_ESMTPS;
	return envelope;
}

static void
fill(struct producer *producer)
{
	const struct feed *feed = producer->thread->feed;

	while (producer->appended < feed->body_bytes) {
		size_t rest = feed->body_bytes - producer->appended;
		size_t taken = queue_append(producer->draft,
		    span_make(feed->body + producer->appended, rest));

		if (taken == SIZE_MAX)
			break;
		producer->appended += taken;
		if (taken < rest)
			return;                 /* has_room() goes on */
	}
	struct envelope *envelope = make_envelope();

	producer->committed_us = clock_monotonic_us(clock_system());
	(void)queue_commit(&producer->draft, &envelope, NULL, committed, producer);
}

static void
has_room(void *ctx)
{
	fill(ctx);
}

static void
produce(struct producer *producer)
{
	static const struct queue_draft_events events = { .room = has_room };
	struct feed_thread *thread = producer->thread;
	struct feed *feed = thread->feed;

	if (atomic_fetch_sub(&feed->left, 1) <= 0) {
		if (atomic_fetch_sub(&feed->working, 1) == 1)
			loop_post(feed->hub, &feed->finished_post);
		return;
	}
	const struct queue_draft_terms terms = {
		.id = queue_new_id(thread->port),
		.size_hint = feed->body_bytes,
	};

	producer->appended = 0;
	producer->draft = queue_begin(thread->port, &terms, &events, producer);
	fill(producer);
}

static void
thread_begins(void *ctx)
{
	struct feed_thread *thread = ctx;

	for (size_t i = 0; i < thread->producer_count; i++)
		produce(&thread->producers[i]);
}

static void
thread_ends(void *ctx)
{
	struct feed_thread *thread = ctx;

	queue_port_close(&thread->port);
	loop_stop(thread->loop);
}

/* ---- runs ------------------------------------------------------------------------- */

static void
share_out(struct feed *feed, size_t producers)
{
	for (size_t i = 0; i < feed->thread_count; i++) {
		struct feed_thread *thread = &feed->threads[i];

		mem_free(&thread->producers);
		thread->producer_count = producers / feed->thread_count +
		    (i < producers % feed->thread_count);
		thread->producers = mem_alloc_array(thread->producer_count,
		    sizeof(thread->producers[0]));
		for (size_t j = 0; j < thread->producer_count; j++)
			thread->producers[j].thread = thread;
	}
}

void
feed_run(struct feed *feed, size_t producers, size_t body_bytes, uint64_t count,
    struct feed_result *result_out)
{
	struct queue_stats before, after;

	share_out(feed, producers);
	mem_free(&feed->body);
	feed->body_bytes = body_bytes;
	feed->body = mem_alloc(body_bytes);
	memset(feed->body, 'x', body_bytes);
	atomic_store(&feed->left, (int_least64_t)count);
	atomic_store(&feed->working, producers);
	atomic_store(&feed->failed_count, 0);
	atomic_store(&feed->commit_us, 0);
	feed->is_finished = false;
	queue_stats(feed->queue, &before);
	struct meter begun = meter_now(feed->directory);

	for (size_t i = 0; i < feed->thread_count; i++) {
		struct feed_thread *thread = &feed->threads[i];

		loop_post_init(&thread->post, thread_begins, thread);
		loop_post(thread->loop, &thread->post);
	}
	while (!feed->is_finished) {
		loop_turn(feed->hub, feed->each_turn ? 0 : TURN_MS);
		if (feed->each_turn)
			feed->each_turn(feed->each_turn_ctx);
	}
	queue_stats(feed->queue, &after);
	*result_out = (struct feed_result){
		.cost = meter_since(&begun, feed->directory),
		.count = count,
		.failed_count = atomic_load(&feed->failed_count),
		.batch_count = after.batch_count - before.batch_count,
		.written_bytes = after.written_bytes - before.written_bytes,
		.commit_us = atomic_load(&feed->commit_us),
	};
}

bool
feed_wait_count(struct feed *feed, uint64_t count, uint64_t wait_ms)
{
	uint64_t end_ms = clock_monotonic_ms(clock_system()) + wait_ms;
	struct queue_stats stats;

	for (;;) {
		queue_stats(feed->queue, &stats);
		if (stats.message_count == count)
			return true;
		if (clock_monotonic_ms(clock_system()) >= end_ms)
			return false;
		loop_turn(feed->hub, TURN_MS);
	}
}

void
feed_wait_ms(struct feed *feed, uint64_t wait_ms)
{
	uint64_t end_ms = clock_monotonic_ms(clock_system()) + wait_ms;

	while (clock_monotonic_ms(clock_system()) < end_ms)
		loop_turn(feed->hub, TURN_MS);
}

static void
settle_listed(void *ctx, const struct queue_item *item)
{
	struct feed *feed = ctx;

	if (item->open_count > 0)
		settle(feed, item->id, RCPT_DELIVERED);
}

void
feed_settle_all(struct feed *feed)
{
	uint64_t end_ms = clock_monotonic_ms(clock_system()) + SETTLE_MS_MAX;

	/* Again and again: a producer may know of its message before the hub does. */
	do {
		struct queue_cursor cursor = { 0 };

		while (queue_list(feed->queue, &cursor, 200, settle_listed, feed))
			loop_turn(feed->hub, 0);
		must(clock_monotonic_ms(clock_system()) < end_ms);
	} while (!feed_wait_count(feed, 0, 500));
}

void
feed_each_turn(struct feed *feed, void (*turn)(void *ctx), void *ctx)
{
	feed->each_turn = turn;
	feed->each_turn_ctx = ctx;
}

void
feed_set_fate(struct feed *feed, enum feed_fate fate)
{
	feed->fate = fate;
}

struct queue *
feed_queue(struct feed *feed)
{
	return feed->queue;
}

uint64_t
feed_offered_count(const struct feed *feed)
{
	return feed->offered_count;
}

/* ---- birth and death ---------------------------------------------------------------- */

static int
start_threads(struct feed *feed, size_t count, struct err *err)
{
	feed->threads = mem_alloc_array(count, sizeof(feed->threads[0]));
	while (feed->thread_count < count) {
		struct feed_thread *thread = &feed->threads[feed->thread_count];

		thread->feed = feed;
		thread->loop = loop_new(clock_system(), err);
		if (!thread->loop)
			return -1;
		thread->port = queue_port_open(feed->queue, thread->loop);
		thread->work = work_loop_start("producer", thread->loop, err);
		if (!thread->work) {
			queue_port_close(&thread->port);
			loop_free(&thread->loop);
			return -1;
		}
		feed->thread_count++;
	}
	return 0;
}

struct feed *
feed_open(const char *directory, size_t threads, struct queue_found *found_out, struct err *err)
{
	struct feed *feed = mem_alloc(sizeof(*feed));
	struct queue_settings settings;

	feed->directory = mem_dup_cstr(directory);
	random_init_system(&feed->random);
	loop_post_init(&feed->finished_post, finished, feed);
	feed->hub = loop_new(clock_system(), err);
	feed->disk = disk_posix_open(directory, err);
	if (!feed->hub || !feed->disk)
		goto failed;
	queue_settings_init(&settings);
	settings.disk = feed->disk;
	settings.hub = feed->hub;
	settings.random = &feed->random;
	settings.events = (struct queue_events){ offered, revoked, changed, pressure };
	settings.ctx = feed;
	settings.hostname = SPAN("bench.chapar.test");
	settings.port_count_max = threads + 2;
	feed->queue = queue_open(&settings, found_out, err);
	if (!feed->queue || start_threads(feed, threads, err) < 0)
		goto failed;
	queue_start(feed->queue);
	return feed;
failed:
	feed_close(&feed);
	return NULL;
}

void
feed_close(struct feed **feed_pointer)
{
	struct feed *feed = *feed_pointer;

	if (!feed)
		return;
	for (size_t i = 0; i < feed->thread_count; i++) {
		struct feed_thread *thread = &feed->threads[i];

		loop_post_init(&thread->post, thread_ends, thread);
		loop_post(thread->loop, &thread->post);
		work_join(&thread->work);
	}
	if (feed->queue)
		queue_close(&feed->queue);
	for (size_t i = 0; i < feed->thread_count; i++) {
		loop_free(&feed->threads[i].loop);
		mem_free(&feed->threads[i].producers);
	}
	disk_posix_close(&feed->disk);
	loop_free(&feed->hub);
	mem_free(&feed->threads);
	mem_free(&feed->body);
	mem_free(&feed->directory);
	mem_free(feed_pointer);
}
