/*
 * Whose dot lock is it, is that one gone, and when is it broken?
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "mailbox/lock_owner.h"
#include "tests/unit/mailbox/rig.h"

/* Process 100 lives since tick 5000; nobody else does. */
static bool
lives(const struct lock_witness *witness, uint64_t pid, uint64_t *start_out)
{
	(void)witness;
	*start_out = 5000;
	return pid == 100;
}

static const struct lock_witness witness = { .process_lives = lives };

static const struct lock_owner self = {
	.node = 1, .machine = 2, .boot = "boot", .pid_namespace = 3, .pid = 4, .start = 5,
};

static const struct {
	const char *name;
	struct lock_owner owner;
	bool gone;
} owners[] = {
	{ "this node in an earlier life", { 1, 2, "boot", 3, 99, 1 }, true },
	{ "this node in an earlier boot", { 1, 2, "old", 3, 99, 1 }, true },
	{ "this node's spool copied to another machine", { 1, 9, "boot", 3, 99, 1 }, false },
	{ "another node here that is gone", { 7, 2, "boot", 3, 99, 1 }, true },
	{ "another node here that lives", { 7, 2, "boot", 3, 100, 5000 }, false },
	{ "one whose pid has a later process", { 7, 2, "boot", 3, 100, 4000 }, true },
	{ "one whose start is not known", { 7, 2, "boot", 3, 100, 0 }, false },
	{ "one of an earlier boot", { 7, 2, "old", 3, 100, 5000 }, true },
	{ "one of another machine", { 7, 9, "boot", 3, 99, 1 }, false },
	{ "one of another pid namespace", { 7, 2, "boot", 8, 99, 1 }, false },
	{ "one that does not know its namespace", { 7, 2, "boot", 0, 99, 1 }, false },
	{ "one that does not know its boot", { 7, 2, "", 3, 99, 1 }, false },
};

static void
knows_who_is_gone(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(owners) / sizeof(owners[0]); i++) {
		char text[LOCK_OWNER_TEXT_BYTES_MAX];
		struct lock_owner read;
		size_t len = lock_owner_print(&owners[i].owner, text);

		assert_true(lock_owner_parse(span_make(text, len), &read));
		if (lock_owner_is_gone(&read, &self, &witness) != owners[i].gone)
			fail_msg("%s: gone is %d", owners[i].name, !owners[i].gone);
		/* Cut anywhere it is nobody's, and so not provably gone. */
		for (size_t cut = 0; cut < len; cut++)
			assert_false(lock_owner_parse(span_make(text, cut), &read));
	}
}

static void
makes_older(const char *path, int seconds)
{
	struct timespec now[2];
	struct stat status;

	assert_int_equal(stat(path, &status), 0);
	now[0] = now[1] = status.st_mtim;
	now[0].tv_sec -= seconds;
	now[1].tv_sec -= seconds;
	assert_int_equal(utimensat(AT_FDCWD, path, now, 0), 0);
}

static const struct {
	const char *name;
	const char *text;               /* NULL: this node's, of an earlier life */
	int age_seconds;
	bool broken;
} locks[] = {
	{ "ours of an earlier life", NULL, 0, true },
	{ "a young one of another program", "4711", 0, false },
	{ "one almost old enough", "4711", 290, false },
	{ "one that nobody touched for long", "4711", 310, true },
	{ "an empty one", "", 10, false },
	{ "an empty one that is old", "", 310, true },
	{ "one that only looks as ours", "0\nchapar 1 node=xyz\n", 10, false },
};

static void
breaks_what_is_stale_and_nothing_else(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(locks) / sizeof(locks[0]); i++) {
		struct rig rig;
		struct mbox mbox;
		struct err err;
		char lock[128], text[LOCK_OWNER_TEXT_BYTES_MAX];
		enum mbox_open_result result;

		rig_init(&rig);
		rig_write(rig.path, "");
		(void)snprintf(lock, sizeof(lock), "%s.lock", rig.path);
		(void)lock_owner_print(&rig.self, text);
		rig_write(lock, locks[i].text != NULL ? locks[i].text : text);
		makes_older(lock, locks[i].age_seconds);
		result = mbox_open(&mbox, &rig.settings, &err);
		if ((result == MBOX_OPENED) != locks[i].broken)
			fail_msg("%s: %s", locks[i].name,
				 locks[i].broken ? err.text : "was broken");
		if (result == MBOX_OPENED) {
			assert_true(mbox.lock.broke_stale && rig_exists(lock));
			mbox_close(&mbox);
		}
		/* Ours is gone with us; another's stays. */
		assert_int_equal(rig_exists(lock), !locks[i].broken);
		rig_fini(&rig);
	}
}

/* A lock that is a link, a directory or a FIFO is in the way, and nothing happens to it. */
static void
leaves_strange_locks_alone(void **state)
{
	(void)state;
	for (int kind = 0; kind < 3; kind++) {
		struct rig rig;
		struct mbox mbox;
		struct err err;
		char lock[128];

		rig_init(&rig);
		rig_write(rig.path, "");
		(void)snprintf(lock, sizeof(lock), "%s.lock", rig.path);
		if (kind == 0)
			assert_int_equal(symlink("/etc/passwd", lock), 0);
		else if (kind == 1)
			assert_int_equal(mkdir(lock, 0700), 0);
		else
			assert_int_equal(mkfifo(lock, 0600), 0);
		assert_int_equal(mbox_open(&mbox, &rig.settings, &err), MBOX_BUSY);
		assert_true(rig_exists(lock));
		rig_fini(&rig);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knows_who_is_gone),
		cmocka_unit_test(breaks_what_is_stale_and_nothing_else),
		cmocka_unit_test(leaves_strange_locks_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
