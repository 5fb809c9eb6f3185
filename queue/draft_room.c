#include "queue/spool.h"

#include "relay/base/container_of.h"

/*
 * Memory for drafts.  They share it with the bodies that are kept to be sent on, which leave half
 * of it to them.  A draft that finds none waits; but before it comes to that, what drafts hold
 * goes to the disk, so that half a letter, which costs its sender nothing more, holds no memory
 * that others need.
 */
enum {
	CHUNK_BYTES_MIN = 4 << 10,
	CHUNK_BYTES_SMALL = 16 << 10,   /* the first of a draft, and all while memory is scarce */
	CHUNK_BYTES_NEXT = 256 << 10,
	HINT_EXTRA_BYTES = 1 << 10,     /* trace fields come on top of SIZE */
};

static bool
has_room(const struct draft *draft, size_t bytes)
{
	return draft->never_streams || body_budget_has_room(&draft->port->spool->budget, bytes);
}

/* Five eighths are in use: what is kept has its half, and drafts a good part of theirs. */
static bool
is_scarce(const struct draft *draft)
{
	const struct body_budget *budget = &draft->port->spool->budget;

	return !has_room(draft, budget->bytes_max / 8 * 3);
}

size_t
draft_next_capacity(const struct draft *draft)
{
	size_t max = draft->port->spool->chunk_bytes_max;
	size_t wanted = CHUNK_BYTES_NEXT;

	if (draft->chunk_count == 0)
		wanted = CHUNK_BYTES_SMALL;
	if (draft->size_hint > 0 && draft->size_hint + HINT_EXTRA_BYTES > draft->bytes)
		wanted = (size_t)(draft->size_hint + HINT_EXTRA_BYTES - draft->bytes);
	if (wanted > CHUNK_BYTES_SMALL && is_scarce(draft))
		wanted = CHUNK_BYTES_SMALL;
	if (wanted < CHUNK_BYTES_MIN)
		wanted = CHUNK_BYTES_MIN;
	return wanted < max ? wanted : max;
}

/* ---- drafts that hold much ------------------------------------------------- */

void
draft_is_over(struct draft *draft)
{
	if (draft->holds_much)
		LIST_REMOVE(draft, much_link);
	draft->holds_much = false;
}

/* Small chunks are left alone: a record for every few octets would help nobody. */
void
draft_has_grown(struct draft *draft, size_t capacity)
{
	if (draft->holds_much || draft->never_streams || capacity <= CHUNK_BYTES_SMALL)
		return;
	draft->holds_much = true;
	LIST_INSERT_HEAD(&draft->port->holding_much, draft, much_link);
}

static void
relieve_all(struct port *port)
{
	struct draft *draft;

	while ((draft = LIST_FIRST(&port->holding_much)) != NULL) {
		draft_is_over(draft);
		draft_relieve(draft);
	}
}

/* ---- waiting ---------------------------------------------------------------- */

void
draft_stop_waiting(struct draft *draft)
{
	if (draft->waits_in)
		TAILQ_REMOVE(draft->waits_in, draft, wait_link);
	draft->waits_in = NULL;
}

/* Says that it waits before it looks again, so that no release goes unseen. */
static bool
wait_for_room(struct draft *draft, size_t bytes)
{
	struct port *port = draft->port;
	struct spool *spool = port->spool;

	if (!draft->waits_in) {
		TAILQ_INSERT_TAIL(&port->waiting, draft, wait_link);
		draft->waits_in = &port->waiting;
	}
	atomic_store(&port->waits_for_room, true);
	atomic_store(&spool->budget.wanted, true);
	if (has_room(draft, bytes)) {
		draft_stop_waiting(draft);
		return false;
	}
	if (!atomic_exchange(&spool->evict_wanted, true))
		inbox_send(spool->inbox, &spool->evict_item);
	return true;
}

bool
draft_takes_room(struct draft *draft, size_t bytes)
{
	if (is_scarce(draft)) {
		relieve_all(draft->port);
		if (draft->chunk_count > 0)
			draft_relieve(draft);
	}
	if (has_room(draft, bytes))
		return true;
	/* Else drafts that all wait would wait for each other for ever. */
	draft_relieve(draft);
	return !wait_for_room(draft, bytes);
}

void
draft_room_arrived(struct inbox_item *item)
{
	struct port *port = container_of(item, struct port, room_item);
	struct draft *draft;

	atomic_store(&port->room_sent, false);
	TAILQ_FOREACH(draft, &port->waiting, wait_link)
		draft->waits_in = &port->waking;
	TAILQ_CONCAT(&port->waking, &port->waiting, wait_link);
	while ((draft = TAILQ_FIRST(&port->waking)) != NULL) {
		draft_stop_waiting(draft);
		draft->events.room(draft->ctx);
	}
}
