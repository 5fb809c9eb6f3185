#include "tests/crash/model.h"

#include <stdio.h>
#include <string.h>

#include "relay/base/must.h"
#include "tests/crash/chance.h"

enum {
	PATTERN_SHIFTS = 32 << 10,
	ADDRESS_BYTES = 40,
};

void
model_init(struct model *model)
{
	memset(model, 0, sizeof(*model));
}

int
model_add(struct model *model, queue_id id, uint32_t bytes, uint8_t rcpt_count)
{
	if (model->count == MODEL_MESSAGES_MAX)
		return MODEL_NONE;
	must(rcpt_count <= MODEL_RCPTS_MAX && bytes <= MODEL_BODY_BYTES_MAX);
	/* An id that came to no disk and to nobody's ears may be given again after a crash. */
	int before = model_find(model, id);

	if (before != MODEL_NONE)
		model->messages[before].id = 0;
	model->messages[model->count] = (struct model_message){
		.id = id,
		.bytes = bytes,
		.rcpt_count = rcpt_count,
		.parent = MODEL_NONE,
	};
	model->messages[model->count].snapshots[0].notice = MODEL_NONE;
	model->version++;
	return model->count++;
}

int
model_find(const struct model *model, queue_id id)
{
	for (int i = 0; i < model->count; i++) {
		if (model->messages[i].id == id)
			return i;
	}
	return MODEL_NONE;
}

struct snapshot *
model_change(struct model *model, int at)
{
	struct model_message *message = &model->messages[at];

	must(message->change_count < MODEL_CHANGES_MAX && !model_newest(message)->settled);
	message->change_count++;
	struct snapshot *snapshot = &message->snapshots[message->change_count];

	*snapshot = message->snapshots[message->change_count - 1];
	snapshot->notice = MODEL_NONE;
	model->version++;
	return snapshot;
}

void
model_acknowledge(struct model *model, int at)
{
	struct model_message *message = &model->messages[at];

	message->acknowledged = true;
	if (message->id > model->id_high)
		model->id_high = message->id;
	model->version++;
}

void
model_refuse(struct model *model, int at)
{
	model->messages[at].refused = true;
	model->version++;
}

void
model_durable(struct model *model, int at, uint8_t change)
{
	struct model_message *message = &model->messages[at];
	int notice = message->snapshots[change].notice;

	if (change > message->durable)
		message->durable = change;
	if (notice != MODEL_NONE)
		model_acknowledge(model, notice);
	model->version++;
}

bool
model_is_alive(const struct model *model, int at)
{
	const struct model_message *message = &model->messages[at];

	return message->acknowledged && !message->gone && !model_newest(message)->settled;
}

bool
model_must_be(const struct model_message *message)
{
	return message->acknowledged && !message->gone && !model_newest(message)->settled;
}

bool
model_may_be(const struct model_message *message)
{
	return !message->refused && !message->gone &&
	    !message->snapshots[message->durable].settled;
}

/* ---- octets ------------------------------------------------------------------- */

const char *
model_body(queue_id id)
{
	static char pattern[PATTERN_SHIFTS + MODEL_BODY_BYTES_MAX];

	if (pattern[0] == '\0') {
		for (uint32_t i = 0; i < sizeof(pattern); i++)
			pattern[i] = (char)('!' + chance_mix(i, 7) % 90);
	}
	return pattern + chance_mix(id, 3) % PATTERN_SHIFTS;
}

static struct span
rcpt_address(char text[ADDRESS_BYTES], queue_id id, uint32_t rcpt)
{
	int len = snprintf(text, ADDRESS_BYTES, "r%u.%llx@d%u.example", rcpt,
	    (unsigned long long)(id & 0xffff), (unsigned int)(id % 5));

	return span_make(text, (size_t)len);
}

static struct span
sender_address(char text[ADDRESS_BYTES], const struct model_message *message)
{
	int len = message->parent != MODEL_NONE ? 0 : snprintf(text, ADDRESS_BYTES,
	    "s%llx@example.org", (unsigned long long)(message->id % 1024));

	return span_make(text, (size_t)len);
}

struct envelope *
model_envelope(const struct model *model, int at)
{
	const struct model_message *message = &model->messages[at];
	struct envelope *envelope = envelope_new();
	char text[ADDRESS_BYTES];

	envelope->sender = envelope_keep(envelope, sender_address(text, message));
	envelope->client_address = envelope_keep(envelope, SPAN("192.0.2.1"));
	envelope->client_hello = envelope_keep(envelope, SPAN("client.example.org"));
	envelope->protocol = PROTOCOL_ESMTPS;
	if (message->parent != MODEL_NONE) {
		queue_id_print(model->messages[message->parent].id, text);
		envelope->parent = envelope_keep(envelope, span_from_cstr(text));
	}
	for (uint32_t i = 0; i < message->rcpt_count; i++) {
		struct envelope_rcpt *rcpt = envelope_add_rcpt(envelope,
		    rcpt_address(text, message->id, i));
		struct span local, domain;

		(void)span_split_last(rcpt->address, '@', &local, &domain);
		rcpt->domain = domain;
	}
	return envelope;
}

void
model_words(char *text_out, size_t size, queue_id id, uint8_t change)
{
	(void)snprintf(text_out, size, "words %u of %llx", change, (unsigned long long)id);
}

static bool
rcpt_is(const struct model_message *message, const struct envelope *envelope, uint32_t at,
    const struct snapshot *snapshot)
{
	const struct envelope_rcpt *rcpt = &envelope->rcpts[at];
	char text[64];

	if (!span_equal(rcpt->address, rcpt_address(text, message->id, at)) ||
	    rcpt->state != snapshot->states[at])
		return false;
	if (snapshot->words[at] == 0)
		return rcpt->last.code == 0;
	model_words(text, sizeof(text), message->id, snapshot->words[at]);
	return strcmp(rcpt->last.text, text) == 0;
}

bool
model_envelope_is(const struct model_message *message, const struct envelope *envelope,
    const struct snapshot *snapshot)
{
	char text[ADDRESS_BYTES];

	if (envelope->rcpt_count != message->rcpt_count ||
	    envelope->body_bytes != message->bytes ||
	    !span_equal(envelope->sender, sender_address(text, message)))
		return false;
	for (uint32_t i = 0; i < message->rcpt_count; i++) {
		if (!rcpt_is(message, envelope, i, snapshot))
			return false;
	}
	return true;
}

static void
snapshot_print(const struct snapshot *snapshot)
{
	(void)fprintf(stderr, " %u%u%u%s%s", snapshot->states[0], snapshot->states[1],
	    snapshot->states[2], snapshot->held ? "h" : "", snapshot->settled ? "s" : "");
	if (snapshot->notice != MODEL_NONE)
		(void)fprintf(stderr, "(%d)", snapshot->notice);
}

void
model_print(const struct model *model)
{
	for (int i = 0; i < model->count; i++) {
		const struct model_message *message = &model->messages[i];

		(void)fprintf(stderr, "%3d %llx %5u octets%s%s%s%s, state %u, durable %u of %u:",
		    i, (unsigned long long)message->id, message->bytes,
		    message->acknowledged ? " acknowledged" : "",
		    message->refused ? " refused" : "", message->gone ? " gone" : "",
		    message->is_listed ? " listed" : "", message->matched, message->durable,
		    message->change_count);
		for (uint32_t j = 1; j <= message->change_count; j++)
			snapshot_print(&message->snapshots[j]);
		(void)fprintf(stderr, "\n");
	}
}
