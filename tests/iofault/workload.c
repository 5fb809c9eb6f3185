#include "tests/iofault/workload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/queue/rig.h"

enum {
	LETTERS_MAX = 80,
	STREAMED_BYTES = 264000,
	NOTICE_BYTES = 2000,
	SEGMENT_BYTES = 64 << 10,
};

struct letter {
	queue_id id;
	size_t bytes;
	struct letter *parent;          /* of a notification */
	struct rig_answer sent;
	bool is_held;                   /* a start showed it: from then on it must be there */
	bool is_asked;                  /* to be settled or removed */
	bool is_forgotten;              /* the process ended before that was known to be durable */
	struct rig_answer outcome;
};

struct workload {
	struct rig rig;
	struct fault_disk disk;
	struct letter letters[LETTERS_MAX];
	size_t letter_count;
	struct rig_answer steps[LETTERS_MAX];   /* of what settles nothing */
	size_t step_count;
	size_t step_ended;              /* those before belong to a process that has ended */
	const char *where;
	struct workload_verdict *verdict;
};

/* The first thing that is not true is the one that is told. */
static void
expect(struct workload *work, const struct letter *letter, bool held, const char *what)
{
	struct workload_verdict *verdict = work->verdict;

	if (held || verdict->broken)
		return;
	verdict->broken = what;
	verdict->where = work->where;
	verdict->letter = letter ? (uint64_t)(letter - work->letters) : 0;
}

/* ---- births and deaths ----------------------------------------------------------- */

static bool
is_in_queue(struct workload *work, const struct letter *letter)
{
	struct queue_item item;

	return work->rig.queue && queue_find(work->rig.queue, letter->id, &item);
}

/* What a start shows counts as accepted from then on. */
static void
note_what_is_held(struct workload *work)
{
	for (size_t i = 0; i < work->letter_count; i++)
		work->letters[i].is_held |= is_in_queue(work, &work->letters[i]);
}

static void
open_queue(struct workload *work)
{
	struct rig *rig = &work->rig;
	struct err err;

	rig_forget_events(rig);
	rig->hub = loop_new(&rig->clock.clock, &err);
	rig->worker = loop_new(&rig->clock.clock, &err);
	rig->settings.disk = &work->disk.disk;
	rig->settings.hub = rig->hub;
	rig->queue = queue_open(&rig->settings, &rig->found, &err);
	expect(work, NULL, rig->queue || work->disk.failed_count > 0,
	    "a start fails though no call failed");
	if (!rig->queue) {
		loop_free(&rig->worker);
		loop_free(&rig->hub);
		expect(work, NULL, !rig->disk.is_locked, "a start that failed keeps the lock");
		return;
	}
	rig->port = queue_port_open(rig->queue, rig->worker);
	queue_start(rig->queue);
	rig_run(rig);
	note_what_is_held(work);
}

static void
note_what_ends(struct workload *work)
{
	work->step_ended = work->step_count;
	for (size_t i = 0; i < work->letter_count; i++) {
		struct letter *letter = &work->letters[i];

		letter->is_forgotten |= letter->is_asked &&
		    (letter->outcome.count == 0 || letter->outcome.result != QUEUE_DONE);
	}
}

static void
close_queue(struct workload *work)
{
	rig_close(&work->rig);
	note_what_ends(work);
}

/* The process dies; what it does to the disk afterwards nobody sees. */
static void
crash(struct workload *work)
{
	struct memory_disk copy;

	memory_disk_copy(&copy, &work->rig.disk);
	work->disk.is_off = true;
	close_queue(work);
	work->disk.is_off = false;
	memory_disk_fini(&work->rig.disk);
	work->rig.disk = copy;
}

/* ---- steps ------------------------------------------------------------------------ */

static bool
fill(struct workload *work, struct queue_draft *draft, const struct letter *letter)
{
	char piece[1000];

	for (size_t at = 0; at < letter->bytes;) {
		size_t count = letter->bytes - at < sizeof(piece) ? letter->bytes - at :
		    sizeof(piece);

		for (size_t i = 0; i < count; i++)
			piece[i] = rig_octet(letter->id, at + i);
		size_t taken = queue_append(draft, span_make(piece, count));

		if (taken == SIZE_MAX)
			return false;
		at += taken;
		if (taken < count)
			rig_run(&work->rig);
	}
	return true;
}

static struct letter *
letter_new(struct workload *work, size_t bytes)
{
	assert_true(work->letter_count < LETTERS_MAX);
	struct letter *letter = &work->letters[work->letter_count++];

	letter->bytes = bytes;
	letter->sent.result = QUEUE_FAILED;
	return letter;
}

static struct letter *
send(struct workload *work, size_t bytes)
{
	struct rig *rig = &work->rig;
	struct letter *letter = letter_new(work, bytes);

	if (!rig->queue)
		return letter;
	struct queue_draft_terms terms = { .id = letter->id = queue_new_id(rig->port) };
	struct queue_draft *draft = queue_begin(rig->port, &terms, NULL, NULL);
	struct envelope *envelope = rig_envelope("a@example.org", "b@x.net,c@y.net");

	(void)fill(work, draft, letter);
	(void)queue_commit(&draft, &envelope, NULL, rig_done, &letter->sent);
	rig_run(rig);
	expect(work, letter, letter->sent.count == 1, "a commit is not answered once");
	return letter;
}

