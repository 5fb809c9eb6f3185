#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/file.h"
#include "relay/base/mem.h"

struct place {
	char path[64];
	int fd;
};

static int
remove_one(void *ctx, const char *name, struct err *err)
{
	const struct place *place = ctx;

	return file_remove_at(place->fd, name, err);
}

static int
count_one(void *ctx, const char *name, struct err *err)
{
	(void)name;
	(void)err;
	++*(size_t *)ctx;
	return 0;
}

static int
fail_one(void *ctx, const char *name, struct err *err)
{
	(void)ctx;
	return err_set(err, ERR_LIMIT, "%s is enough", name);
}

static int
setup(void **state)
{
	struct place *place = mem_alloc(sizeof(*place));

	memcpy(place->path, "/tmp/file_test.XXXXXX", sizeof("/tmp/file_test.XXXXXX"));
	assert_non_null(mkdtemp(place->path));
	place->fd = file_open_dir(place->path, NULL);
	assert_true(place->fd >= 0);
	*state = place;
	return 0;
}

static int
teardown(void **state)
{
	struct place *place = *state;

	assert_int_equal(file_list(place->fd, remove_one, place, NULL), 0);
	file_close(&place->fd);
	assert_int_equal(rmdir(place->path), 0);
	mem_free(state);
	return 0;
}

static void
replaces_in_one_step(void **state)
{
	struct place *place = *state;
	char *path = mem_format("%s/key", place->path);
	struct stat st;
	struct buf text;
	size_t count = 0;

	buf_init(&text, 100);
	assert_int_equal(file_replace_at(place->fd, "key", SPAN("old"), 0600, NULL), 0);
	assert_int_equal(file_replace_at(place->fd, "key", SPAN("new"), 0600, NULL), 0);
	assert_int_equal(file_read_whole(path, &text, NULL), 0);
	assert_string_equal(buf_cstr(&text), "new");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(file_list(place->fd, count_one, &count, NULL), 0);
	assert_int_equal(count, 1);
	buf_fini(&text);
	mem_free(&path);
}

static void
reads_no_more_than_allowed(void **state)
{
	struct place *place = *state;
	char *path = mem_format("%s/f", place->path);
	struct buf text;
	struct err err;

	assert_int_equal(file_replace_at(place->fd, "f", SPAN("12345"), 0600, NULL), 0);
	buf_init(&text, 5);
	assert_int_equal(file_read_whole(path, &text, &err), 0);
	buf_fini(&text);
	buf_init(&text, 4);
	assert_int_equal(file_read_whole(path, &text, &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	assert_non_null(strstr(err.text, path));
	buf_fini(&text);
	mem_free(&path);
}

static void
reads_secrets_that_are_kept(void **state)
{
	static const struct { mode_t mode; bool good; } modes[] = {
		{ 0600, true }, { 0640, true }, { 0660, true }, { 0604, false }, { 0602, false },
		{ 0601, false }, { 0644, false },
	};
	struct place *place = *state;
	char *path = mem_format("%s/secret", place->path);

	assert_int_equal(file_replace_at(place->fd, "secret", SPAN("word"), 0600, NULL), 0);
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		struct err err = { .kind = ERR_NONE };
		struct buf text;

		buf_init(&text, 10);
		assert_int_equal(chmod(path, modes[i].mode), 0);
		assert_int_equal(file_read_whole_private(path, &text, &err),
		    modes[i].good ? 0 : -1);
		assert_int_equal(err.kind, modes[i].good ? ERR_NONE : ERR_CONFIG);
		assert_string_equal(buf_cstr(&text), modes[i].good ? "word" : "");
		buf_fini(&text);
	}
	mem_free(&path);
}

static void
says_what_is_wrong(void **state)
{
	struct place *place = *state;
	char bytes[10];
	struct err err;
	int fd = file_create_at(place->fd, "f", &err);

	assert_true(fd >= 0);
	assert_int_equal(file_create_at(place->fd, "f", &err), -1);
	assert_int_equal(err.kind, ERR_EXISTS);
	assert_int_equal(file_open_at(place->fd, "none", O_RDONLY, 0, &err), -1);
	assert_true(err_is_errno(&err, ENOENT));
	assert_int_equal(file_remove_at(place->fd, "none", &err), 0);
	assert_int_equal(file_link_at(place->fd, "f", place->fd, "f", &err), -1);
	assert_int_equal(err.kind, ERR_EXISTS);
	assert_int_equal(file_make_dir_at(place->fd, "f", 0700, &err), -1);
	assert_int_equal(err.kind, ERR_EXISTS);
	assert_int_equal(file_list(place->fd, fail_one, NULL, &err), -1);
	assert_string_equal(err.text, "f is enough");
	assert_int_equal(file_write_all(fd, SPAN("12345"), &err), 0);
	file_close(&fd);
	assert_int_equal(fd, -1);
	file_close(&fd);

	fd = file_open_at(place->fd, "f", O_RDONLY, 0, &err);
	assert_int_equal(file_read_all_at(fd, bytes, 4, 1, &err), 0);
	assert_memory_equal(bytes, "2345", 4);
	assert_int_equal(file_read_all_at(fd, bytes, 5, 1, &err), -1);
	assert_int_equal(err.kind, ERR_CLOSED);
	assert_int_equal(file_write_all(fd, SPAN("x"), &err), -1);
	assert_true(err_is_errno(&err, EBADF));
	file_close(&fd);
}

static void
locks_for_one(void **state)
{
	struct place *place = *state;
	struct err err;
	int one = file_create_at(place->fd, "lock", &err);
	int two = file_open_at(place->fd, "lock", O_RDWR, 0, &err);

	assert_int_equal(file_lock(one, &err), 0);
	assert_int_equal(file_lock(two, &err), -1);
	assert_int_equal(err.kind, ERR_BUSY);
	file_close(&one);
	assert_int_equal(file_lock(two, &err), 0);
	file_close(&two);
}

static void
finds_paths_beside(void **state)
{
	static const struct { const char *base, *path, *expected; } cases[] = {
		{ "/etc/chapar/relayd.conf", "a.pem", "/etc/chapar/a.pem" },
		{ "/etc/chapar/relayd.conf", "/a.pem", "/a.pem" },
		{ "relayd.conf", "a.pem", "a.pem" },
		{ "x/relayd.conf", "../a.pem", "x/../a.pem" },
		{ "/relayd.conf", "a.pem", "/a.pem" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *path = file_path_beside(cases[i].base, cases[i].path);

		assert_string_equal(path, cases[i].expected);
		mem_free(&path);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(replaces_in_one_step, setup, teardown),
		cmocka_unit_test_setup_teardown(reads_no_more_than_allowed, setup, teardown),
		cmocka_unit_test_setup_teardown(reads_secrets_that_are_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(says_what_is_wrong, setup, teardown),
		cmocka_unit_test_setup_teardown(locks_for_one, setup, teardown),
		cmocka_unit_test(finds_paths_beside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
