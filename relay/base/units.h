#ifndef RELAY_BASE_UNITS_H
#define RELAY_BASE_UNITS_H

#include <stdint.h>

#include "relay/base/err.h"
#include "relay/base/span.h"

/*
 * Durations and sizes as people write them.
 *   duration: "250ms" "30s" "5m" "4h" "5d" "2w", joined from large to small
 *             "1d12h"; a bare number is refused but for 0
 *   size:     "512" "64k" "10M" "2G" "1T", powers of 1024, optionally "B" or
 *             "iB" behind the letter; case of the letter does not matter
 */
#define UNITS_TEXT_BYTES 48

int units_parse_duration(struct span text, uint64_t *ms_out, struct err *err);
int units_parse_size(struct span text, uint64_t *bytes_out, struct err *err);

/* Exact: parsing gives the same number. */
void units_print_duration(uint64_t ms, char text_out[UNITS_TEXT_BYTES]);
void units_print_size(uint64_t bytes, char text_out[UNITS_TEXT_BYTES]);

/* For people: the two largest units ("2d 3h", "1m 5s", "350ms"), "10.4 MB". */
void units_print_duration_short(uint64_t ms, char text_out[UNITS_TEXT_BYTES]);
void units_print_size_short(uint64_t bytes, char text_out[UNITS_TEXT_BYTES]);

#endif
