#include "tests/sim/faults.h"

#include <string.h>

#include "tests/sim/network.h"
#include "tests/sim/wire.h"

enum {
	LASTS_US_MAX = 120 * 1000 * 1000,
	DOWN_US_MAX = 60 * 1000 * 1000,
	CALLS_MAX = 400,
	CLOCK_STEP_S_MAX = 3600,       /* across a restart more is not told from an outage */
};

/* Something of a node that is wrong until its event comes. */
struct lasting {
	struct sim_event end;
	size_t node, other;
};

struct faults {
	struct sim_event next;
	uint64_t until_us, mean_us;
	struct lasting down[SIM_NODES], full[SIM_NODES], partition;
	struct faults_count count;
	bool lenient;                   /* until faults_end() */
	struct err dead;
};

/* Of the one world. */
static struct faults faults;

static void
start_again(size_t node)
{
	if (network_host(node)->up || faults.dead.kind != ERR_NONE)
		return;
	if (network_restart(node, &faults.dead) == 0) {
		faults.dead.kind = ERR_NONE;
		return;
	}
	/* On a disk that is full or fails it may refuse; then it is started again later. */
	sim_host_crash(network_host(node), false);
	if (faults.lenient)
		faults.dead.kind = ERR_NONE;
}

static void
down_ends(void *ctx)
{
	struct lasting *lasting = ctx;

	start_again(lasting->node);
	/* It may have been doomed in its first moments. */
	if (!network_host(lasting->node)->up && faults.dead.kind == ERR_NONE)
		sim_event_start(&lasting->end, sim_between(1000, DOWN_US_MAX));
}

/* Spool, journal and boxes of one machine lie on one file system. */
static void
set_full(size_t node, bool full)
{
	sim_store_set_full(network_store(node), full);
	if (network_boxes(node))
		sim_store_set_full(network_boxes(node), full);
}

/* One of its disks: a fault at a call of the journal is another than one at a call of a box. */
static struct sim_store *
pick_store(size_t node)
{
	struct sim_store *boxes = network_boxes(node);

	return boxes && sim_chance(1, 2) ? boxes : network_store(node);
}

static void
full_ends(void *ctx)
{
	set_full(((struct lasting *)ctx)->node, false);
}

static void
partition_ends(void *ctx)
{
	struct lasting *lasting = ctx;

	sim_path_set(network_host(lasting->node), network_host(lasting->other), true);
}

/* ---- one fault */

static void
crash(size_t node)
{
	bool power = sim_chance(1, 2);

	if (!network_host(node)->up)
		return;
	if (power)
		faults.count.power_cuts++;
	else
		faults.count.crashes++;
	if (sim_chance(2, 3))
		sim_store_crash_at(pick_store(node), sim_between(1, CALLS_MAX), power);
	else
		sim_host_crash(network_host(node), power);
	sim_event_start(&faults.down[node].end, sim_between(1000, DOWN_US_MAX));
}

static void
part(size_t node)
{
	size_t other = (node + 1 + sim_between(0, SIM_NODES - 2)) % SIM_NODES;

	partition_ends(&faults.partition);
	faults.partition.node = node;
	faults.partition.other = other;
	faults.count.partitions++;
	sim_path_set(network_host(node), network_host(other), false);
	sim_event_start(&faults.partition.end, sim_between(1000, LASTS_US_MAX));
}

static void
fill_disk(size_t node)
{
	faults.count.full_disks++;
	set_full(node, true);
	sim_event_start(&faults.full[node].end, sim_between(1000, LASTS_US_MAX));
}

static void
step_clock(size_t node)
{
	int64_t step_s = (int64_t)sim_between(0, 2 * CLOCK_STEP_S_MAX) - CLOCK_STEP_S_MAX;

	faults.count.clock_steps++;
	network_host(node)->wall_skew_us = step_s * 1000000;
}

static void
something_happens(void *ctx)
{
	size_t node = sim_between(0, SIM_NODES - 1);

	(void)ctx;
	switch (sim_between(0, 9)) {
	case 0:
	case 1:
	case 2:
	case 3:
		crash(node);
		break;
	case 4:
	case 5:
		part(node);
		break;
	case 6:
	case 7:
		faults.count.cuts++;
		sim_wire_cut_one();
		break;
	case 8:
		if (sim_chance(1, 2)) {
			fill_disk(node);
			break;
		}
		faults.count.failed_syncs++;
		sim_store_fail_syncs(pick_store(node), (unsigned)sim_between(1, 2));
		break;
	default:
		step_clock(node);
	}
	if (sim_now_us() < faults.until_us)
		sim_event_start(&faults.next, sim_between(1, 2 * faults.mean_us));
}

void
faults_begin(uint64_t duration_us, uint64_t mean_us)
{
	memset(&faults, 0, sizeof(faults));
	faults.lenient = true;
	faults.until_us = sim_now_us() + duration_us;
	faults.mean_us = mean_us;
	for (size_t i = 0; i < SIM_NODES; i++) {
		faults.down[i].node = faults.full[i].node = i;
		sim_event_init(&faults.down[i].end, down_ends, &faults.down[i]);
		sim_event_init(&faults.full[i].end, full_ends, &faults.full[i]);
	}
	sim_event_init(&faults.partition.end, partition_ends, &faults.partition);
	sim_event_init(&faults.next, something_happens, NULL);
	sim_event_start(&faults.next, sim_between(1, 2 * mean_us));
}

/* No crash and no failed sync to come. */
static void
forgive(struct sim_store *store)
{
	sim_store_crash_at(store, 0, false);
	sim_store_fail_syncs(store, 0);
}

void
faults_end(void)
{
	faults.lenient = false;
	sim_event_stop(&faults.next);
	partition_ends(&faults.partition);
	for (size_t i = 0; i < SIM_NODES; i++) {
		sim_event_stop(&faults.down[i].end);
		sim_event_stop(&faults.full[i].end);
		set_full(i, false);
		forgive(network_store(i));
		if (network_boxes(i))
			forgive(network_boxes(i));
		network_host(i)->wall_skew_us = 0;
		start_again(i);
	}
}

struct faults_count
faults_counted(void)
{
	return faults.count;
}

bool
faults_found_dead(struct err *err_out)
{
	if (faults.dead.kind == ERR_NONE)
		return false;
	*err_out = faults.dead;
	return true;
}
