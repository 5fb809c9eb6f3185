/*
 * The format of the log, version 1.  All numbers are little-endian.
 *
 * A spool is a directory:
 *
 *	spool           version, node id, machine id; see identity.c
 *	lock            held while a process has the spool
 *	00000000.seg    slots, which hold segments one after the other; the names
 *	00000001.seg    never change, which segment a slot holds its header says
 *
 * A slot is a header block of 4096 octets and batches behind it:
 *
 *	 0  "CHAPARSG"           32  node id, u64
 *	 8  version, u32         40  capacity, u64: octets of the slot
 *	12  crc, u32             48  created, i64: wall clock in milliseconds
 *	16  number, u64          56  zeros
 *	24  salt, u64
 *
 * The crc is CRC-32C over octets 0 to 63 with the crc field as zero.  Number 0
 * is a slot without a segment.  Numbers grow and are never used twice; the salt
 * is random.  A segment is dead when a FREE record names its number and salt,
 * and then nothing of it is read, whatever its header says.
 *
 * A batch is what one write and one sync made durable.  It starts on a block
 * boundary, and its octets end on one.  It is a BATCH record and the records it
 * counts, one behind the other, then zeros.
 *
 * A record is a header of 40 octets, the payload, and zeros up to 8:
 *
 *	 0  magic, u32           28  crc of the payload, u32
 *	 4  crc, u32             32  sequence, u32
 *	 8  salt, u64            36  type, u8
 *	16  id, u64              37  zeros
 *	24  octets of payload, u32
 *
 * The crc at 4 is CRC-32C over octets 8 to 39 and the segment's number, so a
 * record is valid in one life of one slot only; the payload's own crc is in it.
 *
 *	type         id        sequence   payload
 *	BATCH        0         0          struct batch; the vouch says how far an
 *	                                  earlier sync is known to have returned
 *	CHUNK        message   0, 1, ...  octets of the body
 *	MESSAGE      message   ordinal    struct message_record: chunks, digest,
 *	                                  envelope, and the parent's mark in it
 *	STATE        message   revision   what became of recipients, whole: the highest
 *	                                  revision counts (envelope_codec.c)
 *	DONE         message   revision   nothing: all recipients are settled
 *	FREE         0         slot       number and salt of a dead segment
 *	MANIFEST     0         0          the segments that are alive, how far each is
 *	                                  durable, and where its index is
 *	DEAD         0         0          the settled or moved messages of a segment
 *	INDEX        0         part       what is in this segment, as its last batch
 *	                                  (footer.c); it is sealed behind it
 *	PARTIAL      message   0          an unfinished message with a TRANSID
 *	TRANSACTION  0         0          a finished TRANSID whose message is gone
 *	FLOOR        0         0          an owner's lowest TRANSID
 *
 * A message is there when its MESSAGE record is and all its chunks are.  Of
 * several copies of a record the one in the segment with the highest number,
 * farthest behind in it, counts: copies made by moving are equal but for the
 * ordinal, which counts the messages of the segment they are in.
 *
 * Nothing but a footer says where a record is, and that within its own segment, so
 * that a spool may be copied as a whole.
 *
 * A FREE stands in one batch with a MANIFEST, which still names the segment; a
 * DEAD record that a dying segment needs is written before its FREE and with it.
 * So no single block that goes bad brings anything back but, at worst, the one
 * message whose DONE is in it, and that is reported.
 *
 * Where the log is vouched for, a reader goes on behind what is damaged at the next
 * octet (of 8) that begins a valid record of this segment.
 */
#include "queue/record.h"

#include "relay/base/crc32c.h"
#include "relay/base/cursor.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "queue/mutant.h"

#define SEGMENT_HEADER_BYTES 64

static const char segment_magic[8] = "CHAPARSG";

static uint32_t
header_crc(const char header[RECORD_HEADER_BYTES], uint64_t number)
{
	char tail[8];

	cursor_store_u64(tail, mutant(MUTANT_NO_SALT) ? 0 : number);
	return crc32c(crc32c(0, header + 8, RECORD_HEADER_BYTES - 8), tail, sizeof(tail));
}

void
record_header_write(const struct record_header *header, struct segment_mark mark,
    char out[RECORD_HEADER_BYTES])
{
	must(header->type >= 1 && header->type <= RECORD_TYPE_MAX);
	must(header->payload_bytes <= RECORD_PAYLOAD_BYTES_MAX);
	cursor_store_u32(out, RECORD_MAGIC);
	cursor_store_u64(out + 8, mark.salt);
	cursor_store_u64(out + 16, header->id);
	cursor_store_u32(out + 24, header->payload_bytes);
	cursor_store_u32(out + 28, header->payload_crc);
	cursor_store_u32(out + 32, header->sequence);
	cursor_store_u32(out + 36, (uint32_t)header->type);
	cursor_store_u32(out + 4, header_crc(out, mark.number));
}

