#include "tests/unit/outbound/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/buf.h"
#include "relay/base/clock.h"

enum { TURN_MS = 20 };

static void
rig_offered(void *ctx, const struct queue_item *item, struct envelope **envelope)
{
	struct rig *rig = ctx;

	rig->offered++;
	outbound_offered(rig->outbound, item, envelope);
}

static void
rig_revoked(void *ctx, queue_id id, void *user)
{
	struct rig *rig = ctx;

	outbound_revoked(rig->outbound, id, user);
}

static void
rig_changed(void *ctx, const struct queue_item *item)
{
	struct rig *rig = ctx;

	outbound_changed(rig->outbound, item);
}

static void
rig_pressure(void *ctx, enum queue_pressure pressure, const char *why)
{
	struct rig *rig = ctx;

	(void)why;
	if (rig->outbound)
		outbound_pressure(rig->outbound, pressure);
}

void
rig_turn(struct rig *rig, unsigned turns)
{
	while (turns-- > 0)
		loop_turn(rig->loop, TURN_MS);
}

static uint64_t
waiting_count(struct rig *rig)
{
	struct queue_stats stats;

	queue_stats(rig->queue, &stats);
	return stats.message_count;
}

void
rig_until(struct rig *rig, uint64_t count)
{
	uint64_t end_ms = clock_monotonic_ms(clock_system()) + 5000;

	while (waiting_count(rig) != count && clock_monotonic_ms(clock_system()) < end_ms)
		rig_turn(rig, 1);
	assert_int_equal(waiting_count(rig), count);
}

void
rig_configure(struct rig *rig, const struct peer *peers, size_t peer_count, bool lmtp)
{
	static const char *const everything[] = { "*" };
	struct route_host hosts[4] = { 0 };
	struct route_settings route = {
		.name = "onward",
		.where = "test:1",
		.recipients = everything,
		.recipient_count = 1,
		.via = lmtp ? ROUTE_VIA_LMTP : ROUTE_VIA_SMTP,
		.own_node = true,
		.hosts = hosts,
		.host_count = peer_count,
		.tls = { .level = TLS_LEVEL_NONE },
		.retry = &rig->policy,
	};
	struct route_table *table;
	struct err err;

	for (size_t i = 0; i < peer_count; i++) {
		char text[64];

		snprintf(text, sizeof(text), "127.0.0.1:%u preference=%zu", peers[i].port,
		    10 * i);
		assert_int_equal(route_host_parse(span_from_cstr(text), 25, &hosts[i], &err), 0);
	}
	if (route_table_new(&route, 1, &table, &err) < 0)
		fail_msg("%s", err.text);
	if (outbound_configure(rig->outbound, &(struct outbound_config){
		.routes = table,
		.hostname = "relay.example",
		.breaker = { .backoff_first_ms = 50 },
		.probe_own_ms = 200,
	    }, &err) < 0)
		fail_msg("%s", err.text);
	route_table_unref(&table);
}

void
rig_open(struct rig *rig)
{
	struct queue_settings settings;
	struct queue_found found;
	struct outbound_worker worker;
	struct err err;

	*rig = (struct rig){ .directory = "/tmp/outbound_test_XXXXXX" };
	assert_non_null(mkdtemp(rig->directory));
	retry_policy_init(&rig->policy);
	rig->loop = loop_new(clock_system(), &err);
	assert_non_null(rig->loop);
	random_init_system(&rig->random);
	rig->stats = stats_new();
	rig->disk = disk_posix_open(rig->directory, &err);
	if (!rig->disk)
		fail_msg("%s", err.text);
	queue_settings_init(&settings);
	settings.disk = rig->disk;
	settings.hub = rig->loop;
	settings.random = &rig->random;
	settings.hostname = SPAN("relay.example");
	settings.allow_volatile = true;
	settings.segment_bytes = 1 << 20;
	settings.ctx = rig;
	settings.events = (struct queue_events){ rig_offered, rig_revoked, rig_changed,
	    rig_pressure };
	rig->queue = queue_open(&settings, &found, &err);
	if (!rig->queue)
		fail_msg("%s", err.text);
	rig->port = queue_port_open(rig->queue, rig->loop);
	rig->resolver = resolver_new(rig->loop, &(struct resolver_settings){ 0 }, &err);
	if (!rig->resolver)
		fail_msg("%s", err.text);
	worker = (struct outbound_worker){ rig->loop, rig->port };
	rig->outbound = outbound_new(&(struct outbound_settings){
		.hub = rig->loop,
		.queue = rig->queue,
		.resolver = rig->resolver,
		.random = &rig->random,
		.stats = rig->stats,
		.workers = &worker,
		.worker_count = 1,
	});
}

