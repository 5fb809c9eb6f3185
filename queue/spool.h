#ifndef QUEUE_SPOOL_H
#define QUEUE_SPOOL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "queue/backend.h"
#include "queue/body.h"
#include "queue/committer.h"
#include "queue/inbox.h"
#include "queue/index.h"
#include "queue/segments.h"
#include "queue/state.h"
#include "relay/net/token.h"
#include "relay/net/work.h"

/*
 * The log as a backend of the queue: what its files share.  Not for other rooms.
 *
 *	draft.c     receiving, on the ports
 *	spool.c     the index, offers, lists: the hub
 *	change.c    outcomes, attempts, holds: the hub
 *	reading.c   envelopes and bodies, on the ports and the reader threads
 *	space.c     dead segments, moving survivors: the hub
 *	recover.c   the start
 *	committer.c writing
 */

/* ---- ports -------------------------------------------------------------- */

struct port {
	struct queue_port face;
	struct spool *spool;
	struct loop *loop;
	struct inbox *inbox;
	struct token_table calls;
	LIST_HEAD(, draft) drafts;
	LIST_HEAD(, draft) holding_much;        /* of memory that the disk could hold */
	LIST_HEAD(, body_reader) readers;
	STAILQ_HEAD(, pinned_read) reads_waiting;
	uint32_t read_count;            /* with the reader threads */
	bool is_open;

	/* Drafts that wait for memory; who frees some clears the first flag and sends the item. */
	TAILQ_HEAD(waiting_drafts, draft) waiting, waking;
	atomic_bool waits_for_room, room_sent;
	struct inbox_item room_item;
};

/*
 * A question with an answer on a port's loop.  Embedded in the struct of the
 * question, which finish() frees; `asked` is false when it was cancelled.
 */
struct call {
	struct inbox_item item;
	struct port *port;
	struct token token;
	enum queue_result result;
	void (*finish)(struct call *call, bool asked);
};

struct token call_begin(struct call *call, struct port *port,
    void (*finish)(struct call *call, bool asked));

/* Any thread.  The answer comes by the port's inbox. */
void call_answer(struct call *call, enum queue_result result);

/* The commonest question. */
struct done_call {
	struct call call;
	queue_done *done;
	void *ctx;
};

struct done_call *done_call_new(struct port *port, queue_done *done, void *ctx,
    struct token *token_out);

struct queue_port *port_open(struct queue *queue, struct loop *loop);
void port_close(struct queue_port *port);
void port_free(struct port *port);
void port_cancel(struct queue_port *port, struct token *token);
queue_id port_new_id(struct queue_port *port);
bool port_may_deliver(const struct queue_port *port);
enum queue_pressure port_pressure(const struct queue_port *port);
struct token port_resume(struct queue_port *port, const struct queue_draft_terms *terms,
    const struct queue_draft_events *events, queue_resumed *resumed, void *ctx);

void port_settle_below(struct queue_port *port, struct span owner, uint64_t lowest);

/* Memory of bodies was freed: wakes the ports that wait for some.  Any thread. */
void ports_wake(void *ctx);

/* ---- drafts --------------------------------------------------------------- */

/* What a draft has on the disk already.  Its segments are pinned on the hub. */
struct draft_chunk {
	struct body_chunk *chunk;       /* NULL: no longer in memory */
	uint64_t bytes;
	struct place place;             /* PLACE_NONE: not written yet */
};

