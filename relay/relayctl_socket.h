#ifndef RELAY_RELAYCTL_SOCKET_H
#define RELAY_RELAYCTL_SOCKET_H

#include <stdbool.h>

#include "relay/base/buf.h"
#include "relay/base/span.h"

/*
 * The socket to ask when nobody named one, into PATH: `control` of section `node` in
 * relayd.conf of DIRECTORY, without that file in mailboxd.conf; else relayd's default.
 */
void relayctl_socket_find(const char *directory, struct buf *path);

/*
 * The value of `control` in section `node` of a configuration, as it is written.  Only as much
 * is understood as it takes to find it; the daemon itself checks the file.
 */
bool relayctl_socket_in_text(struct span text, struct span *value_out);

#endif
