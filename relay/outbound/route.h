#ifndef RELAY_OUTBOUND_ROUTE_H
#define RELAY_OUTBOUND_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/retry.h"
#include "relay/base/err.h"
#include "relay/base/network.h"
#include "relay/base/span.h"
#include "relay/net/endpoint.h"
#include "relay/outbound/tls_policy.h"
#include "relay/outbound/window.h"
#include "relay/session/call_login.h"

/*
 * Where mail goes: the routes of the configuration, in their order; the first
 * one whose conditions all hold takes the recipient.  Pure: no network, no clock.
 *
 * Patterns for recipients (`for`) and senders (`from`):
 *
 *	*                       everything, the null sender too
 *	example.net             the domain
 *	*.example.net           any domain below it, at any depth, not itself
 *	user@example.net        one address; a local part matches without regard to case
 *	user@                   the local part in every domain; "postmaster@"
 *	<>                      the null sender (`from` only)
 *
 * Domains match without regard to ASCII case.  A condition with no patterns
 * holds always.  A domain among thousands is found by hash, not by a walk.
 *
 * A table is immutable and counted; every thread may read it.
 */
enum route_via {
	ROUTE_VIA_SMTP,                 /* named hosts */
	ROUTE_VIA_LMTP,
	ROUTE_VIA_MX,                   /* the exchangers of the recipient's domain */
};

/*
 * May strangers send to what this route matches?  By default yes for named
 * hosts where the recipient matched a pattern other than "*", and no by MX: a
 * route that only tunes the way to a foreign domain opens no relay.  A route
 * with a condition on the sender never accepts by default: that can be forged.
 */
enum route_ours {
	ROUTE_OURS_DEFAULT,
	ROUTE_OURS_YES,
	ROUTE_OURS_NO,
};

enum {
	ROUTE_HOST_COUNT_MAX = 32,
	ROUTE_WEIGHT_DEFAULT = 10,
	ROUTE_FALLBACK_PREFERENCE = 60000,
	ROUTE_SMTP_PORT = 25,
	ROUTE_LMTP_PORT = 24,
};

/* A named host.  Lower preference first; within one, by chance according to weight. */
struct route_host {
	struct host_port at;
	uint16_t preference;            /* 0 is best */
	uint16_t weight;                /* 0: only when no other of the preference is left */
};

/* "mbox1:2424", with " preference=10" and " weight=3" behind it; " fallback" is 60000. */
int route_host_parse(struct span text, uint16_t default_port, struct route_host *host_out,
    struct err *err);

struct route_timeouts {                 /* 0: the default of relay/session/call.h */
	uint64_t connect_ms;
	uint64_t greeting_ms;
	uint64_t command_ms;            /* EHLO, MAIL, RCPT */
	uint64_t data_ms;
	uint64_t body_ms;
	uint64_t dot_ms;
	uint64_t idle_ms;               /* a warm connection without work */
};

/* As the configuration has it: everything is copied by route_table_new(). */
struct route_settings {
	const char *name;               /* "site" */
	const char *where;              /* "relayd.conf:17", for people; may be NULL */
	const char *const *recipients;  /* `for`: at least one pattern */
	size_t recipient_count;
	const char *const *senders;
	size_t sender_count;
	const struct network *clients;
	size_t client_count;
	const char *const *listeners;
	size_t listener_count;
	enum route_via via;
	enum route_ours ours;
	bool own_node;                  /* one of our own relays or mailbox nodes: probed often */
	const struct route_host *hosts; /* none with MX */
	size_t host_count;
	uint16_t mx_port;               /* 0: 25 */
	struct tls_policy tls;
	struct call_login *login;       /* who we are there; NULL: nobody; referenced */
	struct window_settings window;
	uint32_t rate_minute;           /* attempts a minute to one destination; 0: no limit */
	const struct retry_policy *retry;       /* schedules, lifetime, delay notice; NULL: ours */
	struct route_timeouts timeouts;
};

struct route {
	size_t number;                  /* its place in the table */
	struct span name;
	struct span where;
	enum route_via via;
	enum route_ours ours;
	bool own_node;
	const struct route_host *hosts;
	size_t host_count;
	uint16_t mx_port;
	struct tls_policy tls;
	struct call_login *login;
	struct window_settings window;
	uint32_t rate_minute;
	struct retry_policy retry;
	struct route_timeouts timeouts;
};

struct route_table;

/*
 * Fails with ERR_CONFIG on a pattern that cannot be, no hosts where hosts are
 * needed, hosts with `via = mx`, two routes of one name.  The text names the route.
 */
int route_table_new(const struct route_settings *routes, size_t route_count,
    struct route_table **table_out, struct err *err);
struct route_table *route_table_ref(struct route_table *table);
void route_table_unref(struct route_table **table);

size_t route_table_count(const struct route_table *table);
const struct route *route_table_at(const struct route_table *table, size_t number);
const struct route *route_table_find_name(const struct route_table *table, struct span name);

struct route_question {
	struct span recipient;          /* canonical "local@domain"; "" if not known */
	struct span domain;             /* of the recipient; "" takes it from the address */
	struct span sender;             /* canonical; "" is the null sender */
	struct span client_address;     /* "192.0.2.7"; "" for our own */
	struct span listener;           /* "" for our own; ignored while the address is not known */
};

struct route_match {
	const struct route *route;      /* NULL: no route takes it */
	struct span pattern;            /* the line that matched */
	bool needs_address;             /* asked by domain alone, and that does not settle it */
};

/*
 * Without an address the domain alone is asked for: where a pattern for addresses
 * or a condition on the listener could make a difference, needs_address is set
 * and there is no route.
 */
struct route_match route_table_match(const struct route_table *table,
    const struct route_question *question);

/*
 * May anybody send to this recipient?  Every route is asked, not only the first
 * that matches.  For relay/inbound through relay.c; any thread.
 */
bool route_table_is_ours(const struct route_table *table, const struct route_question *question);

const char *route_via_name(enum route_via via);

#endif
