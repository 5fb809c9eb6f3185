#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "relay/base/file.h"
#include "relay/base/mem.h"
#include "tests/bench/spool/figures.h"

/*
 * The spool without a network, measured against what the machine can do in the
 * same run.  See "Figures" in queue/README.md.
 */
static const struct subject {
	const char *name;
	figure_run *run;
	bool by_name_only;
} subjects[] = {
	{ "throughput", figure_throughput, false },
	{ "sharing", figure_sharing, false },
	{ "latency", figure_latency, false },
	{ "bytes", figure_bytes, false },
	{ "life", figure_life, false },
	{ "million", figure_million, false },
	{ "fill", figure_fill, true },
};

enum {
	SUBJECT_COUNT = sizeof(subjects) / sizeof(subjects[0]),
	EXIT_USE = 64,
};

static int
usage(FILE *out, int status)
{
	(void)fprintf(out, "usage: spool [-k] -d DIRECTORY [SUBJECT...]\n"
	    "Measures the spool on the disk of DIRECTORY, where it makes directories.\n"
	    "  -k  keep them, else they are removed\nSubjects, all unless named:");
	for (int i = 0; i < SUBJECT_COUNT; i++)
		(void)fprintf(out, "%s%s", subjects[i].by_name_only ? "" : " ",
		    subjects[i].by_name_only ? "" : subjects[i].name);
	(void)fprintf(out, "\n");
	return status;
}

static int
remove_file(void *ctx, const char *name, struct err *err)
{
	return file_remove_at(*(const int *)ctx, name, err);
}

/* The spools that runs have left: directories of plain files. */
static void
clean(const struct figures *figures)
{
	static const char *const names[] = { "throughput-threads", "throughput-sessions", "sharing",
	    "latency", "bytes", "life", "million" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char *place = figure_place(figures, names[i]);
		struct err err;
		int fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (fd >= 0 && file_list(fd, remove_file, &fd, &err) == 0)
			(void)rmdir(place);
		file_close(&fd);
		mem_free(&place);
	}
}

static int
run(struct figures *figures, const struct subject *subject)
{
	struct err err;

	if (subject->run(figures, &err) < 0) {
		figure_say(figures, false, subject->name, "%s", err.text);
		return -1;
	}
	return 0;
}

static const struct subject *
find(const char *name)
{
	for (int i = 0; i < SUBJECT_COUNT; i++) {
		if (strcmp(subjects[i].name, name) == 0)
			return &subjects[i];
	}
	return NULL;
}

int
main(int argc, char **argv)
{
	struct figures figures = { .program = "/proc/self/exe" };
	bool keep = false;
	struct err err;
	int option;

	while ((option = getopt(argc, argv, "d:kh")) != -1) {
		if (option == 'd')
			figures.directory = optarg;
		else if (option == 'k')
			keep = true;
		else
			return usage(option == 'h' ? stdout : stderr, option == 'h' ? 0 : EXIT_USE);
	}
	if (!figures.directory)
		return usage(stderr, EXIT_USE);
	if (file_make_dir_at(AT_FDCWD, figures.directory, 0700, &err) < 0) {
		(void)fprintf(stderr, "spool: %s\n", err.text);
		return 1;
	}
	for (int i = optind; i < argc; i++) {
		if (!find(argv[i]))
			return usage(stderr, EXIT_USE);
	}
	for (int i = 0; i < SUBJECT_COUNT && optind == argc; i++) {
		if (!subjects[i].by_name_only)
			(void)run(&figures, &subjects[i]);
		clean(&figures);
	}
	for (int i = optind; i < argc; i++)
		(void)run(&figures, find(argv[i]));
	if (!keep)
		clean(&figures);
	return figures.miss_count ? 1 : 0;
}
