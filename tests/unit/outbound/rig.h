#ifndef TESTS_UNIT_OUTBOUND_RIG_H
#define TESTS_UNIT_OUTBOUND_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/queue.h"
#include "relay/base/random.h"
#include "relay/base/stats.h"
#include "relay/net/loop.h"
#include "relay/outbound/outbound.h"
#include "tests/unit/outbound/peer.h"

/*
 * A relay without its inbound side: a real queue in a directory of its own, the way out with
 * one worker, all on one loop.
 */
struct rig {
	char directory[64];
	struct loop *loop;
	struct disk *disk;
	struct queue *queue;
	struct queue_port *port;
	struct resolver *resolver;
	struct stats *stats;
	struct random random;
	struct outbound *outbound;
	struct retry_policy policy;
	size_t committed, offered;
	bool stopped;
	queue_id last_id;
};

void rig_open(struct rig *rig);
void rig_close(struct rig *rig);

/* Everything goes to these peers, the first being preferred. */
void rig_configure(struct rig *rig, const struct peer *peers, size_t peer_count, bool lmtp);

void rig_turn(struct rig *rig, unsigned turns);

/* Turns until the queue holds so many messages, or five seconds. */
void rig_until(struct rig *rig, uint64_t count);

/* A message to user0@example.net and so on, until it is durable and offered. */
void rig_submit(struct rig *rig, const char *sender, size_t rcpt_count, size_t body_bytes);

void rig_stop(struct rig *rig, uint64_t grace_ms);

#endif