static void
settle(struct workload *work, struct letter *letter)
{
	struct queue_outcome outcomes[2] = {
		{ .rcpt = 0, .state = RCPT_DELIVERED, .tried = true },
		{ .rcpt = 1, .state = RCPT_DELIVERED, .tried = true },
	};
	/* A notification has one recipient. */
	struct queue_change change = { outcomes, letter->parent ? 1 : 2, 0, false, NULL, NULL };

	if (!is_in_queue(work, letter) || (letter->is_asked && !letter->is_forgotten))
		return;
	letter->is_asked = true;
	letter->is_forgotten = false;
	letter->outcome = (struct rig_answer){ 0 };
	(void)queue_update(work->rig.queue, letter->id, &change, rig_done, &letter->outcome);
	rig_run(&work->rig);
	expect(work, letter, letter->outcome.count == 1, "an update is not answered once");
}

static void
fail_with_notice(struct workload *work, struct letter *letter)
{
	struct rig *rig = &work->rig;
	struct queue_outcome outcomes[2] = {
		{ .rcpt = 0, .state = RCPT_FAILED, .tried = true },
		{ .rcpt = 1, .state = RCPT_DELIVERED, .tried = true },
	};
	struct letter *notice = letter_new(work, NOTICE_BYTES);

	if (!is_in_queue(work, letter))
		return;
	struct queue_port *port = queue_hub_port(rig->queue);
	struct queue_draft_terms terms = { .id = notice->id = queue_new_id(port) };
	struct queue_draft *draft = queue_begin(port, &terms, NULL, NULL);
	struct envelope *envelope = rig_envelope("", "a@example.org");
	struct queue_change change = { outcomes, 2, 0, false, &draft, &envelope };

	notice->parent = letter;
	if (!fill(work, draft, notice)) {
		queue_abort(&draft);
		envelope_free(&envelope);
		return;
	}
	letter->is_asked = true;
	(void)queue_update(rig->queue, letter->id, &change, rig_done, &letter->outcome);
	rig_run(rig);
	expect(work, letter, letter->outcome.count == 1, "an update is not answered once");
}

static struct rig_answer *
step_new(struct workload *work)
{
	assert_true(work->step_count < LETTERS_MAX);
	return &work->steps[work->step_count++];
}

static void
defer(struct workload *work, const struct letter *letter)
{
	struct queue_outcome outcome = {
		.rcpt = 1, .state = RCPT_WAITING, .reason = REASON_WAITING_RETRY, .tried = true,
		.due_ms = (int64_t)clock_monotonic_ms(&work->rig.clock.clock) + 60000,
	};
	struct queue_change change = { &outcome, 1, 0, false, NULL, NULL };

	if (!is_in_queue(work, letter))
		return;
	reply_set(&outcome.reply, 451, "4.7.1", "come again later");
	(void)queue_update(work->rig.queue, letter->id, &change, rig_done, step_new(work));
	rig_run(&work->rig);
}

static void
steer(struct workload *work, struct letter *letter)
{
	static const uint32_t second[] = { 1 };
	struct queue *queue = work->rig.queue;

	if (!is_in_queue(work, letter))
		return;
	(void)queue_attempt(queue, letter->id, second, 1, SPAN("mx.example.net"), rig_begun,
	    step_new(work));
	rig_run(&work->rig);
	(void)queue_hold(queue, letter->id, SPAN("for a look"), rig_done, step_new(work));
	rig_run(&work->rig);
	(void)queue_release(queue, letter->id, rig_done, step_new(work));
	rig_run(&work->rig);
}

static void
remove_letter(struct workload *work, struct letter *letter)
{
	if (!is_in_queue(work, letter) || letter->is_asked)
		return;
	letter->is_asked = true;
	(void)queue_remove(work->rig.queue, letter->id, rig_done, &letter->outcome);
	rig_run(&work->rig);
	expect(work, letter, letter->outcome.count == 1, "a removal is not answered once");
}

static void
let_time_pass(struct workload *work)
{
	for (int i = 0; i < 3; i++) {
		clock_manual_advance_ms(&work->rig.clock, 1000);
		rig_run(&work->rig);
	}
}

/* Never a wrong octet, whatever fails; not readable is allowed while the disk is not. */
static void
read_all(struct workload *work)
{
	for (size_t i = 0; i < work->letter_count; i++) {
		struct letter *letter = &work->letters[i];

		if (is_in_queue(work, letter))
			expect(work, letter, rig_read(&work->rig, letter->id, letter->bytes) !=
			    QUEUE_CONFLICT, "a wrong octet is read");
	}
}

/* ---- the workload ------------------------------------------------------------------ */

