#include "relay/spool_tool.h"

#include "relay/base/base64.h"
#include "relay/mail/address.h"

/* The envelope file of an export. */
enum {
	VERSION = 1,
	TEXT_BYTES_MAX = 64 << 10,
};

static const char *const state_words[] = { "waiting", "uncertain", "delivered", "failed",
	"expired", "removed" };
static const char *const ret_words[] = { "", "full", "headers" };

static void
put_rcpt(struct json *rcpts, const struct envelope_rcpt *rcpt)
{
	struct json *json = json_add_object(rcpts);

	json_put_text(json, "address", rcpt->address);
	json_put_text(json, "orcpt", rcpt->orcpt);
	json_put_int(json, "notify", rcpt->notify);
	json_put_cstr(json, "state", state_words[rcpt->state]);
	json_put_int(json, "attempts", rcpt->attempt_count);
	json_put_int(json, "code", rcpt->last.code);
	json_put_cstr(json, "status", rcpt->last.code ? rcpt->last.status : "");
	json_put_cstr(json, "text", rcpt->last.code ? rcpt->last.text : "");
	json_put_text(json, "host", rcpt->last_host);
}

struct json *
spool_json_write(const struct envelope *envelope, const struct queue_item *item)
{
	struct json *json = json_new_object();
	char id[QUEUE_ID_BYTES];

	queue_id_print(item->id, id);
	json_put_int(json, "version", VERSION);
	json_put_cstr(json, "id", id);
	json_put_text(json, "sender", envelope->sender);
	json_put_int(json, "bytes", (int64_t)item->body_bytes);
	json_put_bool(json, "held", item->held);
	json_put_int(json, "arrival_ms", envelope->arrival_ms);
	json_put_text(json, "origin", envelope->origin);
	json_put_text(json, "parent", envelope->parent);
	json_put_text(json, "envid", envelope->envid);
	json_put_cstr(json, "ret", ret_words[envelope->ret]);
	json_put_bool(json, "body_8bitmime", envelope->body == BODY_8BITMIME);
	json_put_bool(json, "smtputf8", envelope->smtputf8);
	json_put_bool(json, "needs_utf8", envelope->needs_utf8);
	json_put_bool(json, "requires_8bit", envelope->requires_8bit);
	json_put_int(json, "protocol", envelope->protocol);
	json_put_text(json, "client_address", envelope->client_address);
	json_put_text(json, "client_hello", envelope->client_hello);
	json_put_text(json, "auth_user", envelope->auth_user);
	json_put_text(json, "listener", envelope->listener);
	struct json *rcpts = json_put_list(json, "recipients");

	for (size_t i = 0; i < envelope->rcpt_count; i++)
		put_rcpt(rcpts, &envelope->rcpts[i]);
	return json;
}

/* ---- reading ------------------------------------------------------------------------------ */

static struct span
text_of(struct envelope *envelope, const struct json *json, const char *key)
{
	struct span text = SPAN("");

	(void)json_get_text(json, key, &text);
	return envelope_keep(envelope, text);
}

static int64_t
int_of(const struct json *json, const char *key)
{
	int64_t value = 0;

	(void)json_get_int(json, key, &value);
	return value;
}

static bool
bool_of(const struct json *json, const char *key)
{
	bool value = false;

	(void)json_get_bool(json, key, &value);
	return value;
}

static bool
word_of(const struct json *json, const char *key, const char *const *words, size_t count,
    unsigned int *at_out)
{
	struct span text;

	if (!json_get_text(json, key, &text))
		return false;
	for (size_t i = 0; i < count; i++) {
		if (span_equal(text, span_from_cstr(words[i]))) {
			*at_out = (unsigned int)i;
			return true;
		}
	}
	return false;
}

