/* show, cat and explain: one message. */
#include "relay/commands_private.h"

#include "relay/base/base64.h"
#include "relay/base/mem.h"

enum {
	RCPTS_SHOWN_MAX = 1000,
	CAT_PIECE_BYTES = 48 * 1024,    /* of a body in one item, before base64 */
};

enum cat_part {
	CAT_WHOLE,
	CAT_HEADER,
	CAT_BODY,
};

/* ------------------------------------------------------------------ show */

struct show {
	struct relay *relay;
	struct control_request *request;
	struct token token;
	queue_id id;
	bool explains;
};

static void
show_release(void *state)
{
	struct show *show = state;

	queue_port_cancel(queue_hub_port(relay_queue(show->relay)), &show->token);
	mem_free(&show);
}

/* Attempts of a life before: the queue has them on record. */
static void
put_recorded(struct json *list, const struct outbound_unit *unit, const struct envelope *envelope)
{
	uint32_t rcpt = unit->rcpt_count > 0 ? unit->rcpts[0] : 0;

	for (size_t i = 0; i < envelope->attempt_count; i++) {
		const struct envelope_attempt *attempt = &envelope->attempts[i];
		bool is_of_it = rcpt >= attempt->rcpt_first &&
		    rcpt - attempt->rcpt_first < attempt->rcpt_count;
		bool is_kept = unit->attempt_count_kept > 0 &&
		    attempt->wall_ms >= unit->attempts[0].at_wall_ms;
		struct json *row;

		if (!is_of_it || is_kept)
			continue;
		row = json_add_object(list);
		commands_put_time(row, "at", attempt->wall_ms);
		json_put_text(row, "host", attempt->host);
		json_put_text(row, "words", attempt->words);
	}
}

static void
put_attempts(struct json *object, const struct outbound_unit *unit,
    const struct envelope *envelope)
{
	struct json *list = json_put_list(object, "tries");

	if (unit->attempt_count_kept < unit->attempt_count)
		put_recorded(list, unit, envelope);
	for (size_t i = 0; i < unit->attempt_count_kept; i++) {
		const struct outbound_attempt *attempt = &unit->attempts[i];
		struct json *row = json_add_object(list);

		commands_put_time(row, "at", attempt->at_wall_ms);
		json_put_text(row, "host", attempt->host);
		json_put_text(row, "words", attempt->words);
		json_put_cstr(row, "class", retry_class_name(attempt->class));
	}
}

struct unit_list {
	struct json *list;
	const struct envelope *envelope;
};

static void
put_unit(void *ctx, const struct outbound_unit *unit)
{
	struct unit_list *units = ctx;
	struct json *row = json_add_object(units->list);
	struct json *rcpts = json_put_list(row, "recipients");

	for (size_t i = 0; i < unit->rcpt_count && i < RCPTS_SHOWN_MAX; i++)
		if (unit->rcpts[i] < units->envelope->rcpt_count)
			json_add_text(rcpts, units->envelope->rcpts[unit->rcpts[i]].address);
	json_put_int(row, "rcpt_count", (int64_t)unit->rcpt_count);
	json_put_cstr(row, "reason", queue_reason_name(unit->reason));
	json_put_cstr(row, "explanation", queue_reason_explain(unit->reason));
	json_put_text(row, "because", unit->because);
	json_put_text(row, "destination", unit->destination);
	json_put_text(row, "route", unit->route);
	json_put_text(row, "route_where", unit->route_where);
	if (unit->since_wall_ms)
		commands_put_time(row, "since", unit->since_wall_ms);
	if (unit->next_wall_ms)
		commands_put_time(row, "next", unit->next_wall_ms);
	if (unit->expires_wall_ms)
		commands_put_time(row, "expires", unit->expires_wall_ms);
	if (unit->delay_notice_wall_ms)
		commands_put_time(row, "delay_notice", unit->delay_notice_wall_ms);
	json_put_int(row, "ready_before", (int64_t)unit->ready_before);
	json_put_int(row, "attempts", unit->attempt_count);
	put_attempts(row, unit, units->envelope);
}

static void
show_envelope(void *ctx, enum queue_result result, struct envelope *envelope)
{
	struct show *show = ctx;
	struct queue_item item;

	show->token = (struct token){ 0 };
	if (result == QUEUE_DONE && !queue_find(relay_queue(show->relay), show->id, &item))
		result = QUEUE_NOT_FOUND;       /* it was settled while we asked */
	if (result != QUEUE_DONE) {
		commands_fail_result(show->request, result);
		envelope_free(&envelope);
		return;
	}
	struct json *object = commands_item(show->relay, &item, envelope, RCPTS_SHOWN_MAX);

	if (show->explains) {
		struct unit_list units = { json_put_list(object, "units"), envelope };

		(void)outbound_explain(relay_outbound(show->relay), show->id, put_unit, &units);
		commands_put_time(object, "now", loop_wall_ms(relay_hub(show->relay)));
	}
	control_item(show->request, object);
	control_end(show->request, CONTROL_OK);
	envelope_free(&envelope);
}

