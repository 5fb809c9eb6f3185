#include "mailbox/way.h"

#include "relay/mail/header.h"

void
way_read(struct way *way, struct span message)
{
	struct header_scan scan;
	struct header_field field;

	*way = (struct way){ 0 };
	header_scan_init(&scan, message);
	while (header_scan_next(&scan, &field)) {
		way->received_count += span_equal_nocase(field.name, SPAN("Received"));
		if (span_equal_nocase(field.name, SPAN("Delivered-To")) &&
		    way->box_count < WAY_BOXES_MAX)
			way->boxes[way->box_count++] = span_trim(field.value);
	}
}

bool
way_has_box(const struct way *way, struct span address)
{
	for (size_t i = 0; i < way->box_count; i++)
		if (span_equal_nocase(way->boxes[i], address))
			return true;
	return false;
}