static int
read_rcpt(struct envelope *envelope, const struct json *json, struct err *err)
{
	struct span address, status = SPAN(""), text = SPAN(""), local, domain;
	unsigned int state;
	int64_t code = int_of(json, "code");

	if (!json_get_text(json, "address", &address) ||
	    !span_split_last(address, '@', &local, &domain) || local.len == 0)
		return err_set(err, ERR_FORMAT, "recipient %zu has no address",
		    envelope->rcpt_count);
	if (!word_of(json, "state", state_words, sizeof(state_words) / sizeof(state_words[0]),
	    &state))
		return err_set(err, ERR_FORMAT, "recipient %zu has no state we know",
		    envelope->rcpt_count);
	struct envelope_rcpt *rcpt = envelope_add_rcpt(envelope, address);

	rcpt->domain = span_skip(rcpt->address, address.len - domain.len);
	rcpt->orcpt = text_of(envelope, json, "orcpt");
	rcpt->notify = (uint8_t)(int_of(json, "notify") & 15);
	rcpt->state = (enum rcpt_state)state;
	rcpt->attempt_count = (uint32_t)int_of(json, "attempts");
	rcpt->last_host = text_of(envelope, json, "host");
	(void)json_get_text(json, "status", &status);
	(void)json_get_text(json, "text", &text);
	if (code >= 200 && code <= 599)
		reply_set_foreign(&rcpt->last, (uint16_t)code, status, text);
	return 0;
}

static void
read_rest(struct envelope *envelope, const struct json *json)
{
	unsigned int ret = RET_UNSPECIFIED;
	int64_t protocol = int_of(json, "protocol");

	envelope->sender = text_of(envelope, json, "sender");
	envelope->arrival_ms = int_of(json, "arrival_ms");
	envelope->origin = text_of(envelope, json, "origin");
	envelope->parent = text_of(envelope, json, "parent");
	envelope->envid = text_of(envelope, json, "envid");
	(void)word_of(json, "ret", ret_words, sizeof(ret_words) / sizeof(ret_words[0]), &ret);
	envelope->ret = (enum envelope_ret)ret;
	envelope->body = bool_of(json, "body_8bitmime") ? BODY_8BITMIME : BODY_7BIT;
	envelope->smtputf8 = bool_of(json, "smtputf8");
	envelope->needs_utf8 = bool_of(json, "needs_utf8");
	envelope->requires_8bit = bool_of(json, "requires_8bit");
	envelope->protocol = protocol >= 0 && protocol <= PROTOCOL_LOCAL ?
	    (enum envelope_protocol)protocol : PROTOCOL_LOCAL;
	envelope->client_address = text_of(envelope, json, "client_address");
	envelope->client_hello = text_of(envelope, json, "client_hello");
	envelope->auth_user = text_of(envelope, json, "auth_user");
	envelope->listener = text_of(envelope, json, "listener");
}

int
spool_json_read(const struct json *json, struct spool_message *message_out, struct err *err)
{
	const struct json *rcpts = json_get(json, "recipients");
	struct envelope *envelope;
	struct span id;

	*message_out = (struct spool_message){ .held = bool_of(json, "held"),
		.is_untouched = true };
	if (int_of(json, "version") != VERSION)
		return err_set(err, ERR_FORMAT, "not an envelope of version %d", VERSION);
	if (!json_get_text(json, "id", &id) || !queue_id_parse(id, &message_out->id))
		return err_set(err, ERR_FORMAT, "no queue id");
	if (!rcpts || !json_is_list(rcpts) || json_count(rcpts) == 0)
		return err_set(err, ERR_FORMAT, "no recipients");
	envelope = envelope_new();
	read_rest(envelope, json);
	for (size_t i = 0; i < json_count(rcpts); i++) {
		if (read_rcpt(envelope, json_at(rcpts, i), err) < 0) {
			envelope_free(&envelope);
			return -1;
		}
		const struct envelope_rcpt *rcpt = &envelope->rcpts[i];

		message_out->is_untouched &= rcpt->state == RCPT_WAITING && !rcpt->last.code;
	}
	message_out->envelope = envelope;
	return 0;
}
