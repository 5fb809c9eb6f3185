#ifndef RELAY_RELAY_CONFIG_H
#define RELAY_RELAY_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/queue.h"
#include "relay/base/arena.h"
#include "relay/base/conf.h"
#include "relay/base/err.h"
#include "relay/daemon/node_config.h"
#include "relay/inbound/gate.h"
#include "relay/inbound/login.h"
#include "relay/inbound/policy.h"
#include "relay/net/resolver.h"
#include "relay/outbound/outbound.h"

/*
 * relayd.conf: the tables of its options, and what they say as typed values.
 *
 * What relay_config_load() made is immutable and counted; every thread may read it.
 */
struct relay_config {
	struct arena arena;
	struct conf *conf;
	struct node_config node;

	const char *spool;
	bool allow_volatile_spool;
	struct policy policy;
	struct gate_settings gate;
	struct login_config login;              /* section auth */
	struct credentials *credentials;        /* of it; NULL: none are named */
	struct outbound_config outbound;        /* with the route table */
	struct resolver_settings resolver;

	/* Options of the queue; the rest of its settings is the relay's. */
	uint64_t segment_bytes;
	uint64_t body_memory_bytes;
	uint64_t floor_bytes;
	uint64_t reserve_bytes;
	uint64_t scrub_bytes_second;
	uint64_t reader_count;
};

const struct conf_schema *relay_config_schema(void);

/*
 * Reads and checks the file; the error begins with file and line.  Reads certificates
 * and keys too.  On NULL there is nothing to release.
 */
struct relay_config *relay_config_load(const char *path, struct err *err);

/* The same from text; paths are relative to file_name. */
struct relay_config *relay_config_load_text(struct span text, const char *file_name,
    struct err *err);
void relay_config_free(struct relay_config **config);

/* The value of an option that a reload cannot change differs: its name, else NULL. */
const char *relay_config_needs_restart(const struct relay_config *running,
    const struct relay_config *wanted);

#endif
