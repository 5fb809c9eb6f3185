#include "relay/inbound/inbound_private.h"

#include "relay/base/mem.h"

enum {
	LOOK_MS = 500,                  /* how soon a change of the level is felt */
	BODY_BYTES_SECOND_MIN = 500,
	AMBER_ERROR_COUNT_MAX = 1,      /* of strangers */
};

/* ---- who comes in */

static bool
may_relay(const struct inbound_config *config, const uint8_t *ip)
{
	const struct policy_facts facts = {
		.client_ip = ip, .auth_user = SPAN(""), .sender = SPAN(""), .rcpt = SPAN(""),
	};

	return policy_may_relay(config->policy, &facts);
}

bool
inbound_admit(struct inbound_worker *worker, struct crew_worker *crew_worker,
    const struct crew_door *door, const struct endpoint *peer, const char **status_out,
    const char **words_out)
{
	const struct inbound_config *config = door->app;
	uint8_t ip[16];
	bool has_ip = endpoint_ip16(peer, ip);
	const struct gate_client client = {
		.ip = has_ip ? ip : NULL,
		.listener = span_from_cstr(door->listener->name),
		.may_relay = may_relay(config, has_ip ? ip : NULL),
	};
	size_t others = crew_session_count(crew_worker_crew(crew_worker)) - 1;
	enum gate_answer answer = gate_enter(worker->gate, config->gate, &client, others,
	    loop_now_ms(worker->loop));

	if (answer == GATE_ADMITTED)
		return true;
	*status_out = gate_answer_status(answer);
	*words_out = gate_answer_words(answer);
	return false;
}

void
inbound_enter(struct inbound *in)
{
	const struct gate_client client = {
		.ip = in->has_client_ip ? in->client_ip : NULL,
		.listener = span_from_cstr(in->door->listener->name),
		.may_relay = may_relay(in->config, in->has_client_ip ? in->client_ip : NULL),
	};

	in->standing = gate_standing(in->config->gate, &client);
	LIST_INSERT_HEAD(&in->worker->sessions, in, entry);
}

void
inbound_leave(struct inbound *in)
{
	const struct gate_client client = { .ip = in->has_client_ip ? in->client_ip : NULL };

	loop_timer_stop(in->worker->loop, &in->greeting);
	gate_leave(in->worker->gate, &client);
	LIST_REMOVE(in, entry);
}

/* ---- what they are served with */

static uint64_t
command_timeout_ms(const struct inbound *in, enum load_level level)
{
	uint64_t normal = in->door->limits->command_timeout_ms;
	uint64_t amber = in->config->gate->amber_command_timeout_ms;

	return level != LOAD_GREEN && in->standing == GATE_STRANGER && amber < normal
	    ? amber : normal;
}

void
inbound_fill_settings(const struct inbound *in, struct serve_settings *settings)
{
	const struct crew_door *door = in->door;
	const struct node_limits *limits = door->limits;
	struct smtp_server_settings *engine = &settings->engine;
	enum load_level level = gate_level(in->worker->gate);

	*settings = (struct serve_settings){
		.tls = door->tls,
		.tls_implicit = door->listener->tls == NODE_LISTENER_TLS_IMPLICIT,
		.command_timeout_ms = command_timeout_ms(in, level),
		.data_timeout_ms = limits->data_timeout_ms,
		.body_bytes_second_min = BODY_BYTES_SECOND_MIN,
	};
	smtp_server_settings_init(engine);
	engine->hostname = span_from_cstr(door->hostname);
	engine->lmtp = door->listener->protocol == NODE_PROTOCOL_LMTP;
	engine->offered = SMTP_CAPABILITIES_COMMON | SMTP_LIMITS;
	if (door->tls && !settings->tls_implicit)
		engine->offered |= SMTP_STARTTLS;
	engine->size_max = limits->message_bytes_max;
	engine->rcpt_count_max = limits->rcpt_count_max;
	engine->mail_count_max = limits->message_count_max;
	engine->error_count_max = limits->error_count_max;
	if (level != LOAD_GREEN && in->standing == GATE_STRANGER)
		engine->error_count_max = AMBER_ERROR_COUNT_MAX;
}

/* ---- the greeting of strangers under load */

static void
greeting_is_due(void *ctx)
{
	struct inbound *in = ctx;
	struct reply reply;

	reply_set(&reply, 220, "", "ready");
	serve_answer(in->serve, &reply);
}

bool
inbound_holds_greeting(struct inbound *in)
{
	uint64_t delay_ms = in->config->gate->amber_greeting_ms;

	if (in->standing != GATE_STRANGER || delay_ms == 0 ||
	    gate_level(in->worker->gate) == LOAD_GREEN)
		return false;
	loop_timer_init(&in->greeting, greeting_is_due, in);
	loop_timer_start(in->worker->loop, &in->greeting, delay_ms);
	return true;
}

/* ---- the level of load, for sessions that are there already */

static void
look_at_level(void *ctx)
{
	struct inbound_worker *worker = ctx;
	enum load_level level = gate_level(worker->gate);
	struct inbound *in;

	if ((level == LOAD_GREEN) != (worker->level == LOAD_GREEN))
		LIST_FOREACH(in, &worker->sessions, entry)
			if (in->standing == GATE_STRANGER)
				serve_set_command_timeout(in->serve, command_timeout_ms(in, level));
	worker->level = level;
	loop_timer_start(worker->loop, &worker->look, LOOK_MS);
}

/* ---- a worker's part */

struct inbound_worker *
inbound_worker_new(struct queue_port *port, struct loop *loop, struct gate *gate,
    struct work_pool *helpers, uint64_t node_id)
{
	struct inbound_worker *worker = mem_alloc(sizeof(*worker));

	worker->loop = loop;
	worker->gate = gate;
	worker->helpers = helpers;
	LIST_INIT(&worker->sessions);
	intake_set_init(&worker->intakes, port, loop, node_id);
	loop_timer_init(&worker->look, look_at_level, worker);
	loop_timer_start(loop, &worker->look, LOOK_MS);
	return worker;
}

struct queue_port *
inbound_worker_port(const struct inbound_worker *worker)
{
	return worker->intakes.port;
}

void
inbound_worker_free(struct inbound_worker **worker)
{
	if (!*worker)
		return;
	loop_timer_stop((*worker)->loop, &(*worker)->look);
	intake_set_fini(&(*worker)->intakes);
	mem_free(worker);
}
