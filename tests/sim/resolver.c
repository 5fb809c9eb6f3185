/* relay/net/resolver.h in the simulation: the names of the machines; now and then no answer. */
#include "relay/net/resolver.h"

#include <stdio.h>
#include <string.h>

#include "relay/base/buf.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "tests/sim/loop_private.h"

enum { ANSWER_US_MAX = 50 * 1000, NO_ANSWER_IN = 40 };

struct resolver {
	struct loop *loop;
};

struct resolver_client {
	struct loop *loop;
	LIST_HEAD(, resolver_question) questions;
};

struct resolver_question {
	LIST_ENTRY(resolver_question) entry;
	struct resolver_client *client;
	char name[HOST_BYTES_MAX];
	uint16_t port;
	bool mx;
	void (*answered)(void *ctx, const struct resolver_answer *answer);
	void *ctx;
	struct sim_event arrival;
	struct sim_ready ready;
};

struct resolver *
resolver_new(struct loop *loop, const struct resolver_settings *settings, struct err *err)
{
	struct resolver *resolver = mem_alloc(sizeof(*resolver));

	(void)settings;
	(void)err;
	resolver->loop = loop;
	return resolver;
}

void
resolver_free(struct resolver **resolver)
{
	mem_free(resolver);
}

struct resolver_client *
resolver_client_new(struct resolver *resolver, struct loop *loop)
{
	struct resolver_client *client = mem_alloc(sizeof(*client));

	(void)resolver;
	client->loop = loop;
	LIST_INIT(&client->questions);
	return client;
}

static void
question_free(struct resolver_question **question)
{
	sim_event_stop(&(*question)->arrival);
	sim_loop_not_ready((*question)->client->loop, &(*question)->ready);
	LIST_REMOVE(*question, entry);
	mem_free(question);
}

void
resolver_client_free(struct resolver_client **client)
{
	if (!*client)
		return;
	while (!LIST_EMPTY(&(*client)->questions)) {
		struct resolver_question *question = LIST_FIRST(&(*client)->questions);

		question_free(&question);
	}
	mem_free(client);
}

static void
answer(void *ctx)
{
	struct resolver_question *question = ctx;
	struct resolver_answer found = { .name = span_from_cstr(question->name), .ttl_s = 60 };
	struct sim_host *host = sim_host_by_name(found.name);
	struct endpoint address;

	if (endpoint_parse_ip(found.name, question->port, &address)) {
		found.addresses = &address;
		found.address_count = 1;
	} else if (sim_chance(1, NO_ANSWER_IN)) {
		found.status = RESOLVER_TEMPORARY;
		found.text = "no answer from any name server";
	} else if (!host || question->mx) {
		found.status = RESOLVER_TEMPORARY;
		found.text = "there is no such name here";
	} else {
		address = host->address;
		address.port = question->port;
		found.addresses = &address;
		found.address_count = 1;
	}
	question->answered(question->ctx, &found);
	question_free(&question);
}

static void
answer_arrives(void *ctx)
{
	struct resolver_question *question = ctx;

	sim_loop_ready(question->client->loop, &question->ready);
}

static struct resolver_question *
ask(struct resolver_client *client, struct span name, uint16_t port, bool mx,
    void (*answered)(void *ctx, const struct resolver_answer *answer), void *ctx)
{
	struct resolver_question *question = mem_alloc(sizeof(*question));

	question->client = client;
	question->port = port;
	question->mx = mx;
	question->answered = answered;
	question->ctx = ctx;
	(void)snprintf(question->name, sizeof(question->name), "%.*s", (int)name.len, name.data);
	question->ready = (struct sim_ready){ .run = answer, .ctx = question };
	sim_event_init(&question->arrival, answer_arrives, question);
	sim_event_start(&question->arrival, sim_between(10, ANSWER_US_MAX));
	LIST_INSERT_HEAD(&client->questions, question, entry);
	return question;
}

struct resolver_question *
resolver_ask_addresses(struct resolver_client *client, struct span name, uint16_t port,
    enum resolver_scope scope,
    void (*answered)(void *ctx, const struct resolver_answer *answer), void *ctx)
{
	(void)scope;
	return ask(client, name, port, false, answered, ctx);
}

struct resolver_question *
resolver_ask_mx(struct resolver_client *client, struct span name,
    void (*answered)(void *ctx, const struct resolver_answer *answer), void *ctx)
{
	return ask(client, name, 0, true, answered, ctx);
}

void
resolver_cancel(struct resolver_question **question)
{
	if (*question)
		question_free(question);
	*question = NULL;
}

const char *
resolver_status_name(enum resolver_status status)
{
	static const char *const names[] = { "ok", "nodata", "nxdomain", "temporary" };

	return names[status];
}
