#include <stdio.h>
#include <string.h>

#include "relay/base/must.h"
#include "tests/crash/mailbox/life.h"

const char *
life_box_name(size_t box)
{
	static const char *const names[LIFE_BOXES] = { "a", "b", "m" };

	return names[box];
}

/* Which message is it that stands there whole?  fact_count: none. */
static size_t
find_message(struct life *life, struct span content)
{
	for (size_t i = 0; i < life->fact_count; i++)
		if (life->facts[i].box == LIFE_MAILDIR &&
		    span_equal(life->facts[i].texts[MESSAGE_AS_DELIVERED], content))
			return i;
	return life->fact_count;
}

/* A reader of the Maildir takes what is new, and expunges some of it. */
static void
read_maildir(struct life *life)
{
	char flagged[128];
	const char *name;
	size_t index = 0;

	while ((name = sim_fs_name(life->fs, SIM_NEW, index)) != NULL) {
		size_t number = find_message(life, sim_fs_content(life->fs, SIM_NEW, name));

		if (number == life->fact_count || life_chance(life, 2)) {
			index++;
		} else if (life_chance(life, 3)) {
			life->facts[number].expunged = true;
			sim_fs_take(life->fs, SIM_NEW, name);
		} else {
			char from[128];

			(void)snprintf(from, sizeof(from), "%s", name);
			(void)snprintf(flagged, sizeof(flagged), "%s:2,S", from);
			sim_fs_move(life->fs, SIM_NEW, from, SIM_CUR, flagged);
		}
	}
}

/* Put TEXT where the octets from AT to END are. */
static void
replace(struct buf *kept, size_t at, size_t end, struct span text)
{
	struct buf changed;
	struct span all = buf_span(kept);

	buf_init(&changed, LIFE_BOX_BYTES_MAX);
	(void)buf_append(&changed, span_first(all, at));
	(void)buf_append(&changed, text);
	(void)buf_append(&changed, span_skip(all, end));
	buf_clear(kept);
	(void)buf_append(kept, buf_span(&changed));
	buf_fini(&changed);
}

/* Take it out, with the empty line behind it, or change its header. */
static void
change_message(struct life *life, struct fact *fact, struct buf *kept, size_t at)
{
	size_t end = at + fact->texts[fact->look].len;

	if (fact->look == MESSAGE_AS_DELIVERED && life_chance(life, 2)) {
		fact->look = life_chance(life, 2) ? MESSAGE_MARKED : MESSAGE_CLEANED;
		replace(kept, at, end, fact->texts[fact->look]);
		return;
	}
	end += end < buf_len(kept) && buf_span(kept).data[end] == '\n';
	replace(kept, at, end, span_make("", 0));
	fact->expunged = true;
}

/* A reader of an mbox changes some of the whole messages. */
static void
read_mbox(struct life *life, size_t box)
{
	struct buf kept;

	buf_init(&kept, LIFE_BOX_BYTES_MAX);
	(void)buf_append(&kept, sim_fs_content(life->fs, SIM_BOXES, life_box_name(box)));
	for (size_t i = 0; i < life->fact_count; i++) {
		struct fact *fact = &life->facts[i];
		size_t at = 0;

		if (fact->box == box && !fact->expunged && life_chance(life, 3) &&
		    message_count(fact, buf_span(&kept), &at) > 0)
			change_message(life, fact, &kept, at);
	}
	sim_fs_put(life->fs, SIM_BOXES, life_box_name(box), buf_span(&kept));
	buf_fini(&kept);
}

void
life_read_and_change(struct life *life, size_t box)
{
	life_tell(life, "a reader at %s", life_box_name(box));
	if (box == LIFE_MAILDIR)
		read_maildir(life);
	else
		read_mbox(life, box);
}

void
life_append_foreign(struct life *life, size_t box)
{
	struct buf text, whole;

	if (life->foreign_count == LIFE_FOREIGN_MAX || box == LIFE_MAILDIR)
		return;
	buf_init(&text, LIFE_TEXT_BYTES_MAX);
	buf_init(&whole, LIFE_BOX_BYTES_MAX);
	message_compose_foreign(life->foreign_count, &text);
	(void)buf_append(&whole, sim_fs_content(life->fs, SIM_BOXES, life_box_name(box)));
	(void)buf_append(&whole, buf_span(&text));
	sim_fs_put(life->fs, SIM_BOXES, life_box_name(box), buf_span(&whole));
	life->foreign[life->foreign_count++] = box;
	buf_fini(&text);
	buf_fini(&whole);
}
