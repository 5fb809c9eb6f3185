#include "relay/commands_private.h"

#include <stdio.h>

void
commands_put_id(struct json *object, const char *key, queue_id id)
{
	char text[QUEUE_ID_BYTES];

	queue_id_print(id, text);
	json_put_cstr(object, key, text);
}

void
commands_put_time(struct json *object, const char *key, int64_t wall_ms)
{
	char text[CLOCK_TEXT_BYTES];

	clock_print_iso(wall_ms, text);
	json_put_cstr(object, key, text);
}

void
commands_facts(const struct relay *relay, const struct queue_item *item,
    struct commands_facts *facts_out)
{
	struct outbound_summary summary;
	int64_t now_ms = loop_wall_ms(relay_hub(relay));

	*facts_out = (struct commands_facts){ .item = item, .reason = item->reason };
	if (outbound_summary(relay_outbound(relay), item->id, &summary)) {
		facts_out->reason = item->held ? REASON_HELD : summary.reason;
		facts_out->destination = summary.destination;
		facts_out->attempt_count = summary.attempt_count;
		if (summary.next_wall_ms > now_ms)
			facts_out->next_ms = (uint64_t)(summary.next_wall_ms - now_ms);
	} else {
		struct queue_rcpt rcpt;

		/* Held, damaged, or not yet offered: the queue alone knows it. */
		for (uint32_t i = 0; i < item->rcpt_count && i < 100; i++)
			if (queue_find_rcpt(relay_queue(relay), item->id, i, &rcpt) &&
			    rcpt.attempt_count > facts_out->attempt_count)
				facts_out->attempt_count = rcpt.attempt_count;
	}
	facts_out->state = commands_state(item, facts_out->reason);
}

/* "451 4.7.1 greylisted"; "" while nobody has said anything. */
static void
put_words(struct json *object, const char *key, const struct reply *reply)
{
	char text[REPLY_TEXT_BYTES_MAX + 32];

	if (reply->code == 0)
		(void)snprintf(text, sizeof(text), "%s", reply->text);
	else
		(void)snprintf(text, sizeof(text), "%u %s%s%s", reply->code, reply->status,
		    reply->status[0] ? " " : "", reply->text);
	json_put_text(object, key, span_from_cstr(text));
}

static void
put_rcpt(struct json *list, const struct envelope_rcpt *rcpt)
{
	struct json *object = json_add_object(list);
	bool is_open = rcpt->state == RCPT_WAITING || rcpt->state == RCPT_UNCERTAIN;

	json_put_text(object, "address", rcpt->address);
	if (!span_is_empty(rcpt->orcpt))
		json_put_text(object, "orig_address", rcpt->orcpt);
	if (rcpt->last.code != 0 || rcpt->last.text[0])
		put_words(object, is_open ? "delay_reason" : "last_words", &rcpt->last);
	json_put_cstr(object, "state", rcpt_state_name(rcpt->state));
	json_put_int(object, "attempts", rcpt->attempt_count);
	if (!span_is_empty(rcpt->last_host))
		json_put_text(object, "host", rcpt->last_host);
}

static void
put_envelope(struct json *object, const struct envelope *envelope, size_t rcpt_count_max)
{
	struct json *list = json_put_list(object, "recipients");
	size_t shown = 0;

	/* Open ones first: they are why the message is here. */
	for (int open = 1; open >= 0; open--)
		for (size_t i = 0; i < envelope->rcpt_count && shown < rcpt_count_max; i++) {
			const struct envelope_rcpt *rcpt = &envelope->rcpts[i];
			bool is_open = rcpt->state == RCPT_WAITING ||
			    rcpt->state == RCPT_UNCERTAIN;

			if (is_open != (open == 1))
				continue;
			put_rcpt(list, rcpt);
			shown++;
		}
	if (!span_is_empty(envelope->auth_user))
		json_put_text(object, "user", envelope->auth_user);
	if (!span_is_empty(envelope->listener))
		json_put_text(object, "listener", envelope->listener);
	if (!span_is_empty(envelope->client_hello))
		json_put_text(object, "hello", envelope->client_hello);
	json_put_cstr(object, "protocol", envelope_protocol_name(envelope->protocol));
	if (!span_is_empty(envelope->envid))
		json_put_text(object, "envid", envelope->envid);
	if (!span_is_empty(envelope->origin))
		json_put_text(object, "origin", envelope->origin);
	if (!span_is_empty(envelope->parent))
		json_put_text(object, "parent", envelope->parent);
}

/* The queue names that postqueue(1) knows. */
static const char *
queue_name(const char *state)
{
	if (state[0] == 'h')
		return "hold";
	if (state[0] == 'a')
		return "active";
	if (state[0] == 'd')
		return "corrupt";
	return "deferred";
}

struct json *
commands_item(const struct relay *relay, const struct queue_item *item,
    const struct envelope *envelope, size_t rcpt_count_max)
{
	struct json *object = json_new_object();
	struct commands_facts facts;

	commands_facts(relay, item, &facts);
	json_put_cstr(object, "queue_name", queue_name(facts.state));
	commands_put_id(object, "queue_id", item->id);
	json_put_int(object, "arrival_time", item->arrival_wall_ms / 1000);
	json_put_int(object, "message_size", (int64_t)item->body_bytes);
	json_put_bool(object, "forced_expire", false);
	json_put_text(object, "sender", item->sender);
	if (envelope)
		put_envelope(object, envelope, rcpt_count_max);
	commands_put_time(object, "arrived", item->arrival_wall_ms);
	json_put_int(object, "age_ms", (int64_t)item->age_ms);
	json_put_cstr(object, "state", facts.state);
	json_put_cstr(object, "reason", queue_reason_name(facts.reason));
	json_put_cstr(object, "because", queue_reason_explain(facts.reason));
	json_put_int(object, "next_ms", (int64_t)facts.next_ms);
	json_put_int(object, "attempts", facts.attempt_count);
	json_put_text(object, "destination", facts.destination);
	json_put_text(object, "client", item->client);
	json_put_int(object, "rcpt_count", item->rcpt_count);
	json_put_int(object, "open_count", item->open_count);
	json_put_bool(object, "notification", item->is_notification);
	return object;
}

bool
commands_take_id(struct control_request *request, queue_id *id_out)
{
	struct span text;

	if (json_get_text(control_args(request), "id", &text) && queue_id_parse(text, id_out))
		return true;
	control_fail(request, CONTROL_USAGE, "expected a queue id of %d characters",
	    QUEUE_ID_CHARS);
	return false;
}

void
commands_fail_result(struct control_request *request, enum queue_result result)
{
	if (result == QUEUE_NOT_FOUND)
		control_fail(request, CONTROL_NO_MATCH, "there is no such message in the queue");
	else if (result == QUEUE_DAMAGED)
		control_fail(request, CONTROL_IO, "the message is damaged and cannot be read "
		    "back whole");
	else
		control_fail(request, CONTROL_TRY_AGAIN, "the queue could not answer: %s",
		    queue_result_name(result));
}
