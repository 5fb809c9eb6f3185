#include "tests/crash/life.h"

#include <string.h>

/* Bodies that are read piece by piece, while their messages are settled and moved. */
static void
piece(void *ctx, struct span bytes)
{
	struct life_read *read = ctx;
	const struct model_message *message = &read->life->model->messages[read->message];

	if (read->at + bytes.len > message->bytes ||
	    memcmp(bytes.data, model_body(message->id) + read->at, bytes.len) != 0)
		read->is_wrong = true;
	read->at += (uint32_t)bytes.len;
	read->may_go_on = true;
}

/* A reader that found its message reads it whole, whatever becomes of the message. */
static void
ended(void *ctx, enum queue_result result)
{
	struct life_read *read = ctx;
	struct life *life = read->life;
	const struct model_message *message = &life->model->messages[read->message];
	bool is_gone = result == QUEUE_NOT_FOUND && model_newest(message)->settled;

	if (!life->disk->is_dead && !is_gone &&
	    (result != QUEUE_DONE || read->is_wrong || read->at != message->bytes))
		violate(life->violation, "a reader of %llx: %s, %u of %u octets%s",
		    (unsigned long long)message->id, queue_result_name(result), read->at,
		    message->bytes, read->is_wrong ? ", wrong ones" : "");
	queue_body_close(&read->reader);
	read->may_go_on = false;
}

void
work_read(struct life *life, struct chance *chance, int message)
{
	static const struct queue_body_events events = { piece, ended };
	struct life_read *read = &life->reads[chance_below(chance, LIFE_READS_MAX)];

	if (read->reader) {
		bool may_go_on = read->may_go_on;

		read->may_go_on = false;
		if (may_go_on)
			queue_body_next(read->reader);
		return;
	}
	if (message == MODEL_NONE)
		return;
	*read = (struct life_read){ .life = life, .message = message };
	read->reader = queue_body_open(life->port, life->model->messages[message].id, &events,
	    read);
}
