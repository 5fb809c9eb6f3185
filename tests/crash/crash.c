#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "queue/mutant.h"
#include "relay/base/clock.h"
#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "tests/crash/explore.h"

int
main(int argc, char **argv)
{
	struct explorer *explorer = mem_alloc(sizeof(*explorer));
	bool verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
	struct log_settings log_settings = { .clock = clock_system(), .synchronous = true,
	    .fd = verbose ? 2 : open("/dev/null", O_WRONLY), .level = verbose ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR };
	struct log *log = log_new(&log_settings);
	struct path path;
	char text[PATH_TEXT_BYTES];

	(void)mallopt(M_MMAP_THRESHOLD, 128 << 10);
	(void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
	(void)log_attach(log, "crash");
	argc -= verbose; argv += verbose;
	explorer->is_verbose = verbose;
	explorer->state_count_max = argc > 2 ? strtoull(argv[2], NULL, 10) : 100000;
	if (argc > 3)
		mutant_on = mutant_of_name(argv[3]);
	if (strchr(argv[1], '/')) {
		if (!path_parse(&path, argv[1])) return 64;
		explorer->replay = &path;
		explore_seed(explorer, path.seed, path.operations);
	} else {
		for (uint64_t seed = strtoull(argv[1], NULL, 10); explorer->state_count < explorer->state_count_max && !explorer->violation.is_found; seed++)
			explore_seed(explorer, seed, UINT64_MAX);
	}
	path_print(&explorer->path, text);
	printf("%llu states, %llu nested: %s at %s (%s)\n", (unsigned long long)explorer->state_count, (unsigned long long)explorer->nested_count,
	    explorer->violation.is_found ? explorer->violation.text : "clean", text, explorer->image);
	return explorer->violation.is_found;
}
