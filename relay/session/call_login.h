#ifndef RELAY_SESSION_CALL_LOGIN_H
#define RELAY_SESSION_CALL_LOGIN_H

#include "relay/base/err.h"
#include "relay/base/span.h"
#include "relay/session/sasl.h"

/*
 * Who we are for a next hop that asks (RFC 4954): mechanisms, the best first, user and
 * password.  Immutable and counted; any thread.  It is said under TLS only.
 */
struct call_login;

/* MECHANISMS "" is SCRAM-SHA-256, PLAIN, LOGIN; EXTERNAL needs no password.  Copies. */
struct call_login *call_login_new(struct span mechanisms, struct span user, struct span password,
    struct err *err);

/*
 * The same with the password in the first line of a file, which nobody but owner and group
 * may touch.  The error begins with the file's name.
 */
struct call_login *call_login_load(struct span mechanisms, struct span user, const char *path,
    struct err *err);

struct call_login *call_login_ref(struct call_login *login);
void call_login_unref(struct call_login **login);

struct span call_login_mechanisms(const struct call_login *login);
struct sasl_client *call_login_begin(const struct call_login *login, struct span mechanism);

#endif