static void
rig_stopped(void *ctx)
{
	((struct rig *)ctx)->stopped = true;
}

void
rig_stop(struct rig *rig, uint64_t grace_ms)
{
	uint64_t end_ms = clock_monotonic_ms(clock_system()) + 5000;

	outbound_stop(rig->outbound, grace_ms, rig_stopped, rig);
	while (!rig->stopped && clock_monotonic_ms(clock_system()) < end_ms)
		rig_turn(rig, 1);
	assert_true(rig->stopped);
}

static void
remove_directory(const char *directory)
{
	char program[] = "rm", flags[] = "-rf";
	char *const arguments[] = { program, flags, (char *)(uintptr_t)directory, NULL };
	pid_t child = fork();

	if (child == 0) {
		execv("/bin/rm", arguments);
		_exit(1);
	}
}

void
rig_close(struct rig *rig)
{
	if (!rig->stopped)
		rig_stop(rig, 200);
	outbound_free(&rig->outbound);
	queue_port_close(&rig->port);
	queue_close(&rig->queue);
	disk_posix_close(&rig->disk);
	resolver_free(&rig->resolver);
	stats_free(&rig->stats);
	rig_turn(rig, 1);
	loop_free(&rig->loop);
	remove_directory(rig->directory);
}

static void
committed(void *ctx, enum queue_result result)
{
	struct rig *rig = ctx;

	assert_int_equal(result, QUEUE_DONE);
	rig->committed++;
}

static const struct queue_draft_events no_events;

void
rig_submit(struct rig *rig, const char *sender, size_t rcpt_count, size_t body_bytes)
{
	struct envelope *envelope = envelope_new();
	struct queue_draft_terms terms = { .id = queue_new_id(rig->port) };
	struct queue_draft *draft = queue_begin(rig->port, &terms, &no_events, rig);
	size_t before = rig->committed, offered = rig->offered;
	struct buf body;

	rig->last_id = terms.id;
	envelope->sender = envelope_keep(envelope, span_from_cstr(sender));
	for (size_t i = 0; i < rcpt_count; i++) {
		char address[64];

		snprintf(address, sizeof(address), "user%zu@example.net", i);
		(void)envelope_add_rcpt(envelope, span_from_cstr(address));
	}
	buf_init(&body, body_bytes + 1000);
	(void)buf_append_cstr(&body, "Subject: a letter\r\nMessage-ID: <1@x>\r\n\r\n");
	while (buf_len(&body) < body_bytes)
		(void)buf_append_cstr(&body, "All work and no play.\r\n.dots lead\r\n");
	envelope->body_bytes = buf_len(&body);
	envelope->arrival_ms = loop_wall_ms(rig->loop);
	while (buf_len(&body) > 0) {
		size_t took = queue_append(draft, buf_span(&body));

		assert_true(took != SIZE_MAX);
		buf_consume(&body, took);
		if (took == 0)
			rig_turn(rig, 1);
	}
	buf_fini(&body);
	(void)queue_commit(&draft, &envelope, NULL, committed, rig);
	for (int i = 0; i < 200 && (rig->committed == before || rig->offered == offered); i++)
		rig_turn(rig, 1);
	assert_int_equal(rig->committed, before + 1);
	assert_true(rig->offered > offered);
}
