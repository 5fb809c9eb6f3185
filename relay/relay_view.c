#include "relay/relay_private.h"

/* What the commands may see of a relay. */
struct loop *
relay_hub(const struct relay *relay)
{
	return relay->hub;
}

struct queue *
relay_queue(const struct relay *relay)
{
	return relay->queue;
}

struct outbound *
relay_outbound(const struct relay *relay)
{
	return relay->outbound;
}

struct crew *
relay_crew(const struct relay *relay)
{
	return relay->crew;
}

const struct relay_config *
relay_configuration(const struct relay *relay)
{
	return relay_plan_config(crew_current_plan(relay->crew));
}

int64_t
relay_started_wall_ms(const struct relay *relay)
{
	return relay->started_wall_ms;
}

bool
relay_is_stopping(const struct relay *relay)
{
	return relay->stopping || relay->stop_wanted;
}
