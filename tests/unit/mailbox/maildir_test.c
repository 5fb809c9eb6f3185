/*
 * A Maildir on a real disk: names, what may not be delivered to, and the file of its quota.
 */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "mailbox/maildir.h"
#include "mailbox/maildir_size.h"
#include "relay/base/buf.h"
#include "tests/unit/mailbox/rig.h"

struct box {
	struct rig rig;
	struct maildir_settings settings;
	struct maildir maildir;
};

static void
box_open(struct box *box)
{
	struct err err;

	rig_init(&box->rig);
	box->settings = (struct maildir_settings){ .disk = box_disk_posix(), .path = box->rig.path,
		.uid = getuid(), .create = true };
	assert_int_equal(maildir_open(&box->maildir, &box->settings, &err), MBOX_OPENED);
}

static void
empty(const char *path)
{
	DIR *stream = opendir(path);
	const struct dirent *entry;

	if (stream == NULL)
		return;                 /* a link, which its directory removes */
	while ((entry = readdir(stream)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    unlinkat(dirfd(stream), entry->d_name, 0) < 0)
			(void)unlinkat(dirfd(stream), entry->d_name, AT_REMOVEDIR);
	(void)closedir(stream);
}

static void
box_close(struct box *box)
{
	static const char *const parts[] = { "/new", "/cur", "/tmp", "" };

	maildir_close(&box->maildir);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		char path[256];

		(void)snprintf(path, sizeof(path), "%s%s", box->rig.path, parts[i]);
		empty(path);
	}
	rig_fini(&box->rig);
}

static void
put(struct box *box, const char *name, const char *text)
{
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/%s", box->rig.path, name);
	rig_write(path, text);
}

static void
names_are_safe(void **state)
{
	char name[MAILDIR_NAME_BYTES], again[MAILDIR_NAME_BYTES], other[MAILDIR_NAME_BYTES];

	(void)state;
	maildir_name(42, SPAN("a/b:c\n\0../x"), 10, name);
	assert_null(strchr(name, '/'));
	assert_null(strchr(name, ':'));
	assert_null(strchr(name, '\n'));
	assert_true(name[0] != '.');
	assert_non_null(strstr(name, ",S=10"));
	maildir_name(42, SPAN("a/b:c\n\0../x"), 10, again);
	assert_string_equal(name, again);
	maildir_name(43, SPAN("a/b:c\n\0../x"), 10, other);
	assert_string_not_equal(name, other);
}

static const struct {
	const char *name, *file;        /* of maildirsize; NULL: there is none */
	struct quota wanted;            /* by the configuration */
	struct usage usage;
	struct quota quota;             /* that holds then */
} sizes[] = {
	{ "nothing is asked for", NULL, { 0, 0 }, { 0, 0 }, { 0, 0 } },
	{ "no file: counted", NULL, { 1000, 0 }, { 8, 2 }, { 1000, 0 } },
	{ "the file is believed", "1000S\n500 7\n", { 1000, 0 }, { 500, 7 }, { 1000, 0 } },
	{ "its lines are summed up", "1000S,9C\n500 7\n-100 -2\n", { 1000, 9 }, { 400, 5 },
	  { 1000, 9 } },
	{ "its own quota holds where none is set", "700S\n500 7\n", { 0, 0 }, { 500, 7 },
	  { 700, 0 } },
	{ "another quota than ours", "700S\n500 7\n", { 1000, 0 }, { 8, 2 }, { 1000, 0 } },
	{ "less than nothing", "1000S\n5 1\n-9 -1\n", { 1000, 0 }, { 8, 2 }, { 1000, 0 } },
	{ "words for numbers", "1000S\nfive 1\n", { 1000, 0 }, { 8, 2 }, { 1000, 0 } },
	{ "half a line", "1000S\n5\n", { 1000, 0 }, { 8, 2 }, { 1000, 0 } },
	{ "sums beyond all numbers", "1000S\n9223372036854775807 1\n9223372036854775807 1\n",
	  { 1000, 0 }, { 8, 2 }, { 1000, 0 } },
	{ "an empty file", "", { 1000, 0 }, { 8, 2 }, { 1000, 0 } },
};

