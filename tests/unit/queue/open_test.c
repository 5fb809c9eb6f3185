#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "queue/record.h"
#include "relay/base/crc32c.h"
#include "relay/base/cursor.h"
#include "relay/base/mem.h"
#include "tests/unit/queue/rig.h"

/* What a start accepts, what it refuses, and that it touches nothing then. */
static int
setup(void **state)
{
	static struct rig rig;

	rig_init(&rig);
	*state = &rig;
	return 0;
}

static int
teardown(void **state)
{
	rig_fini(*state);
	return 0;
}

static int
try_open(struct rig *rig, struct err *err)
{
	rig->hub = loop_new(&rig->clock.clock, err);
	rig->settings.hub = rig->hub;
	rig->settings.disk = &rig->disk.disk;
	rig->queue = queue_open(&rig->settings, &rig->found, err);
	bool is_open = rig->queue != NULL;

	queue_close(&rig->queue);
	loop_free(&rig->hub);
	return is_open ? 0 : -1;
}

static void
volatile_disks_only_when_allowed(void **state)
{
	static const enum disk_kind kinds[] = { DISK_KIND_TMPFS, DISK_KIND_OVERLAY };
	struct rig *rig = *state;
	struct err err;

	for (size_t i = 0; i < 2; i++) {
		rig->disk.kind = kinds[i];
		rig->settings.allow_volatile = false;
		assert_int_equal(try_open(rig, &err), -1);
		assert_int_equal(err.kind, ERR_DENIED);
		assert_non_null(strstr(err.text, "allow_volatile_spool"));
		assert_int_equal(rig->disk.file_count, 0);
		assert_false(rig->disk.is_locked);
		rig->settings.allow_volatile = true;
		assert_int_equal(try_open(rig, &err), 0);
		assert_true(rig->found.volatile_disk);
		memory_disk_fini(&rig->disk);
		memory_disk_init(&rig->disk);
	}
}

static void
one_process_has_it(void **state)
{
	struct rig *rig = *state;
	struct err err;

	rig->disk.is_locked = true;
	assert_int_equal(try_open(rig, &err), -1);
	assert_int_equal(err.kind, ERR_BUSY);
	assert_int_equal(rig->disk.file_count, 0);
	rig->disk.is_locked = false;
	assert_int_equal(try_open(rig, &err), 0);
	assert_false(rig->disk.is_locked);
}

static void
segments_without_an_identity_are_not_touched(void **state)
{
	struct rig *rig = *state;
	struct err err;

	rig_open(rig);
	(void)rig_send(rig, "a@example.org", "b@example.net", 100, NULL);
	rig_close(rig);
	struct memory_file *file = memory_disk_find(&rig->disk, "spool");

	file->name[0] = 'x';
	assert_int_equal(try_open(rig, &err), -1);
	assert_int_equal(err.kind, ERR_DAMAGED);
	file->name[0] = 's';
	file->data[20] ^= 1;
	assert_int_equal(try_open(rig, &err), -1);
	assert_int_equal(err.kind, ERR_DAMAGED);
	file->data[20] ^= 1;
	assert_int_equal(try_open(rig, &err), 0);
	assert_int_equal(rig->found.message_count, 1);
}

