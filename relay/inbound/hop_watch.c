#include "relay/inbound/hop_watch.h"

#include <string.h>

#include "queue/queue.h"

void
hop_watch_init(struct hop_watch *watch, struct span hostname)
{
	*watch = (struct hop_watch){
		.hostname = hostname,
		.at_line_start = true,
	};
}


static struct span
without_ends(struct span word)
{
	while (word.len > 0 && strchr(";>", word.data[word.len - 1]))
		word.len--;
	while (word.len > 0 && word.data[0] == '<')
		word = span_skip(word, 1);
	return word;
}

/*
 * Whether a "by" is followed by our name and an "id" by an id of our form.  Each is looked at, for
 * a client may call itself by one of these words.
 */
static bool
is_hop_of(struct span field, struct span hostname)
{
	struct span rest = field, before = span_first(field, 0), word;
	bool by_us = false, id_of_ours = false;
	queue_id id;

	while (span_take_word(&rest, &word)) {
		if (span_equal_nocase(before, SPAN("by")))
			by_us |= span_equal_nocase(word, hostname);
		else if (span_equal_nocase(before, SPAN("id")))
			id_of_ours |= queue_id_parse(without_ends(word), &id);
		before = word;
	}
	return by_us && id_of_ours;
}

/* One whole Received field. */
static void
hop_watch_judge(struct hop_watch *watch)
{
	struct span field = span_make(watch->field, watch->len);

	for (size_t i = 0; i < watch->len; i++)
		if (strchr("\t\r\n", watch->field[i]))
			watch->field[i] = ' ';
	if (++watch->received_count > HOP_WATCH_RECEIVED_COUNT_MAX)
		watch->found = HOP_LOOP_TOO_LONG;
	if (is_hop_of(field, watch->hostname))
		watch->found = HOP_LOOP_OWN;
}

static void
hop_watch_end_field(struct hop_watch *watch)
{
	if (watch->in_received && watch->len > 0)
		hop_watch_judge(watch);
	watch->in_received = false;
	watch->len = 0;
}

/* The first octets of a line say whether the field goes on, another begins, or all is over. */
static void
hop_watch_octet(struct hop_watch *watch, char octet)
{
	static const struct span name = { "received:", 9 };

	if (watch->at_line_start) {
		watch->at_line_start = false;
		if (octet != ' ' && octet != '\t') {
			hop_watch_end_field(watch);
			watch->ended = octet == '\r' || octet == '\n';
			watch->in_received = true;      /* until the name says otherwise */
		}
	}
	if (octet == '\n')
		watch->at_line_start = true;
	if (!watch->in_received)
		return;
	if (watch->len < sizeof(watch->field))
		watch->field[watch->len++] = octet;
	if (watch->len <= name.len && !span_equal_nocase(span_make(watch->field, watch->len),
	    span_first(name, watch->len))) {
		watch->in_received = false;
		watch->len = 0;
	}
}

enum hop_loop
hop_watch_feed(struct hop_watch *watch, struct span piece)
{
	/* The first loop found is the answer, whatever the pieces are. */
	for (size_t i = 0; i < piece.len && !watch->ended && watch->found == HOP_LOOP_NONE; i++)
		hop_watch_octet(watch, piece.data[i]);
	return watch->found;
}
