#ifndef RELAY_BASE_CRC32C_H
#define RELAY_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/*
 * CRC-32C (Castagnoli), as iSCSI has it.  Start with 0 and feed the result of
 * one call to the next.  Uses the processor's instruction where there is one.
 */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);

/* The same by tables, on every processor; for tests and as the fallback. */
uint32_t crc32c_by_table(uint32_t crc, const void *data, size_t size);

#endif