/* DECISIONS.md 20. */
static void
a_newer_version_is_not_touched(void **state)
{
	struct rig *rig = *state;
	struct err err;

	rig_open(rig);
	(void)rig_send(rig, "a@example.org", "b@example.net", 100, NULL);
	rig_close(rig);
	uint64_t written = rig->disk.written_bytes;
	struct memory_file *file = memory_disk_find(&rig->disk, "00000000.seg");

	cursor_store_u32(file->data + 8, RECORD_FORMAT_VERSION + 1);
	cursor_store_u32(file->data + 12, 0);
	cursor_store_u32(file->data + 12, crc32c(0, file->data, 64));
	assert_int_equal(try_open(rig, &err), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	assert_int_equal(rig->disk.written_bytes, written);
	cursor_store_u32(file->data + 8, RECORD_FORMAT_VERSION);
	cursor_store_u32(file->data + 12, 0);
	cursor_store_u32(file->data + 12, crc32c(0, file->data, 64));
	file = memory_disk_find(&rig->disk, "spool");
	cursor_store_u32(file->data + 8, RECORD_FORMAT_VERSION + 1);
	assert_int_equal(try_open(rig, &err), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	assert_int_equal(rig->disk.written_bytes, written);
}

static void
another_machine_s_spool_is_held(void **state)
{
	struct rig *rig = *state;
	char node_id[17];

	memset(rig->settings.machine_id, 1, 16);
	rig_open(rig);
	(void)rig_send(rig, "a@example.org", "b@example.net", 100, NULL);
	memcpy(node_id, rig->found.node_id, sizeof(node_id));
	rig_close(rig);
	memset(rig->settings.machine_id, 2, 16);
	rig_forget_events(rig);
	rig_open(rig);
	assert_true(rig->found.foreign_machine);
	assert_int_equal(rig_count(rig, 'o'), 0);
	assert_int_equal(rig_listed(rig), 1);
	rig_close(rig);
	rig->settings.adopt = true;
	rig_open(rig);
	assert_false(rig->found.foreign_machine);
	assert_string_equal(rig->found.node_id, node_id);
	assert_int_equal(rig_count(rig, 'o'), 1);
	rig_close(rig);
	rig->settings.adopt = false;
	rig_open(rig);
	assert_false(rig->found.foreign_machine);
}

/* ---- the real disk ----------------------------------------------------------- */

static void
the_directory_must_be_ours_alone(void **state)
{
	char top[] = "/tmp/chapar-open-XXXXXX";
	struct err err;

	(void)state;
	assert_non_null(mkdtemp(top));
	char *path = mem_format("%s/spool", top);
	struct disk *disk = disk_posix_open(path, &err), *again;
	struct stat status;
	int file, lock, other;

	assert_non_null(disk);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0700);
	/* Names stay inside, links are not followed. */
	assert_int_equal(disk->ops->open(disk, "../x", DISK_OPEN_CREATE, &file), EINVAL);
	assert_int_equal(disk->ops->open(disk, ".x", DISK_OPEN_CREATE, &file), EINVAL);
	char *link_path = mem_format("%s/link", path);

	assert_int_equal(symlink("/etc/passwd", link_path), 0);
	assert_int_equal(disk->ops->open(disk, "link", DISK_OPEN_READ, &file), ELOOP);
	/* One holder, also within a process. */
	assert_int_equal(disk->ops->lock(disk, "lock", &lock), 0);
	again = disk_posix_open(path, &err);
	assert_non_null(again);
	assert_int_equal(again->ops->lock(again, "lock", &other), EWOULDBLOCK);
	assert_int_equal(disk->ops->unlock(disk, lock), 0);
	assert_int_equal(again->ops->lock(again, "lock", &other), 0);
	assert_int_equal(again->ops->unlock(again, other), 0);
	disk_posix_close(&again);
	disk_posix_close(&disk);
	assert_int_equal(chmod(path, 0770), 0);
	assert_null(disk_posix_open(path, &err));
	assert_int_equal(err.kind, ERR_DENIED);
	assert_int_equal(unlink(link_path), 0);
	mem_free(&link_path);
	link_path = mem_format("%s/lock", path);
	assert_int_equal(unlink(link_path), 0);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rmdir(top), 0);
	mem_free(&link_path);
	mem_free(&path);
}

/* ---- short writes and reads ---------------------------------------------------- */

struct short_disk {
	struct disk disk;
	char data[4096];
	size_t at_most;
	int interrupts;
	int sync_count;
};

static struct short_disk *
short_of(struct disk *disk)
{
	return (struct short_disk *)disk;
}

static int
short_write(struct disk *disk, int file, const struct iovec *vectors, int vector_count,
    uint64_t offset, enum disk_write how, size_t *written_out)
{
	struct short_disk *it = short_of(disk);
	size_t left = it->at_most;

	(void)file;
	(void)how;
	if (it->interrupts > 0 && it->interrupts-- > 0)
		return EINTR;
	*written_out = 0;
	for (int i = 0; i < vector_count && left > 0; i++) {
		size_t count = vectors[i].iov_len < left ? vectors[i].iov_len : left;

		memcpy(it->data + offset + *written_out, vectors[i].iov_base, count);
		*written_out += count;
		left -= count;
	}
	return 0;
}

