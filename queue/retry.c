#include "queue/retry.h"

#include "relay/base/must.h"

#define SECOND_MS ((uint64_t)1000)
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS (60 * MINUTE_MS)
#define DAY_MS (24 * HOUR_MS)

#define INTERVALS(...) { \
	.interval_ms = { __VA_ARGS__ }, \
	.interval_count = sizeof((uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t) }

static const struct {
	const char *name;
	struct retry_schedule schedule;
} classes[RETRY_CLASS_COUNT] = {
	[RETRY_OTHER] = { "other", INTERVALS(5 * MINUTE_MS, 10 * MINUTE_MS, 20 * MINUTE_MS,
	    30 * MINUTE_MS, HOUR_MS, 2 * HOUR_MS, 4 * HOUR_MS) },
	[RETRY_GREYLISTED] = { "greylisted", INTERVALS(MINUTE_MS, 5 * MINUTE_MS, 5 * MINUTE_MS,
	    10 * MINUTE_MS, 20 * MINUTE_MS, HOUR_MS) },
	[RETRY_MAILBOX_FULL] = { "mailbox-full", INTERVALS(HOUR_MS, 2 * HOUR_MS, 4 * HOUR_MS) },
	[RETRY_RATE] = { "rate", INTERVALS(5 * MINUTE_MS, 10 * MINUTE_MS, 20 * MINUTE_MS,
	    30 * MINUTE_MS) },
	[RETRY_DNS] = { "dns", INTERVALS(MINUTE_MS, 5 * MINUTE_MS, 5 * MINUTE_MS, 15 * MINUTE_MS,
	    30 * MINUTE_MS, HOUR_MS) },
	[RETRY_TLS] = { "tls", INTERVALS(5 * MINUTE_MS, 15 * MINUTE_MS, 30 * MINUTE_MS, HOUR_MS) },
	[RETRY_CONNECT] = { "connect", INTERVALS(MINUTE_MS, 2 * MINUTE_MS, 5 * MINUTE_MS,
	    10 * MINUTE_MS, 20 * MINUTE_MS, 30 * MINUTE_MS, HOUR_MS) },
	[RETRY_PROTOCOL] = { "protocol", INTERVALS(10 * MINUTE_MS, 30 * MINUTE_MS, HOUR_MS,
	    2 * HOUR_MS) },
	[RETRY_REPUTATION] = { "reputation", INTERVALS(15 * MINUTE_MS, 30 * MINUTE_MS, HOUR_MS,
	    2 * HOUR_MS, 4 * HOUR_MS) },
	[RETRY_UNCERTAIN] = { "uncertain", INTERVALS(MINUTE_MS, 5 * MINUTE_MS, 15 * MINUTE_MS,
	    30 * MINUTE_MS) },
	[RETRY_LOCAL] = { "local", INTERVALS(MINUTE_MS, 2 * MINUTE_MS, 5 * MINUTE_MS) },
};

void
retry_policy_init(struct retry_policy *policy)
{
	*policy = (struct retry_policy){
		.lifetime_ms = 5 * DAY_MS,
		.delay_notice_ms = 4 * HOUR_MS,
		.jitter_percent = 10,
	};
	for (size_t i = 0; i < RETRY_CLASS_COUNT; i++)
		policy->by_class[i] = classes[i].schedule;
}

uint64_t
retry_interval_ms(const struct retry_policy *policy, enum retry_class class,
    uint32_t attempt_count, uint64_t age_ms, struct random *random)
{
	must((unsigned int)class < RETRY_CLASS_COUNT && attempt_count > 0);
	const struct retry_schedule *schedule = &policy->by_class[class];

	must(schedule->interval_count > 0 && schedule->interval_count <= RETRY_INTERVAL_COUNT_MAX);
	size_t at = attempt_count - 1;

	if (at >= schedule->interval_count)
		at = schedule->interval_count - 1;
	uint64_t interval_ms = random_jitter(random, schedule->interval_ms[at],
	    policy->jitter_percent);

	/* One last try at the very end of the lifetime. */
	if (age_ms < policy->lifetime_ms && interval_ms > policy->lifetime_ms - age_ms)
		interval_ms = policy->lifetime_ms - age_ms;
	return interval_ms;
}

bool
retry_is_over(const struct retry_policy *policy, uint64_t age_ms)
{
	return age_ms >= policy->lifetime_ms;
}

bool
retry_delay_notice_is_due(const struct retry_policy *policy, uint64_t age_ms)
{
	return policy->delay_notice_ms > 0 && age_ms >= policy->delay_notice_ms;
}

static bool
says(struct span text, const char *needle)
{
	size_t len = strlen(needle);

	for (size_t at = 0; at + len <= text.len; at++) {
		if (span_equal_nocase(span_slice(text, at, len), span_make(needle, len)))
			return true;
	}
	return false;
}

/* The part of an enhanced status behind the class: "2.2" of "4.2.2". */
static bool
status_is(struct span status, const char *detail)
{
	return status.len > 2 && span_equal_cstr(span_skip(status, 2), detail);
}

static bool
says_any(struct span text, const char *const *needles)
{
	for (; *needles; needles++) {
		if (says(text, *needles))
			return true;
	}
	return false;
}

/*
 * What the status says comes before what the words say: words are in every
 * language and written by everybody.
 */
enum retry_class
retry_class_of_reply(unsigned int code, struct span status, struct span text)
{
	static const char *const greylisting[] = { "greylist", "graylist", "grey list",
	    "try again in", "deferred by policy", NULL };
	static const char *const rate[] = { "too many", "rate limit", "throttl", "too fast",
	    "slow down", NULL };
	static const char *const reputation[] = { "reputation", "blocklist", "blacklist",
	    "blocked", "spamhaus", NULL };

	if (status_is(status, "2.2"))
		return RETRY_MAILBOX_FULL;
	if (says_any(text, greylisting))
		return RETRY_GREYLISTED;
	if (status_is(status, "4.3") || status_is(status, "4.4") || status_is(status, "1.8"))
		return RETRY_DNS;
	if (status_is(status, "7.10") || status_is(status, "7.11") || code == 454)
		return RETRY_TLS;
	if (says_any(text, rate))
		return RETRY_RATE;
	if (says_any(text, reputation))
		return RETRY_REPUTATION;
	/* RFC 6647 section 2.2: greylisting mostly answers 450 or 451 with 4.7.1. */
	if ((code == 450 || code == 451) && status_is(status, "7.1"))
		return RETRY_GREYLISTED;
	if (code == 452 && (status.len == 0 || status_is(status, "2.0")))
		return RETRY_MAILBOX_FULL;
	if (code < 400 || code > 599)
		return RETRY_PROTOCOL;
	return RETRY_OTHER;
}

const char *
retry_class_name(enum retry_class class)
{
	return (unsigned int)class < RETRY_CLASS_COUNT ? classes[class].name : "unknown";
}

bool
retry_class_parse(struct span name, enum retry_class *class_out)
{
	for (unsigned int i = 0; i < RETRY_CLASS_COUNT; i++) {
		if (span_equal_cstr(name, classes[i].name)) {
			*class_out = (enum retry_class)i;
			return true;
		}
	}
	return false;
}
