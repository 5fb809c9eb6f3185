#include "relay/outbound/breaker.h"

#include "relay/base/must.h"

#define BREAKER_FAILURE_COUNT_MAX 3
#define BREAKER_BACKOFF_FIRST_MS ((uint64_t)2 * 1000)
#define BREAKER_BACKOFF_MAX_MS ((uint64_t)5 * 60 * 1000)

static void
settle(struct breaker_settings *settings, const struct breaker_settings *given)
{
	*settings = *given;
	if (settings->failure_count_max == 0)
		settings->failure_count_max = BREAKER_FAILURE_COUNT_MAX;
	if (settings->backoff_max_ms == 0)
		settings->backoff_max_ms = BREAKER_BACKOFF_MAX_MS;
	if (settings->backoff_first_ms == 0)
		settings->backoff_first_ms = BREAKER_BACKOFF_FIRST_MS;
	if (settings->backoff_first_ms > settings->backoff_max_ms)
		settings->backoff_first_ms = settings->backoff_max_ms;
}

void
breaker_init(struct breaker *breaker, const struct breaker_settings *settings, uint64_t now_ms)
{
	*breaker = (struct breaker){ .state = BREAKER_CLOSED, .since_ms = now_ms };
	settle(&breaker->settings, settings);
}

void
breaker_configure(struct breaker *breaker, const struct breaker_settings *settings,
    uint64_t now_ms)
{
	settle(&breaker->settings, settings);
	if (breaker->probe_ms > now_ms + breaker->settings.backoff_max_ms)
		breaker->probe_ms = now_ms + breaker->settings.backoff_max_ms;
}

void
breaker_restore(struct breaker *breaker, uint32_t open_count, uint32_t failure_count,
    uint64_t since_ms, uint64_t probe_ms, uint64_t now_ms)
{
	breaker->state = BREAKER_OPEN;
	breaker->open_count = open_count ? open_count : 1;
	breaker->failure_count = failure_count;
	breaker->since_ms = since_ms < now_ms ? since_ms : now_ms;
	breaker->probe_ms = probe_ms;
	if (breaker->probe_ms > now_ms + breaker->settings.backoff_max_ms)
		breaker->probe_ms = now_ms + breaker->settings.backoff_max_ms;
}

bool
breaker_allows(const struct breaker *breaker, uint64_t now_ms)
{
	switch (breaker->state) {
	case BREAKER_CLOSED:
		return true;
	case BREAKER_OPEN:
		return now_ms >= breaker->probe_ms;
	case BREAKER_HALF_OPEN:
		return false;
	}
	must_not_reach();
}

static void
enter(struct breaker *breaker, enum breaker_state state, uint64_t now_ms)
{
	breaker->state = state;
	breaker->since_ms = now_ms;
}

void
breaker_begin(struct breaker *breaker, uint64_t now_ms)
{
	must(breaker_allows(breaker, now_ms));
	if (breaker->state == BREAKER_OPEN)
		breaker->state = BREAKER_HALF_OPEN;     /* open since the same moment */
}

bool
breaker_success(struct breaker *breaker, uint64_t now_ms)
{
	bool was_closed = breaker->state == BREAKER_CLOSED;

	breaker->failure_count = 0;
	breaker->open_count = 0;
	if (was_closed)
		return false;
	enter(breaker, BREAKER_CLOSED, now_ms);
	return true;
}

/*
 * Full jitter: anything between nothing and the step, so that many that lost the
 * same host at one time do not come back to it at one time.  A tenth of the step
 * is the least, since a probe at once proves nothing.
 */
static uint64_t
backoff(const struct breaker *breaker, struct random *random)
{
	uint64_t step = breaker->settings.backoff_first_ms;

	for (uint32_t i = 1; i < breaker->open_count && step < breaker->settings.backoff_max_ms;
	    i++)
		step *= 2;
	if (step > breaker->settings.backoff_max_ms)
		step = breaker->settings.backoff_max_ms;

	uint64_t least = step / 10;

	return least + random_below(random, step - least + 1);
}

bool
breaker_failure(struct breaker *breaker, uint64_t now_ms, struct random *random)
{
	bool was_closed = breaker->state == BREAKER_CLOSED;

	if (breaker->failure_count < UINT32_MAX)
		breaker->failure_count++;
	/* A job that began before it opened tells nothing new: only the probe counts. */
	if (breaker->state == BREAKER_OPEN)
		return false;
	if (was_closed && breaker->failure_count < breaker->settings.failure_count_max)
		return false;
	if (breaker->open_count < UINT32_MAX)
		breaker->open_count++;
	if (was_closed)
		enter(breaker, BREAKER_OPEN, now_ms);
	breaker->state = BREAKER_OPEN;
	breaker->probe_ms = now_ms + backoff(breaker, random);
	return was_closed;
}

void
breaker_abandon(struct breaker *breaker, uint64_t now_ms)
{
	if (breaker->state != BREAKER_HALF_OPEN)
		return;
	breaker->state = BREAKER_OPEN;
	breaker->probe_ms = now_ms;
}

void
breaker_hurry(struct breaker *breaker, uint64_t now_ms)
{
	if (breaker->state == BREAKER_OPEN && breaker->probe_ms > now_ms)
		breaker->probe_ms = now_ms;
}

const char *
breaker_state_name(enum breaker_state state)
{
	switch (state) {
	case BREAKER_CLOSED:
		return "closed";
	case BREAKER_OPEN:
		return "open";
	case BREAKER_HALF_OPEN:
		return "half-open";
	}
	must_not_reach();
}
