#include "relay/outbound/outbound_telling.h"

#include "relay/base/mem.h"
#include "relay/mail/mail_log.h"

/*
 * Nobody is told of a message without a sender.  A notification of our own that
 * cannot be delivered goes to the postmaster, where there is one and it is not he
 * who cannot be reached.
 */
static bool
find_addressee(struct telling *telling, enum mail_log_why *why_out)
{
	struct outbound *outbound = telling->letter->outbound;
	const struct envelope *envelope = telling->envelope;
	struct span postmaster = span_from_cstr(outbound->postmaster);

	telling->to = envelope->sender;
	if (!envelope_sender_is_null(envelope))
		return true;
	*why_out = DISCARDED_NULL_SENDER;
	if (!telling->letter->message.is_notification)
		return false;
	*why_out = DISCARDED_DOUBLE_BOUNCE;
	if (telling->action != DSN_FAILED || span_is_empty(postmaster))
		return false;
	for (size_t i = 0; i < envelope->rcpt_count; i++)
		if (span_equal_nocase(envelope->rcpts[i].address, postmaster))
			return false;
	telling->to = postmaster;
	return true;
}

static void
add_rcpt(struct telling *telling, uint32_t number, enum dsn_action action,
    const struct reply *reply, struct span host, bool expired)
{
	struct outbound *outbound = telling->letter->outbound;
	const struct envelope_rcpt *rcpt = &telling->envelope->rcpts[number];
	int64_t retry_until_ms = 0;

	if (action == DSN_DELAYED) {
		const struct unit *unit = TAILQ_FIRST(&telling->letter->message.units);

		retry_until_ms = unit ? outbound_wall_of(outbound, unit->expire_ms) : 0;
	}
	telling->rcpts[telling->rcpt_count++] = (struct dsn_rcpt){
		.address = rcpt->address,
		.orcpt = rcpt->orcpt,
		.action = action,
		.expired = expired,
		.reply = reply->code ? reply : rcpt->last.code ? &rcpt->last : NULL,
		.remote_host = host.len ? host : rcpt->last_host,
		.last_attempt_ms = rcpt->last.code || reply->code ?
		    loop_wall_ms(outbound->hub) : 0,
		.retry_until_ms = retry_until_ms,
	};
}

/* What no attempt has said in the log yet. */
static void
say(struct telling *telling, const struct failing *failing, const struct failed_rcpt *failed)
{
	const struct envelope *envelope = telling->envelope;
	const struct envelope_rcpt *rcpt = &envelope->rcpts[failed->rcpt];
	struct mail_log_outcome event = {
		.id = telling->letter->message.id,
		.origin = envelope->origin,
		.sender = envelope->sender,
		.rcpt = rcpt->address,
		.host = rcpt->last_host,
		.attempt = failing->unit->attempt_count,
		.age_ms = letter_age_ms(telling->letter, outbound_now(telling->letter->outbound)),
		.reply = failed->reply.code ? &failed->reply :
		    rcpt->last.code ? &rcpt->last : NULL,
	};

	if (failing->tried || telling->is_said)
		return;
	if (failing->expired)
		mail_log_expired(&event);
	else
		mail_log_bounced(&event);
}

static void
choose_failed(struct telling *telling, bool has_addressee, enum mail_log_why why)
{
	struct outbound *outbound = telling->letter->outbound;
	const struct envelope *envelope = telling->envelope;
	const struct failing *failing;

	STAILQ_FOREACH(failing, &telling->failing, next)
		for (size_t i = 0; i < failing->count; i++) {
			const struct failed_rcpt *failed = &failing->rcpts[i];
			const struct envelope_rcpt *rcpt = &envelope->rcpts[failed->rcpt];
			/* NEVER of our own notifications is for others: we know better. */
			bool wanted = telling->letter->message.is_notification ||
			    dsn_is_wanted(rcpt->notify, failing->action);

			say(telling, failing, failed);
			if (has_addressee && wanted) {
				add_rcpt(telling, failed->rcpt, failing->action,
				    &failed->reply, span_from_cstr(failed->host),
				    failing->expired);
			} else if (!telling->is_said && failing->action == DSN_FAILED) {
				stats_add(outbound->cells, OUTBOUND_STAT_DISCARDED, 1);
				mail_log_discarded(telling->letter->message.id,
				    envelope->origin, envelope->sender, rcpt->address,
				    has_addressee ? DISCARDED_NOTIFY_NEVER : why);
			}
		}
}

static void
choose_delayed(struct telling *telling)
{
	const struct envelope *envelope = telling->envelope;
	const struct unit *unit;

	TAILQ_FOREACH(unit, &telling->letter->message.units, of_message) {
		if (unit->state == UNIT_SETTLING)
			continue;
		for (uint32_t i = 0; i < unit->rcpt_count; i++)
			if (dsn_is_wanted(envelope->rcpts[unit->rcpts[i]].notify, DSN_DELAYED))
				add_rcpt(telling, unit->rcpts[i], DSN_DELAYED,
				    &(struct reply){ 0 }, SPAN(""), false);
	}
}

void
telling_choose(struct telling *telling)
{
	const struct envelope *envelope = telling->envelope;
	enum mail_log_why why = DISCARDED_NULL_SENDER;
	bool has_addressee = find_addressee(telling, &why);

	mem_free(&telling->rcpts);
	telling->rcpt_count = 0;
	telling->rcpts = mem_alloc_array(envelope->rcpt_count, sizeof(*telling->rcpts));
	if (telling->action != DSN_DELAYED)
		choose_failed(telling, has_addressee, why);
	else if (has_addressee)
		choose_delayed(telling);
	telling->is_said = true;
}