struct draft {
	struct queue_draft face;
	LIST_ENTRY(draft) link;
	struct port *port;
	struct queue_draft_events events;
	void *ctx;
	queue_id id;
	uint64_t size_hint;
	uint64_t bytes;
	uint64_t durable_bytes;
	struct digest digest;
	struct draft_chunk *chunks;
	uint32_t chunk_count, chunk_capacity;
	uint32_t submitted_count;       /* the first so many went to the committer */
	uint32_t waiting_count;         /* chunks at the committer */
	struct body_chunk *open_chunk;  /* the last of chunks, being filled */
	struct commit_stream stream;
	enum queue_result result;       /* DONE while all is well */
	LIST_ENTRY(draft) much_link;
	TAILQ_ENTRY(draft) wait_link;
	struct waiting_drafts *waits_in;        /* NULL: it does not wait */
	bool never_streams;             /* a notification: one record with its marks */
	bool is_pressed;                /* memory was scarce: it keeps none */
	bool holds_much;                /* it is in the port's list of those */
	bool aborted;
	char *transid, *owner;          /* ours, or NULL */

	/* A commit that waits until all chunks are reported. */
	struct done_call *commit_call;
	struct envelope *commit_envelope;
	char *commit_reply;
};

/* A message on its way to the log and then to the index. */
struct message_commit {
	struct commit_job job;
	struct inbox_item hub_item;
	struct spool *spool;
	struct done_call *call;         /* NULL: none wants to know */
	struct change *change;          /* it carries a parent's mark */
	queue_id id;
	struct envelope *envelope;
	struct message_record record;
	char *transid, *owner, *reply;  /* ours; the record points to them */
	struct buf payload;
	struct log_record *records;
	struct draft_chunk *chunks;     /* taken from the draft */
	uint32_t chunk_count;
	uint32_t streamed_count;        /* the first so many were on the disk, and are pinned */
};

/* Takes what the draft has; the draft is spent and freed.  All its chunks are reported. */
struct message_commit *message_commit_new(struct draft *draft, struct envelope *envelope,
    struct span reply);

/* Encodes and submits; the record's parent is filled in before.  reported() sends it on. */
void message_commit_submit(struct message_commit *commit);
void message_commit_free(struct message_commit *commit);

struct queue_draft *draft_begin(struct queue_port *port, const struct queue_draft_terms *terms,
    const struct queue_draft_events *events, void *ctx);
size_t draft_append(struct queue_draft *draft, struct span bytes);
enum queue_result draft_result(const struct queue_draft *draft);
uint64_t draft_bytes(const struct queue_draft *draft);
queue_id draft_id(const struct queue_draft *draft);
uint64_t draft_digest64(const struct queue_draft *draft);
struct token draft_commit(struct queue_draft *draft, struct envelope *envelope,
    const struct queue_commit_terms *terms, queue_done *done, void *ctx);
void draft_abort(struct queue_draft *draft);
void draft_park(struct queue_draft *draft);

/* Give all that it holds to the disk, and keep nothing of what comes. */
void draft_relieve(struct draft *draft);

/* draft_room.c: memory for drafts.  A chunk is made only when takes_room() said yes. */
size_t draft_next_capacity(const struct draft *draft);
bool draft_takes_room(struct draft *draft, size_t bytes);
void draft_has_grown(struct draft *draft, size_t capacity);
void draft_is_over(struct draft *draft);
void draft_stop_waiting(struct draft *draft);
void draft_room_arrived(struct inbox_item *item);

/* ---- the spool -------------------------------------------------------------- */

struct cached_body {
	TAILQ_ENTRY(cached_body) link;
	struct body *body;
	struct entry *entry;
	uint64_t bytes;
};

struct spool {
	struct queue face;
	struct queue_settings settings;
	struct inbox *inbox;            /* the hub's */
	struct port *hub_port;
	struct port **ports;            /* fixed once threads run */
	size_t port_count;

	struct index index;
	struct segments segments;
	struct committer committer;
	struct loop *committer_loop;
	struct work_thread *committer_thread;
	struct work_pool *readers;

	struct body_budget budget;
	TAILQ_HEAD(, cached_body) cache;        /* oldest first */
	uint64_t cache_bytes;

	struct change_line *changes;            /* by message: changes without a report */
	struct mover *mover;
	struct scrub *scrub;
	struct loop_task space_task;
	bool is_marking;                /* marks of dying segments are under way: see space.c */

