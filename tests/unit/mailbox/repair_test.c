/*
 * Repairs of an append that a crash cut short, or whose end the journal never heard of, with
 * readers and other programs at work in between.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "mailbox/mbox_repair.h"
#include "relay/base/base32.h"
#include "relay/base/mem.h"
#include "tests/unit/mailbox/rig.h"

enum { MESSAGES = 3, FILE_BYTES_MAX = 1 << 20 };

static const char old_mail[] =
	"From old@example.org Tue Nov 24 00:00:00 2026\n"
	"Subject: it was here before\n\nThis is to stay.\n\n";

static const char foreign_mail[] =
	"From other@example.org Tue Nov 24 01:00:00 2026\n"
	"Subject: by another program\n\nThis is to stay, too.\n\n";

static const char *const bodies[MESSAGES] = {
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

/* A box with old mail, and an append to it of which the intent is known. */
struct scene {
	struct rig rig;
	struct arena arena;
	struct intent intent;
	struct letter *letters[MESSAGES];
	struct mbox_message messages[MESSAGES];
	struct buf before;
	struct buf whole;               /* the file with all of the append */
	uint64_t starts[MESSAGES + 1];  /* of messages, in the file; and the end */
	struct buf file;                /* the file as it is found */
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

static void
scene_init(struct scene *scene, const char *before)
{
	struct err err;
	uint64_t at;

	rig_init(&scene->rig);
	scene->rig.fault.syncs_nothing = true;
	arena_init(&scene->arena, 0);
	buf_init(&scene->before, FILE_BYTES_MAX);
	buf_init(&scene->whole, FILE_BYTES_MAX);
	buf_init(&scene->file, FILE_BYTES_MAX);
	(void)buf_append_cstr(&scene->before, before);
	for (size_t i = 0; i < MESSAGES; i++)
		make_message(scene, i);
	rig_write(scene->rig.path, before);
	assert_int_equal(rig_append(&scene->rig, scene->messages, MESSAGES, &scene->arena,
				    &scene->intent, &err), MBOX_APPENDED);
	rig_read(&scene->rig, scene->rig.path, &scene->whole);
	at = scene->intent.size_before + intent_lead_bytes(&scene->intent);
	for (size_t i = 0; i < MESSAGES; i++) {
		scene->starts[i] = at;
		at += scene->intent.entries[i].bytes;
	}
	scene->starts[MESSAGES] = at;
	assert_int_equal(at, buf_len(&scene->whole));
}

static void
scene_fini(struct scene *scene)
{
	for (size_t i = 0; i < MESSAGES; i++)
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

/* The file is as scene->file has it: repair it; scene->file gets what it is then. */
static struct mbox_repair
repair(struct scene *scene)
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

static unsigned
bits(const struct mbox_repair *result)
{
	unsigned delivered = 0;

	for (size_t i = 0; i < MESSAGES; i++)
		delivered |= (unsigned)result->delivered[i] << i;
	return delivered;
}

/* ---------------------------------------------------------------------- torn by a crash */

/* Where the content of message I ends: what follows only parts it from the next one. */
static uint64_t
content_end(const struct scene *scene, size_t i)
{
	const struct intent_entry *entry = &scene->intent.entries[i];

	return scene->starts[i] + entry->body_at + entry->body_bytes;
}

static void
tear_everywhere(const char *before)
{
	struct scene scene;

	scene_init(&scene, before);
	for (uint64_t len = scene.intent.size_before; len <= buf_len(&scene.whole); len++) {
		struct mbox_repair result;
		unsigned wanted = 0;
		uint64_t left = scene.intent.size_before;

		for (size_t i = 0; i < MESSAGES && content_end(&scene, i) <= len; i++) {
			wanted |= 1U << i;
			left = scene.starts[i + 1] < len ? scene.starts[i + 1] : len;
		}
		buf_clear(&scene.file);
		(void)buf_append(&scene.file, span_first(buf_span(&scene.whole), (size_t)len));
		result = repair(&scene);
		if (bits(&result) != wanted || buf_len(&scene.file) != left)
			fail_msg("torn at %zu: delivered %x, not %x; %zu octets left, not %zu",
				 (size_t)len, bits(&result), wanted, buf_len(&scene.file),
				 (size_t)left);
		assert_true(span_equal(buf_span(&scene.file),
				       span_first(buf_span(&scene.whole), (size_t)left)));
	}
	scene_fini(&scene);
}

static void
leaves_whole_messages_wherever_it_is_torn(void **state)
{
	(void)state;
	tear_everywhere("");
	tear_everywhere(old_mail);
	tear_everywhere("From x Tue Nov 24 00:00:00 2026\n\nwithout a last line end");
}

/* The disk got the size and only some of the sectors: zeros stand for the others. */
static void
cuts_off_what_a_disk_never_got(void **state)
{
	enum { SECTOR = 512 };
	struct scene scene;

	(void)state;
	scene_init(&scene, old_mail);

	size_t first = (size_t)scene.intent.size_before / SECTOR;
	size_t count = (buf_len(&scene.whole) - 1) / SECTOR + 1 - first;

	for (unsigned got = 0; got + 1 < 1U << count; got++) {
		struct mbox_repair result;
		struct span whole = buf_span(&scene.whole);

		buf_clear(&scene.file);
		for (size_t at = 0; at < whole.len; at++) {
			bool is_there = at < scene.intent.size_before ||
					(got >> (at / SECTOR - first) & 1) != 0;

			(void)buf_append_byte(&scene.file, is_there ? whole.data[at] : '\0');
		}
		result = repair(&scene);
		/* What is left are whole messages without a gap, and only they count. */
		assert_false(memchr(scene.file.data, '\0', buf_len(&scene.file)) != NULL);
		assert_true(span_equal(buf_span(&scene.file),
				       span_first(whole, buf_len(&scene.file))));
		for (size_t i = 0; i < MESSAGES; i++)
			assert_int_equal(result.delivered[i],
					 content_end(&scene, i) <= buf_len(&scene.file));
	}
	scene_fini(&scene);
}

/* ----------------------------------------------------------- others were at the box since */

static void
put(struct scene *scene, struct span text)
{
	(void)buf_append(&scene->file, text);
}

static void
put_message(struct scene *scene, size_t i)
{
	struct span whole = buf_span(&scene->whole);

	put(scene, span_first(span_skip(whole, (size_t)scene->starts[i]),
			      (size_t)(scene->starts[i + 1] - scene->starts[i])));
}

/* With a header field more, as readers write it; or without one that it had. */
static void
put_changed(struct scene *scene, size_t i, const char *without, const char *with)
{
	struct span whole = buf_span(&scene->whole), rest, before;
	size_t at;

	rest = span_first(span_skip(whole, (size_t)scene->starts[i]),
			  (size_t)(scene->starts[i + 1] - scene->starts[i]));
	if (without != NULL && span_find(rest, span_from_cstr(without), &at)) {
		put(scene, span_first(rest, at));
		rest = span_skip(rest, at + strlen(without));
	}
	assert_true(span_find(rest, SPAN("\n\n"), &at));
	before = span_first(rest, at + 1);
	put(scene, before);
	put(scene, span_from_cstr(with));
	put(scene, span_skip(rest, at + 1));
}

static void
put_torn(struct scene *scene, size_t missing)
{
	put(scene, span_first(buf_span(&scene->whole), buf_len(&scene->whole) - missing));
}

static void nothing_happened(struct scene *s) { put_torn(s, 0); }

static void
reader_marks_all(struct scene *scene)
{
	put(scene, buf_span(&scene->before));
	for (size_t i = 0; i < MESSAGES; i++)
		put_changed(scene, i, NULL, "Status: RO\nX-UID: 17\n");
}

static void
reader_takes_fields_away(struct scene *scene)
{
	put(scene, buf_span(&scene->before));
	put_changed(scene, 0, "Lines: 3\n", "");
	put_changed(scene, 1, NULL, "");
	put_changed(scene, 2, "Status: RO\n", "");
}

static void
reader_expunges_old_mail(struct scene *scene)
{
	for (size_t i = 0; i < MESSAGES; i++)
		put_message(scene, i);
}

static void
reader_expunges_first(struct scene *scene)
{
	put(scene, buf_span(&scene->before));
	put_message(scene, 1);
	put_message(scene, 2);
}

static void
reader_expunges_last(struct scene *scene)
{
	put(scene, buf_span(&scene->before));
	put_message(scene, 0);
	put_message(scene, 1);
}

static void
reader_expunges_last_and_marks(struct scene *scene)
{
	put(scene, buf_span(&scene->before));
	put_changed(scene, 0, "Lines: 3\n", "");
	put_changed(scene, 1, NULL, "");
}

/* So short that only the last piece, which the end of the file cuts, tells of it. */
static void
reader_takes_a_field_of_a_short_one_away(struct scene *scene)
{
	put(scene, buf_span(&scene->before));
	put_message(scene, 0);
	put_changed(scene, 1, "Subject: two, whose last line does not end\n", "");
}

static void
another_takes_the_place_of_the_last(struct scene *scene)
{
	reader_expunges_last(scene);
	put(scene, span_from_cstr(foreign_mail));
}

/* The file is as large as it was before the append, and yet has some of it. */
static void
reader_makes_it_the_old_size(struct scene *scene)
{
	size_t size = buf_len(&scene->before);

	put_message(scene, 2);
	while (buf_len(&scene->file) < size)
		(void)buf_append_byte(&scene->file, '\n');
}

static void reader_expunges_all(struct scene *s) { (void)s; }
static void only_old_mail(struct scene *s) { put(s, buf_span(&s->before)); }

static void
another_writes_behind_all(struct scene *scene)
{
	put_torn(scene, 0);
	put(scene, span_from_cstr(foreign_mail));
}

static void
another_glues_to_torn(struct scene *scene)
{
	put_torn(scene, 200);
	put(scene, span_from_cstr(foreign_mail));
}

static void
another_completes_torn(struct scene *scene)
{
	put_torn(scene, 200);
	put(scene, SPAN("\n\n"));
	put(scene, span_from_cstr(foreign_mail));
}

static void
another_writes_far_behind_torn(struct scene *scene)
{
	put_torn(scene, 10);
	for (int i = 0; i < 9; i++)
		put(scene, span_from_cstr(foreign_mail));
}

static void
another_writes_at_message_start(struct scene *scene)
{
	put(scene, span_first(buf_span(&scene->whole), (size_t)scene->starts[1]));
	put(scene, span_from_cstr(foreign_mail));
}

static void
reader_marks_torn(struct scene *scene)
{
	put_torn(scene, 100);
	put(scene, SPAN("\n\n"));

	/* Before the header's end of the third, which was torn. */
	struct span file = buf_span(&scene->file);
	struct buf marked;
	size_t at;

	assert_true(span_find(file, SPAN("Status: RO\n"), &at));
	buf_init(&marked, FILE_BYTES_MAX);
	(void)buf_append(&marked, span_first(file, at));
	(void)buf_append_cstr(&marked, "Content-Length: 1234567\n");
	(void)buf_append(&marked, span_skip(file, at));
	buf_clear(&scene->file);
	put(scene, buf_span(&marked));
	buf_fini(&marked);
}

static void
another_instead_of_ours(struct scene *scene)
{
	put(scene, buf_span(&scene->before));
	put(scene, span_from_cstr(foreign_mail));
}

/* In no row is an octet changed but where it says what is left. */
static const struct {
	const char *name;
	void (*make)(struct scene *scene);
	unsigned delivered;
	bool cuts;
} changes[] = {
	{ "finds all as it was left", nothing_happened, 7, false },
	{ "knows messages that a reader marked", reader_marks_all, 7, false },
	{ "knows messages that a reader made shorter", reader_takes_fields_away, 7, false },
	{ "knows messages that moved up", reader_expunges_old_mail, 7, false },
	{ "knows the rest when the first was expunged", reader_expunges_first, 6, false },
	{ "keeps the rest when the last was expunged", reader_expunges_last, 3, false },
	{ "keeps what is shorter, without the last", reader_expunges_last_and_marks, 3, false },
	{ "keeps a short one that is shorter", reader_takes_a_field_of_a_short_one_away, 3, false },
	{ "keeps what stands where ours stood", another_takes_the_place_of_the_last, 3, false },
	{ "looks though the size is the old one", reader_makes_it_the_old_size, 4, false },
	{ "finds nothing in an empty file", reader_expunges_all, 0, false },
	{ "finds nothing that was never written", only_old_mail, 0, false },
	{ "keeps what stands behind ours", another_writes_behind_all, 7, false },
	{ "keeps what is glued to a torn one", another_glues_to_torn, 3, false },
	{ "keeps what follows a torn one", another_completes_torn, 3, false },
	{ "keeps what reaches beyond ours", another_writes_far_behind_torn, 3, false },
	{ "keeps what begins where ours would", another_writes_at_message_start, 1, false },
	{ "does not believe a torn one that grew", reader_marks_torn, 3, false },
	{ "keeps what another wrote in its place", another_instead_of_ours, 0, false },
};

static void
leaves_alone_what_others_did(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct scene scene;
		struct mbox_repair result;
		struct buf found;

		scene_init(&scene, old_mail);
		changes[i].make(&scene);
		buf_init(&found, FILE_BYTES_MAX);
		(void)buf_append(&found, buf_span(&scene.file));
		result = repair(&scene);
		if (bits(&result) != changes[i].delivered || result.cut != changes[i].cuts)
			fail_msg("%s: delivered %x, not %x; cut: %d", changes[i].name,
				 bits(&result), changes[i].delivered, result.cut);
		if (!span_equal(buf_span(&scene.file), buf_span(&found)))
			fail_msg("%s: the file was changed", changes[i].name);
		buf_fini(&found);
		scene_fini(&scene);
	}
}

/* A box that was written anew under another inode, as formail and rename do. */
static void
knows_messages_in_another_file(void **state)
{
	struct scene scene;
	struct mbox_repair result;
	char other[128];

	(void)state;
	scene_init(&scene, old_mail);
	(void)snprintf(other, sizeof(other), "%s/other", scene.rig.directory);
	reader_expunges_old_mail(&scene);
	rig_write_span(other, buf_span(&scene.file));
	assert_int_equal(rename(other, scene.rig.path), 0);
	result = repair(&scene);
	assert_int_equal(bits(&result), 7);
	scene_fini(&scene);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leaves_whole_messages_wherever_it_is_torn),
		cmocka_unit_test(cuts_off_what_a_disk_never_got),
		cmocka_unit_test(leaves_alone_what_others_did),
		cmocka_unit_test(knows_messages_in_another_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
