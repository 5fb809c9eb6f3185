/*
 * Appends to files that others prepared: refused, or delivered exactly and nowhere else.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/mem.h"
#include "tests/unit/mailbox/rig.h"

enum { FILE_BYTES_MAX = 1 << 20 };

#define HEAD "From sender@example.org Tue Nov 24 00:24:12 2026\nReturn-Path: <s@example.org>\n"
#define LETTER "Subject: x\n\nFrom me\nbody\n"
#define STORED HEAD "Subject: x\n\n>From me\nbody\n\n"

struct scene {
	struct rig rig;
	struct arena arena;
	struct letter *letter;
	struct mbox_message message;
	char other[128];                /* a file that is nobody's mailbox */
	struct err err;
	size_t swap;                    /* which of the swaps */
};

static void
scene_init(struct scene *scene)
{
	rig_init(&scene->rig);
	arena_init(&scene->arena, 0);
	err_clear(&scene->err);
	scene->letter = rig_letter(&scene->rig, LETTER);
	scene->message = (struct mbox_message){
		.head = SPAN(HEAD), .letter = scene->letter, .delivery_id = 77,
	};
	(void)snprintf(scene->other, sizeof(scene->other), "%s/other", scene->rig.directory);
	rig_write(scene->other, "somebody else's\n");
}

static void
scene_fini(struct scene *scene)
{
	letter_release(&scene->letter);
	arena_fini(&scene->arena);
	rig_fini(&scene->rig);
}

static enum mbox_append_result
append(struct scene *scene)
{
	return rig_append(&scene->rig, &scene->message, 1, &scene->arena, NULL, &scene->err);
}

static void
assert_file(struct scene *scene, const char *path, const char *name, struct span wanted)
{
	struct buf found;

	buf_init(&found, FILE_BYTES_MAX);
	rig_read(&scene->rig, path, &found);
	if (!span_equal(buf_span(&found), wanted))
		fail_msg("%s: the file has \"%.*s\"", name, SPAN_ARGS(buf_span(&found)));
	buf_fini(&found);
}

/* ------------------------------------------------------------------- what is refused */

static void
make_link(struct scene *scene)
{
	assert_int_equal(symlink(scene->other, scene->rig.path), 0);
}

static void
make_dangling_link(struct scene *scene)
{
	char target[128];

	(void)snprintf(target, sizeof(target), "%s/made", scene->rig.directory);
	assert_int_equal(symlink(target, scene->rig.path), 0);
}

static void
make_hard_link(struct scene *scene)
{
	assert_int_equal(link(scene->other, scene->rig.path), 0);
}

static void
make_fifo(struct scene *scene)
{
	assert_int_equal(mkfifo(scene->rig.path, 0600), 0);
}

/* /dev/null's; where nobody may make one there is nothing to be afraid of. */
static void
make_device(struct scene *scene)
{
	if (mknod(scene->rig.path, S_IFCHR | 0600, makedev(1, 3)) < 0)
		make_fifo(scene);
}

static void
make_directory(struct scene *scene)
{
	assert_int_equal(mkdir(scene->rig.path, 0700), 0);
}

static void
make_foreign(struct scene *scene)
{
	rig_write(scene->rig.path, "");
	scene->rig.settings.uid = geteuid() + 1;
}

static void
lock_by_another(struct scene *scene)
{
	char lock[128];

	rig_write(scene->rig.path, "");
	(void)snprintf(lock, sizeof(lock), "%s.lock", scene->rig.path);
	rig_write(lock, "1");
}

static const struct {
	const char *name;
	void (*make)(struct scene *scene);
	enum mbox_open_result result;
} refusals[] = {
	{ "a symbolic link", make_link, MBOX_REFUSED },
	{ "a symbolic link to nothing", make_dangling_link, MBOX_REFUSED },
	{ "a hard link", make_hard_link, MBOX_REFUSED },
	{ "a FIFO", make_fifo, MBOX_REFUSED },
	{ "a device", make_device, MBOX_REFUSED },
	{ "a directory", make_directory, MBOX_REFUSED },
	{ "a file of another owner", make_foreign, MBOX_REFUSED },
	{ "a box with a dot lock", lock_by_another, MBOX_BUSY },
};

static void
refuses_what_is_no_mailbox(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		struct scene scene;
		struct mbox mbox;
		char made[128];
		enum mbox_open_result result;
		struct reply reply;

		scene_init(&scene);
		refusals[i].make(&scene);
		result = mbox_open(&mbox, &scene.rig.settings, &scene.err);
		if (result != refusals[i].result)
			fail_msg("%s: %d, not %d", refusals[i].name, result, refusals[i].result);
		mbox_reply(&scene.err, &reply);
		assert_true(reply_is_transient(&reply));
		assert_file(&scene, scene.other, refusals[i].name, SPAN("somebody else's\n"));
		(void)snprintf(made, sizeof(made), "%s/made", scene.rig.directory);
		assert_false(rig_exists(made));
		scene_fini(&scene);
	}
}

/* ------------------------------------------------------------------ swapped meanwhile */

static void
swap_for_link(struct scene *scene)
{
	assert_int_equal(unlink(scene->rig.path), 0);
	make_link(scene);
}

static void
swap_for_other_file(struct scene *scene)
{
	char fresh[128];

	(void)snprintf(fresh, sizeof(fresh), "%s/fresh", scene->rig.directory);
	rig_write(fresh, "");
	assert_int_equal(rename(fresh, scene->rig.path), 0);
}

