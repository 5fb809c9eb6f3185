#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay/base/clock.h"
#include "relay/base/mem.h"
#include "tests/bench/spool/feed.h"
#include "tests/bench/spool/figures.h"

/* A million messages: what they weigh, and that a start and a list do not wait for them. */
enum {
	MILLION = 1000000,
	BODY_BYTES = 4096,
	PRODUCERS = 50,
	LIST_STEP = 200,
	LOAD_MESSAGES = 20000,
	MEMORY_MIB_MAX = 256,
	START_MS_MAX = 5000,
	LIST_US_MAX = 100000,
};

static double
mib(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

/* Ends as a machine without a saviour would have it: by kill -9 under way. */
int
figure_fill(struct figures *figures, struct err *err)
{
	char *place = figure_place(figures, "million");
	struct queue_found found;
	struct feed_result fed;
	struct queue_stats stats;
	struct feed *feed = feed_open(place, 1, &found, err);

	mem_free(&place);
	if (!feed)
		return -1;
	feed_run(feed, PRODUCERS, BODY_BYTES, MILLION, &fed);
	queue_stats(feed_queue(feed), &stats);
	figure_say(figures, meter_rss_bytes() <= (uint64_t)MEMORY_MIB_MAX << 20,
	    "million-memory-filled", "%.0f MiB resident with %" PRIu64 " messages just taken "
	    "(wanted: at most %d), index %.0f MiB, bodies kept %.0f MiB; taken at %.0f messages/s",
	    mib(meter_rss_bytes()), stats.message_count, MEMORY_MIB_MAX, mib(stats.index_bytes),
	    mib(stats.body_memory_bytes), (double)fed.count * 1e6 / (double)fed.cost.us);
	(void)raise(SIGKILL);
	return -1;
}

static int
fill_elsewhere(struct figures *figures, struct err *err)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		return err_set_errno(err, "fork");
	if (child == 0) {
		(void)execl(figures->program, figures->program, "-k", "-d", figures->directory,
		    "fill", (char *)NULL);
		_exit(127);
	}
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			return err_set_errno(err, "waitpid");
	}
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		return err_set(err, ERR_SYSTEM, "the process that fills the spool ended with %d",
		    status);
	return 0;
}

struct lister {
	struct feed *feed;
	struct queue_cursor cursor;
	uint64_t count, longest_us;
};

static void
count_item(void *ctx, const struct queue_item *item)
{
	(void)item;
	((struct lister *)ctx)->count++;
}

static void
list_step(void *ctx)
{
	struct lister *lister = ctx;
	uint64_t begun_us = clock_monotonic_us(clock_system());

	if (!queue_list(feed_queue(lister->feed), &lister->cursor, LIST_STEP, count_item, lister))
		lister->cursor = (struct queue_cursor){ 0 };
	uint64_t took_us = clock_monotonic_us(clock_system()) - begun_us;

	if (took_us > lister->longest_us)
		lister->longest_us = took_us;
}

/* The same load without a list and with one that never ends. */
static void
list_beside_load(struct figures *figures, struct feed *feed)
{
	struct lister lister = { .feed = feed };
	struct feed_result alone, beside;

	feed_set_fate(feed, FEED_DELIVER);
	feed_run(feed, PRODUCERS, BODY_BYTES, LOAD_MESSAGES, &alone);
	feed_each_turn(feed, list_step, &lister);
	feed_run(feed, PRODUCERS, BODY_BYTES, LOAD_MESSAGES, &beside);
	feed_each_turn(feed, NULL, NULL);
	double share = (double)alone.cost.us / (double)beside.cost.us;

	figure_say(figures, share >= 0.5, "million-list-beside-mail", "%.2f of the rate without a "
	    "list (wanted: 0.50), %" PRIu64 " items listed meanwhile, longest step %" PRIu64 " us",
	    share, lister.count, lister.longest_us);
}

static void
look_at_start(struct figures *figures, struct feed *feed, const struct queue_found *found,
    uint64_t took_us)
{
	struct lister lister = { .feed = feed };
	struct queue_stats stats;

	figure_say(figures, found->message_count == MILLION &&
	    took_us <= (uint64_t)START_MS_MAX * 1000, "million-start", "ready after %.2f s "
	    "(wanted: %.0f), %" PRIu64 " messages found after kill -9, %" PRIu64 " records copied",
	    (double)took_us / 1e6, START_MS_MAX / 1e3, found->message_count,
	    found->suspect_count);
	list_step(&lister);
	figure_say(figures, lister.count == LIST_STEP && lister.longest_us <= LIST_US_MAX,
	    "million-list-begins", "%" PRIu64 " items after %" PRIu64 " us (wanted: at most %d)",
	    lister.count, lister.longest_us, LIST_US_MAX);
	uint64_t begun_us = clock_monotonic_us(clock_system());

	while (feed_offered_count(feed) < MILLION &&
	    clock_monotonic_us(clock_system()) - begun_us < UINT64_C(60000000))
		feed_wait_ms(feed, 10);
	queue_stats(feed_queue(feed), &stats);
	figure_say(figures, meter_rss_bytes() <= (uint64_t)MEMORY_MIB_MAX << 20,
	    "million-memory-started", "%.0f MiB resident (wanted: at most %d), index %.0f MiB, "
	    "%.0f octets a message; all offered %.2f s after the start", mib(meter_rss_bytes()),
	    MEMORY_MIB_MAX, mib(stats.index_bytes),
	    (double)stats.index_bytes / (double)stats.message_count,
	    (double)(clock_monotonic_us(clock_system()) - begun_us) / 1e6);
}

int
figure_million(struct figures *figures, struct err *err)
{
	char *place = figure_place(figures, "million");
	struct queue_found found;

	if (fill_elsewhere(figures, err) < 0) {
		mem_free(&place);
		return -1;
	}
	uint64_t begun_us = clock_monotonic_us(clock_system());
	struct feed *feed = feed_open(place, 1, &found, err);
	uint64_t took_us = clock_monotonic_us(clock_system()) - begun_us;

	mem_free(&place);
	if (!feed)
		return -1;
	look_at_start(figures, feed, &found, took_us);
	list_beside_load(figures, feed);
	feed_close(&feed);
	return 0;
}
