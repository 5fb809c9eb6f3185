/*
 * What must hold behind every recovery:
 *   - a message that was answered 250 is there, once, unless a reader took it out, and its key is
 *     remembered, so that a second arrival is absorbed;
 *   - one that was not is there whole, once, and remembered; or neither;
 *   - nothing else is in a box but what another program put there, and all of that.
 */
#include <string.h>

#include "tests/crash/mailbox/life.h"

static size_t
count_of(struct span where, struct span what)
{
	size_t count = 0, at;

	while (span_find(where, what, &at)) {
		count++;
		where = span_skip(where, at + what.len);
	}
	return count;
}

static bool
is_remembered(const struct life *life, const struct intent_key *key)
{
	for (size_t i = 0; i < life->key_count; i++)
		if (memcmp(&life->keys[i], key, sizeof(*key)) == 0)
			return true;
	return false;
}

static void
judge_message(struct life *life, size_t number, size_t copies)
{
	const struct fact *fact = &life->facts[number];
	bool remembered = is_remembered(life, &fact->key);

	if (copies > 1)
		life_violated(life, "message %zu is there %zu times", number, copies);
	if (fact->acked && copies == 0 && !fact->expunged)
		life_violated(life, "message %zu was answered 250 and is lost", number);
	if (fact->acked && !fact->expunged && !remembered)
		life_violated(life, "message %zu was answered 250 and is forgotten", number);
	if (copies == 1 && !remembered)
		life_violated(life, "message %zu is there and would be delivered again", number);
	if (copies == 0 && !fact->expunged && remembered)
		life_violated(life, "message %zu is remembered and not there", number);
}

/* Every file in new/ and cur/ is a whole message of ours; each message is there once. */
static void
judge_maildir(struct life *life)
{
	static const enum sim_dir dirs[] = { SIM_NEW, SIM_CUR };
	size_t copies[LIFE_MESSAGES_MAX] = { 0 };

	for (size_t d = 0; d < sizeof(dirs) / sizeof(dirs[0]); d++) {
		const char *name;

		for (size_t n = 0; (name = sim_fs_name(life->fs, dirs[d], n)) != NULL; n++) {
			struct span content = sim_fs_content(life->fs, dirs[d], name);
			bool known = false;

			for (size_t i = 0; i < life->fact_count; i++) {
				const struct fact *fact = &life->facts[i];

				if (fact->box != LIFE_MAILDIR ||
				    !span_equal(fact->texts[MESSAGE_AS_DELIVERED], content))
					continue;
				known = true;
				copies[i]++;
			}
			if (!known)
				life_violated(life, "%s in the Maildir is no whole message", name);
		}
	}
	for (size_t i = 0; i < life->fact_count; i++)
		if (life->facts[i].box == LIFE_MAILDIR)
			judge_message(life, i, copies[i]);
}

static void
judge_mbox(struct life *life, size_t box)
{
	struct span content = sim_fs_content(life->fs, SIM_BOXES, life_box_name(box));
	uint64_t known_bytes = 0, line_ends = 0;
	struct buf text;

	buf_init(&text, LIFE_TEXT_BYTES_MAX);
	for (size_t i = 0; i < life->fact_count; i++) {
		if (life->facts[i].box != box)
			continue;

		const struct fact *fact = &life->facts[i];
		size_t at = 0, copies = message_count(fact, content, &at);

		known_bytes += copies * fact->texts[fact->look].len;
		judge_message(life, i, copies);
	}
	for (size_t i = 0; i < life->foreign_count; i++) {
		if (life->foreign[i] != box)
			continue;
		message_compose_foreign(i, &text);
		if (count_of(content, buf_span(&text)) != 1)
			life_violated(life, "a message of another program is lost");
		known_bytes += buf_len(&text);
	}
	buf_fini(&text);
	for (size_t i = 1; i < content.len; i++)
		line_ends += content.data[i] == '\n' && content.data[i - 1] == '\n';
	/* Whole messages with empty lines between; a torn one, where others wrote behind it. */
	if (content.len > known_bytes + line_ends + 1 && !life->was_touched)
		life_violated(life, "box %zu has %zu octets, and %zu of them are of nobody", box,
			      content.len, content.len - (size_t)known_bytes);
}

void
life_judge(struct life *life)
{
	for (size_t box = 0; box < LIFE_BOXES; box++) {
		if (box == LIFE_MAILDIR)
			judge_maildir(life);
		else
			judge_mbox(life, box);
	}
}
