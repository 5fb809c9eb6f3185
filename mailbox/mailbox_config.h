/*
 * The configuration of mailboxd: its tables of options, and the typed snapshot that they become.
 */
#ifndef MAILBOX_MAILBOX_CONFIG_H
#define MAILBOX_MAILBOX_CONFIG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "mailbox/boxes.h"
#include "mailbox/forward.h"
#include "relay/base/arena.h"
#include "relay/base/conf.h"
#include "relay/base/err.h"
#include "relay/daemon/node_config.h"

extern const struct conf_schema mailbox_config_schema;

/*
 * Immutable and counted: a session keeps the one it began with, and so does a delivery that
 * outlives its session.
 */
struct mailbox_config {
	atomic_uint holders;
	struct arena arena;
	struct node_config node;
	const char *spool;              /* directory of the journal */
	bool allow_volatile_spool;
	unsigned box_thread_count;
	uint64_t remember_ms;           /* of deliveries made, to absorb second arrivals */
	uint64_t memory_bytes_max;      /* of messages that arrive, before they go to files */
	uint32_t received_count_max;
	struct forward_route forward;
	struct boxes *boxes;
};

/* Reads and checks the file.  The error begins with "FILE:LINE: ". */
int mailbox_config_load(struct mailbox_config **config_out, const char *path, struct err *err);
int mailbox_config_from(struct mailbox_config **config_out, const struct conf *conf,
			struct err *err);
struct mailbox_config *mailbox_config_ref(struct mailbox_config *config);

/* Any thread.  Accepts an empty pointer and leaves one behind. */
void mailbox_config_unref(struct mailbox_config **config);

/*
 * What of NEXT cannot be taken over without a restart, as text for the log; "" if all can.
 */
const char *mailbox_config_needs_restart(const struct mailbox_config *now,
					 const struct mailbox_config *next);

#endif
