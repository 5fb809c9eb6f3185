#include "queue/reason.h"

static const struct {
	const char *name, *sentence;
} reasons[REASON_COUNT] = {
	[REASON_NONE] = { "new", "nothing has been tried yet" },
	[REASON_READY] = { "ready", "it could go now and waits for its turn" },
	[REASON_IN_FLIGHT] = { "in-flight", "an attempt is under way" },
	[REASON_WAITING_RETRY] = { "waiting-retry", "the next hop asked to come back later" },
	[REASON_DESTINATION_BREAKER] = { "destination-breaker",
	    "the destination is down; a probe will find out when it is back" },
	[REASON_SUSPENDED] = { "suspended", "an operator suspended the destination" },
	[REASON_HELD] = { "held", "an operator holds it" },
	[REASON_CONCURRENCY_LIMIT] = { "concurrency-limit",
	    "the destination has as many connections as it may have" },
	[REASON_RATE_LIMIT] = { "rate-limit", "the destination's rate is used up for now" },
	[REASON_DNS_TEMP] = { "dns-temp", "the resolver gave no usable answer" },
	[REASON_TLS_POLICY] = { "tls-policy", "the next hop does not meet the required TLS" },
	[REASON_DISK_LOW] = { "disk-low", "outcomes cannot be recorded now" },
	[REASON_NO_ROUTE] = { "no-route", "no route matches it" },
	[REASON_UNCERTAIN] = { "uncertain",
	    "it may have been delivered, the connection died before the answer" },
	[REASON_PARTIAL] = { "partial", "its sender has not sent all of it yet" },
	[REASON_DAMAGED] = { "damaged", "it cannot be read back whole from the disk" },
	[REASON_DEFERRED_UNTIL] = { "deferred-until", "a later time was asked for" },
	[REASON_NO_REPLICA] = { "no-replica", "a standby is missing" },
	[REASON_RECOVERING] = { "recovering", "it was found at start and is being made safe" },
	[REASON_RESOLVING] = { "resolving", "its next hop is being looked up" },
	[REASON_SETTLED] = { "settled",
	    "every recipient has an outcome; the record of it is being written" },
};

const char *
queue_reason_name(enum queue_reason reason)
{
	return (unsigned int)reason < REASON_COUNT ? reasons[reason].name : "unknown";
}

const char *
queue_reason_explain(enum queue_reason reason)
{
	return (unsigned int)reason < REASON_COUNT ? reasons[reason].sentence :
	    "a newer version wrote this reason";
}

bool
queue_reason_parse(struct span name, enum queue_reason *reason_out)
{
	for (unsigned int i = 0; i < REASON_COUNT; i++) {
		if (span_equal_cstr(name, reasons[i].name)) {
			*reason_out = (enum queue_reason)i;
			return true;
		}
	}
	return false;
}
