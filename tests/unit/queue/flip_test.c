#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/mem.h"
#include "tests/unit/queue/rig.h"

/*
 * One bit of a small spool is flipped: each in its turn.  The spool has all kinds
 * of records: letters in one piece and streamed in chunks, states, marks, a
 * notification with its parent's mark, footers, manifests, what was given back and
 * used again.  Whatever the bit is, the start serves the rest, nobody reads a wrong
 * octet of body or envelope, at most one message is lost, and what comes back or
 * is lost is told: as damage, or as a torn end.
 *
 *	flip_test               every 97th bit
 *	flip_test all           each bit; several minutes
 */
enum {
	STRIDE = 97,
	LETTERS_MAX = 64,
	STREAMED_BYTES = 17000,
};

struct letter {
	queue_id id;
	size_t bytes;
	const char *sender, *rcpts;
	bool is_settled;
};

struct spool_of_old {
	struct rig rig;
	struct letter letters[LETTERS_MAX];
	size_t letter_count, kept_count;
};

static uint64_t stride = STRIDE;

/* ---- the spool ------------------------------------------------------------------- */

static void
room(void *ctx)
{
	(void)ctx;
}

static struct letter *
send(struct spool_of_old *old, const char *rcpts, size_t bytes)
{
	assert_true(old->letter_count < LETTERS_MAX);
	struct letter *letter = &old->letters[old->letter_count++];

	struct rig *rig = &old->rig;
	struct queue_draft_events events = { .room = room };
	struct queue_draft_terms terms = { .id = queue_new_id(rig->port) };
	struct queue_draft *draft = queue_begin(rig->port, &terms, &events, NULL);
	struct envelope *envelope = rig_envelope("a@example.org", rcpts);
	struct rig_answer answer = { 0 };

	*letter = (struct letter){ .id = terms.id, .bytes = bytes, .sender = "a@example.org",
		.rcpts = rcpts };
	for (size_t at = 0; at < bytes;) {
		char octet = rig_octet(terms.id, at);
		size_t taken = queue_append(draft, span_make(&octet, 1));

		assert_int_not_equal(taken, SIZE_MAX);
		at += taken;
		if (taken == 0)
			rig_run(rig);
	}
	(void)queue_commit(&draft, &envelope, NULL, rig_done, &answer);
	rig_run(rig);
	assert_int_equal(answer.result, QUEUE_DONE);
	rig_forget_events(rig);
	return letter;
}

static void
settle(struct spool_of_old *old, struct letter *letter)
{
	assert_int_equal(rig_outcome(&old->rig, letter->id, 0, RCPT_DELIVERED, "ok"), QUEUE_DONE);
	letter->is_settled = true;
	rig_forget_events(&old->rig);
}

static void
fail_with_notice(struct spool_of_old *old, struct letter *parent)
{
	struct rig *rig = &old->rig;
	struct queue_port *port = queue_hub_port(rig->queue);
	struct letter *notice = &old->letters[old->letter_count++];

	*notice = (struct letter){ .id = queue_new_id(port), .bytes = 700, .sender = "",
		.rcpts = "a@example.org" };
	struct queue_draft_terms terms = { .id = notice->id };
	struct queue_draft *draft = queue_begin(port, &terms, NULL, NULL);
	struct envelope *envelope = rig_envelope(notice->sender, notice->rcpts);
	struct queue_outcome outcome = { .rcpt = 0, .state = RCPT_FAILED, .tried = true };
	struct queue_change change = { &outcome, 1, 0, false, &draft, &envelope };
	struct rig_answer answer = { 0 };

	for (size_t at = 0; at < notice->bytes; at++) {
		char octet = rig_octet(notice->id, at);

		assert_int_equal(queue_append(draft, span_make(&octet, 1)), 1);
	}
	(void)queue_update(rig->queue, parent->id, &change, rig_done, &answer);
	rig_run(rig);
	assert_int_equal(answer.result, QUEUE_DONE);
	parent->is_settled = true;
	rig_forget_events(rig);
}

static void
start_again(struct spool_of_old *old)
{
	rig_close(&old->rig);
	rig_forget_events(&old->rig);
	rig_open(&old->rig);
}

/* No memory for bodies: whatever is longer than a chunk is streamed. */
static void
make_spool(struct spool_of_old *old)
{
	struct rig *rig = &old->rig;
	struct rig_answer held = { 0 };

	memset(old, 0, sizeof(*old));
	rig_init(rig);
	rig->settings.segment_bytes = 64 << 10;
	rig->settings.move_percent = 0;
	rig->settings.scrub_bytes_second = 0;
	rig->settings.reserve_bytes = 8 << 10;
	rig->settings.pool_segments_max = 1;
	rig->settings.body_memory_bytes = 8 << 10;
	rig_open(rig);
	struct letter *first = send(old, "b@example.net", 300);
	struct letter *gone = send(old, "b@example.net", 900);

	(void)send(old, "b@example.net,c@example.org", STREAMED_BYTES);
	/* A segment that fills, is sealed with its footer, and of which little is needed. */
	for (int i = 0; i < 10; i++)
		settle(old, send(old, "b@example.net", 4500));
	settle(old, gone);
	struct letter *deferred = send(old, "b@example.net,c@example.org", 1200);

	assert_int_equal(rig_outcome(rig, deferred->id, 0, RCPT_WAITING, "come later"), QUEUE_DONE);
	start_again(old);
	assert_true(rig->found.footer_count > 0);
	fail_with_notice(old, send(old, "b@example.net", 400));
	(void)queue_hold(rig->queue, first->id, SPAN("a look"), rig_done, &held);
	rig_run(rig);
	assert_int_equal(held.result, QUEUE_DONE);
	start_again(old);
	(void)send(old, "d@example.net", 200);
	for (size_t i = 0; i < old->letter_count; i++)
		old->kept_count += !old->letters[i].is_settled;
	assert_true(old->kept_count >= 5);
}

