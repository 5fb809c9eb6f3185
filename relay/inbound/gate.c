#include "relay/inbound/gate.h"

#include <pthread.h>
#include <stdatomic.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"

enum { SLOT_COUNT = 1 << 16 };

struct gate {
	atomic_int level;
	atomic_uint_fast64_t counts[GATE_ANSWER_COUNT];
	pthread_mutex_t lock;           /* guards the table */
	struct rate_table *table;
};

struct gate *
gate_new(uint64_t seed)
{
	struct gate *gate = mem_alloc(sizeof(*gate));

	atomic_init(&gate->level, LOAD_GREEN);
	for (size_t i = 0; i < GATE_ANSWER_COUNT; i++)
		atomic_init(&gate->counts[i], 0);
	must(pthread_mutex_init(&gate->lock, NULL) == 0);
	gate->table = rate_table_new(SLOT_COUNT, seed);
	return gate;
}

void
gate_free(struct gate **gate)
{
	if (!*gate)
		return;
	rate_table_free(&(*gate)->table);
	(void)pthread_mutex_destroy(&(*gate)->lock);
	mem_free(gate);
}

static struct rate_table *
lock(struct gate *gate)
{
	must(pthread_mutex_lock(&gate->lock) == 0);
	return gate->table;
}

static void
unlock(struct gate *gate)
{
	must(pthread_mutex_unlock(&gate->lock) == 0);
}

static enum gate_answer
answer(struct gate *gate, enum gate_answer what)
{
	atomic_fetch_add_explicit(&gate->counts[what], 1, memory_order_relaxed);
	return what;
}

enum gate_standing
gate_standing(const struct gate_settings *settings, const struct gate_client *client)
{
	for (size_t i = 0; i < settings->own_listener_count; i++)
		if (span_equal_cstr(client->listener, settings->own_listeners[i]))
			return GATE_OWN;
	for (size_t i = 0; client->ip && i < settings->own_network_count; i++)
		if (network_has(&settings->own_networks[i], client->ip))
			return GATE_OWN;
	return client->may_relay || !client->ip ? GATE_KNOWN : GATE_STRANGER;
}

/* What the load says, before anything is counted. */
static enum load_level
level_now(const struct gate *gate, const struct gate_settings *settings,
    size_t connection_count)
{
	enum load_level level = gate_level(gate);
	enum load_level live = load_level_of(&settings->load, connection_count,
	    settings->connection_count_max);

	return live > level ? live : level;
}

static enum gate_answer
judge_stranger(struct rate_table *table, const struct gate_settings *settings,
    const struct gate_client *client, enum load_level level, uint64_t now_ms)
{
	struct span address = span_make(client->ip, 16);
	struct span network = rate_network_key(client->ip);
	uint32_t count_max = settings->network_connection_count_max;

	if (level == LOAD_AMBER && settings->amber_network_connection_count_max > 0 &&
	    rate_count(table, RATE_NETWORK, network) >=
	    settings->amber_network_connection_count_max)
		return GATE_AMBER;
	if (!rate_take(table, RATE_ADDRESS, address, &settings->address, now_ms))
		return GATE_ADDRESS_RATE;
	if (!rate_take(table, RATE_NETWORK, network, &settings->network, now_ms))
		return GATE_NETWORK_RATE;
	if (!rate_enter(table, RATE_NETWORK, network, count_max, now_ms))
		return GATE_NETWORK_COUNT;
	return GATE_ADMITTED;
}

enum gate_answer
gate_enter(struct gate *gate, const struct gate_settings *settings,
    const struct gate_client *client, size_t connection_count, uint64_t now_ms)
{
	enum gate_standing standing = gate_standing(settings, client);
	enum load_level level = level_now(gate, settings, connection_count);
	enum gate_answer result = GATE_ADMITTED;

	if (standing != GATE_OWN && level == LOAD_RED)
		return answer(gate, GATE_RED);
	if (client->ip) {
		struct rate_table *table = lock(gate);

		if (standing == GATE_STRANGER)
			result = judge_stranger(table, settings, client, level, now_ms);
		else
			(void)rate_enter(table, RATE_NETWORK, rate_network_key(client->ip), 0,
			    now_ms);
		unlock(gate);
	}
	return answer(gate, result);
}