static void
play_first(struct workload *work)
{
	static const size_t sizes[] = { 10, 900, 5000, 12000, 0 };
	struct letter *first = work->letters;

	work->where = "first letters";
	for (size_t i = 0; i < 5; i++)
		(void)send(work, sizes[i]);
	(void)send(work, STREAMED_BYTES);
	(void)send(work, STREAMED_BYTES);
	work->where = "first outcomes";
	settle(work, &first[0]);
	fail_with_notice(work, &first[1]);
	defer(work, &first[2]);
	steer(work, &first[3]);
	remove_letter(work, &first[4]);
	settle(work, &first[6]);
	let_time_pass(work);
}

/* Segments die, are used again, and of some the survivors move. */
static void
play_recycling(struct workload *work, int round_count)
{
	work->where = "recycling";
	for (int i = 0; i < round_count; i++) {
		struct letter *stays = send(work, 9000);

		for (int j = 0; j < 3; j++)
			settle(work, send(work, 12000));
		if (i % 2)
			settle(work, stays);
		let_time_pass(work);
	}
}

static void
play(struct workload *work)
{
	work->where = "the first start";
	open_queue(work);
	play_first(work);
	play_recycling(work, 4);
	work->where = "an orderly end";
	close_queue(work);
	work->where = "the second start";
	open_queue(work);
	read_all(work);
	settle(work, &work->letters[5]);
	play_recycling(work, 2);
	work->where = "a crash";
	crash(work);
	work->where = "the third start";
	open_queue(work);
	read_all(work);
	play_recycling(work, 1);
}

/* ---- what must be true ---------------------------------------------------------------- */

/* A notification and the marks of its parent are there both or neither. */
static void
check_notice(struct workload *work, const struct letter *notice)
{
	bool parent_is_there = is_in_queue(work, notice->parent);

	expect(work, notice, parent_is_there || notice->is_asked || is_in_queue(work, notice),
	    "a recipient failed and nobody is told");
	expect(work, notice, !parent_is_there || !is_in_queue(work, notice),
	    "a notification is there and its recipient is not settled");
}

static void
check_letter(struct workload *work, const struct letter *letter)
{
	bool is_there = is_in_queue(work, letter);

	if (letter->id == 0)
		return;
	if (is_there)
		expect(work, letter, rig_read(&work->rig, letter->id, letter->bytes) == QUEUE_DONE,
		    "a message cannot be read");
	if (letter->parent) {
		check_notice(work, letter);
		return;
	}
	if (letter->sent.result == QUEUE_FULL || letter->sent.result == QUEUE_FAILED)
		expect(work, letter, !is_there, "a message that failed is there");
	if (!letter->is_asked)
		expect(work, letter, is_there || (letter->sent.result != QUEUE_DONE &&
		    !letter->is_held), "an accepted message is lost");
	else if (letter->outcome.result == QUEUE_DONE)
		expect(work, letter, !is_there, "a settled message comes back");
	else if (!letter->is_forgotten)
		expect(work, letter, !is_there, "an outcome was not written again");
}

static void
check_all(struct workload *work)
{
	for (size_t i = 0; i < work->letter_count; i++)
		check_letter(work, &work->letters[i]);
	/* What waits for a log that does not come back dies with its process. */
	for (size_t i = 0; i < work->step_count; i++)
		expect(work, NULL, work->steps[i].count == 1 ||
		    (i < work->step_ended && work->steps[i].count == 0),
		    "a call is not answered once");
}

/* The disk is well again: the process that is there goes on, then others start. */
static void
check_healed(struct workload *work)
{
	work->disk.is_off = true;
	work->where = "after the disk was healed";
	if (!work->rig.queue)
		open_queue(work);
	let_time_pass(work);
	expect(work, NULL, queue_may_deliver(work->rig.port), "the log is not proven again");
	expect(work, NULL, send(work, 3000)->sent.result == QUEUE_DONE, "no mail is taken again");
	if (work->rig.found.damaged_count == 0)
		check_all(work);
	work->where = "a start after the disk was healed";
	crash(work);
	work->disk.is_off = true;
	open_queue(work);
	if (!work->rig.queue)
		return;
	expect(work, NULL, work->rig.found.damaged_count == 0, "there is damage");
	check_all(work);
	for (size_t i = 0; i < work->letter_count; i++)
		settle(work, &work->letters[i]);
	close_queue(work);
	work->where = "when all is settled";
	open_queue(work);
	expect(work, NULL, work->rig.queue && rig_listed(&work->rig) == 0, "something is left");
}

void
workload_run(const struct fault *fault, struct workload_verdict *verdict_out)
{
	static struct workload work;

	memset(&work, 0, sizeof(work));
	*verdict_out = (struct workload_verdict){ .broken = NULL };
	work.verdict = verdict_out;
	rig_init(&work.rig);
	work.rig.settings.segment_bytes = SEGMENT_BYTES;
	work.rig.settings.move_after_ms = 0;
	work.rig.settings.pool_segments_max = 3;
	fault_disk_init(&work.disk, &work.rig.disk.disk, fault);
	play(&work);
	verdict_out->call_count = work.disk.call_count;
	verdict_out->failed_count = work.disk.failed_count;
	memcpy(verdict_out->calls, work.disk.calls, sizeof(verdict_out->calls));
	check_healed(&work);
	rig_fini(&work.rig);
}
