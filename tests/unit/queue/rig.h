#ifndef TESTS_UNIT_QUEUE_RIG_H
#define TESTS_UNIT_QUEUE_RIG_H

#include "tests/unit/queue/memory_disk.h"
#include "queue/queue.h"

/*
 * A queue on a disk in memory, on loops that stand still, with a record of what
 * it said.  rig_run() lets everything happen that can happen.
 */
#define RIG_EVENTS_MAX 4096

struct rig_event {
	char kind;                      /* 'o'ffered, 'r'evoked, 'c'hanged, 'p'ressure */
	queue_id id;
	struct queue_item item;
	bool had_envelope;
	enum queue_pressure pressure;
};

struct rig {
	struct memory_disk disk;
	struct clock_manual clock;
	struct random_seeded random;
	struct loop *hub;
	struct loop *worker;
	struct queue *queue;
	struct queue_port *port;        /* the worker's */
	struct queue_settings settings;
	struct queue_found found;
	struct rig_event events[RIG_EVENTS_MAX];
	size_t event_count;
};

/* Settings may be changed between the two. */
void rig_init(struct rig *rig);
void rig_open(struct rig *rig);

void rig_run(struct rig *rig);
void rig_close(struct rig *rig);

/* The process dies: another one finds the disk as it is now. */
void rig_crash(struct rig *rig);
void rig_fini(struct rig *rig);

size_t rig_count(const struct rig *rig, char kind);
const struct rig_event *rig_find(const struct rig *rig, char kind, queue_id id);
void rig_forget_events(struct rig *rig);

/* One answer. */
struct rig_answer {
	int count;
	enum queue_result result;
	struct envelope *envelope;
	uint32_t batch;
};

void rig_done(void *ctx, enum queue_result result);
void rig_got_envelope(void *ctx, enum queue_result result, struct envelope *envelope);
void rig_begun(void *ctx, enum queue_result result, uint32_t batch);

/* A message with a body of this size and pattern, to recipients "a,b,c"; waits for the answer. */
queue_id rig_send(struct rig *rig, const char *sender, const char *rcpts, size_t body_bytes,
    enum queue_result *result_out);
struct envelope *rig_envelope(const char *sender, const char *rcpts);

/* The pattern of a message's body. */
char rig_octet(queue_id id, size_t at);

/* Reads it whole and compares; the result of the reading, or CONFLICT for wrong octets. */
enum queue_result rig_read(struct rig *rig, queue_id id, size_t body_bytes);

/* One recipient's outcome, waited for. */
enum queue_result rig_outcome(struct rig *rig, queue_id id, uint32_t rcpt, enum rcpt_state state,
    const char *words);

size_t rig_listed(struct rig *rig);

#endif
