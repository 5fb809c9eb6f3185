#ifndef TESTS_UNIT_QUEUE_CONTRACT_WORLD_H
#define TESTS_UNIT_QUEUE_CONTRACT_WORLD_H

#include <pthread.h>

#include "tests/unit/queue/contract.h"

/*
 * A queue of the factory's on real loops, both run by this thread in turn, with
 * a record of its events.  Every wait is bounded; a test fails when it ends.
 */
#define CONTRACT_EVENTS_MAX 4096

struct contract_event {
	char kind;                      /* 'o'ffered, 'r'evoked, 'c'hanged, 'p'ressure */
	queue_id id;
	bool had_envelope, found_at_start;
	void *user;
	int64_t due_ms;
	enum queue_pressure pressure;
};

struct contract {
	const struct contract_factory *factory;
	void *place;
	struct random random;
	struct loop *hub, *worker;
	struct queue *queue;
	struct queue_port *port;        /* the worker's */
	pthread_t thread;
	bool in_call;                   /* a call of the face is on the stack: no answer may come */
	struct contract_event events[CONTRACT_EVENTS_MAX];
	size_t event_count;
};

void contract_init(struct contract *world, const struct contract_factory *factory);
void contract_fini(struct contract *world);
void contract_open(struct contract *world);
void contract_close(struct contract *world);
void contract_reopen(struct contract *world);

/* One call's answer; checks that it came from the loop, on this thread. */
struct contract_answer {
	struct contract *world;
	int count;
	enum queue_result result;
	struct envelope *envelope;
	uint32_t batch;
	enum queue_transaction transaction;
	struct queue_draft *draft;
};

void contract_done(void *ctx, enum queue_result result);
void contract_got(void *ctx, enum queue_result result, struct envelope *envelope);
void contract_begun(void *ctx, enum queue_result result, uint32_t batch);
void contract_resumed(void *ctx, enum queue_result result, enum queue_transaction what,
    struct queue_draft *draft, struct span reply);

/* Brackets around a call: nothing may be answered between them. */
struct contract_answer contract_ask(struct contract *world);
void contract_asked(struct contract *world, const struct contract_answer *answer);

/* Turns until the answer came; then some more, to see that it came once. */
enum queue_result contract_wait(struct contract *world, const struct contract_answer *answer);
void contract_wait_event(struct contract *world, char kind, queue_id id);
void contract_turns(struct contract *world);

size_t contract_count(const struct contract *world, char kind, queue_id id);
const struct contract_event *contract_find(const struct contract *world, char kind, queue_id id);
void contract_forget(struct contract *world);

/* A message of this size to "a@x,b@y"; the body is a pattern of its id. */
struct envelope *contract_envelope(const char *sender, const char *rcpts);
struct queue_draft *contract_draft(struct contract *world, struct queue_port *port,
    queue_id id, size_t body_bytes);
queue_id contract_send(struct contract *world, const char *rcpts, size_t body_bytes);
enum queue_result contract_try_send(struct contract *world, const char *rcpts,
    size_t body_bytes, queue_id *id_out);

/* Reads the body; CONFLICT when an octet is wrong. */
enum queue_result contract_read(struct contract *world, queue_id id, size_t body_bytes);
struct envelope *contract_envelope_of(struct contract *world, queue_id id);
enum queue_result contract_outcome(struct contract *world, queue_id id, uint32_t rcpt,
    enum rcpt_state state, const char *words);

/* How often the id is in the list (0: all). */
size_t contract_listed(struct contract *world, queue_id id);

#endif
