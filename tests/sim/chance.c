/* The system's chance is the world's: whoever asks for it gets what the seed gives. */
#include "relay/base/random.h"
#include "tests/sim/world.h"

void __wrap_random_init_system(struct random *random);

static void
fill(struct random *random, void *data, size_t size)
{
	(void)random;
	random_fill(sim_random(), data, size);
}

void
__wrap_random_init_system(struct random *random)
{
	random->fill = fill;
}
