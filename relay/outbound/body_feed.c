#include "relay/outbound/body_feed.h"

#include <string.h>

#include "relay/base/container_of.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

/* Pieces read ahead of the connection; one more is always kept back. */
enum { BODY_FEED_PIECES_MAX = 4 };

struct body_piece {
	STAILQ_ENTRY(body_piece) next;
	size_t len;
	char bytes[];
};

static bool
may_end(struct body_feed *feed)
{
	if (!queue_may_deliver(feed->port))
		feed->denied = true;
	else
		feed->last_given = true;
	return !feed->denied;
}

/* ---- from memory ---- */

static enum body_step
pull_from_memory(struct body_feed *feed, struct span *piece_out)
{
	const struct body *body = feed->body;

	while (feed->chunk < body->chunk_count && body_span(body, feed->chunk).len == 0)
		feed->chunk++;
	if (feed->chunk == body->chunk_count) {
		if (!feed->last_given && !may_end(feed))
			return BODY_FAILED;
		return BODY_END;
	}
	if (feed->chunk + 1 == body->chunk_count && !may_end(feed))
		return BODY_FAILED;
	*piece_out = body_span(body, feed->chunk++);
	return BODY_PIECE;
}

/* ---- from the queue's readers ---- */

static void
ask_more(struct body_feed *feed)
{
	if (feed->asked || feed->ended || feed->piece_count >= BODY_FEED_PIECES_MAX)
		return;
	feed->asked = true;
	queue_body_next(feed->reader);
}

static void
wake(struct body_feed *feed)
{
	if (!feed->starved)
		return;
	feed->starved = false;
	feed->ready(feed->ctx);
}

static void
piece_read(void *ctx, struct span bytes)
{
	struct body_feed *feed = ctx;

	feed->asked = false;
	if (bytes.len > 0) {
		struct body_piece *piece = mem_alloc(sizeof(*piece) + bytes.len);

		piece->len = bytes.len;
		memcpy(piece->bytes, bytes.data, bytes.len);
		STAILQ_INSERT_TAIL(&feed->waiting, piece, next);
		feed->piece_count++;
	}
	ask_more(feed);
	wake(feed);
}

static void
body_read(void *ctx, enum queue_result result)
{
	struct body_feed *feed = ctx;

	feed->asked = false;
	feed->ended = true;
	feed->result = result;
	wake(feed);
}

static const struct queue_body_events body_events = {
	.piece = piece_read,
	.ended = body_read,
};

static enum body_step
pull_from_queue(struct body_feed *feed, struct span *piece_out)
{
	struct body_piece *piece = STAILQ_FIRST(&feed->waiting);
	bool is_last = piece && !STAILQ_NEXT(piece, next);

	if (feed->ended && feed->result != QUEUE_DONE)
		return BODY_FAILED;
	if (!feed->ended && (!piece || is_last)) {
		feed->starved = true;
		return BODY_WAIT;
	}
	if (!piece) {
		if (!feed->last_given && !may_end(feed))
			return BODY_FAILED;
		return BODY_END;
	}
	if (is_last && !may_end(feed))
		return BODY_FAILED;
	STAILQ_REMOVE_HEAD(&feed->waiting, next);
	STAILQ_INSERT_TAIL(&feed->lent, piece, next);
	*piece_out = span_make(piece->bytes, piece->len);
	return BODY_PIECE;
}

static enum body_step
feed_pull(struct body_source *source, struct span *piece_out)
{
	struct body_feed *feed = container_of(source, struct body_feed, source);

	if (feed->denied)
		return BODY_FAILED;
	return feed->body ? pull_from_memory(feed, piece_out) : pull_from_queue(feed, piece_out);
}

static void
feed_release(struct body_source *source, struct span bytes)
{
	struct body_feed *feed = container_of(source, struct body_feed, source);

	if (feed->body)
		return;

	struct body_piece *piece = STAILQ_FIRST(&feed->lent);

	must(piece && piece->bytes == bytes.data);
	STAILQ_REMOVE_HEAD(&feed->lent, next);
	feed->piece_count--;
	mem_free(&piece);
	ask_more(feed);
}

void
body_feed_start(struct body_feed *feed, struct queue_port *port, queue_id id, struct body *body,
    void (*ready)(void *ctx), void *ctx)
{
	*feed = (struct body_feed){
		.source = { .pull = feed_pull, .release = feed_release },
		.port = port,
		.ready = ready,
		.ctx = ctx,
		.body = body,
		.result = QUEUE_DONE,
	};
	STAILQ_INIT(&feed->waiting);
	STAILQ_INIT(&feed->lent);
	if (!body) {
		feed->asked = true;
		feed->reader = queue_body_open(port, id, &body_events, feed);
	}
}

static void
free_pieces(struct body_feed *feed)
{
	struct body_piece *piece;

	while ((piece = STAILQ_FIRST(&feed->waiting))) {
		STAILQ_REMOVE_HEAD(&feed->waiting, next);
		mem_free(&piece);
	}
	while ((piece = STAILQ_FIRST(&feed->lent))) {
		STAILQ_REMOVE_HEAD(&feed->lent, next);
		mem_free(&piece);
	}
}

void
body_feed_stop(struct body_feed *feed)
{
	queue_body_close(&feed->reader);
	free_pieces(feed);
	feed->body = NULL;
}

enum queue_result
body_feed_result(const struct body_feed *feed)
{
	if (feed->denied || (feed->ended && feed->result == QUEUE_DONE))
		return QUEUE_FAILED;
	return feed->result;
}
