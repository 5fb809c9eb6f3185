#ifndef QUEUE_COMMITTER_H
#define QUEUE_COMMITTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "queue/footer.h"
#include "queue/gather.h"
#include "queue/index.h"
#include "queue/queue.h"
#include "queue/record.h"
#include "queue/slots.h"
#include "relay/net/loop.h"

/*
 * The one writer of the log.  It takes all jobs that are ready, writes them as
 * one batch, syncs once and reports; while it syncs the next jobs collect.  It
 * runs on a loop of its own: jobs come by commit_submit() from any thread, and a
 * task at the end of the turn calls commit_step().  Tests and the start of the
 * spool call commit_step() themselves.
 */

/* One record to be written. */
struct log_record {
	enum record_type type;
	uint32_t sequence;              /* of a MESSAGE: filled in, its ordinal */
	uint64_t id;
	uint32_t payload_bytes;
	uint32_t payload_crc;
	const char *payload;            /* lent until the report */
	struct place place;             /* filled in */
};

enum commit_class {
	COMMIT_MAIL,            /* is refused when there is no room, and fails with its batch */
	COMMIT_MOVE,            /* fails with its batch, but may use what outcomes may use */
	COMMIT_OUTCOME,         /* is written again after a failure, and may use the reserve */
};

/* The jobs of one draft: when one fails, the later ones do.  Committer only. */
struct commit_stream {
	bool failed;
};

/*
 * Belongs to the committer from commit_submit() until reported() is called on
 * its thread.  results: DONE, UNKNOWN (the batch failed), FULL, FAILED (was not
 * written at all).
 */
struct commit_job {
	struct loop_post post;          /* free again in reported() */
	STAILQ_ENTRY(commit_job) next;
	struct committer *committer;
	enum commit_class class;
	struct log_record *records;
	uint32_t record_count;
	uint32_t record_next, record_retry;     /* committer's: how far it is */
	struct commit_stream *stream;           /* or NULL */
	enum queue_result result;
	void (*reported)(struct commit_job *job);
};

STAILQ_HEAD(commit_jobs, commit_job);

/* A segment as the committer announces it. */
struct commit_segment {
	uint32_t slot;
	int file;
	struct segment_mark mark;
	uint64_t capacity;
	uint64_t end;                   /* when sealed: durable up to here */
	uint64_t footer;
};

/* On the committer's thread, before the reports of the batch concerned. */
struct committer_events {
	void (*opened)(void *ctx, const struct commit_segment *segment);
	void (*sealed)(void *ctx, const struct commit_segment *segment);
	void (*freed)(void *ctx, uint32_t slot);
	void (*pressure)(void *ctx, enum queue_pressure pressure, const char *why);
};

struct committer_settings {
	struct disk *disk;
	struct loop *loop;
	struct committer_events events;
	void *ctx;
	uint64_t node_id;
	uint8_t salt_key[32];
	uint64_t segment_bytes, floor_bytes, reserve_bytes;
	uint32_t free_count_max;
	uint32_t gather_ms;             /* see queue.h */
	int64_t queue_offset_ms;        /* the queue's clock is the loop's plus this */
	const atomic_uint_least64_t *id_last;
};

struct committer_counts {
	atomic_uint_least64_t batch_count, message_count;
	atomic_uint_least64_t written_bytes, sync_us_total, sync_us_max, sync_failed_count;
	atomic_uint_least64_t free_count, disk_free_bytes;
	atomic_uint_least64_t open_room;        /* octets left in the open segment */
};

struct committer {
	struct committer_settings settings;
	struct slots slots;
	struct gather gather;
	struct footer footer;           /* of the open segment */
	struct commit_jobs pending;
	struct commit_jobs in_batch;
	struct loop_task task;
	struct loop_timer timer;
	struct loop_timer crowd_timer;
	uint32_t crowd;                 /* messages in a batch, of late */

	struct manifest_entry *live;    /* sealed segments that are alive */
	uint32_t live_count, live_capacity;
	struct commit_segment *sealed;  /* not announced yet: a job has only a part in them */
	uint32_t sealed_count, sealed_capacity;
	bool is_open;
	bool is_reserve;                /* the open segment took what only outcomes may use */
	bool manifest_due;              /* the next batch begins with the manifest */
	bool has_manifest;              /* the batch that is being gathered */
	bool recovering;                /* no manifest before the suspects are copied */
	struct manifest_entry open;     /* end: durable up to here */
	uint64_t capacity;
	uint32_t ordinal_next;
	uint64_t number_next, batch_next;
	struct segment_mark vouched;    /* what the next batch vouches for ... */
	uint64_t vouched_end;           /* ... up to here */
	struct buf manifest;
	uint32_t failure_count;         /* in a row */
	enum queue_pressure pressure;
	bool look_due;                  /* something failed: look after room and log */
	bool closed;                    /* its thread has ended: jobs are refused */
	struct committer_counts counts;
};

void committer_init(struct committer *committer, const struct committer_settings *settings);
void committer_fini(struct committer *committer);

/* Starts the timer that looks after room and failed logs.  On the loop, or before it runs. */
void committer_start(struct committer *committer);

/* When its loop has ended. */
void committer_stop(struct committer *committer);

/* The same when nothing may be written any more: a start that failed. */
void committer_refuse(struct committer *committer);

/* Any thread.  After committer_stop() it reports at once. */
void commit_submit(struct committer *committer, struct commit_job *job);

/* Writes everything that is pending, in as many batches as it takes. */
void commit_step(struct committer *committer);

/* For the start: a job at once, and a segment that is alive already. */
void committer_add(struct committer *committer, struct commit_job *job);
void committer_add_live(struct committer *committer, const struct manifest_entry *entry);

/* Makes the manifest durable, in the open segment or a new one. */
int committer_write_manifest(struct committer *committer, struct err *err);

/* Fills in the checksum; the payload is lent. */
void log_record_set(struct log_record *record, enum record_type type, uint64_t id,
    uint32_t sequence, struct span payload);

#endif
