/* The target named by CHAPAR_FUZZ_TARGET, for libFuzzer. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct fuzz_target *target;

	if (!target) {
		const char *name = getenv("CHAPAR_FUZZ_TARGET");

		target = name ? fuzz_find(name) : NULL;
		if (!target) {
			(void)fprintf(stderr, "CHAPAR_FUZZ_TARGET names no target\n");
			exit(64);
		}
	}
	target->run(span_make(data, size));
	return 0;
}
