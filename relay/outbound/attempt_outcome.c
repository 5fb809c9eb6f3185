#include "relay/outbound/pool_private.h"

#include <string.h>

#include "relay/base/must.h"

/* What a peer's words mean for each recipient of an attempt. */

/* The unit's recipients are in ascending order. */
struct job_outcome *
attempt_outcome_of(struct job *job, size_t rcpt)
{
	size_t low = 0, high = job->outcome_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (job->outcomes[middle].rcpt < rcpt)
			low = middle + 1;
		else
			high = middle;
	}
	must(low < job->outcome_count && job->outcomes[low].rcpt == rcpt);
	return &job->outcomes[low];
}

/* RFC 5321 section 4.5.3.1.10: too many recipients; the rest goes in a transaction of its own. */
static bool
wants_fewer_rcpts(const struct reply *reply)
{
	return reply->code == 452 && strcmp(reply->status, "4.5.3") == 0;
}

/* The host cannot take mail at all now; another one may (RFC 3463 section 3.4). */
static bool
is_about_host(const struct reply *reply)
{
	return reply->code == 421 || strcmp(reply->status, "4.3.1") == 0 ||
	    strcmp(reply->status, "4.3.2") == 0;
}

enum heard {
	HEARD_DECIDED,
	HEARD_AGAIN,            /* in another transaction with this host */
	HEARD_NOTHING,          /* with another host */
};

static enum heard
hear(struct attempt *attempt, const struct call_outcome *said)
{
	struct job_outcome *outcome = attempt_outcome_of(attempt->job, said->rcpt);
	bool keep_words = said->fate == CALL_FATE_UNTRIED && outcome->reply.code != 0;

	if (!keep_words) {
		outcome->reply = said->reply;
		outcome->host = (uint8_t)attempt->at;
	}
	outcome->fate = said->fate;
	switch (said->fate) {
	case CALL_FATE_UNTRIED:
		return HEARD_NOTHING;
	case CALL_FATE_DEFERRED:
		if (wants_fewer_rcpts(&said->reply))
			return HEARD_AGAIN;
		if (is_about_host(&said->reply))
			return HEARD_NOTHING;
		break;
	case CALL_FATE_UNCERTAIN:
		attempt->job->lost = true;
		break;
	case CALL_FATE_DELIVERED:
		outcome->notices_passed = call_passes_notices(attempt->link->call);
		break;
	case CALL_FATE_FAILED:
		break;
	}
	outcome->decided = true;
	return HEARD_DECIDED;
}

/* What the peer said stands; nobody else is asked. */
static void
decide(struct attempt *attempt, const size_t *rcpts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		attempt_outcome_of(attempt->job, rcpts[i])->decided = true;
}

void
attempt_hear_all(struct attempt *attempt, const struct call_outcome *outcomes, size_t count)
{
	size_t untried = 0, about_host = 0, again = 0;
	size_t unsent = attempt->rcpt_count - count;

	must(count == attempt->sent_count);
	for (size_t i = 0; i < count; i++) {
		switch (hear(attempt, &outcomes[i])) {
		case HEARD_DECIDED:
			break;
		case HEARD_AGAIN:
			attempt->again_rcpts[again++] = outcomes[i].rcpt;
			break;
		case HEARD_NOTHING:
			attempt->rcpts[untried++] = outcomes[i].rcpt;
			about_host += outcomes[i].fate == CALL_FATE_DEFERRED;
			break;
		}
	}
	/* Without progress another transaction would say the same. */
	if (again == count) {
		decide(attempt, attempt->again_rcpts, again);
		again = 0;
	}
	/* The next letters come with no more than it took. */
	if (again > 0)
		attempt->site->rcpt_count_max = count - again;
	/* It took others, so it is alive: what it said was about these recipients. */
	if (about_host > 0 && about_host == untried && untried < count) {
		decide(attempt, attempt->rcpts, untried);
		untried = 0;
	}
	/* RFC 9422: what did not go along for the sake of a limit has its turn. */
	memcpy(attempt->again_rcpts + again, attempt->rcpts + count,
	    unsent * sizeof(*attempt->rcpts));
	attempt->rcpt_count = untried;
	attempt->again_count = again + unsent;
}
