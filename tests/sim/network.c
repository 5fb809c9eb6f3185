#include "tests/sim/network.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mailbox/node.h"
#include "relay/base/buf.h"
#include "relay/base/file.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/relay.h"
#include "tests/sim/loop_private.h"

struct machine {
	struct sim_host *host;
	struct sim_store *store;        /* the spool, or the journal */
	struct sim_store *boxes;        /* of a mailbox node */
	struct relay *relay;
	struct node *node;
	char config_path[96];
	struct disk *disk;
	struct relay_embedding relay_embedding;
	struct node_embedding node_embedding;
};

struct sim_network {
	struct machine machines[SIM_NODES];
	struct sim_host *client;
};

static struct sim_network *network;

/* The directory of settings, made once. */
static char directory[64];

static const char *const names[SIM_NODES] = {
	"relay1.sim", "relay2.sim", "relay3.sim", "box1.sim", "box2.sim",
};

/* ---- settings */

static int
write_config(size_t node, const char *text, struct err *err)
{
	char path[96];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s.conf", directory, names[node]);
	fd = file_open_at(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL, 0600, err);
	if (fd < 0 || file_write_all(fd, span_from_cstr(text), err) < 0)
		return -1;
	file_close(&fd);
	return 0;
}

#define NODE_SECTION                                                                           \
	"node { hostname = \"%s\"  spool = \"%s\"  control = \"%s/control\"  workers = %d }\n"  \
	"tls \"own\" { certificate = \"%s.pem\"  key = \"%s.key\"  ca = \"ca.pem\" }\n"

static int
write_relay(size_t node, const char *routes, struct err *err)
{
	const char *name = names[node];
	char *text = mem_format(NODE_SECTION
	    "listener \"mx\" { address = {\"198.18.0.%zu:25\"}  tls = starttls }\n"
	    "accept { relay_from = {\"198.18.0.0/24\"} }\n"
	    "queue { segment = 64k  reserve = 1M  body_memory = 1M  floor = 1M }\n"
	    "%s", name, directory, directory, node == 0 ? 2 : 1, name, name, node + 2, routes);
	int result = write_config(node, text, err);

	mem_free(&text);
	return result;
}

/* The mailbox node of a user, from 0. */
static size_t
home_of(int user)
{
	return (size_t)user % SIM_BOXES;
}

const char *
network_domain_of(int user)
{
	return home_of(user) == 0 ? "example.net" : "example.com";
}

static int
write_mailbox(size_t box, struct err *err)
{
	size_t node = SIM_RELAYS + box;
	const char *name = names[node];
	struct buf text;
	char *head = mem_format(NODE_SECTION
	    "listener \"lmtp\" { address = {\"198.18.0.%zu:24\"}  protocol = lmtp"
	    "  tls = starttls }\n",
	    name, directory, directory, 1, name, name, node + 2);
	int result;

	buf_init(&text, 1 << 16);
	(void)buf_append_cstr(&text, head);
	for (int i = 0; i < SIM_USERS; i++)
		if (home_of(i) == box)
			(void)buf_appendf(&text, "box \"u%d@%s\" { file = \"%s/u%d\" }\n", i,
			    network_domain_of(i), directory, i);
	for (int i = 0; i < SIM_SENDERS && box == SIM_BOXES - 1; i++)
		(void)buf_appendf(&text, "box \"s%d@example.org\" { file = \"%s/s%d\" }\n", i,
		    directory, i);
	result = write_config(node, buf_cstr(&text), err);
	buf_fini(&text);
	mem_free(&head);
	return result;
}

int
network_prepare(struct err *err)
{
	static const char inner[] =
	    "route \"box1\" { for = {\"example.net\"}  via = lmtp"
	    "  to = {\"box1.sim:24\"}  tls = verify  own = yes }\n"
	    "route \"box2\" { for = {\"example.com\", \"example.org\"}  via = lmtp"
	    "  to = {\"box2.sim:24\"}  tls = verify  own = yes }\n";
	static const char outer[] =
	    "route \"onward\" { for = {\"example.net\", \"example.com\", \"example.org\"}"
	    "  via = smtp"
	    "  to = {\"relay2.sim:25\", \"relay3.sim:25\"}  tls = verify  own = yes }\n";

	(void)snprintf(directory, sizeof(directory), "/tmp/chapar-sim-XXXXXX");
	if (!mkdtemp(directory))
		return err_set_errno(err, "%s", directory);
	if (write_relay(0, outer, err) < 0 || write_relay(1, inner, err) < 0 ||
	    write_relay(2, inner, err) < 0)
		return -1;
	for (size_t box = 0; box < SIM_BOXES; box++)
		if (write_mailbox(box, err) < 0)
			return -1;
	return 0;
}

void
network_clean_up(void)
{
	char path[96];

	for (size_t i = 0; i < SIM_NODES; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s.conf", directory, names[i]);
		(void)unlink(path);
	}
	(void)rmdir(directory);
}