bool
record_header_read(struct record_header *header_out, struct segment_mark mark,
    const char in[RECORD_HEADER_BYTES])
{
	uint32_t type = cursor_load_u32(in + 36);

	*header_out = (struct record_header){
		.id = cursor_load_u64(in + 16),
		.payload_bytes = cursor_load_u32(in + 24),
		.payload_crc = cursor_load_u32(in + 28),
		.sequence = cursor_load_u32(in + 32),
	};
	if (cursor_load_u32(in) != RECORD_MAGIC || type < 1 || type > RECORD_TYPE_MAX ||
	    header_out->payload_bytes > RECORD_PAYLOAD_BYTES_MAX)
		return false;
	header_out->type = (enum record_type)type;
	if (mutant(MUTANT_NO_HEADER_CHECKSUM))
		return true;
	return cursor_load_u64(in + 8) == mark.salt &&
	    cursor_load_u32(in + 4) == header_crc(in, mark.number);
}

bool
record_payload_matches(const struct record_header *header, struct span payload)
{
	if (mutant(MUTANT_NO_PAYLOAD_CHECKSUM))
		return true;
	return payload.len == header->payload_bytes &&
	    crc32c(0, payload.data, payload.len) == header->payload_crc;
}

const char *
record_type_name(enum record_type type)
{
	switch (type) {
	case RECORD_BATCH:
		return "batch";
	case RECORD_CHUNK:
		return "chunk";
	case RECORD_MESSAGE:
		return "message";
	case RECORD_STATE:
		return "state";
	case RECORD_DONE:
		return "done";
	case RECORD_FREE:
		return "free";
	case RECORD_MANIFEST:
		return "manifest";
	case RECORD_DEAD:
		return "dead";
	case RECORD_INDEX:
		return "index";
	case RECORD_PARTIAL:
		return "partial";
	case RECORD_TRANSACTION:
		return "transaction";
	case RECORD_FLOOR:
		return "floor";
	}
	must_not_reach();
}

void
segment_header_write(const struct segment_header *header, char out[RECORD_BLOCK_BYTES])
{
	memset(out, 0, RECORD_BLOCK_BYTES);
	memcpy(out, segment_magic, sizeof(segment_magic));
	cursor_store_u32(out + 8, RECORD_FORMAT_VERSION);
	cursor_store_u64(out + 16, header->mark.number);
	cursor_store_u64(out + 24, header->mark.salt);
	cursor_store_u64(out + 32, header->node_id);
	cursor_store_u64(out + 40, header->capacity);
	cursor_store_u64(out + 48, (uint64_t)header->created_wall_ms);
	cursor_store_u32(out + 12, crc32c(0, out, SEGMENT_HEADER_BYTES));
}

int
segment_header_read(struct segment_header *header_out, const char in[RECORD_BLOCK_BYTES],
    struct err *err)
{
	char copy[SEGMENT_HEADER_BYTES];

	memcpy(copy, in, sizeof(copy));
	cursor_store_u32(copy + 12, 0);
	if (memcmp(in, segment_magic, sizeof(segment_magic)) != 0 ||
	    crc32c(0, copy, sizeof(copy)) != cursor_load_u32(in + 12))
		return err_set(err, ERR_DAMAGED, "not the head of a segment");
	if (cursor_load_u32(in + 8) > RECORD_FORMAT_VERSION)
		return err_set(err, ERR_UNSUPPORTED, "format version %u is newer than ours (%u)",
		    (unsigned int)cursor_load_u32(in + 8), RECORD_FORMAT_VERSION);
	*header_out = (struct segment_header){
		.mark = { cursor_load_u64(in + 16), cursor_load_u64(in + 24) },
		.node_id = cursor_load_u64(in + 32),
		.capacity = cursor_load_u64(in + 40),
		.created_wall_ms = (int64_t)cursor_load_u64(in + 48),
	};
	return 0;
}

void
batch_write(const struct batch *batch, char out[BATCH_PAYLOAD_BYTES])
{
	cursor_store_u64(out, batch->sequence);
	cursor_store_u32(out + 8, batch->bytes);
	cursor_store_u32(out + 12, batch->record_count);
	cursor_store_u64(out + 16, batch->vouch_number);
	cursor_store_u64(out + 24, batch->vouch_end);
	cursor_store_u64(out + 32, batch->queue_ms);
	cursor_store_u64(out + 40, (uint64_t)batch->wall_ms);
	cursor_store_u64(out + 48, batch->id_floor);
	cursor_store_u64(out + 56, batch->number);
}

bool
batch_read(struct batch *batch_out, struct span payload)
{
	if (payload.len != BATCH_PAYLOAD_BYTES)
		return false;
	const char *in = payload.data;

	*batch_out = (struct batch){
		.sequence = cursor_load_u64(in),
		.bytes = cursor_load_u32(in + 8),
		.record_count = cursor_load_u32(in + 12),
		.vouch_number = cursor_load_u64(in + 16),
		.vouch_end = cursor_load_u64(in + 24),
		.queue_ms = cursor_load_u64(in + 32),
		.wall_ms = (int64_t)cursor_load_u64(in + 40),
		.id_floor = cursor_load_u64(in + 48),
		.number = cursor_load_u64(in + 56),
	};
	return batch_out->bytes >= RECORD_BLOCK_BYTES &&
	    (batch_out->bytes % RECORD_BLOCK_BYTES == 0 || mutant(MUTANT_UNALIGNED_BATCH));
}

