#include "relay/base/crc32c.h"

#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

/*
 * Tables for the polynomial 0x1edc6f41 with its bits reversed.  Two of 16 instead
 * of one of 256: small, and easily checked.
 */
static const uint32_t by_low_nibble[16] = {
	0x00000000, 0xf26b8303, 0xe13b70f7, 0x1350f3f4,
	0xc79a971f, 0x35f1141c, 0x26a1e7e8, 0xd4ca64eb,
	0x8ad958cf, 0x78b2dbcc, 0x6be22838, 0x9989ab3b,
	0x4d43cfd0, 0xbf284cd3, 0xac78bf27, 0x5e133c24,
};

static const uint32_t by_high_nibble[16] = {
	0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
	0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
	0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
	0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

uint32_t
crc32c_by_table(uint32_t crc, const void *data, size_t size)
{
	const unsigned char *byte = data;

	crc = ~crc;
	for (size_t i = 0; i < size; i++) {
		uint32_t low = (crc ^ byte[i]) & 255;

		crc = crc >> 8 ^ by_low_nibble[low & 15] ^ by_high_nibble[low >> 4];
	}
	return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t
by_instruction(uint32_t crc, const void *data, size_t size)
{
	const unsigned char *byte = data;
	uint64_t wide = (uint32_t)~crc;

	for (; size >= 8; size -= 8, byte += 8) {
		uint64_t word;

		memcpy(&word, byte, sizeof(word));
		wide = _mm_crc32_u64(wide, word);
	}
	crc = (uint32_t)wide;
	for (; size > 0; size--, byte++)
		crc = _mm_crc32_u8(crc, *byte);
	return ~crc;
}

uint32_t
crc32c(uint32_t crc, const void *data, size_t size)
{
	if (__builtin_cpu_supports("sse4.2"))
		return by_instruction(crc, data, size);
	return crc32c_by_table(crc, data, size);
}
#else
uint32_t
crc32c(uint32_t crc, const void *data, size_t size)
{
	return crc32c_by_table(crc, data, size);
}
#endif
