#ifndef TESTS_SIM_WIRE_H
#define TESTS_SIM_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "relay/base/span.h"
#include "relay/net/conn.h"
#include "tests/sim/world.h"

/*
 * What lies between the two ends of a connection: packets on their way, in order, each with the
 * time it takes; a window that bounds them; and what may happen to them.  An end that is gone
 * answers data with a reset.
 */
struct sim_wire;

enum sim_packet_kind {
	SIM_DATA,
	SIM_FIN,
	SIM_RESET,
	SIM_HELLO,              /* TLS: the client's first words, who it is */
	SIM_ANSWER,             /* TLS: the server's */
};

struct sim_packet {
	STAILQ_ENTRY(sim_packet) entry;
	enum sim_packet_kind kind;
	uint64_t due_us;
	size_t len;
	size_t taken;           /* octets of it that were consumed */
	char data[];
};

/* Makes the wire between two machines; both ends are silent until they are tied to a conn. */
struct sim_wire *sim_wire_new(struct sim_host *from, struct sim_host *to);

/* SIDE is 0 for the one that dialled, 1 for the one that accepted. */
void sim_wire_tie(struct sim_wire *wire, int side, struct conn *conn);

/* How many octets that side may still send. */
size_t sim_wire_room(const struct sim_wire *wire, int side);
void sim_wire_send(struct sim_wire *wire, int side, enum sim_packet_kind kind, struct span bytes);

/* The next packet that has arrived at that side; NULL: none. */
struct sim_packet *sim_wire_first(struct sim_wire *wire, int side);

/* LEN octets of the first packet are consumed; a packet without octets goes with 0. */
void sim_wire_take(struct sim_wire *wire, int side, size_t len);

/* The conn of that side is gone; the wire goes with the second one. */
void sim_wire_leave(struct sim_wire *wire, int side);

/* Every wire of a machine that crashed: its side is gone, and the peer hears so or not. */
void sim_wires_of_crashed(struct sim_host *host);

/* Cuts one wire by chance: both sides get a reset, what was on its way is lost from some point. */
void sim_wire_cut_one(void);

/* The world ends. */
void sim_wires_forget(void);

/* Called by the wire for the conn at its end. */
void sim_conn_arrived(struct conn *conn);       /* a packet is there to be read */
void sim_conn_has_room(struct conn *conn);      /* more may be sent */

/* A silent connection on that side. */
struct conn *sim_conn_new(struct sim_wire *wire, int side, const struct endpoint *peer,
    const struct endpoint *local);

#endif
