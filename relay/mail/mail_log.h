#ifndef RELAY_MAIL_MAIL_LOG_H
#define RELAY_MAIL_MAIL_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "relay/base/span.h"
#include "relay/mail/envelope.h"
#include "relay/mail/reply.h"

/*
 * The events in the life of a message, one function and one line each.  Names
 * and fields are fixed: operators parse them, and tests keep them stable.  Every
 * line goes to the calling thread's log (relay/base/log.h) and is among the last
 * to be dropped.  Fields without a value are left out, but for from= and to=.
 *
 *   event=accepted id= origin= from= nrcpt= size= msgid= proto= client= hello= auth=
 *                  listener= tls= about=
 *   event=refused  stage= from= to= proto= client= hello= listener= code= status= reply=
 *   event=attempt  id= origin= nrcpt= dest= host= attempt=
 *   event=delivered|deferred|bounced|expired|uncertain|relayed
 *                  id= origin= from= to= dest= host= tls= attempt= age= code= status=
 *                  reply= [class= reason= next=]
 *   event=rebound  id= origin= to= was= dest=
 *   event=discarded id= origin= from= to= why=
 *   event=notified id= action= nrcpt= to= notice=
 *   event=stored|absorbed id= origin= from= to= box= size=
 *   event=held|released|retried|removed id= by= why=
 *   event=resumed  id= by= offset=
 *   event=done     id= origin= age=
 */
struct mail_log_accepted {
	uint64_t id;
	const struct envelope *envelope;
	struct span message_id;         /* with brackets; "" if none */
	struct span tls;                /* "TLSv1.3"; "" without */
};

void mail_log_accepted(const struct mail_log_accepted *event);

/* A command refused: what the client was told. */
struct mail_log_refused {
	struct span stage;              /* "connect", "mail", "rcpt", "data", "auth" */
	struct span sender;
	struct span rcpt;
	struct span client_address;
	struct span client_hello;
	struct span listener;
	enum envelope_protocol protocol;
	const struct reply *reply;
};

void mail_log_refused(const struct mail_log_refused *event);

struct mail_log_attempt {
	uint64_t id;
	struct span origin;
	size_t rcpt_count;
	struct span destination;
	struct span host;               /* "mx1.example.net[192.0.2.7]:25" */
	uint32_t attempt;               /* 1 is the first */
};

void mail_log_attempt(const struct mail_log_attempt *event);

/* What an attempt, or its absence, meant for one recipient. */
struct mail_log_outcome {
	uint64_t id;
	struct span origin;
	struct span sender;
	struct span rcpt;
	struct span destination;
	struct span host;
	struct span tls;
	uint32_t attempt;
	uint64_t age_ms;                /* since acceptance */
	const struct reply *reply;      /* the words, the peer's or ours; may be NULL */
	struct span error_class;        /* deferred: "greylisted", "connect", ... */
	struct span reason;             /* deferred: the word of the reason it waits */
	uint64_t next_ms;               /* deferred, uncertain: until the next attempt */
};

void mail_log_delivered(const struct mail_log_outcome *event);
void mail_log_deferred(const struct mail_log_outcome *event);
void mail_log_bounced(const struct mail_log_outcome *event);
void mail_log_expired(const struct mail_log_outcome *event);

/* The connection died after the final dot: it may be there, it may not. */
void mail_log_uncertain(const struct mail_log_outcome *event);

/* Handed to a host that cannot pass our sender's wish for a notice on. */
void mail_log_relayed(const struct mail_log_outcome *event);

/* An uncertain recipient is let go from its host: from here a copy may be two. */
void mail_log_rebound(uint64_t id, struct span origin, struct span rcpt, struct span was_host,
    struct span destination);

/*
 * The only ways in which a recipient may end without a copy and without a
 * notification.
 */
enum mail_log_why {
	DISCARDED_NULL_SENDER,          /* nobody to tell */
	DISCARDED_NOTIFY_NEVER,         /* the sender did not want to know */
	DISCARDED_BY_OPERATOR,
	DISCARDED_DOUBLE_BOUNCE,        /* a notification that cannot be delivered */
};

void mail_log_discarded(uint64_t id, struct span origin, struct span sender, struct span rcpt,
    enum mail_log_why why);
const char *mail_log_why_name(enum mail_log_why why);

/* The sender of message `id` is told of the fate of recipients, by a message of ours. */
void mail_log_notified(uint64_t id, uint64_t notification_id, struct span to, struct span action,
    size_t rcpt_count);

/* The mailbox node: in the box, or there already. */
struct mail_log_stored {
	uint64_t id;
	struct span origin;
	struct span sender;
	struct span rcpt;
	struct span box;
	uint64_t bytes;
};

void mail_log_stored(const struct mail_log_stored *event);
void mail_log_absorbed(const struct mail_log_stored *event);

/* An operator's deed: who did it and why, as far as was said. */
void mail_log_held(uint64_t id, struct span by, struct span why);
void mail_log_released(uint64_t id, struct span by, struct span why);
void mail_log_retried(uint64_t id, struct span by, struct span why);
void mail_log_removed(uint64_t id, struct span by, struct span why);

/* A body interrupted on its way goes on from an offset. */
void mail_log_resumed(uint64_t id, struct span by, uint64_t offset);

/* Every recipient is settled and the message leaves the queue. */
void mail_log_done(uint64_t id, struct span origin, uint64_t age_ms);

#endif