/* ---- one bit ------------------------------------------------------------------------- */

static struct letter *
letter_of(struct spool_of_old *old, queue_id id)
{
	for (size_t i = 0; i < old->letter_count; i++) {
		if (old->letters[i].id == id)
			return &old->letters[i];
	}
	return NULL;
}

struct listing {
	struct spool_of_old *old;
	size_t kept_count, back_count;
	bool is_strange;
};

static void
list_one(void *ctx, const struct queue_item *item)
{
	struct listing *listing = ctx;
	const struct letter *letter = letter_of(listing->old, item->id);

	if (!letter)
		listing->is_strange = true;
	else if (letter->is_settled)
		listing->back_count++;
	else if (!item->damaged)
		listing->kept_count++;
}

/* What is given is what was taken. */
static bool
envelope_is_right(struct rig *rig, const struct letter *letter)
{
	struct rig_answer answer = { 0 };
	struct span rest = span_from_cstr(letter->rcpts), part;
	bool is_right = true;
	size_t count = 0;

	(void)queue_read_envelope(rig->port, letter->id, rig_got_envelope, &answer);
	rig_run(rig);
	if (answer.count != 1 || answer.result != QUEUE_DONE)
		return answer.count == 1 && !answer.envelope;
	is_right &= span_equal(answer.envelope->sender, span_from_cstr(letter->sender));
	while (span_take_part(&rest, ',', &part)) {
		is_right &= count < answer.envelope->rcpt_count &&
		    span_equal(answer.envelope->rcpts[count].address, part);
		count++;
	}
	is_right &= count == answer.envelope->rcpt_count;
	envelope_free(&answer.envelope);
	return is_right;
}

static const char *
look_at(struct spool_of_old *old)
{
	struct rig *rig = &old->rig;
	struct listing listing = { .old = old };
	struct queue_cursor cursor = { 0 };
	size_t read_count = 0;

	while (queue_list(rig->queue, &cursor, 100, list_one, &listing))
		;
	if (listing.is_strange)
		return "a message that nobody sent";
	if (listing.back_count > 1 || (listing.back_count > 0 && rig->found.damaged_count == 0))
		return "settled messages are back";
	for (size_t i = 0; i < old->letter_count; i++) {
		const struct letter *letter = &old->letters[i];
		struct queue_item item;

		if (!queue_find(rig->queue, letter->id, &item))
			continue;
		enum queue_result result = rig_read(rig, letter->id, letter->bytes);

		if (result == QUEUE_CONFLICT)
			return "a wrong octet of a body";
		if (!envelope_is_right(rig, letter))
			return "a wrong envelope";
		read_count += result == QUEUE_DONE && !letter->is_settled;
	}
	if (read_count + 1 < old->kept_count)
		return "more than one message is lost";
	/* What was written last nobody vouches for: it looks like a batch that never ended. */
	if (listing.kept_count < old->kept_count && rig->found.damaged_count == 0 &&
	    rig->found.torn_bytes == 0)
		return "a message is lost and nobody is told";
	return NULL;
}

/* False: the start refused the spool. */
static bool
try_open(struct rig *rig)
{
	struct err err;

	rig->hub = loop_new(&rig->clock.clock, &err);
	rig->worker = loop_new(&rig->clock.clock, &err);
	rig->settings.disk = &rig->disk.disk;
	rig->settings.hub = rig->hub;
	rig->queue = queue_open(&rig->settings, &rig->found, &err);
	if (!rig->queue) {
		loop_free(&rig->worker);
		loop_free(&rig->hub);
		return false;
	}
	rig->port = queue_port_open(rig->queue, rig->worker);
	queue_start(rig->queue);
	rig_run(rig);
	return true;
}

static void
flip(struct spool_of_old *old, const struct memory_disk *image, int file, uint64_t bit)
{
	struct rig *rig = &old->rig;
	const char *name = image->files[file].name;
	const char *wrong = NULL;

	memory_disk_copy(&rig->disk, image);
	rig->disk.files[file].data[bit / 8] ^= (char)(1 << bit % 8);
	if (try_open(rig)) {
		wrong = look_at(old);
		rig_close(rig);
	} else if (strcmp(name, "spool") != 0) {
		/* Without its identity a spool is refused; nothing else is a reason. */
		wrong = "the start refuses it";
	}
	memory_disk_fini(&rig->disk);
	rig_forget_events(rig);
	if (wrong)
		fail_msg("%s, bit %lu of octet %lu: %s", name, (unsigned long)(bit % 8),
		    (unsigned long)(bit / 8), wrong);
}

static void
no_bit_gives_a_wrong_octet(void **state)
{
	static struct spool_of_old old;
	struct memory_disk image;
	uint64_t count = 0, octets = 0;

	(void)state;
	make_spool(&old);
	memory_disk_copy(&image, &old.rig.disk);
	rig_close(&old.rig);
	memory_disk_fini(&old.rig.disk);
	for (int file = 0; file < image.file_count; file++) {
		uint64_t bits = image.files[file].size * 8;

		octets += image.files[file].size;
		for (uint64_t bit = (uint64_t)file % stride; bit < bits; bit += stride) {
			flip(&old, &image, file, bit);
			count++;
		}
	}
	print_message("ok flip: %lu bits of %lu octets in %d files\n", (unsigned long)count,
	    (unsigned long)octets, image.file_count);
	assert_true(count > 1000);
	memory_disk_fini(&image);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_bit_gives_a_wrong_octet),
	};

	if (argc > 1 && strcmp(argv[1], "all") == 0)
		stride = 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
