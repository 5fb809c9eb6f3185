#include "tests/sim/wire.h"

#include <string.h>

#include "relay/base/container_of.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

enum {
	WINDOW_BYTES = 48 << 10,
	LATENCY_US_MIN = 50,
	LATENCY_US_MAX = 20 * 1000,
	PACKET_BYTES_MAX = 16 << 10,
	HELD_LOOK_US = 200 * 1000,      /* a closed path is looked at again so often */
	HELD_US_MAX = 900 * 1000 * 1000, /* then TCP itself gives up */
	CRASH_NEWS_US_MAX = 3 * 1000 * 1000,
};

STAILQ_HEAD(packets, sim_packet);

/* One direction. */
struct way {
	struct sim_wire *wire;
	struct packets under_way, arrived;
	size_t bytes;                   /* in both */
	uint64_t last_due_us;
	uint64_t held_since_us;
	struct sim_event arrival;
	bool deaf;                      /* nobody is there to take anything, and nobody says so */
};

struct sim_wire {
	LIST_ENTRY(sim_wire) entry;
	struct sim_host *hosts[2];
	struct conn *conns[2];
	bool tied[2], left[2];
	struct way ways[2];             /* [side]: what that side sends */
};

/* Kept with the world's pointer, for the same reason. */
static LIST_HEAD(wires, sim_wire) wires;

static void packet_arrives(void *ctx);

struct sim_wire *
sim_wire_new(struct sim_host *from, struct sim_host *to)
{
	struct sim_wire *wire = mem_alloc(sizeof(*wire));

	wire->hosts[0] = from;
	wire->hosts[1] = to;
	for (int side = 0; side < 2; side++) {
		struct way *way = &wire->ways[side];

		way->wire = wire;
		STAILQ_INIT(&way->under_way);
		STAILQ_INIT(&way->arrived);
		sim_event_init(&way->arrival, packet_arrives, way);
	}
	LIST_INSERT_HEAD(&wires, wire, entry);
	return wire;
}

void
sim_wire_tie(struct sim_wire *wire, int side, struct conn *conn)
{
	wire->conns[side] = conn;
	wire->tied[side] = true;
}

static void
drop_packets(struct packets *packets)
{
	struct sim_packet *packet;

	while ((packet = STAILQ_FIRST(packets))) {
		STAILQ_REMOVE_HEAD(packets, entry);
		mem_free(&packet);
	}
}

static void
wire_free_if_left(struct sim_wire *wire)
{
	if (!wire->left[0] || !wire->left[1])
		return;
	for (int side = 0; side < 2; side++) {
		sim_event_stop(&wire->ways[side].arrival);
		drop_packets(&wire->ways[side].under_way);
		drop_packets(&wire->ways[side].arrived);
	}
	LIST_REMOVE(wire, entry);
	mem_free(&wire);
}

size_t
sim_wire_room(const struct sim_wire *wire, int side)
{
	size_t bytes = wire->ways[side].bytes;

	return bytes < WINDOW_BYTES ? WINDOW_BYTES - bytes : 0;
}

static void
send_packet(struct sim_wire *wire, int side, enum sim_packet_kind kind, struct span bytes)
{
	struct way *way = &wire->ways[side];
	struct sim_packet *packet;
	uint64_t due_us;

	if (wire->hosts[side]->doomed)
		return;                         /* its last words were said before */
	packet = mem_alloc(sizeof(*packet) + bytes.len);
	due_us = sim_now_us() + sim_between(LATENCY_US_MIN, LATENCY_US_MAX);

	packet->kind = kind;
	packet->len = bytes.len;
	memcpy(packet->data, bytes.data, bytes.len);
	way->last_due_us = due_us > way->last_due_us ? due_us : way->last_due_us;
	packet->due_us = way->last_due_us;
	way->bytes += bytes.len;
	if (STAILQ_EMPTY(&way->under_way))
		sim_event_start(&way->arrival, packet->due_us - sim_now_us());
	STAILQ_INSERT_TAIL(&way->under_way, packet, entry);
}

/* Data is cut into packets at any octet. */
void
sim_wire_send(struct sim_wire *wire, int side, enum sim_packet_kind kind, struct span bytes)
{
	if (kind != SIM_DATA) {
		send_packet(wire, side, kind, bytes);
		return;
	}
	while (bytes.len > 0) {
		size_t len = bytes.len < PACKET_BYTES_MAX ? bytes.len : PACKET_BYTES_MAX;

		if (len > 1 && sim_chance(1, 4))
			len = sim_between(1, len);
		send_packet(wire, side, kind, span_first(bytes, len));
		bytes = span_skip(bytes, len);
	}
}

