#include "tests/unit/mailbox/scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/base32.h"

const char scene_old_mail[] =
	"From old@example.org Tue Nov 24 00:00:00 2026\n"
	"Subject: it was here before\n\nThis is to stay.\n\n";

const char scene_foreign_mail[] =
	"From other@example.org Tue Nov 24 01:00:00 2026\n"
	"Subject: by another program\n\nThis is to stay, too.\n\n";

static const char *const bodies[SCENE_MESSAGES] = {
	"Subject: one\nLines: 3\n\nFrom here to there\nFrom a@b Tue Nov 24 00:00:00 2026\n\nend\n",
	"Subject: two, whose last line does not end\n\nlast line",
	"Subject: three\nStatus: RO\n\n"
	"0123456789012345678901234567890123456789012345678901234567890123456789\n"
	"0123456789012345678901234567890123456789012345678901234567890123456789\n"
	"0123456789012345678901234567890123456789012345678901234567890123456789\n"
	"0123456789012345678901234567890123456789012345678901234567890123456789\n"
	"0123456789012345678901234567890123456789012345678901234567890123456789\n"
	"0123456789012345678901234567890123456789012345678901234567890123456789\n"
	"0123456789012345678901234567890123456789012345678901234567890123456789\n",
};

static void
make_message(struct scene *scene, size_t i)
{
	char id[BASE32_U64_BYTES], head[512];
	const uint64_t delivery_id = UINT64_C(0x6400000000000000) + i;
	int len;
	size_t at;

	base32_print_u64(delivery_id, id);
	len = snprintf(head, sizeof(head),
		       "From sender@example.org Tue Nov 24 00:24:12 2026\n"
		       "Return-Path: <sender@example.org>\nDelivered-To: user@example.net\n"
		       "Received: from relay.example.net by box.example.net with LMTPS\n"
		       "\tid %s for <user@example.net>; Tue, 24 Nov 2026 00:24:12 +0000\n", id);
	scene->messages[i] = (struct mbox_message){
		.head = arena_dup(&scene->arena, span_make(head, (size_t)len)),
		.letter = scene->letters[i] = rig_letter(&scene->rig, bodies[i]),
		.delivery_id = delivery_id,
	};
	assert_true(span_find(scene->messages[i].head, span_make(id, BASE32_U64_CHARS), &at));
	scene->messages[i].id_at = (uint32_t)at;
}

void
scene_init(struct scene *scene, const char *before)
{
	struct err err;
	uint64_t at;

	rig_init(&scene->rig);
	scene->rig.fault.syncs_nothing = true;
	arena_init(&scene->arena, 0);
	buf_init(&scene->before, SCENE_FILE_BYTES_MAX);
	buf_init(&scene->whole, SCENE_FILE_BYTES_MAX);
	buf_init(&scene->file, SCENE_FILE_BYTES_MAX);
	(void)buf_append_cstr(&scene->before, before);
	for (size_t i = 0; i < SCENE_MESSAGES; i++)
		make_message(scene, i);
	rig_write(scene->rig.path, before);
	assert_int_equal(rig_append(&scene->rig, scene->messages, SCENE_MESSAGES, &scene->arena,
				    &scene->intent, &err), MBOX_APPENDED);
	rig_read(&scene->rig, scene->rig.path, &scene->whole);
	at = scene->intent.size_before + intent_lead_bytes(&scene->intent);
	for (size_t i = 0; i < SCENE_MESSAGES; i++) {
		scene->starts[i] = at;
		at += scene->intent.entries[i].bytes;
	}
	scene->starts[SCENE_MESSAGES] = at;
	assert_int_equal(at, buf_len(&scene->whole));
}

void
scene_fini(struct scene *scene)
{
	for (size_t i = 0; i < SCENE_MESSAGES; i++)
		letter_release(&scene->letters[i]);
	buf_fini(&scene->before);
	buf_fini(&scene->whole);
	buf_fini(&scene->file);
	arena_fini(&scene->arena);
	rig_fini(&scene->rig);
}

/* As the journal would have it after a restart. */
static struct intent
through_the_journal(struct scene *scene)
{
	struct buf code;
	struct intent intent;
	struct err err;
	struct span text;

	buf_init(&code, INTENT_CODE_BYTES_MAX);
	intent_encode(&scene->intent, &code);
	text = arena_dup(&scene->arena, buf_span(&code));
	assert_int_equal(intent_decode(&intent, text, &scene->arena, &err), 0);
	buf_fini(&code);
	return intent;
}

struct mbox_repair
scene_repair(struct scene *scene)
{
	struct intent intent = through_the_journal(scene);
	struct mbox_repair result;
	struct mbox mbox;
	struct err err;

	rig_write_span(scene->rig.path, buf_span(&scene->file));
	assert_int_equal(mbox_open(&mbox, &scene->rig.settings, &err), MBOX_OPENED);
	assert_int_equal(mbox_repair(&mbox, &intent, &result, &err), 0);
	mbox_close(&mbox);
	rig_read(&scene->rig, scene->rig.path, &scene->file);
	return result;
}

unsigned
scene_bits(const struct mbox_repair *result)
{
	unsigned delivered = 0;

	for (size_t i = 0; i < SCENE_MESSAGES; i++)
		delivered |= (unsigned)result->delivered[i] << i;
	return delivered;
}

uint64_t
scene_content_end(const struct scene *scene, size_t i)
{
	const struct intent_entry *entry = &scene->intent.entries[i];

	return scene->starts[i] + entry->body_at + entry->body_bytes;
}

void
scene_put(struct scene *scene, struct span text)
{
	(void)buf_append(&scene->file, text);
}

void
scene_put_message(struct scene *scene, size_t i)
{
	struct span whole = buf_span(&scene->whole);

	scene_put(scene, span_first(span_skip(whole, (size_t)scene->starts[i]),
			      (size_t)(scene->starts[i + 1] - scene->starts[i])));
}
