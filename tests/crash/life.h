#ifndef TESTS_CRASH_LIFE_H
#define TESTS_CRASH_LIFE_H

#include <sys/queue.h>

#include "relay/base/clock.h"
#include "tests/crash/chance.h"
#include "tests/crash/disk.h"
#include "tests/crash/model.h"
#include "tests/unit/queue/fake_loop.h"

/*
 * One process on one disk: the real queue on loops that stand still, and what
 * somebody outside of it knows.  Everything in it is a function of its seed and
 * of the disk and the model that it was given.
 */

/* What a whole seed is about. */
enum profile {
	PROFILE_PLAIN,
	PROFILE_FAULTS,                 /* syncs and writes fail, and lie afterwards */
	PROFILE_FULL,                   /* the disk is small and fills up */
	PROFILE_NO_POWER_SAFE,          /* a sector under write takes its page with it */
	PROFILE_COUNT
};

const char *profile_name(enum profile profile);

enum { LIFE_DRAFTS_MAX = 3, LIFE_READS_MAX = 2 };

/* The first thing that was wrong; what follows from it is of no interest. */
struct violation {
	bool is_found;
	char text[240];
};

void violate(struct violation *violation, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

struct life;

/* A question that is not answered yet. */
struct ask {
	TAILQ_ENTRY(ask) link;
	struct life *life;
	int message;
	uint8_t change;
};

struct life_draft {
	struct queue_draft *draft;      /* NULL: none */
	struct life *life;
	int message;
	uint32_t at;
};

/* A body that is read while other things happen. */
struct life_read {
	struct queue_body_reader *reader;
	struct life *life;
	int message;
	uint32_t at;
	bool may_go_on;                 /* it waits for us */
	bool is_wrong;
};

struct life {
	uint64_t seed;
	enum profile profile;
	struct violation *violation;
	struct crash_disk *disk;
	struct model *model;

	struct fake_process process, outer;
	struct clock_manual clock;
	struct random_seeded random;
	struct loop *hub, *worker;
	struct queue_settings settings;
	struct queue_found found;
	struct queue *queue;
	struct queue_port *port;
	TAILQ_HEAD(, ask) asks;
	struct life_draft drafts[LIFE_DRAFTS_MAX];
	struct life_read reads[LIFE_READS_MAX];
	bool is_fresh;                  /* nothing was done since the start */
	bool had_no_log;                /* PRESSURE_NO_LOG was said */
	uint32_t promised_count;        /* outcomes that the reserve must still take */
	struct chance steps;
};

/* The disk and the model are lent. */
void life_init(struct life *life, uint64_t seed, enum profile profile, struct crash_disk *disk,
    struct model *model, struct violation *violation);

/* Opens the queue.  False: it could not; that is a violation unless calls failed. */
bool life_open(struct life *life, const struct clock_manual *before);

/* For a start that is only looked at: nothing is written meanwhile. */
void life_run_reads(struct life *life);

void life_run(struct life *life);
void life_run_some(struct life *life, uint32_t step_count);

/* Ends it without a word to the disk. */
void life_fini(struct life *life);

/* Nothing more is to be learned: a violation was found, or the disk is dead. */
static inline bool
life_is_over(const struct life *life)
{
	return life->violation->is_found || life->disk->is_dead || !life->queue;
}

/* Compares what the queue has with what it must have, may have and may not have. */
void check_life(struct life *life);

/* After it: what a start has found, it has promised (I4); what it did not find is gone. */
void check_adopt(struct life *life);

/* I6: settles everything and sees that the room comes back. */
void check_space(struct life *life);

/* One operation of the workload, and what it leads to. */
void work_do(struct life *life, uint64_t seed);

/* Begins to read a message, or goes on with one that is being read. */
void work_read(struct life *life, struct chance *chance, int message);
void work_settle_all(struct life *life);

/* Readers and drafts that are under way end: they keep segments. */
void work_let_go(struct life *life);

#endif
