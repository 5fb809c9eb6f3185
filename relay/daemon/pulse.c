#include "relay/daemon/pulse.h"

#include "relay/base/mem.h"
#include "relay/base/must.h"

#include <stdatomic.h>

/* The post belongs to the other loop until `answered` is set, which is its last touch. */
struct beat {
	struct loop_post post;
	struct loop *loop;
	const char *name;
	atomic_bool answered;
};

struct pulse {
	struct beat *beats[PULSE_LOOPS_MAX];
	size_t count;
	const char *missing;
};

static void
answer(void *ctx)
{
	struct beat *beat = ctx;

	atomic_store(&beat->answered, true);
}

struct pulse *
pulse_new(void)
{
	return mem_alloc(sizeof(struct pulse));
}

void
pulse_free(struct pulse **pulse)
{
	if (!*pulse)
		return;
	for (size_t i = 0; i < (*pulse)->count; i++)
		mem_free(&(*pulse)->beats[i]);
	mem_free(pulse);
}

void
pulse_watch(struct pulse *pulse, struct loop *loop, const char *name)
{
	struct beat *beat = mem_alloc(sizeof(*beat));

	must(pulse->count < PULSE_LOOPS_MAX);
	beat->loop = loop;
	beat->name = name;
	atomic_init(&beat->answered, true);
	pulse->beats[pulse->count++] = beat;
}

const char *
pulse_beat(struct pulse *pulse)
{
	pulse->missing = NULL;
	for (size_t i = 0; i < pulse->count; i++) {
		struct beat *beat = pulse->beats[i];

		if (!atomic_load(&beat->answered)) {
			pulse->missing = beat->name;
			continue;
		}
		atomic_store(&beat->answered, false);
		loop_post_init(&beat->post, answer, beat);
		loop_post(beat->loop, &beat->post);
	}
	return pulse->missing;
}

const char *
pulse_missing(const struct pulse *pulse)
{
	return pulse->missing;
}
