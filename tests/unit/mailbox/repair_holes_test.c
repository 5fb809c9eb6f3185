/*
 * Repairs where the disk never got some of the sectors, or where what is seen may not stay.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/mailbox/scene.h"

/* The disk got the size and only some of the sectors: zeros stand for the others. */
static void
cuts_off_what_a_disk_never_got(void **state)
{
	enum { SECTOR = 512 };
	struct scene scene;

	(void)state;
	scene_init(&scene, scene_old_mail);

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
		result = scene_repair(&scene);
		/* What is left are whole messages without a gap, and only they count. */
		assert_false(memchr(scene.file.data, '\0', buf_len(&scene.file)) != NULL);
		assert_true(span_equal(buf_span(&scene.file),
				       span_first(whole, buf_len(&scene.file))));
		for (size_t i = 0; i < SCENE_MESSAGES; i++)
			assert_int_equal(result.delivered[i],
					 scene_content_end(&scene, i) <= buf_len(&scene.file));
	}
	scene_fini(&scene);
}

/* The octets that part the messages are zeros: what stands there is one message for readers. */
static void
cuts_off_what_a_hole_glues(void **state)
{
	struct scene scene;

	(void)state;
	scene_init(&scene, scene_old_mail);
	for (size_t i = 0; i < SCENE_MESSAGES; i++) {
		struct mbox_repair result;
		uint64_t hole = scene_content_end(&scene, i);

		buf_clear(&scene.file);
		scene_put(&scene, buf_span(&scene.whole));
		memset(scene.file.data + hole, 0, (size_t)(scene.starts[i + 1] - hole));
		result = scene_repair(&scene);
		assert_int_equal(scene_bits(&result), (2U << i) - 1);
		assert_true(result.cut);
		assert_true(span_equal(buf_span(&scene.file),
				       span_first(buf_span(&scene.whole), (size_t)hole)));
	}
	scene_fini(&scene);
}

/* As above, and the zeros are before the first: its lead. */
static void
cuts_off_what_a_hole_glues_to_foreign_mail(void **state)
{
	struct scene scene;
	struct mbox_repair result;

	(void)state;
	scene_init(&scene, "From x Tue Nov 24 00:00:00 2026\n\nwithout a last line end");
	scene_put(&scene, buf_span(&scene.whole));
	memset(scene.file.data + scene.intent.size_before, 0,
	       (size_t)(scene.starts[0] - scene.intent.size_before));
	result = scene_repair(&scene);
	assert_int_equal(scene_bits(&result), 0);
	assert_true(result.cut);
	assert_true(span_equal(buf_span(&scene.file), buf_span(&scene.before)));
	scene_fini(&scene);
}

/* The hole ends just before the line end behind it, and another program wrote: nothing is cut. */
static void
does_not_believe_what_stands_behind_a_hole(void **state)
{
	struct scene scene;
	struct mbox_repair result;

	(void)state;
	scene_init(&scene, scene_old_mail);
	scene_put(&scene, buf_span(&scene.whole));
	scene_put(&scene, span_from_cstr(scene_foreign_mail));
	memset(scene.file.data + scene_content_end(&scene, 0) - 5, 0, 5);
	result = scene_repair(&scene);
	assert_int_equal(scene_bits(&result), 4);
	assert_false(result.cut);
	scene_fini(&scene);
}

/* What moved and has a hole in its header is no message for readers. */
static void
does_not_find_what_has_a_hole(void **state)
{
	struct scene scene;
	struct mbox_repair result;

	(void)state;
	scene_init(&scene, scene_old_mail);
	for (size_t i = 0; i < SCENE_MESSAGES; i++)
		scene_put_message(&scene, i);
	memset(scene.file.data, 0, strlen("From sender"));
	result = scene_repair(&scene);
	assert_int_equal(scene_bits(&result), 6);
	scene_fini(&scene);
}

/* Nothing is there, and the disk cannot promise that nothing comes back. */
static void
does_not_end_what_may_come_back(void **state)
{
	const char *const files[] = { scene_old_mail, scene_foreign_mail, "" };

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct scene scene;
		struct mbox_repair result;
		struct mbox mbox;
		struct err err;

		scene_init(&scene, scene_old_mail);
		rig_write(scene.rig.path, files[i]);
		scene.rig.fault.which = FAULT_SYNC;
		scene.rig.fault.at = 1;
		scene.rig.fault.for_ever = true;
		scene.rig.fault.error = EIO;
		scene.rig.fault.count = 0;
		assert_int_equal(mbox_open(&mbox, &scene.rig.settings, &err), MBOX_OPENED);
		assert_int_equal(mbox_repair(&mbox, &scene.intent, &result, &err), -1);
		mbox_close(&mbox);
		scene_fini(&scene);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cuts_off_what_a_disk_never_got),
		cmocka_unit_test(cuts_off_what_a_hole_glues),
		cmocka_unit_test(cuts_off_what_a_hole_glues_to_foreign_mail),
		cmocka_unit_test(does_not_believe_what_stands_behind_a_hole),
		cmocka_unit_test(does_not_find_what_has_a_hole),
		cmocka_unit_test(does_not_end_what_may_come_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
