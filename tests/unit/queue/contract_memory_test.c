#include "tests/unit/queue/contract.h"
#include "tests/unit/queue/memory_backend.h"

static void *
make_place(void)
{
	return memory_store_new();
}

static void
destroy_place(void *place)
{
	struct memory_store *store = place;

	memory_store_free(&store);
}

static struct queue *
open_place(void *place, const struct queue_settings *settings, struct err *err)
{
	(void)err;
	return memory_backend_open(place, settings);
}

static void
make_unknown(void *place)
{
	memory_store_make_unknown(place);
}

static void
set_full(void *place, bool full)
{
	memory_store_set_full(place, full);
}

int
main(void)
{
	static const struct contract_factory factory = {
		.name = "memory", .make = make_place, .destroy = destroy_place,
		.open = open_place, .make_unknown = make_unknown, .set_full = set_full,
	};

	return contract_run(&factory);
}