/* Both sides learn that it is over; what had arrived may still be read, or not. */
static void
break_wire(struct sim_wire *wire, bool tell_first, bool tell_second)
{
	const bool tell[2] = { tell_second, tell_first };       /* by the way that leads there */

	for (int side = 0; side < 2; side++) {
		struct way *way = &wire->ways[side];

		drop_packets(&way->under_way);
		sim_event_stop(&way->arrival);
		if (tell[side] && !wire->left[!side])
			send_packet(wire, side, SIM_RESET, SPAN(""));
		else
			way->deaf = true;
	}
}

static void
packet_arrives(void *ctx)
{
	struct way *way = ctx;
	struct sim_wire *wire = way->wire;
	int to = way == &wire->ways[0] ? 1 : 0;
	struct sim_packet *packet = STAILQ_FIRST(&way->under_way);

	if (!sim_path_is_open(wire->hosts[0], wire->hosts[1]) && packet->kind != SIM_RESET) {
		if (way->held_since_us == 0)
			way->held_since_us = sim_now_us();
		if (sim_now_us() - way->held_since_us > HELD_US_MAX)
			break_wire(wire, true, true);
		else
			sim_event_start(&way->arrival, HELD_LOOK_US);
		return;
	}
	way->held_since_us = 0;
	STAILQ_REMOVE_HEAD(&way->under_way, entry);
	if (!STAILQ_EMPTY(&way->under_way)) {
		uint64_t due_us = STAILQ_FIRST(&way->under_way)->due_us;

		sim_event_start(&way->arrival, due_us > sim_now_us() ? due_us - sim_now_us() : 0);
	}
	if (wire->left[to] || way->deaf) {
		bool answer = packet->kind == SIM_DATA && !way->deaf && !wire->left[!to];

		way->bytes -= packet->len;
		mem_free(&packet);
		if (answer)
			send_packet(wire, to, SIM_RESET, SPAN(""));
		return;
	}
	STAILQ_INSERT_TAIL(&way->arrived, packet, entry);
	if (wire->tied[to])
		sim_conn_arrived(wire->conns[to]);
}

struct sim_packet *
sim_wire_first(struct sim_wire *wire, int side)
{
	return STAILQ_FIRST(&wire->ways[!side].arrived);
}

void
sim_wire_take(struct sim_wire *wire, int side, size_t len)
{
	struct way *way = &wire->ways[!side];
	struct sim_packet *packet = STAILQ_FIRST(&way->arrived);

	must(packet && len <= packet->len - packet->taken);
	packet->taken += len;
	way->bytes -= len;
	if (packet->taken == packet->len) {
		STAILQ_REMOVE_HEAD(&way->arrived, entry);
		mem_free(&packet);
	}
	if (len > 0 && wire->tied[!side] && !wire->left[!side])
		sim_conn_has_room(wire->conns[!side]);
}

void
sim_wire_leave(struct sim_wire *wire, int side)
{
	bool unread = !STAILQ_EMPTY(&wire->ways[!side].arrived);

	must(!wire->left[side]);
	wire->left[side] = true;
	if (!wire->left[!side])
		send_packet(wire, side, unread ? SIM_RESET : SIM_FIN, SPAN(""));
	wire_free_if_left(wire);
}

void
sim_wires_of_crashed(struct sim_host *host)
{
	struct sim_wire *wire, *next;

	for (wire = LIST_FIRST(&wires); wire; wire = next) {
		next = LIST_NEXT(wire, entry);
		for (int side = 0; side < 2; side++) {
			if (wire->hosts[side] != host || wire->left[side])
				continue;
			wire->left[side] = true;
			if (wire->left[!side])
				break;
			/* A kernel that lives on says so; one that lost its power does not. */
			if (sim_chance(2, 3))
				send_packet(wire, side, SIM_RESET, SPAN(""));
			else
				wire->ways[!side].deaf = true;
		}
		wire_free_if_left(wire);
	}
}

void
sim_wire_cut_one(void)
{
	struct sim_wire *wire;
	size_t count = 0, chosen;

	LIST_FOREACH(wire, &wires, entry)
		count++;
	if (count == 0)
		return;
	chosen = sim_between(0, count - 1);
	LIST_FOREACH(wire, &wires, entry)
		if (chosen-- == 0)
			break;
	/* One side may wait for its own patience to end. */
	break_wire(wire, sim_chance(3, 4), sim_chance(3, 4));
}

void
sim_wires_forget(void)
{
	LIST_INIT(&wires);
}
