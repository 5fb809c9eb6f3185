#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/mem.h"
#include "tests/unit/queue/rig.h"

/*
 * One octet of a spool goes bad.  Whatever it is, no wrong octet is read, at most
 * the one message is lost whose own records it hit, and nothing that was settled
 * comes back but the message whose own mark it hit.
 */
enum {
	KEPT = 8,
	BODY = 3000,
	STRIDE = 256,
	LAG = 20,
};

struct spool_of_old {
	struct rig rig;
	queue_id kept[KEPT];
};

static bool
is_kept(const struct spool_of_old *old, queue_id id)
{
	for (size_t i = 0; i < KEPT; i++) {
		if (old->kept[i] == id)
			return true;
	}
	return false;
}

/* Many segments came and went; a few messages are left, in several of them. */
static void
make_spool(struct spool_of_old *old, uint32_t move_percent, int message_count)
{
	struct rig *rig = &old->rig;
	size_t count = 0, waiting_count = 0;
	queue_id waiting[LAG];

	rig_init(rig);
	rig->settings.segment_bytes = 64 << 10;
	rig->settings.move_percent = move_percent;
	rig->settings.move_after_ms = 0;
	rig->settings.pool_segments_max = 4;
	rig->settings.scrub_bytes_second = 0;
	rig_open(rig);
	for (int i = 0; i < message_count; i++) {
		queue_id id = rig_send(rig, "a@example.org", "b@example.net", BODY, NULL);

		if (i % 5 == 3 && count < KEPT) {
			old->kept[count++] = id;
		} else {
			/* Settled late, so that the mark is in another segment. */
			waiting[waiting_count++] = id;
			if (waiting_count == LAG) {
				while (waiting_count > LAG / 2)
					assert_int_equal(rig_outcome(rig, waiting[--waiting_count],
					    0, RCPT_DELIVERED, "ok"), QUEUE_DONE);
			}
		}
		rig_forget_events(rig);
	}
	assert_int_equal(count, KEPT);
	while (waiting_count > 0)
		assert_int_equal(rig_outcome(rig, waiting[--waiting_count], 0, RCPT_DELIVERED,
		    "ok"), QUEUE_DONE);
	for (size_t i = 0; i < KEPT; i += 2)
		assert_int_equal(rig_outcome(rig, old->kept[i], 0, RCPT_WAITING, "later"),
		    QUEUE_DONE);
}

struct listing {
	const struct spool_of_old *old;
	size_t resurrected;
	size_t good;
};

static void
list_one(void *ctx, const struct queue_item *item)
{
	struct listing *listing = ctx;

	if (!is_kept(listing->old, item->id))
		listing->resurrected++;
	else if (!item->damaged)
		listing->good++;
}

static void
open_damaged(struct spool_of_old *old, const struct memory_disk *image, int file, uint64_t at,
    uint8_t flip)
{
	struct rig *rig = &old->rig;
	struct listing listing = { .old = old };
	struct queue_cursor cursor = { 0 };

	memory_disk_copy(&rig->disk, image);
	rig->disk.files[file].data[at] ^= (char)flip;
	rig_open(rig);
	while (queue_list(rig->queue, &cursor, 100, list_one, &listing))
		;
	if (listing.resurrected > 1 || listing.good + 1 < KEPT)
		print_message("%s at %lu: %zu resurrected, %zu good\n",
		    rig->disk.files[file].name, (unsigned long)at, listing.resurrected,
		    listing.good);
	/* Where the mark itself is hit its message comes again, and nobody is left in the dark. */
	assert_true(listing.resurrected <= 1);
	assert_true(listing.resurrected == 0 || rig->found.damaged_count > 0);
	assert_true(listing.good + 1 >= KEPT);
	size_t read_count = 0;

	for (size_t i = 0; i < KEPT; i++) {
		enum queue_result result = rig_read(rig, old->kept[i], BODY);

		assert_int_not_equal(result, QUEUE_CONFLICT);
		read_count += result == QUEUE_DONE;
	}
	assert_true(read_count + 1 >= KEPT);
	rig_close(rig);
	memory_disk_fini(&rig->disk);
	rig_forget_events(rig);
}

static void
flip_everywhere(uint32_t move_percent, int message_count, uint64_t stride)
{
	static struct spool_of_old old;
	struct memory_disk image;
	size_t count = 0;

	make_spool(&old, move_percent, message_count);
	memory_disk_copy(&image, &old.rig.disk);
	rig_close(&old.rig);
	memory_disk_fini(&old.rig.disk);
	for (int file = 0; file < image.file_count; file++) {
		if (!strstr(image.files[file].name, ".seg"))
			continue;
		for (uint64_t at = 0; at < image.files[file].size; at += stride) {
			uint64_t where = at + (at / stride * 37) % stride;

			/* The first octets of each block are where batches and marks are. */
			if (stride == 4096)
				where = at + (at / 4096 * 13 + (uint64_t)message_count * 3) % 300;
			open_damaged(&old, &image, file, where, (uint8_t)(1 << at % 8));
			count++;
		}
	}
	assert_true(count > 20);
	memory_disk_fini(&image);
}

static void
no_flip_resurrects(void **state)
{
	(void)state;
	flip_everywhere(0, 120, STRIDE);
}

static void
no_flip_resurrects_where_survivors_move(void **state)
{
	(void)state;
	flip_everywhere(20, 120, STRIDE);
}

/* At other moments others are freed, not yet used again, or half forgotten. */
static void
the_freed_stay_dead(void **state)
{
	(void)state;
	for (int message_count = 60; message_count < 100; message_count++)
		flip_everywhere(message_count % 2 ? 20 : 0, message_count, 4096);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_flip_resurrects),
		cmocka_unit_test(no_flip_resurrects_where_survivors_move),
		cmocka_unit_test(the_freed_stay_dead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
