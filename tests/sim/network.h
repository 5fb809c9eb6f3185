#ifndef TESTS_SIM_NETWORK_H
#define TESTS_SIM_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/err.h"
#include "tests/sim/store.h"
#include "tests/sim/world.h"

/*
 * The network that is simulated, whole daemons with their real configurations:
 *
 *	client ---> relay1 ---> relay2 or relay3 ---> box1 (mailboxd) for example.net
 *	                                         ---> box2 (mailboxd) for example.com and .org
 *
 * with TLS between our own machines.  Any machine may crash and start again on its disk.
 */
enum {
	SIM_RELAYS = 3,
	SIM_BOXES = 2,                  /* mailbox nodes, numbered behind the relays */
	SIM_USERS = 6,                  /* u0 ... have a box, and no other */
	SIM_SENDERS = 3,                /* s0@example.org ... too, for notifications */
};

/* The domain of a user; half of them live on one mailbox node and half on the other. */
const char *network_domain_of(int user);

/* The settings of all daemons, written once a process into a directory of its own. */
int network_prepare(struct err *err);
void network_clean_up(void);

/* In the world that has begun; starts everything.  A failure is one of the daemons'. */
int network_begin(struct err *err);

/* Leaves the daemons' memory behind: the process that runs a world is a short-lived one. */
void network_end(void);

struct sim_host *network_client(void);

/* Our own machines: 0 to SIM_RELAYS - 1 are relays, then come the mailbox nodes. */
enum { SIM_NODES = SIM_RELAYS + SIM_BOXES };
struct sim_host *network_host(size_t node);

/* The disk of its spool or journal, and the one of its boxes (NULL: a relay). */
struct sim_store *network_store(size_t node);
struct sim_store *network_boxes(size_t node);

/* Starts a machine that crashed; an error is what the daemon said. */
int network_restart(size_t node, struct err *err);

/* Messages in the queues of relays that run; SIZE_MAX while a machine is down. */
size_t network_queued(void);

/* The mbox of a user ("u0") or sender ("s0"); false: there is none yet. */
bool network_box(const char *user, const char **data_out, size_t *size_out);

#endif