void
gate_leave(struct gate *gate, const struct gate_client *client)
{
	if (!client->ip)
		return;
	rate_leave(lock(gate), RATE_NETWORK, rate_network_key(client->ip));
	unlock(gate);
}

const char *
gate_answer_status(enum gate_answer what)
{
	return what == GATE_RED || what == GATE_AMBER ? "4.3.2" : "4.7.0";
}

const char *
gate_answer_words(enum gate_answer what)
{
	switch (what) {
	case GATE_RED:
	case GATE_AMBER:
		return "too busy, try again later";
	case GATE_ADDRESS_RATE:
		return "your address connects too often, try again later";
	case GATE_NETWORK_RATE:
		return "your network connects too often, try again later";
	case GATE_NETWORK_COUNT:
		return "too many connections from your network, try again later";
	case GATE_USER_RATE:
		return "you send too much at once, try again later";
	case GATE_SENDER_RATE:
		return "this sender sends too much at once, try again later";
	case GATE_ADMITTED:
	case GATE_ANSWER_COUNT:
		break;
	}
	must_not_reach();
}

const char *
gate_answer_name(enum gate_answer what)
{
	static const char *const names[GATE_ANSWER_COUNT] = {
		[GATE_ADMITTED] = "admitted",
		[GATE_RED] = "red",
		[GATE_AMBER] = "amber",
		[GATE_ADDRESS_RATE] = "address_rate",
		[GATE_NETWORK_RATE] = "network_rate",
		[GATE_NETWORK_COUNT] = "network_connections",
		[GATE_USER_RATE] = "user_rate",
		[GATE_SENDER_RATE] = "sender_rate",
	};

	must(what < GATE_ANSWER_COUNT);
	return names[what];
}

bool
gate_mail(struct gate *gate, const struct gate_settings *settings, enum gate_standing standing,
    struct span user, struct span sender, uint64_t now_ms, struct reply *reply_out)
{
	enum gate_answer result = GATE_ADMITTED;
	struct rate_table *table;

	if (standing == GATE_OWN)
		return true;
	if (gate_level(gate) == LOAD_RED) {
		(void)answer(gate, GATE_RED);
		reply_set(reply_out, 452, "4.3.1", "%s", gate_answer_words(GATE_RED));
		return false;
	}
	/* Everybody's notifications have the same sender: that would be a limit for all. */
	bool by_sender = settings->sender.minute_count > 0 && !span_is_empty(sender);
	bool by_user = settings->user.minute_count > 0 && !span_is_empty(user);

	if (!by_sender && !by_user)
		return true;
	table = lock(gate);
	if (by_user && !rate_take(table, RATE_USER, user, &settings->user, now_ms))
		result = GATE_USER_RATE;
	else if (by_sender && !rate_take(table, RATE_SENDER, sender, &settings->sender, now_ms))
		result = GATE_SENDER_RATE;
	unlock(gate);
	if (result == GATE_ADMITTED)
		return true;
	(void)answer(gate, result);
	reply_set(reply_out, 450, "4.7.1", "%s", gate_answer_words(result));
	return false;
}

void
gate_set_level(struct gate *gate, enum load_level level)
{
	atomic_store(&gate->level, (int)level);
}

enum load_level
gate_level(const struct gate *gate)
{
	return (enum load_level)atomic_load(&gate->level);
}

uint64_t
gate_count(const struct gate *gate, enum gate_answer what)
{
	return atomic_load_explicit(&gate->counts[what], memory_order_relaxed);
}