static int
short_read(struct disk *disk, int file, void *data, size_t size, uint64_t offset, size_t *got_out)
{
	struct short_disk *it = short_of(disk);

	(void)file;
	*got_out = size < it->at_most ? size : it->at_most;
	if (*got_out > sizeof(it->data) - offset)
		*got_out = sizeof(it->data) - offset;
	memcpy(data, it->data + offset, *got_out);
	return 0;
}

static int
short_sync(struct disk *disk, int file)
{
	(void)file;
	short_of(disk)->sync_count++;
	return 0;
}

static void
short_calls_are_gone_on_with(void **state)
{
	static const struct disk_ops ops = {
		.write = short_write, .read = short_read, .sync = short_sync,
	};
	char first[100], second[200], third[1], read[301];
	struct err err;

	(void)state;
	memset(first, 'a', sizeof(first));
	memset(second, 'b', sizeof(second));
	memset(third, 'c', sizeof(third));
	for (size_t at_most = 1; at_most <= 301; at_most++) {
		struct short_disk disk = {
			.disk = { &ops, "short" }, .at_most = at_most, .interrupts = 2,
		};
		struct iovec vectors[] = {
			{ first, sizeof(first) }, { second, sizeof(second) },
			{ third, sizeof(third) },
		};

		assert_int_equal(disk_write(&disk.disk, 0, vectors, 3, 10, DISK_WRITE_SYNC, &err),
		    0);
		/* A synced write vouches for itself only when it took everything. */
		assert_int_equal(disk.sync_count, at_most == 301 ? 0 : 1);
		assert_int_equal(disk_read_all(&disk.disk, 0, read, sizeof(read), 10, &err), 0);
		assert_memory_equal(read, first, 100);
		assert_memory_equal(read + 100, second, 200);
		assert_int_equal(read[300], 'c');
		assert_int_equal(disk_read_all(&disk.disk, 0, read, sizeof(read), 4000, &err), -1);
		assert_int_equal(err.kind, ERR_DAMAGED);
	}
}

/* ---- what a process that was killed leaves ------------------------------------------- */

/* Its names may not be durable yet, so they are made so before anything builds on them. */
static void
a_start_syncs_the_directory_first(void **state)
{
	struct rig *rig = *state;
	struct err err;

	rig_open(rig);
	(void)rig_send(rig, "a@example.org", "b@example.net", 100, NULL);
	rig_close(rig);
	rig->disk.dir_sync_count = 0;
	rig->disk.write_error = EIO;
	rig->disk.error_count = -1;
	assert_int_equal(try_open(rig, &err), -1);
	assert_true(rig->disk.dir_sync_count > 0);
}

static void
write_head(struct rig *rig, const char *name, const char block[RECORD_BLOCK_BYTES])
{
	struct disk *disk = &rig->disk.disk;
	enum disk_open how = memory_disk_find(&rig->disk, name) ? DISK_OPEN_WRITE :
	    DISK_OPEN_CREATE;
	struct err err;
	int file;

	assert_int_equal(disk_open(disk, name, how, &file, &err), 0);
	struct iovec vector = { (void *)(uintptr_t)block, RECORD_BLOCK_BYTES };

	assert_int_equal(disk_write(disk, file, &vector, 1, 0, DISK_WRITE_SYNC, &err), 0);
	disk_close(disk, &file);
}

/* A start is over, and then the disk takes nothing more. */
static void
open_and_die(struct rig *rig)
{
	struct err err;

	rig->hub = loop_new(&rig->clock.clock, &err);
	rig->settings.hub = rig->hub;
	rig->queue = queue_open(&rig->settings, &rig->found, &err);
	assert_non_null(rig->queue);
	assert_int_equal(rig->found.damaged_count, 0);
	rig->disk.write_error = EIO;
	rig->disk.error_count = -1;
	queue_close(&rig->queue);
	loop_free(&rig->hub);
	rig->disk.write_error = 0;
	rig->disk.error_count = 0;
}