/* Two messages: one says its size in its name, one does not; and one that is in the trash. */
static void
fill(struct box *box)
{
	put(box, "new/1.a.host,S=3", "abc");
	put(box, "cur/2.b.host:2,S", "abcde");
	put(box, "cur/3.c.host,S=100:2,ST", "gone");
}

static void
size_is_read_or_counted(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct quota quota = sizes[i].wanted;
		struct usage usage;
		struct box box;
		struct err err;

		box_open(&box);
		fill(&box);
		if (sizes[i].file)
			put(&box, "maildirsize", sizes[i].file);
		assert_int_equal(maildir_size_read(&box.maildir, &quota, &usage, &err), 0);
		if (usage.bytes != sizes[i].usage.bytes ||
		    usage.messages != sizes[i].usage.messages ||
		    quota.bytes != sizes[i].quota.bytes ||
		    quota.messages != sizes[i].quota.messages)
			fail_msg("%s: %llu octets, %llu messages", sizes[i].name,
				 (unsigned long long)usage.bytes,
				 (unsigned long long)usage.messages);
		/* What was delivered is added, and found there the next time. */
		if (quota_is_set(&quota)) {
			maildir_size_add(&box.maildir, 10, 1);
			assert_int_equal(maildir_size_read(&box.maildir, &quota, &usage, &err), 0);
			assert_int_equal(usage.bytes, sizes[i].usage.bytes + 10);
			assert_int_equal(usage.messages, sizes[i].usage.messages + 1);
		}
		box_close(&box);
	}
}

/* A file that leads elsewhere is neither read nor written. */
static void
links_are_not_followed(void **state)
{
	struct quota quota = { 1000, 0 };
	struct usage usage;
	struct box box;
	char from[256], to[256];
	struct buf text;
	struct err err;

	(void)state;
	box_open(&box);
	fill(&box);
	(void)snprintf(to, sizeof(to), "%s/elsewhere", box.rig.directory);
	(void)snprintf(from, sizeof(from), "%s/maildirsize", box.rig.path);
	rig_write(to, "1000S\n500 7\n");
	assert_int_equal(symlink(to, from), 0);
	maildir_size_add(&box.maildir, 10, 1);
	assert_int_equal(maildir_size_read(&box.maildir, &quota, &usage, &err), 0);
	assert_int_equal(usage.bytes, 8);
	buf_init(&text, 1024);
	rig_read(&box.rig, to, &text);
	assert_true(span_equal_cstr(buf_span(&text), "1000S\n500 7\n"));
	buf_fini(&text);
	box_close(&box);
}

static void
what_is_no_maildir_is_refused(void **state)
{
	struct box box;
	struct err err;
	char path[256];

	(void)state;
	box_open(&box);
	maildir_close(&box.maildir);
	/* One of its parts is a link to another place. */
	(void)snprintf(path, sizeof(path), "%s/new", box.rig.path);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(symlink("/tmp", path), 0);
	assert_int_not_equal(maildir_open(&box.maildir, &box.settings, &err), MBOX_OPENED);
	assert_int_equal(unlink(path), 0);
	/* A part is missing: it is made. */
	assert_int_equal(maildir_open(&box.maildir, &box.settings, &err), MBOX_OPENED);
	maildir_close(&box.maildir);
	/* Another's. */
	box.settings.uid = getuid() + 1;
	assert_int_not_equal(maildir_open(&box.maildir, &box.settings, &err), MBOX_OPENED);
	box.settings.uid = getuid();
	assert_int_equal(maildir_open(&box.maildir, &box.settings, &err), MBOX_OPENED);
	box_close(&box);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_safe),
		cmocka_unit_test(size_is_read_or_counted),
		cmocka_unit_test(links_are_not_followed),
		cmocka_unit_test(what_is_no_maildir_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