static void
start_show(struct relay *relay, struct control_request *request, bool explains)
{
	static const struct control_hold_ops hold_ops = { .release = show_release };
	queue_id id;

	if (!commands_take_id(request, &id))
		return;
	struct show *show = mem_alloc(sizeof(*show));

	show->relay = relay;
	show->request = request;
	show->id = id;
	show->explains = explains;
	control_hold(request, &hold_ops, show);
	show->token = queue_read_envelope(queue_hub_port(relay_queue(relay)), id, show_envelope,
	    show);
}

void
commands_show(void *ctx, struct control_request *request)
{
	start_show(ctx, request, false);
}

void
commands_explain(void *ctx, struct control_request *request)
{
	start_show(ctx, request, true);
}

/* ------------------------------------------------------------------ cat */

struct cat {
	struct control_request *request;
	struct queue_body_reader *reader;
	enum cat_part part;
	struct span rest;               /* of a piece, lent until queue_body_next() */
	unsigned line_state;            /* how much of CRLF CRLF was seen, 0 to 4 */
	bool has_piece;
};

static void
cat_release(void *state)
{
	struct cat *cat = state;

	queue_body_close(&cat->reader);
	mem_free(&cat);
}

/* The part of PIECE that belongs to the header, with the empty line. */
static struct span
header_part(struct cat *cat, struct span piece)
{
	size_t at = 0;

	while (at < piece.len && cat->line_state < 4) {
		char c = piece.data[at++];

		if (c == '\r')
			cat->line_state = cat->line_state == 2 ? 3 : 1;
		else if (c == '\n' && (cat->line_state == 1 || cat->line_state == 3))
			cat->line_state++;
		else
			cat->line_state = 0;
	}
	return span_first(piece, at);
}

static void
cat_piece(void *ctx, struct span piece)
{
	struct cat *cat = ctx;

	cat->has_piece = true;
	if (cat->part != CAT_WHOLE) {
		struct span header = header_part(cat, piece);

		piece = cat->part == CAT_HEADER ? header : span_skip(piece, header.len);
	}
	cat->rest = piece;
	control_go_on(cat->request);
}

static void
cat_ended(void *ctx, enum queue_result result)
{
	struct cat *cat = ctx;

	cat->has_piece = false;
	if (result == QUEUE_DONE)
		control_end(cat->request, CONTROL_OK);
	else
		commands_fail_result(cat->request, result);
}

static enum control_pace
cat_more(void *state, struct control_request *request)
{
	struct cat *cat = state;

	while (cat->rest.len > 0 && !control_is_full(request)) {
		struct span part = span_first(cat->rest, CAT_PIECE_BYTES);
		struct json *item = json_new_object();
		struct buf text;

		buf_init(&text, 2 * CAT_PIECE_BYTES);
		(void)base64_encode(part, &text);       /* 4/3 of it fits */
		json_put_text(item, "data", buf_span(&text));
		buf_fini(&text);
		control_item(request, item);
		cat->rest = span_skip(cat->rest, part.len);
	}
	if (cat->rest.len > 0)
		return CONTROL_AGAIN;
	if (cat->has_piece && cat->part == CAT_HEADER && cat->line_state == 4) {
		queue_body_close(&cat->reader);
		control_end(request, CONTROL_OK);
		return CONTROL_ENDED;
	}
	if (cat->has_piece) {
		cat->has_piece = false;
		queue_body_next(cat->reader);
	}
	return CONTROL_WAIT;
}

void
commands_cat(void *ctx, struct control_request *request)
{
	static const struct control_hold_ops hold_ops = { .more = cat_more,
	    .release = cat_release };
	static const struct queue_body_events events = { .piece = cat_piece, .ended = cat_ended };
	struct relay *relay = ctx;
	struct span part = SPAN("");
	queue_id id;
	struct queue_item item;

	if (!commands_take_id(request, &id))
		return;
	if (!queue_find(relay_queue(relay), id, &item)) {
		commands_fail_result(request, QUEUE_NOT_FOUND);
		return;
	}
	struct cat *cat = mem_alloc(sizeof(*cat));

	(void)json_get_text(control_args(request), "part", &part);
	cat->part = span_equal_cstr(part, "header") ? CAT_HEADER
	    : span_equal_cstr(part, "body") ? CAT_BODY : CAT_WHOLE;
	cat->request = request;
	control_hold(request, &hold_ops, cat);
	cat->reader = queue_body_open(queue_hub_port(relay_queue(relay)), id, &events, cat);
}
