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

#include "tests/unit/mailbox/scene.h"

/* ---------------------------------------------------------------------- torn by a crash */

static void
tear_everywhere(const char *before)
{
	struct scene scene;

	scene_init(&scene, before);
	for (uint64_t len = scene.intent.size_before; len <= buf_len(&scene.whole); len++) {
		struct mbox_repair result;
		unsigned wanted = 0;
		/* Of the line ends that come first nobody can tell whose they are. */
		uint64_t left = len <= scene.starts[0] ? len : scene.intent.size_before;

		for (size_t i = 0; i < SCENE_MESSAGES && scene_content_end(&scene, i) <= len; i++) {
			wanted |= 1U << i;
			left = scene.starts[i + 1] < len ? scene.starts[i + 1] : len;
		}
		buf_clear(&scene.file);
		(void)buf_append(&scene.file, span_first(buf_span(&scene.whole), (size_t)len));
		result = scene_repair(&scene);
		if (scene_bits(&result) != wanted || buf_len(&scene.file) != left)
			fail_msg("torn at %zu: delivered %x, not %x; %zu octets left, not %zu",
				 (size_t)len, scene_bits(&result), wanted, buf_len(&scene.file),
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
	tear_everywhere(scene_old_mail);
	tear_everywhere("From x Tue Nov 24 00:00:00 2026\n\nwithout a last line end");
}

/* ----------------------------------------------------------- others were at the box since */

/* With a header field more, as readers write it; or without one that it had. */
static void
put_changed(struct scene *scene, size_t i, const char *without, const char *with)
{
	struct span whole = buf_span(&scene->whole), rest, before;
	size_t at;

	rest = span_first(span_skip(whole, (size_t)scene->starts[i]),
			  (size_t)(scene->starts[i + 1] - scene->starts[i]));
	if (without != NULL && span_find(rest, span_from_cstr(without), &at)) {
		scene_put(scene, span_first(rest, at));
		rest = span_skip(rest, at + strlen(without));
	}
	assert_true(span_find(rest, SPAN("\n\n"), &at));
	before = span_first(rest, at + 1);
	scene_put(scene, before);
	scene_put(scene, span_from_cstr(with));
	scene_put(scene, span_skip(rest, at + 1));
}

static void
put_torn(struct scene *scene, size_t missing)
{
	scene_put(scene, span_first(buf_span(&scene->whole), buf_len(&scene->whole) - missing));
}

static void nothing_happened(struct scene *s) { put_torn(s, 0); }

static void
reader_marks_all(struct scene *scene)
{
	scene_put(scene, buf_span(&scene->before));
	for (size_t i = 0; i < SCENE_MESSAGES; i++)
		put_changed(scene, i, NULL, "Status: RO\nX-UID: 17\n");
}

static void
reader_takes_fields_away(struct scene *scene)
{
	scene_put(scene, buf_span(&scene->before));
	put_changed(scene, 0, "Lines: 3\n", "");
	put_changed(scene, 1, NULL, "");
	put_changed(scene, 2, "Status: RO\n", "");
}

static void
reader_expunges_old_mail(struct scene *scene)
{
	for (size_t i = 0; i < SCENE_MESSAGES; i++)
		scene_put_message(scene, i);
}

static void
reader_expunges_first(struct scene *scene)
{
	scene_put(scene, buf_span(&scene->before));
	scene_put_message(scene, 1);
	scene_put_message(scene, 2);
}

static void
reader_expunges_last(struct scene *scene)
{
	scene_put(scene, buf_span(&scene->before));
	scene_put_message(scene, 0);
	scene_put_message(scene, 1);
}

static void
reader_expunges_last_and_marks(struct scene *scene)
{
	scene_put(scene, buf_span(&scene->before));
	put_changed(scene, 0, "Lines: 3\n", "");
	put_changed(scene, 1, NULL, "");
}

/* So short that only the last piece, which the end of the file cuts, tells of it. */
static void
reader_takes_a_field_of_a_short_one_away(struct scene *scene)
{
	scene_put(scene, buf_span(&scene->before));
	scene_put_message(scene, 0);
	put_changed(scene, 1, "Subject: two, whose last line does not end\n", "");
}

static void
another_takes_the_place_of_the_last(struct scene *scene)
{
	reader_expunges_last(scene);
	scene_put(scene, span_from_cstr(scene_foreign_mail));
}

/* The file is as large as it was before the append, and yet has some of it. */
static void
reader_makes_it_the_old_size(struct scene *scene)
{
	size_t size = buf_len(&scene->before);

	scene_put_message(scene, 2);
	while (buf_len(&scene->file) < size)
		(void)buf_append_byte(&scene->file, '\n');
}

static void reader_expunges_all(struct scene *s) { (void)s; }
static void only_old_mail(struct scene *s) { scene_put(s, buf_span(&s->before)); }

static void
another_writes_behind_all(struct scene *scene)
{
	put_torn(scene, 0);
	scene_put(scene, span_from_cstr(scene_foreign_mail));
}

static void
another_glues_to_torn(struct scene *scene)
{
	put_torn(scene, 200);
	scene_put(scene, span_from_cstr(scene_foreign_mail));
}

static void
another_completes_torn(struct scene *scene)
{
	put_torn(scene, 200);
	scene_put(scene, SPAN("\n\n"));
	scene_put(scene, span_from_cstr(scene_foreign_mail));
}

static void
another_writes_far_behind_torn(struct scene *scene)
{
	put_torn(scene, 10);
	for (int i = 0; i < 9; i++)
		scene_put(scene, span_from_cstr(scene_foreign_mail));
}

static void
another_writes_at_message_start(struct scene *scene)
{
	scene_put(scene, span_first(buf_span(&scene->whole), (size_t)scene->starts[1]));
	scene_put(scene, span_from_cstr(scene_foreign_mail));
}

static void
reader_marks_torn(struct scene *scene)
{
	put_torn(scene, 100);
	scene_put(scene, SPAN("\n\n"));

	/* Before the header's end of the third, which was torn. */
	struct span file = buf_span(&scene->file);
	struct buf marked;
	size_t at;

	assert_true(span_find(file, SPAN("Status: RO\n"), &at));
	buf_init(&marked, SCENE_FILE_BYTES_MAX);
	(void)buf_append(&marked, span_first(file, at));
	(void)buf_append_cstr(&marked, "Content-Length: 1234567\n");
	(void)buf_append(&marked, span_skip(file, at));
	buf_clear(&scene->file);
	scene_put(scene, buf_span(&marked));
	buf_fini(&marked);
}

static void
another_instead_of_ours(struct scene *scene)
{
	scene_put(scene, buf_span(&scene->before));
	scene_put(scene, span_from_cstr(scene_foreign_mail));
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

		scene_init(&scene, scene_old_mail);
		changes[i].make(&scene);
		buf_init(&found, SCENE_FILE_BYTES_MAX);
		(void)buf_append(&found, buf_span(&scene.file));
		result = scene_repair(&scene);
		if (scene_bits(&result) != changes[i].delivered || result.cut != changes[i].cuts)
			fail_msg("%s: delivered %x, not %x; cut: %d", changes[i].name,
				 scene_bits(&result), changes[i].delivered, result.cut);
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
	scene_init(&scene, scene_old_mail);
	(void)snprintf(other, sizeof(other), "%s/other", scene.rig.directory);
	reader_expunges_old_mail(&scene);
	rig_write_span(other, buf_span(&scene.file));
	assert_int_equal(rename(other, scene.rig.path), 0);
	result = scene_repair(&scene);
	assert_int_equal(scene_bits(&result), 7);
	scene_fini(&scene);
}

/* As long as it was and a line end more, which is where ours would begin with one. */
static void
keeps_a_line_end_that_a_reader_wrote(void **state)
{
	struct scene scene;
	struct mbox_repair result;
	struct buf found;

	(void)state;
	scene_init(&scene, "From x Tue Nov 24 00:00:00 2026\n\nwithout a last line end");
	scene_put(&scene, SPAN("From y Tue Nov 24 00:00:00 2026\n\n"));
	while (buf_len(&scene.file) < scene.intent.size_before)
		scene_put(&scene, SPAN("z"));
	scene_put(&scene, SPAN("\n"));
	buf_init(&found, SCENE_FILE_BYTES_MAX);
	(void)buf_append(&found, buf_span(&scene.file));
	result = scene_repair(&scene);
	assert_int_equal(scene_bits(&result), 0);
	assert_false(result.cut);
	assert_true(span_equal(buf_span(&scene.file), buf_span(&found)));
	buf_fini(&found);
	scene_fini(&scene);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leaves_whole_messages_wherever_it_is_torn),
		cmocka_unit_test(keeps_a_line_end_that_a_reader_wrote),
		cmocka_unit_test(leaves_alone_what_others_did),
		cmocka_unit_test(knows_messages_in_another_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
