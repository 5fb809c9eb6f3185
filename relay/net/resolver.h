#ifndef RELAY_NET_RESOLVER_H
#define RELAY_NET_RESOLVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/err.h"
#include "relay/base/span.h"
#include "relay/net/endpoint.h"
#include "relay/net/loop.h"

/*
 * Names to addresses and mail exchangers, asynchronously.  The resolver works
 * on one loop (the hub's); every thread that asks has its resolver_client,
 * whose callbacks come on the thread's own loop.  Questions to it travel by
 * loop_post().
 */
struct resolver;
struct resolver_client;
struct resolver_question;

enum resolver_status {
	RESOLVER_OK,
	RESOLVER_NODATA,        /* the name is there, without what was asked */
	RESOLVER_NXDOMAIN,      /* the name is not there: a complete, valid answer said so */
	RESOLVER_TEMPORARY,     /* anything else: timeout, SERVFAIL, refused, bogus, truncated */
};

/*
 * How a name is looked up.  A configured host (a neighbour the operator
 * named) is sought in /etc/hosts and along the search list too, and is never
 * NXDOMAIN or NODATA: such an answer is temporary.  A mail domain or an
 * exchanger from MX goes to DNS only, as it is.
 */
enum resolver_scope {
	RESOLVER_DNS,
	RESOLVER_CONFIGURED_HOST,
};

enum {
	RESOLVER_ADDRESS_COUNT_MAX = 32,
	RESOLVER_MX_COUNT_MAX = 64,
};

struct resolver_mx {
	uint16_t preference;
	/* lower case, no trailing dot; "" is the null MX (RFC 7505) */
	char host[HOST_BYTES_MAX];
};

struct resolver_answer {
	enum resolver_status status;
	struct span name;               /* that was asked */
	const char *text;               /* not OK: why, in words */
	bool secure;                    /* validated by DNSSEC */
	bool vouched;                   /* NODATA: with the SOA that RFC 2308 wants beside it */
	uint32_t ttl_s;                 /* the least of the answer */
	/* port as asked; A and AAAA as dial_order() has it */
	const struct endpoint *addresses;
	size_t address_count;
	const struct resolver_mx *exchangers;   /* by preference, as received within one */
	size_t mx_count;
};

struct resolver_settings {
	const char *const *servers;     /* "192.0.2.53", "192.0.2.53@5353"; none: resolv.conf */
	size_t server_count;
	const char *hosts_file;         /* NULL: /etc/hosts; "": none */
	const char *resolv_conf;        /* NULL: /etc/resolv.conf; servers and the search list */
	const char *const *search;      /* overrides the search list if search_count > 0 */
	size_t search_count;
	const char *trust_anchor_file;  /* NULL: no DNSSEC validation */
	const char *const *insecure;    /* domains below which validation is off */
	size_t insecure_count;
	uint64_t timeout_ms;            /* for one question; 0: 30 s */
	size_t question_count_max;      /* under way at a time; 0: 1024; more are TEMPORARY */
	bool allow_localhost_server;    /* 127.0.0.0/8 as server: for tests and local caches */
};

struct resolver *resolver_new(struct loop *loop, const struct resolver_settings *settings,
    struct err *err);

/* All clients must be gone. */
void resolver_free(struct resolver **resolver);

struct resolver_client *resolver_client_new(struct resolver *resolver, struct loop *loop);

/* Cancels what is open. */
void resolver_client_free(struct resolver_client **client);

/*
 * answered() comes once, on the client's loop, never before the return, unless
 * cancelled.  The answer is valid during the call.  A name that is an address
 * in text is answered without DNS.
 */
struct resolver_question *resolver_ask_addresses(struct resolver_client *client,
    struct span name, uint16_t port, enum resolver_scope scope,
    void (*answered)(void *ctx, const struct resolver_answer *answer), void *ctx);
struct resolver_question *resolver_ask_mx(struct resolver_client *client, struct span name,
    void (*answered)(void *ctx, const struct resolver_answer *answer), void *ctx);
void resolver_cancel(struct resolver_question **question);

const char *resolver_status_name(enum resolver_status status);

#endif
