#ifndef RELAY_INBOUND_GATE_H
#define RELAY_INBOUND_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/network.h"
#include "relay/base/span.h"
#include "relay/inbound/load.h"
#include "relay/inbound/rate.h"
#include "relay/mail/reply.h"

/*
 * Who may come in, and how much mail he may give: fairness between clients, and what is
 * done under load.  One for all workers.
 *
 * It has a lock, for the table of rates only: a share of it for each worker would let a
 * client do as much with each, and a question to the hub would cost every connection a
 * round trip.  Nothing is done under it but to look at one entry or two.  The level of
 * load is one atomic word, which the hub sets.
 */
struct gate;

struct gate_settings {
	/* Our own nodes: no rates, and served while there is anything left. */
	const struct network *own_networks;
	size_t own_network_count;
	const char *const *own_listeners;
	size_t own_listener_count;

	/* For strangers, who may not relay by their address. */
	struct rate_limit address;              /* connections */
	struct rate_limit network;
	uint32_t network_connection_count_max;  /* at one time; 0: no limit */
	uint32_t amber_network_connection_count_max;
	uint64_t amber_greeting_ms;             /* they wait so long for the greeting */

	/* For everybody but our own nodes. */
	struct rate_limit user;                 /* messages */
	struct rate_limit sender;
	uint64_t amber_command_timeout_ms;
	uint32_t connection_count_max;          /* of the node, as the limits have it */
	struct load_limits load;
};

enum gate_standing {
	GATE_OWN,                       /* a node of ours */
	GATE_KNOWN,                     /* may relay by its address */
	GATE_STRANGER,
};

/* Ended by GATE_ANSWER_COUNT; the names are keys of the status. */
enum gate_answer {
	GATE_ADMITTED,
	GATE_RED,
	GATE_AMBER,
	GATE_ADDRESS_RATE,
	GATE_NETWORK_RATE,
	GATE_NETWORK_COUNT,
	GATE_USER_RATE,
	GATE_SENDER_RATE,
	GATE_ANSWER_COUNT,
};

struct gate_client {
	const uint8_t *ip;              /* 16 octets; NULL: a unix socket */
	struct span listener;
	bool may_relay;                 /* by its address */
};

struct gate *gate_new(uint64_t seed);
void gate_free(struct gate **gate);

enum gate_standing gate_standing(const struct gate_settings *settings,
    const struct gate_client *client);

/*
 * A connection was accepted; CONNECTION_COUNT are there without it.  GATE_ADMITTED wants
 * a gate_leave().  Any worker.
 */
enum gate_answer gate_enter(struct gate *gate, const struct gate_settings *settings,
    const struct gate_client *client, size_t connection_count, uint64_t now_ms);
void gate_leave(struct gate *gate, const struct gate_client *client);

/* What the one turned away is told, behind "421 4.x.y host "; always a matter of time. */
const char *gate_answer_status(enum gate_answer answer);
const char *gate_answer_words(enum gate_answer answer);
const char *gate_answer_name(enum gate_answer answer);

/* MAIL: false with a 4yz in reply_out. */
bool gate_mail(struct gate *gate, const struct gate_settings *settings,
    enum gate_standing standing, struct span user, struct span sender, uint64_t now_ms,
    struct reply *reply_out);

/* The hub says how things stand; the others ask. */
void gate_set_level(struct gate *gate, enum load_level level);
enum load_level gate_level(const struct gate *gate);

/* How often each answer was given. */
uint64_t gate_count(const struct gate *gate, enum gate_answer answer);

#endif
