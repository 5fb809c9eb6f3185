#ifndef RELAY_RELAYCTL_PASSWD_H
#define RELAY_RELAYCTL_PASSWD_H

#include "relay/base/err.h"
#include "relay/base/json.h"

/*
 * `relayctl passwd`: asks for a password, twice on a terminal, else the first line of the
 * input, and prints a line for the file of credentials.  Needs no daemon.
 */
int relayctl_passwd(const struct json *args, struct err *err);

#endif
