#ifndef RELAY_INBOUND_CREDENTIALS_H
#define RELAY_INBOUND_CREDENTIALS_H

#include <stdbool.h>
#include <stddef.h>

#include "relay/base/buf.h"
#include "relay/base/err.h"
#include "relay/base/random.h"
#include "relay/base/span.h"
#include "relay/session/sasl.h"

/*
 * Who may say who he is: a file of lines `user:secret`.  A secret is a hash of crypt(3)
 * (yescrypt, gost-yescrypt, scrypt, bcrypt, SHA-512 or SHA-256), or keys for SCRAM as
 * RFC 5803 writes them: "SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY".  Empty lines
 * and those that begin with '#' are skipped.  `relayctl passwd` makes such lines.
 *
 * With SCRAM keys a user may come by SCRAM, PLAIN and LOGIN, with a hash by the last two.
 *
 * Immutable; every thread may ask.  A question costs what a password hash costs, also for
 * a user that is not there: so it is asked on a helper's thread.
 */
struct credentials;

/*
 * The error begins with file and line.  A file that others than its owner and group may
 * touch is refused.
 */
struct credentials *credentials_load(const char *path, struct err *err);
struct credentials *credentials_parse(struct span text, const char *file_name, struct err *err);
void credentials_free(struct credentials **credentials);

size_t credentials_count(const struct credentials *credentials);

/* Somebody has keys for SCRAM. */
bool credentials_have_scram(const struct credentials *credentials);

bool credentials_password_is(const struct credentials *credentials, struct span user,
    struct span password);

/*
 * The keys of a user.  For one who has none, or is not there, some that are always the
 * same and no password fits (RFC 5802 section 9).
 */
void credentials_scram_of(const struct credentials *credentials, struct span user,
    struct sasl_scram *scram_out);

/* The name of a user: 1 to 255 octets of UTF-8, without ':' and controls, no '#' first. */
int credentials_check_user(struct span user, struct err *err);

/* Append a line for the file, without its end. */
int credentials_make(struct span user, struct span password, bool scram, struct random *random,
    struct buf *line_out, struct err *err);

#endif