/* As log rotation does it: what was opened goes on to exist. */
static void
move_it_away(struct scene *scene)
{
	char away[128];

	(void)snprintf(away, sizeof(away), "%s/away", scene->rig.directory);
	assert_int_equal(rename(scene->rig.path, away), 0);
	rig_write(scene->rig.path, "");
}

static void
remove_it(struct scene *scene)
{
	assert_int_equal(unlink(scene->rig.path), 0);
}

static void
give_it_a_second_name(struct scene *scene)
{
	char second[128];

	(void)snprintf(second, sizeof(second), "%s/second", scene->rig.directory);
	assert_int_equal(link(scene->rig.path, second), 0);
}

static const struct {
	const char *name;
	void (*swap)(struct scene *scene);
	bool stored;                    /* in what then has the name */
} swaps[] = {
	{ "for a symbolic link", swap_for_link, false },
	{ "for another file", swap_for_other_file, true },
	{ "for another file, and is kept itself", move_it_away, true },
	{ "for nothing", remove_it, true },
	{ "for a file with two names", give_it_a_second_name, false },
};

/* At the moment when the file is locked, once. */
static void
swap_it(void *ctx)
{
	struct scene *scene = ctx;

	scene->rig.fault.before_lock = NULL;
	swaps[scene->swap].swap(scene);
}

static void
notices_a_swap_between_open_and_lock(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(swaps) / sizeof(swaps[0]); i++) {
		struct scene scene;

		scene_init(&scene);
		scene.swap = i;
		rig_write(scene.rig.path, "");
		scene.rig.fault.before_lock = swap_it;
		scene.rig.fault.ctx = &scene;
		if ((append(&scene) == MBOX_APPENDED) != swaps[i].stored)
			fail_msg("%s: stored %d", swaps[i].name, !swaps[i].stored);
		assert_null(scene.rig.fault.before_lock);
		if (swaps[i].stored)
			assert_file(&scene, scene.rig.path, swaps[i].name, SPAN(STORED));
		assert_file(&scene, scene.other, swaps[i].name, SPAN("somebody else's\n"));
		scene_fini(&scene);
	}
}

/* ------------------------------------------------------------- what others left in it */

#define OLD "From a Tue Nov 24 00:00:00 2026\nS: t\n\nbody\n"

static const struct {
	const char *name;
	struct span before;
	struct span lead;
} contents[] = {
	{ "an empty file", { "", 0 }, { "", 0 } },
	{ "a mailbox as it should be", { OLD "\n", sizeof(OLD) }, { "", 0 } },
	{ "a mailbox without the last empty line", { OLD, sizeof(OLD) - 1 }, { "\n", 1 } },
	{ "a mailbox that ends in a line", { OLD "x", sizeof(OLD) }, { "\n\n", 2 } },
	{ "one octet", { "x", 1 }, { "\n\n", 2 } },
	{ "one line end", { "\n", 1 }, { "", 0 } },
	{ "a file of another program", { "%PDF-1.4 \xe9\xff", 11 }, { "\n\n", 2 } },
	{ "NUL octets", { "From a\0\0\0b\n\0", 12 }, { "\n\n", 2 } },
	{ "CRLF lines", { "From a\r\n\r\nb\r\n", 13 }, { "\n", 1 } },
	{ "MMDF's separators", { "\1\1\1\1\nx\n\1\1\1\1\n", 12 }, { "\n", 1 } },
};

static void
keeps_every_octet_that_was_there(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(contents) / sizeof(contents[0]); i++) {
		struct scene scene;
		struct buf wanted;

		scene_init(&scene);
		buf_init(&wanted, FILE_BYTES_MAX);
		(void)buf_append(&wanted, contents[i].before);
		(void)buf_append(&wanted, contents[i].lead);
		(void)buf_append(&wanted, SPAN(STORED));
		rig_write_span(scene.rig.path, contents[i].before);
		assert_int_equal(append(&scene), MBOX_APPENDED);
		assert_file(&scene, scene.rig.path, contents[i].name, buf_span(&wanted));
		buf_fini(&wanted);
		scene_fini(&scene);
	}
}

/* ------------------------------------------------------------------------- failures */

/* The n-th call of each kind fails, once or for ever: it is stored, or the file is as it was. */
static void
undoes_an_append_that_fails(void **state)
{
	static const int errors[] = { 5 /* EIO */, 28 /* ENOSPC */, 0 /* a short write */ };
	const struct span before = SPAN(OLD "\n"), stored = SPAN(OLD "\n" STORED);
	unsigned hits = 0;

	(void)state;
	for (int which = FAULT_OPEN; which < FAULT_CALL_COUNT; which++)
		for (unsigned n = 0; n < 12 * 6; n++) {
			struct scene scene;
			enum mbox_append_result result;

			scene_init(&scene);
			rig_write_span(scene.rig.path, before);
			scene.rig.fault.which = (enum fault_call)which;
			scene.rig.fault.at = n / 6 + 1;
			scene.rig.fault.for_ever = (n & 1) != 0;
			scene.rig.fault.error = errors[n / 2 % 3];
			scene.rig.fault.syncs_nothing = true;
			result = append(&scene);
			hits += scene.rig.fault.hit;
			if (result == MBOX_APPENDED)
				assert_file(&scene, scene.rig.path, "appended", stored);
			else if (result == MBOX_UNDONE)
				assert_file(&scene, scene.rig.path, "undone", before);
			else
				assert_true(scene.rig.fault.for_ever);
			scene_fini(&scene);
		}
	assert_true(hits > 50);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_what_is_no_mailbox),
		cmocka_unit_test(notices_a_swap_between_open_and_lock),
		cmocka_unit_test(keeps_every_octet_that_was_there),
		cmocka_unit_test(undoes_an_append_that_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
