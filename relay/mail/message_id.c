#include "relay/mail/message_id.h"

#include <inttypes.h>

#include "relay/base/ascii.h"
#include "relay/base/base32.h"

int
message_id_make(uint64_t queue_id, int64_t wall_ms, struct span hostname, struct buf *out)
{
	char id[BASE32_U64_BYTES];

	base32_print_u64(queue_id, id);
	return buf_appendf(out, "<%s.%" PRIx64 "@%.*s>", id, (uint64_t)wall_ms,
	    SPAN_ARGS(hostname));
}

bool
message_id_find(struct span field_value, struct span *id_out)
{
	struct span id = span_trim(field_value);
	size_t end;

	if (id.len < 3 || id.data[0] != '<' || !span_find_byte(id, '>', &end))
		return false;
	id = span_first(id, end + 1);
	if (id.len > MESSAGE_ID_BYTES_MAX || id.len < 3 || !span_is_utf8(id))
		return false;
	for (size_t i = 0; i < id.len; i++)
		if (!ascii_is_graph(id.data[i]) && !ascii_is_foreign(id.data[i]))
			return false;
	*id_out = id;
	return true;
}