	atomic_uint_least64_t id_last;
	uint64_t id_nonce;
	uint64_t node_id;
	int64_t queue_offset_ms;        /* the queue's clock is the loop's plus this */
	uint32_t chunk_bytes_max;
	int lock;

	atomic_int pressure;
	char pressure_why[80];
	struct queue_damage *damage;
	size_t damage_count, damage_capacity;
	uint64_t damaged_total;

	struct loop_task offer_task;    /* messages found at start, in slices */
	uint64_t offer_at;
	bool started;
	bool all_held;                  /* another machine's spool: nothing is offered */

	uint64_t message_bytes, held_count, open_rcpt_count;
	uint64_t accepted_count, settled_count, moved_bytes;
	struct inbox_item evict_item;   /* a port wants room */
	atomic_bool evict_wanted;
};

void spool_start(struct queue *queue);
void spool_evict_wanted(struct inbox_item *item);
uint64_t spool_now_ms(const struct spool *spool);       /* the queue's clock; the hub */
enum queue_pressure spool_pressure(const struct spool *spool);

/* What a state may take, so that it fits into any segment with all that is around it. */
size_t spool_state_bytes_max(const struct spool *spool);

/* The hub: a message's commit record is durable (or not). */
void spool_take_commit(struct message_commit *commit);

/* Fills in what the index says. */
void spool_item(const struct spool *spool, struct entry *entry, struct queue_item *item_out);

/* Offers it unless it is held or damaged.  envelope may be NULL; it is freed if not taken. */
void spool_offer(struct spool *spool, struct entry *entry, struct envelope *envelope);
void spool_revoke(struct spool *spool, struct entry *entry);
void spool_changed(struct spool *spool, struct entry *entry);

/* Its last recipient is settled, and that is durable in the segment `mark_number`. */
void spool_settled(struct spool *spool, struct entry *entry, uint64_t mark_number);

void spool_evict(struct spool *spool, struct entry *entry);
void spool_add_damage(struct spool *spool, const struct queue_damage *damage);

/* Something of a message could not be read back: it is set aside, shown, not sent. */
void spool_damaged(struct spool *spool, queue_id id, uint64_t segment, uint64_t offset,
    const struct err *err);

/* Registers uses of all records of an entry. */
void spool_account(struct spool *spool, struct entry *entry);

/* What the hub answers from memory (view.c). */
struct body *view_body_in_memory(struct queue *queue, queue_id id);
void view_set_user(struct queue *queue, queue_id id, void *user);
void view_set_reason(struct queue *queue, queue_id id, uint32_t rcpt, enum queue_reason reason);
bool view_find(struct queue *queue, queue_id id, struct queue_item *item_out);
bool view_find_rcpt(struct queue *queue, queue_id id, uint32_t rcpt,
    struct queue_rcpt *rcpt_out);
bool view_make_due(struct queue *queue, queue_id id, int64_t due_ms);
bool view_list(struct queue *queue, struct queue_cursor *cursor, size_t item_count_max,
    queue_listed *each, void *ctx);
bool view_list_damage(struct queue *queue, size_t at, struct queue_damage *damage_out);
void view_stats(const struct queue *queue, struct queue_stats *stats_out);
struct loop *view_writer_loop(const struct queue *queue);
uint64_t view_node_id(const struct queue *queue);
struct queue_port *view_hub_port(struct queue *queue);

/* ---- changes ------------------------------------------------------------------ */

struct token change_attempt(struct queue *queue, queue_id id, const uint32_t *rcpts,
    size_t rcpt_count, struct span host, queue_attempt_begun *begun, void *ctx);
struct token change_update(struct queue *queue, queue_id id, const struct queue_change *change,
    queue_done *done, void *ctx);
struct token change_hold(struct queue *queue, queue_id id, struct span why, queue_done *done,
    void *ctx);
