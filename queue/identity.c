/*
 * The file "spool", 128 octets:
 *
 *	 0  "CHAPARSP"           40  salt key, 32 octets
 *	 8  version, u32         72  created, i64: wall clock in milliseconds
 *	12  crc, u32             80  zeros
 *	16  node id, u64
 *	24  machine id, 16 octets
 *
 * The crc is CRC-32C over all octets with the crc field as zero.  The version is
 * that of the format of the whole spool (record.c); a newer one than ours is
 * refused and nothing is touched.
 */
#include "queue/spool.h"

#include <errno.h>

#include "queue/mutant.h"
#include "relay/base/crc32c.h"
#include "relay/base/cursor.h"

#define IDENTITY_BYTES 128

static const char identity_magic[8] = "CHAPARSP";

static uint32_t
crc_of(const char in[IDENTITY_BYTES])
{
	char copy[IDENTITY_BYTES];

	memcpy(copy, in, sizeof(copy));
	cursor_store_u32(copy + 12, 0);
	return crc32c(0, copy, sizeof(copy));
}

int
identity_read(struct disk *disk, struct spool_identity *identity_out, struct err *err)
{
	char in[IDENTITY_BYTES];
	int file;

	if (disk_open(disk, "spool", DISK_OPEN_READ, &file, err) < 0) {
		if (err_is_errno(err, ENOENT))
			err->kind = ERR_NOT_FOUND;
		return -1;
	}
	int result = disk_read_all(disk, file, in, sizeof(in), 0, err);

	disk_close(disk, &file);
	if (result < 0)
		return err_wrap(err, "the spool's identity");
	if (memcmp(in, identity_magic, sizeof(identity_magic)) != 0)
		return err_set(err, ERR_DAMAGED, "%s/spool is not one of ours", disk->place);
	if (cursor_load_u32(in + 8) > RECORD_FORMAT_VERSION)
		return err_set(err, ERR_UNSUPPORTED,
		    "%s: made by a newer version (format %u, ours is %u)", disk->place,
		    cursor_load_u32(in + 8), RECORD_FORMAT_VERSION);
	if (cursor_load_u32(in + 12) != crc_of(in))
		return err_set(err, ERR_DAMAGED, "%s/spool: bad checksum", disk->place);
	identity_out->version = cursor_load_u32(in + 8);
	identity_out->node_id = cursor_load_u64(in + 16);
	memcpy(identity_out->machine_id, in + 24, sizeof(identity_out->machine_id));
	memcpy(identity_out->salt_key, in + 40, sizeof(identity_out->salt_key));
	identity_out->created_wall_ms = (int64_t)cursor_load_u64(in + 72);
	return 0;
}

/* Written beside, synced, renamed: at every moment there is one whole file or none. */
int
identity_write(struct disk *disk, const struct spool_identity *identity, struct err *err)
{
	char out[IDENTITY_BYTES] = { 0 };
	struct iovec vector = { .iov_base = out, .iov_len = sizeof(out) };
	int file;

	memcpy(out, identity_magic, sizeof(identity_magic));
	cursor_store_u32(out + 8, RECORD_FORMAT_VERSION);
	cursor_store_u64(out + 16, identity->node_id);
	memcpy(out + 24, identity->machine_id, sizeof(identity->machine_id));
	memcpy(out + 40, identity->salt_key, sizeof(identity->salt_key));
	cursor_store_u64(out + 72, (uint64_t)identity->created_wall_ms);
	cursor_store_u32(out + 12, crc_of(out));
	(void)disk->ops->remove(disk, "spool.new");     /* left by a crash, or not there */
	if (disk_open(disk, "spool.new", DISK_OPEN_CREATE, &file, err) < 0)
		return -1;
	int result = disk_write(disk, file, &vector, 1, 0,
	    mutant(MUTANT_NO_IDENTITY_SYNC) ? DISK_WRITE_PLAIN : DISK_WRITE_SYNC, err);

	disk_close(disk, &file);
	if (result < 0 || disk_rename(disk, "spool.new", "spool", err) < 0)
		return -1;
	return disk_sync_dir(disk, err);
}
