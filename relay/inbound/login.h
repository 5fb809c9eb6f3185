#ifndef RELAY_INBOUND_LOGIN_H
#define RELAY_INBOUND_LOGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/buf.h"
#include "relay/base/span.h"
#include "relay/inbound/credentials.h"
#include "relay/net/loop.h"
#include "relay/net/tls.h"
#include "relay/net/work.h"
#include "relay/session/sasl.h"
#include "relay/smtp/smtp_server.h"

/*
 * How the client of one session proves who it is (RFC 4954).  Every step runs on a
 * helper's thread, since a password hash takes its time; when the helpers have too much to
 * do the client is told to come again.  A failure is answered after a while that doubles,
 * and the last one that is allowed ends the session.
 *
 * On a worker's thread.
 */
struct login;

/* Immutable, for all sessions. */
struct login_config {
	struct sasl *sasl;
	const struct credentials *credentials;  /* NULL: only EXTERNAL is possible */
	const char *mechanisms;                 /* "SCRAM-SHA-256 PLAIN", the best first */
	bool show_user;                         /* in our Received field */
	uint64_t delay_ms;                      /* of the first failure's answer */
	uint32_t failure_count_max;             /* in a session; the last one ends it */
};

struct login_settings {
	const struct login_config *config;
	struct loop *loop;
	struct work_pool *pool;
	/* What CONFIG is part of stays until a step under way is through. */
	void *holder;
	void (*release)(void *holder);
};

struct login_ops {
	/* The answer and the challenge to what parked; the answer also for the log. */
	void (*answer)(void *ctx, const struct reply *reply);
	void (*challenge)(void *ctx, struct span challenge);
};

/* Takes the holder. */
struct login *login_new(const struct login_settings *settings, const struct login_ops *ops,
    void *ctx);

/* No operation is called any more; the rest goes when the step under way is through. */
void login_free(struct login **login);

/*
 * Append the names of what can be offered to this client, for smtp_server_set_mechanisms():
 * EXTERNAL to who has a certificate that is vouched for, SCRAM where somebody has keys.
 * TLS is NULL in clear.
 */
void login_mechanisms(const struct login_config *config, const struct tls_info *tls,
    struct buf *out);

/* For smtp_server_ops.auth() and auth_cancelled(). */
enum step login_step(struct login *login, const struct smtp_auth_step *auth_step,
    const struct tls_info *tls, struct reply *reply);
void login_cancel(struct login *login);

/* Who it is; "" before it is proven.  Stays until login_forget(). */
struct span login_user(const struct login *login);
struct span login_mechanism(const struct login *login);

/* RFC 3207 section 4.2: under TLS all begins anew. */
void login_forget(struct login *login);

#endif