bool
batch_identify(const char in[BATCH_RECORD_BYTES], struct segment_mark *mark_out)
{
	struct record_header header;

	*mark_out = (struct segment_mark){
		.number = cursor_load_u64(in + RECORD_HEADER_BYTES + 56),
		.salt = cursor_load_u64(in + 8),
	};
	return record_header_read(&header, *mark_out, in) && header.type == RECORD_BATCH &&
	    header.payload_bytes == BATCH_PAYLOAD_BYTES &&
	    record_payload_matches(&header,
		span_make(in + RECORD_HEADER_BYTES, BATCH_PAYLOAD_BYTES));
}

void
manifest_put(struct buf *out, const struct manifest_entry *entries, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		cursor_put_u64(out, entries[i].mark.number);
		cursor_put_u64(out, entries[i].mark.salt);
		cursor_put_u32(out, entries[i].slot);
		cursor_put_u64(out, entries[i].end);
		cursor_put_u64(out, entries[i].footer);
	}
}

ptrdiff_t
manifest_count(struct span payload)
{
	if (payload.len % MANIFEST_ENTRY_BYTES != 0)
		return -1;
	return (ptrdiff_t)(payload.len / MANIFEST_ENTRY_BYTES);
}

void
manifest_get(struct span payload, size_t at, struct manifest_entry *entry_out)
{
	struct cursor in = cursor_init(span_skip(payload, at * MANIFEST_ENTRY_BYTES));

	entry_out->mark.number = cursor_u64(&in);
	entry_out->mark.salt = cursor_u64(&in);
	entry_out->slot = cursor_u32(&in);
	entry_out->end = cursor_u64(&in);
	entry_out->footer = cursor_u64(&in);
}

void
mark_write(struct segment_mark mark, char out[MARK_PAYLOAD_BYTES])
{
	cursor_store_u64(out, mark.number);
	cursor_store_u64(out + 8, mark.salt);
}

bool
mark_read(struct segment_mark *mark_out, struct span payload)
{
	struct cursor in = cursor_init(payload);

	mark_out->number = cursor_u64(&in);
	mark_out->salt = cursor_u64(&in);
	return cursor_ended_well(&in);
}

void
dead_put(struct buf *out, struct segment_mark mark, const uint8_t *bits, uint32_t bit_count)
{
	cursor_put_u64(out, mark.number);
	cursor_put_u64(out, mark.salt);
	cursor_put_u32(out, bit_count);
	cursor_put(out, span_make(bits, ((size_t)bit_count + 7) / 8));
}

bool
dead_read(struct span payload, struct segment_mark *mark_out, struct span *bits_out,
    uint32_t *bit_count_out)
{
	struct cursor in = cursor_init(payload);

	mark_out->number = cursor_u64(&in);
	mark_out->salt = cursor_u64(&in);
	*bit_count_out = cursor_u32(&in);
	*bits_out = cursor_take(&in, ((size_t)*bit_count_out + 7) / 8);
	return cursor_ended_well(&in);
}

void
message_record_put(struct buf *out, const struct message_record *record)
{
	cursor_put_u32(out, record->chunk_count);
	cursor_put_u64(out, record->body_bytes);
	cursor_put(out, span_make(record->digest, DIGEST_BYTES));
	cursor_put_u64(out, record->accepted_ms);
	cursor_put_span_u16(out, record->transid);
	cursor_put_span_u16(out, record->owner);
	cursor_put_span_u16(out, record->reply);
	cursor_put_u64(out, record->parent_id);
	cursor_put_u32(out, record->parent_revision);
	cursor_put_u8(out, record->parent_done);
	cursor_put_span_u32(out, record->parent_state);
	cursor_put_span_u32(out, record->envelope);
}

bool
message_record_read(struct message_record *record_out, struct span payload)
{
	struct cursor in = cursor_init(payload);

	record_out->chunk_count = cursor_u32(&in);
	record_out->body_bytes = cursor_u64(&in);
	cursor_copy(&in, record_out->digest, DIGEST_BYTES);
	record_out->accepted_ms = cursor_u64(&in);
	record_out->transid = cursor_take_u16(&in);
	record_out->owner = cursor_take_u16(&in);
	record_out->reply = cursor_take_u16(&in);
	record_out->parent_id = cursor_u64(&in);
	record_out->parent_revision = cursor_u32(&in);
	record_out->parent_done = cursor_u8(&in) != 0;
	record_out->parent_state = cursor_take_u32(&in);
	record_out->envelope = cursor_take_u32(&in);
	return cursor_ended_well(&in);
}
