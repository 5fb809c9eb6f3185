/*
 * corpora_test [FILE TARGET]: shows every target each file of its corpus, or one target one
 * file.  Each file is shown whole and cut in half, which costs nothing and finds ends that are
 * read beyond.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/base/buf.h"
#include "relay/base/file.h"
#include "relay/base/mem.h"
#include "tests/fuzz/fuzz.h"

enum { CASE_BYTES_MAX = 1 << 20, PATH_MAX_BYTES = 4096 };

/* In memory of exactly its size, so that the sanitizer sees a read behind it. */
static void
show(const struct fuzz_target *target, struct span text)
{
	char *copy = mem_dup(text.data, text.len ? text.len : 1);

	target->run(span_make(copy, text.len));
	mem_free(&copy);
}

static bool
replay(const struct fuzz_target *target, const char *path)
{
	struct buf text;
	struct err err;

	buf_init(&text, CASE_BYTES_MAX);
	if (file_read_whole(path, &text, &err) < 0) {
		(void)fprintf(stderr, "%s: %s\n", path, err.text);
		return false;
	}
	(void)buf_append_byte(&text, '\0');
	buf_truncate(&text, buf_len(&text) - 1);
	show(target, buf_span(&text));
	show(target, span_first(buf_span(&text), buf_len(&text) / 2));
	buf_fini(&text);
	return true;
}

static bool
replay_all(const struct fuzz_target *target, const char *top)
{
	char path[PATH_MAX_BYTES];
	struct dirent *entry;
	unsigned int count = 0;
	bool good = true;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/%s", top, target->name);
	dir = opendir(path);
	if (!dir) {
		(void)fprintf(stderr, "%s: no corpus\n", path);
		return false;
	}
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/%s/%s", top,
		    target->name, entry->d_name);
		good = replay(target, path) && good;
		count++;
	}
	(void)closedir(dir);
	(void)printf("%s: %u files\n", target->name, count);
	return good && count > 0;
}

int
main(int argc, char **argv)
{
	const char *top = getenv("top_srcdir");
	bool good = true;

	if (argc == 3) {
		const struct fuzz_target *target = fuzz_find(argv[2]);

		return target && replay(target, argv[1]) ? 0 : 1;
	}
	for (const struct fuzz_target *target = fuzz_targets; target->name; target++)
		good = replay_all(target, top ? top : CHAPAR_SOURCE_DIR) && good;
	return good ? 0 : 1;
}