/* It was killed between the head of a new segment and the sync; then the power failed. */
static void
a_head_that_was_never_durable_is_no_damage(void **state)
{
	struct rig *rig = *state;
	char before[RECORD_BLOCK_BYTES], after[RECORD_BLOCK_BYTES];
	struct segment_header dead = { .mark = { 3, 5 }, .capacity = 256 << 10 };
	struct segment_header fresh = { .mark = { 1000, 77 }, .capacity = 256 << 10 };

	rig_open(rig);
	queue_id id = rig_send(rig, "a@example.org", "b@example.net", 100, NULL);

	segment_header_write(&dead, before);
	segment_header_write(&fresh, after);
	rig_close(rig);
	write_head(rig, "00000001.seg", after);
	open_and_die(rig);
	write_head(rig, "00000001.seg", before);
	rig_open(rig);
	assert_int_equal(rig->found.damaged_count, 0);
	assert_int_equal(rig_read(rig, id, 100), QUEUE_DONE);
}

static void
write_garbage(struct rig *rig, const char *name, size_t block_count)
{
	struct memory_file *file = memory_disk_find(&rig->disk, name);

	assert_non_null(file);
	assert_true(file->size >= block_count * RECORD_BLOCK_BYTES);
	memset(file->data, 0x5a, block_count * RECORD_BLOCK_BYTES);
}

/* A new head was under the power cut, over a slot that had nothing whole in it. */
static void
a_slot_with_nothing_whole_in_it_is_free(void **state)
{
	struct rig *rig = *state;

	rig_open(rig);
	queue_id id = rig_send(rig, "a@example.org", "b@example.net", 100, NULL);

	rig_close(rig);
	write_garbage(rig, "00000001.seg", 2);
	rig_open(rig);
	assert_int_equal(rig->found.damaged_count, 0);
	assert_int_equal(rig_read(rig, id, 100), QUEUE_DONE);
}

/* Head and first batch of the newest segment are lost: what is behind is served. */
static void
a_later_batch_tells_what_is_in_a_slot(void **state)
{
	struct rig *rig = *state;

	rig_open(rig);
	queue_id id = rig_send(rig, "a@example.org", "b@example.net", 100, NULL);

	(void)rig_send(rig, "a@example.org", "c@example.net", 100, NULL);
	rig_close(rig);
	write_garbage(rig, "00000000.seg", 2);
	rig_open(rig);
	assert_true(rig->found.damaged_count > 0);
	assert_int_equal(rig_read(rig, id, 100), QUEUE_DONE);
}

/* Somebody else has filled the disk: what is kept for outcomes serves a start too. */
static void
a_start_on_a_full_disk_takes_the_reserve(void **state)
{
	struct rig *rig = *state;
	uint64_t free_bytes, total_bytes;

	rig_open(rig);
	queue_id id = rig_send(rig, "a@example.org", "b@example.net", 100, NULL);

	rig_close(rig);
	assert_int_equal(rig->disk.disk.ops->space(&rig->disk.disk, &free_bytes, &total_bytes), 0);
	rig->disk.bytes_max = total_bytes - free_bytes;
	rig_open(rig);
	assert_int_equal(rig_read(rig, id, 100), QUEUE_DONE);
	assert_int_equal(rig_outcome(rig, id, 0, RCPT_DELIVERED, "ok"), QUEUE_DONE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(volatile_disks_only_when_allowed, setup, teardown),
		cmocka_unit_test_setup_teardown(one_process_has_it, setup, teardown),
		cmocka_unit_test_setup_teardown(segments_without_an_identity_are_not_touched, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(a_newer_version_is_not_touched, setup, teardown),
		cmocka_unit_test_setup_teardown(another_machine_s_spool_is_held, setup, teardown),
		cmocka_unit_test(the_directory_must_be_ours_alone),
		cmocka_unit_test(short_calls_are_gone_on_with),
		cmocka_unit_test_setup_teardown(a_start_syncs_the_directory_first, setup, teardown),
		cmocka_unit_test_setup_teardown(a_head_that_was_never_durable_is_no_damage, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(a_slot_with_nothing_whole_in_it_is_free, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(a_later_batch_tells_what_is_in_a_slot, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(a_start_on_a_full_disk_takes_the_reserve, setup,
		    teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
