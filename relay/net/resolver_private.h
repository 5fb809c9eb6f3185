/*
 * What the files of the resolver share.
 */
#ifndef RELAY_NET_RESOLVER_PRIVATE_H
#define RELAY_NET_RESOLVER_PRIVATE_H

#include <sys/queue.h>
#include <unbound.h>

#include "relay/base/arena.h"
#include "relay/net/resolver.h"

/* Names that the machine itself knows. */
struct resolver_names {
	struct arena arena;
	struct resolver_host_line *lines;       /* of the hosts file */
	size_t line_count;
	const char **search;
	size_t search_count;
};

/* Files that are not there have nothing to say. */
void resolver_names_init(struct resolver_names *names, const struct resolver_settings *settings);
void resolver_names_fini(struct resolver_names *names);

/* Addresses of NAME in the hosts file, and what "localhost" always means (RFC 6761). */
size_t resolver_names_find(const struct resolver_names *names, struct span name, uint16_t port,
    struct endpoint *addresses_out, size_t count_max);

/* A name in wire form as text, lower case, without the last dot; false when malformed. */
bool resolver_wire_name(struct span wire, char name_out[HOST_BYTES_MAX]);

enum { RESOLVER_CANDIDATE_COUNT_MAX = 8 };

/*
 * One question, from the asker's thread to the hub and back.  The first part is the
 * asker's, the second the hub's while it has it; the posts hand it over.
 */
struct resolver_question {
	LIST_ENTRY(resolver_question) of_client;
	struct resolver_client *client;         /* NULL: cancelled */
	struct loop *home;
	void (*answered)(void *ctx, const struct resolver_answer *answer);
	void *ctx;
	struct loop_post post;

	LIST_ENTRY(resolver_question) of_resolver;
	struct resolver *resolver;
	char name[HOST_BYTES_MAX];
	bool is_mx;
	uint16_t port;
	enum resolver_scope scope;
	struct loop_timer timer;
	char candidates[RESOLVER_CANDIDATE_COUNT_MAX][HOST_BYTES_MAX];
	size_t candidate_count;
	size_t candidate;                       /* the one asked for now */
	int async_ids[2];                       /* A and AAAA, or MX; 0: none under way */
	size_t open_count;
	enum resolver_status worst;             /* of the present candidate */
	bool all_secure;

	struct resolver_answer answer;
	char text[160];
	struct endpoint addresses[RESOLVER_ADDRESS_COUNT_MAX];
	struct resolver_mx exchangers[RESOLVER_MX_COUNT_MAX];
};

#endif