/* ---- life and death of a machine */

static int
start_relay(struct machine *machine, struct err *err)
{
	struct relay_settings settings = { .config_path = machine->config_path,
	    .clock = &machine->host->clock, .log_fd = -1,
	    .embedding = &machine->relay_embedding };
	struct relay_config *config = relay_config_load(machine->config_path, err);
	int code;

	if (!config)
		return -1;
	machine->relay_embedding = (struct relay_embedding){
		.disk = sim_store_spool(machine->store), .random = sim_random(),
	};
	machine->relay = relay_new(&settings, &config, &code, err);
	if (!machine->relay)
		return -1;
	relay_start(machine->relay);
	sim_loop_begin(relay_hub(machine->relay));
	return 0;
}

static int
start_mailbox(struct machine *machine, struct err *err)
{
	struct node_settings settings = { .config_path = machine->config_path,
	    .clock = &machine->host->clock, .log_fd = -1,
	    .embedding = &machine->node_embedding };
	struct mailbox_config *config;
	int code;

	if (mailbox_config_load(&config, machine->config_path, err) < 0)
		return -1;
	machine->node_embedding = (struct node_embedding){
		.journal_disk = sim_store_spool(machine->store),
		.box_disk = sim_store_boxes(machine->boxes), .random = sim_random(),
	};
	machine->node = node_new(&settings, &config, &code, err);
	if (!machine->node)
		return -1;
	node_start(machine->node);
	sim_loop_begin(node_hub(machine->node));
	return 0;
}

static int
start(size_t node, struct err *err)
{
	struct machine *machine = &network->machines[node];
	int result;

	machine->host->up = true;
	sim_host_enter(machine->host);
	result = node < SIM_RELAYS ? start_relay(machine, err) : start_mailbox(machine, err);
	sim_host_enter(NULL);
	if (machine->host->doomed) {
		/* Again, in its first moments. */
		sim_host_crash(machine->host, machine->host->power_lost);
		return 0;
	}
	return result < 0 ? err_wrap(err, "%s", machine->host->name) : 0;
}

/* What the daemon had in memory is not freed: nobody knows any more what it was. */
static void
machine_crashed(struct sim_host *host, void *ctx)
{
	struct machine *machine = ctx;

	(void)host;
	machine->relay = NULL;
	machine->node = NULL;
	sim_store_crash_now(machine->store, host->power_lost);
	if (machine->boxes)
		sim_store_crash_now(machine->boxes, host->power_lost);
}

int
network_begin(struct err *err)
{
	network = mem_alloc(sizeof(*network));
	network->client = sim_host_new("client.sim");
	for (size_t i = 0; i < SIM_NODES; i++) {
		struct machine *machine = &network->machines[i];

		machine->host = sim_host_new(names[i]);
		machine->host->crashed = machine_crashed;
		machine->host->ctx = machine;
		machine->store = sim_store_new(machine->host);
		if (i >= SIM_RELAYS)
			machine->boxes = sim_store_new(machine->host);
		(void)snprintf(machine->config_path, sizeof(machine->config_path), "%s/%s.conf",
		    directory, names[i]);
		if (start(i, err) < 0)
			return -1;
	}
	return 0;
}

void
network_end(void)
{
	for (size_t i = 0; i < SIM_NODES; i++) {
		sim_store_free(&network->machines[i].store);
		sim_store_free(&network->machines[i].boxes);
	}
	mem_free(&network);
}

struct sim_host *
network_client(void)
{
	return network->client;
}

struct sim_host *
network_host(size_t node)
{
	return network->machines[node].host;
}

struct sim_store *
network_store(size_t node)
{
	return network->machines[node].store;
}

struct sim_store *
network_boxes(size_t node)
{
	return network->machines[node].boxes;
}

int
network_restart(size_t node, struct err *err)
{
	struct machine *machine = &network->machines[node];

	must(!machine->host->up);
	sim_store_revive(machine->store);
	if (machine->boxes)
		sim_store_revive(machine->boxes);
	return start(node, err);
}

static size_t
waiting_in(const struct relay *relay)
{
	struct queue_stats stats;

	queue_stats(relay_queue(relay), &stats);
	return stats.message_count;
}

size_t
network_queued(void)
{
	size_t count = 0;

	for (size_t i = 0; i < SIM_NODES; i++) {
		if (!network->machines[i].host->up)
			return SIZE_MAX;
		if (network->machines[i].relay)
			count += waiting_in(network->machines[i].relay);
	}
	return count;
}

/* A file of one node; that both have it is as wrong as a file that none should have. */
bool
network_box(const char *user, const char **data_out, size_t *size_out)
{
	size_t found = 0;

	for (size_t node = SIM_RELAYS; node < SIM_NODES; node++)
		found += sim_store_read(network->machines[node].boxes, user, data_out, size_out);
	must(found <= 1);
	return found == 1;
}