struct token change_release(struct queue *queue, queue_id id, queue_done *done, void *ctx);
struct token change_remove(struct queue *queue, queue_id id, queue_done *done, void *ctx);

/* The notification that carries this change is durable, or not. */
void change_notice_reported(struct change *change, enum queue_result result,
    struct place place);

/* What was reported unknown is written again. */
void change_resume_all(struct spool *spool);
void change_drop_all(struct spool *spool);

/* ---- reading ----------------------------------------------------------------- */

/* A record to be fetched by a reader thread; its segment is pinned meanwhile. */
struct record_source {
	struct disk *disk;
	int file;
	struct segment_mark mark;
	struct place place;
};

struct record_source source_of(struct spool *spool, struct place place);

/*
 * Reads and checks one record: its type, id and checksums.  The payload is put
 * into memory of the caller's (mem_free()).  A reader's thread.
 */
int source_read(const struct record_source *source, enum record_type type, uint64_t id,
    struct record_header *header_out, char **payload_out, struct err *err);

/* The state of a message: a STATE record, or what a notification's record has of it. */
int source_read_state(const struct record_source *source, uint64_t id, char **memory_out,
    struct span *state_out, struct err *err);

/*
 * Something to be done by a reader thread: work() there, then item.run() on the
 * port that started it.  A port has a bound on reads at once; the others wait.
 */
struct pinned_read {
	struct inbox_item item;
	STAILQ_ENTRY(pinned_read) next;
	struct port *port;
	void (*work)(struct pinned_read *read);
	void (*done)(struct pinned_read *read);
	struct record_source sources[2];
	uint32_t source_count;
};

void pinned_read_start(struct port *port, struct pinned_read *read);
void pinned_read_pin(struct spool *spool, const struct pinned_read *read);
void pinned_read_unpin(struct spool *spool, const struct pinned_read *read);

struct token reading_envelope(struct queue_port *port, queue_id id, queue_got_envelope *got,
    void *ctx);
struct queue_body_reader *reading_body_open(struct queue_port *port, queue_id id,
    const struct queue_body_events *events, void *ctx);
void reading_body_next(struct queue_body_reader *reader);
void reading_body_close(struct queue_body_reader *reader);
void reading_close_all(struct port *port);

/* At the end: runs the reads that still wait for a thread. */
void reading_finish(struct spool *spool);

/* ---- space ----------------------------------------------------------------------- */

void space_init(struct spool *spool);
void space_fini(struct spool *spool);

/* Gives back the segments that are dead, now; or at the end of the turn if this one is. */
void space_look(struct spool *spool);
void space_look_at(struct spool *spool, uint32_t slot);

/* Survivors of mostly dead segments (mover.c). */
struct mover *mover_new(struct spool *spool);
void mover_start(struct mover *mover);
void mover_stop(struct mover *mover);
void mover_free(struct mover **mover);

/* Looks for segments that are worth emptying, unless some are being emptied. */
void mover_look(struct mover *mover);

/* ---- the scrub --------------------------------------------------------------------- */

struct scrub *scrub_new(struct spool *spool);
void scrub_start(struct scrub *scrub);
void scrub_stop(struct scrub *scrub);
void scrub_count(const struct scrub *scrub, struct queue_stats *stats);
void scrub_free(struct scrub **scrub);

/* ---- the start -------------------------------------------------------------------- */

int spool_recover(struct spool *spool, struct queue_found *found, struct err *err);

/* ---- identity: the file "spool" ----------------------------------------------------- */

struct spool_identity {
	uint32_t version;
	uint64_t node_id;
	uint8_t machine_id[16];
	uint8_t salt_key[32];
	int64_t created_wall_ms;
};

/* ERR_NOT_FOUND: there is none yet. */
int identity_read(struct disk *disk, struct spool_identity *identity_out, struct err *err);
int identity_write(struct disk *disk, const struct spool_identity *identity, struct err *err);

#endif
