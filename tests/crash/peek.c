#include "tests/crash/peek.h"

#include <string.h>

#include "relay/base/crc32c.h"

enum { FILE_BYTES_MAX = CRASH_FILE_PAGES_MAX * CRASH_PAGE_BYTES };

static bool
is_segment(const struct crash_name *row)
{
	size_t len = strlen(row->name);

	return len > 4 && strcmp(row->name + len - 4, ".seg") == 0;
}

static bool
read_head(const struct crash_disk *disk, const struct crash_name *row,
    struct segment_header *header_out)
{
	const struct crash_page *page = disk->inodes[row->inode].now.pages[0];
	struct err err;

	return is_segment(row) && page && segment_header_read(header_out, page->data, &err) == 0;
}

bool
peek_has_reserve(const struct crash_disk *disk)
{
	struct segment_header header;

	for (int i = 0; i < disk->now.count; i++) {
		const struct crash_name *row = &disk->now.rows[i];

		if (read_head(disk, row, &header) && header.mark.number == 0 &&
		    disk->inodes[row->inode].now.size >= header.capacity)
			return true;
	}
	return false;
}

/* ---- a forgery ----------------------------------------------------------------- */

static void
copy_out(const struct crash_content *content, char octets[FILE_BYTES_MAX])
{
	memset(octets, 0, FILE_BYTES_MAX);
	for (uint32_t i = 0; i < content->page_count; i++) {
		if (content->pages[i])
			memcpy(octets + i * CRASH_PAGE_BYTES, content->pages[i]->data,
			    CRASH_PAGE_BYTES);
	}
}

static void
copy_in(struct crash_content *content, const char octets[FILE_BYTES_MAX])
{
	for (uint32_t i = 0; i * CRASH_PAGE_BYTES < content->size; i++)
		memcpy(crash_content_own(content, i)->data, octets + i * CRASH_PAGE_BYTES,
		    CRASH_PAGE_BYTES);
}

/* The offset of one of the bodies in the segment, each as likely; 0 none. */
static uint32_t
some_chunk(const char octets[FILE_BYTES_MAX], uint32_t size, struct segment_mark mark,
    struct record_header *header_out, struct chance *chance)
{
	uint32_t found = 0, count = 0;

	for (uint32_t at = RECORD_BLOCK_BYTES; at + RECORD_HEADER_BYTES < size;
	    at += RECORD_ALIGN) {
		struct record_header header;

		if (!record_header_read(&header, mark, octets + at) ||
		    header.type != RECORD_CHUNK || header.payload_bytes == 0 ||
		    record_bytes(header.payload_bytes) > size - at ||
		    chance_below(chance, ++count) != 0)
			continue;
		found = at;
		*header_out = header;
	}
	return found;
}

uint64_t
peek_forge(struct crash_disk *disk, struct chance *chance)
{
	static char octets[FILE_BYTES_MAX];
	uint32_t first = chance_below(chance, (uint32_t)disk->now.count + 1);

	for (int i = 0; i < disk->now.count; i++) {
		const struct crash_name *row =
		    &disk->now.rows[((uint32_t)i + first) % (uint32_t)disk->now.count];
		struct crash_inode *inode = &disk->inodes[row->inode];
		struct segment_header head;
		struct record_header header;

		if (!read_head(disk, row, &head) || head.mark.number == 0)
			continue;
		copy_out(&inode->now, octets);
		uint32_t at = some_chunk(octets, inode->now.size, head.mark, &header, chance);

		if (at == 0)
			continue;
		char *payload = octets + at + RECORD_HEADER_BYTES;

		payload[chance_below(chance, header.payload_bytes)] ^= 1;
		header.payload_crc = crc32c(0, payload, header.payload_bytes);
		record_header_write(&header, head.mark, octets + at);
		copy_in(&inode->now, octets);
		copy_in(&inode->durable, octets);
		return header.id;
	}
	return 0;
}
