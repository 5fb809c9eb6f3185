#include "relay/mail/envelope.h"

#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"

struct envelope *
envelope_new(void)
{
	struct envelope *envelope = mem_alloc(sizeof(*envelope));

	envelope->arena = mem_alloc(sizeof(*envelope->arena));
	arena_init(envelope->arena, 0);
	return envelope;
}

void
envelope_free(struct envelope **envelope)
{
	if (!*envelope)
		return;
	arena_fini((*envelope)->arena);
	mem_free(&(*envelope)->arena);
	mem_free(envelope);
}

struct span
envelope_keep(struct envelope *envelope, struct span text)
{
	return arena_dup(envelope->arena, text);
}

/* The part behind the last @; a local part may hold one in quotes. */
static struct span
domain_of(struct span address)
{
	struct span local, domain;

	(void)span_split_last(address, '@', &local, &domain);
	return domain;
}

struct envelope_rcpt *
envelope_add_rcpt(struct envelope *envelope, struct span address)
{
	if (envelope->rcpt_count == envelope->rcpt_capacity) {
		size_t capacity = envelope->rcpt_capacity ? 2 * envelope->rcpt_capacity : 1;
		struct envelope_rcpt *rcpts =
		    arena_alloc_array(envelope->arena, capacity, sizeof(rcpts[0]));

		if (envelope->rcpt_count > 0)
			memcpy(rcpts, envelope->rcpts, envelope->rcpt_count * sizeof(rcpts[0]));
		envelope->rcpts = rcpts;
		envelope->rcpt_capacity = capacity;
	}

	struct envelope_rcpt *rcpt = &envelope->rcpts[envelope->rcpt_count++];

	*rcpt = (struct envelope_rcpt){ .address = envelope_keep(envelope, address) };
	rcpt->domain = domain_of(rcpt->address);
	return rcpt;
}

struct envelope *
envelope_copy(const struct envelope *envelope)
{
	struct envelope *copy = envelope_new();
	struct arena *arena = copy->arena;

	*copy = *envelope;
	copy->arena = arena;
	copy->sender = arena_dup(arena, envelope->sender);
	copy->envid = arena_dup(arena, envelope->envid);
	copy->client_address = arena_dup(arena, envelope->client_address);
	copy->client_hello = arena_dup(arena, envelope->client_hello);
	copy->auth_user = arena_dup(arena, envelope->auth_user);
	copy->listener = arena_dup(arena, envelope->listener);
	copy->origin = arena_dup(arena, envelope->origin);
	copy->parent = arena_dup(arena, envelope->parent);

	copy->attempts = NULL;
	copy->attempt_count = 0;
	copy->rcpt_capacity = envelope->rcpt_count;
	copy->rcpts = arena_alloc_array(arena, envelope->rcpt_count, sizeof(copy->rcpts[0]));
	for (size_t i = 0; i < envelope->rcpt_count; i++) {
		const struct envelope_rcpt *from = &envelope->rcpts[i];
		struct envelope_rcpt *to = &copy->rcpts[i];

		*to = *from;
		to->address = arena_dup(arena, from->address);
		to->domain = domain_of(to->address);
		to->orcpt = arena_dup(arena, from->orcpt);
		to->last_host = arena_dup(arena, from->last_host);
	}
	return copy;
}

bool
envelope_sender_is_null(const struct envelope *envelope)
{
	return envelope->sender.len == 0;
}

size_t
envelope_open_count(const struct envelope *envelope)
{
	size_t count = 0;

	for (size_t i = 0; i < envelope->rcpt_count; i++) {
		enum rcpt_state state = envelope->rcpts[i].state;

		count += state == RCPT_WAITING || state == RCPT_UNCERTAIN;
	}
	return count;
}

const char *
rcpt_state_name(enum rcpt_state state)
{
	switch (state) {
	case RCPT_WAITING: return "waiting";
	case RCPT_UNCERTAIN: return "uncertain";
	case RCPT_DELIVERED: return "delivered";
	case RCPT_FAILED: return "failed";
	case RCPT_EXPIRED: return "expired";
	case RCPT_REMOVED: return "removed";
	}
	must_not_reach();
}

const char *
envelope_protocol_name(enum envelope_protocol protocol)
{
	switch (protocol) {
	case PROTOCOL_SMTP: return "SMTP";
	case PROTOCOL_ESMTP: return "ESMTP";
	case PROTOCOL_ESMTPS: return "ESMTPS";
	case PROTOCOL_ESMTPA: return "ESMTPA";
	case PROTOCOL_ESMTPSA: return "ESMTPSA";
	case PROTOCOL_LMTP: return "LMTP";
	case PROTOCOL_LMTPS: return "LMTPS";
	case PROTOCOL_LMTPA: return "LMTPA";
	case PROTOCOL_LMTPSA: return "LMTPSA";
	case PROTOCOL_LOCAL: return "local";
	}
	must_not_reach();
}
