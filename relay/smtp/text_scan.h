/*
 * Finds the octets that matter in text: CR, LF and NUL.  The one loop that sees every octet of
 * every message.  Any thread.
 */
#ifndef RELAY_SMTP_TEXT_SCAN_H
#define RELAY_SMTP_TEXT_SCAN_H

#include "relay/base/span.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * How many octets stand before the first CR, LF or NUL of TEXT; all of them where there is none.
 * HAS_8BIT is set where one of those is above 127, and left alone otherwise.
 */
size_t text_scan(struct span text, bool *has_8bit);

#endif
