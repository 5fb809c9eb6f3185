#include <inttypes.h>

#include "relay/base/mem.h"
#include "tests/bench/spool/feed.h"
#include "tests/bench/spool/figures.h"

/* How much the spool writes for an octet of mail. */
enum {
	BODY_BYTES = 10240,
	PRODUCERS = 50,
	WARM_MESSAGES = 30000,
	BYTES_MESSAGES = 40000,
	LIFE_ROUNDS = 4,
	LIFE_MESSAGES = 20000,
	LIFE_REST_MS = 15000,
};

/*
 * The device's own count, which has everybody's writes in it; so what it says is
 * at least what the spool did.  The kernel's count for a process is only named: it
 * takes a whole folio for each block that is written.
 */
static void
say(struct figures *figures, const char *name, double limit, const struct meter *cost,
    uint64_t body_bytes, const char *what)
{
	double own = (double)cost->own_bytes / (double)body_bytes;
	double device = (double)cost->device_bytes / (double)body_bytes;
	double measured = cost->device_bytes ? device : own;

	figure_say(figures, measured <= limit, name, "%.3f octets written to the device for one of "
	    "body (wanted: at most %.2f), %s; folios dirtied %.3f", measured, limit, what, own);
}

/* A spool that has been at work for a while: its segments are recycled ones. */
static struct feed *
warm_feed(struct figures *figures, const char *name, struct err *err)
{
	char *place = figure_place(figures, name);
	struct queue_found found;
	struct feed_result fed;
	struct feed *feed = feed_open(place, 1, &found, err);

	mem_free(&place);
	if (!feed)
		return NULL;
	feed_set_fate(feed, FEED_DELIVER);
	feed_run(feed, PRODUCERS, BODY_BYTES, WARM_MESSAGES, &fed);
	(void)feed_wait_count(feed, 0, 30000);
	meter_settle(figures->directory);
	return feed;
}

int
figure_bytes(struct figures *figures, struct err *err)
{
	struct feed *feed = warm_feed(figures, "bytes", err);
	struct feed_result fed;

	if (!feed)
		return -1;
	struct meter before = meter_now(figures->directory);

	feed_run(feed, PRODUCERS, BODY_BYTES, BYTES_MESSAGES, &fed);
	(void)feed_wait_count(feed, 0, 30000);
	meter_settle(figures->directory);
	struct meter cost = meter_since(&before, figures->directory);

	say(figures, "bytes", 1.15, &cost, (uint64_t)BODY_BYTES * BYTES_MESSAGES,
	    "50 producers, accepted and delivered");
	feed_close(&feed);
	return 0;
}

int
figure_life(struct figures *figures, struct err *err)
{
	struct feed *feed = warm_feed(figures, "life", err);
	struct queue_stats stats;
	struct feed_result fed;

	if (!feed)
		return -1;
	struct meter before = meter_now(figures->directory);

	feed_set_fate(feed, FEED_DELIVER_HALF);
	for (int i = 0; i < LIFE_ROUNDS; i++)
		feed_run(feed, PRODUCERS, BODY_BYTES, LIFE_MESSAGES, &fed);
	/* Time for the survivors to be moved. */
	feed_wait_ms(feed, LIFE_REST_MS);
	queue_stats(feed_queue(feed), &stats);
	feed_settle_all(feed);
	meter_settle(figures->directory);
	struct meter cost = meter_since(&before, figures->directory);
	uint64_t body_bytes = (uint64_t)BODY_BYTES * LIFE_MESSAGES * LIFE_ROUNDS;
	char *what = mem_format("half deferred for long: %.0f MB live in %.0f MB of segments, "
	    "%.0f MB moved", (double)stats.live_bytes / 1e6, (double)stats.segment_bytes / 1e6,
	    (double)stats.moved_bytes / 1e6);

	say(figures, "life", 2.0, &cost, body_bytes, what);
	mem_free(&what);
	feed_close(&feed);
	return 0;
}
