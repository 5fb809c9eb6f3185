/*
 * A state, version 1: L is a varint and as many octets, V a varint.
 *
 *	u8 version (1); u8 flags (1 held, 2 delay notice sent); L why; V next batch;
 *	V recipients;
 *	each: u8 state, u8 class, u8 reason, V attempts, V attempts in this class,
 *	    V due + 1 (0: none), V words (from 1; 0 none);
 *	V words; each: u16 code, L status, L text, L host;
 *	V attempts; each: V batch, L host, V count, V recipient (difference to the last);
 *	V events; each: i64 wall clock, V words, V first recipient, V recipients
 */
#include "queue/state.h"

#include "relay/base/cursor.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

enum {
	STATE_VERSION = 1,
	FLAG_HELD = 1 << 0,
	FLAG_DELAY_NOTICE = 1 << 1,
	RCPT_BYTES_MIN = 7,
	RCPT_BYTES_MAX = 3 + 5 + 5 + 10 + 5,
	VARINT_U32_BYTES = 5,
	WORDS_BYTES_MIN = 5,
	HOST_BYTES_MAX = 300,
};

struct message_state *
state_new(uint32_t rcpt_count)
{
	struct message_state *state = mem_alloc(sizeof(*state));

	arena_init(&state->arena, 0);
	state->batch_next = 1;
	state->rcpt_count = rcpt_count;
	state->rcpts = arena_alloc_array(&state->arena, rcpt_count, sizeof(state->rcpts[0]));
	return state;
}

void
state_free(struct message_state **state)
{
	if (!*state)
		return;
	arena_fini(&(*state)->arena);
	mem_free(&(*state)->words);
	mem_free(state);
}

static struct state_words *
add_words(struct message_state *state)
{
	if (state->word_count == state->word_capacity) {
		state->word_capacity = state->word_capacity ? 2 * state->word_capacity : 4;
		state->words = mem_resize_array(state->words, state->word_capacity,
		    sizeof(state->words[0]));
	}
	return &state->words[state->word_count++];
}

/* ---- octets -------------------------------------------------------------- */

/* Words that nobody points to any more are left out, and the others renumbered. */
static uint32_t *
number_words(const struct message_state *state, uint32_t *used_count_out)
{
	uint32_t *numbers = mem_alloc_array(state->word_count + 1, sizeof(numbers[0]));
	uint32_t used_count = 0;

	for (uint32_t i = 0; i < state->rcpt_count; i++)
		numbers[state->rcpts[i].words] = 1;
	for (uint32_t i = 0; i < state->event_count; i++)
		numbers[state->events[i].words] = 1;
	numbers[0] = 0;
	for (uint32_t i = 1; i <= state->word_count; i++) {
		if (numbers[i])
			numbers[i] = ++used_count;
	}
	*used_count_out = used_count;
	return numbers;
}

static void
encode_rcpt(const struct state_rcpt *rcpt, uint32_t words, struct buf *out)
{
	cursor_put_u8(out, (uint8_t)rcpt->state);
	cursor_put_u8(out, (uint8_t)rcpt->class);
	cursor_put_u8(out, (uint8_t)rcpt->reason);
	cursor_put_varint(out, rcpt->attempt_count);
	cursor_put_varint(out, rcpt->class_attempt_count);
	cursor_put_varint(out, rcpt->due_ms > 0 ? (uint64_t)rcpt->due_ms + 1 : 0);
	cursor_put_varint(out, words);
}

static void
encode_attempts(const struct message_state *state, struct buf *out)
{
	cursor_put_varint(out, state->attempt_count);
	for (uint32_t i = 0; i < state->attempt_count; i++) {
		const struct state_attempt *attempt = &state->attempts[i];
		uint32_t last = 0;

		cursor_put_varint(out, attempt->batch);
		cursor_put_span_varint(out, attempt->host);
		cursor_put_varint(out, attempt->rcpt_count);
		for (uint32_t j = 0; j < attempt->rcpt_count; j++) {
			cursor_put_varint(out, attempt->rcpts[j] - last);
			last = attempt->rcpts[j];
		}
	}
}

void
state_encode(const struct message_state *state, struct buf *out)
{
	uint32_t used_count;
	uint32_t *numbers = number_words(state, &used_count);

	cursor_put_u8(out, STATE_VERSION);
	cursor_put_u8(out, (uint8_t)((state->held ? FLAG_HELD : 0) |
	    (state->delay_notice_sent ? FLAG_DELAY_NOTICE : 0)));
	cursor_put_span_varint(out, state->why);
	cursor_put_varint(out, state->batch_next);
	cursor_put_varint(out, state->rcpt_count);
	for (uint32_t i = 0; i < state->rcpt_count; i++)
		encode_rcpt(&state->rcpts[i], numbers[state->rcpts[i].words], out);
	cursor_put_varint(out, used_count);
	for (uint32_t i = 0; i < state->word_count; i++) {
		if (!numbers[i + 1])
			continue;
		cursor_put_u16(out, state->words[i].code);
		cursor_put_span_varint(out, state->words[i].status);
		cursor_put_span_varint(out, state->words[i].text);
		cursor_put_span_varint(out, state->words[i].host);
	}
	encode_attempts(state, out);
	cursor_put_varint(out, state->event_count);
	for (uint32_t i = 0; i < state->event_count; i++) {
		cursor_put_i64(out, state->events[i].wall_ms);
		cursor_put_varint(out, numbers[state->events[i].words]);
		cursor_put_varint(out, state->events[i].rcpt_first);
		cursor_put_varint(out, state->events[i].rcpt_count);
	}
	mem_free(&numbers);
}

void
state_shorten(struct message_state *state)
{
	for (uint32_t i = 0; i < state->rcpt_count; i++)
		state->rcpts[i].words = 0;
	state->word_count = 0;
	state->event_count = 0;
	state->why = SPAN("");
}

uint64_t
state_bytes_max(uint32_t rcpt_count)
{
	/* Open attempts are of different recipients, but for some that were cut short. */
	return 64 + STATE_ATTEMPT_COUNT_MAX * (HOST_BYTES_MAX + 20) +
	    (uint64_t)rcpt_count * (RCPT_BYTES_MAX + 2 * VARINT_U32_BYTES);
}

static uint32_t
take_u32(struct cursor *in)
{
	uint64_t value = cursor_varint(in);

	if (value > UINT32_MAX) {
		cursor_fail(in);
		return 0;
	}
	return (uint32_t)value;
}

static uint8_t
take_enum(struct cursor *in, unsigned int count)
{
	uint8_t value = cursor_u8(in);

	if (value >= count) {
		cursor_fail(in);
		return 0;
	}
	return value;
}

static void
decode_rcpt(struct cursor *in, struct state_rcpt *rcpt_out)
{
	rcpt_out->state = (enum rcpt_state)take_enum(in, RCPT_REMOVED + 1);
	rcpt_out->class = (enum retry_class)take_enum(in, RETRY_CLASS_COUNT);
	rcpt_out->reason = (enum queue_reason)take_enum(in, REASON_COUNT);
	rcpt_out->attempt_count = take_u32(in);
	rcpt_out->class_attempt_count = take_u32(in);
	uint64_t due = cursor_varint(in);

	if (due > INT64_MAX)
		cursor_fail(in);
	rcpt_out->due_ms = due > 0 && due <= INT64_MAX ? (int64_t)(due - 1) : 0;
	rcpt_out->words = take_u32(in);
}

struct head {
	bool held, delay_notice_sent;
	struct span why;
	uint32_t batch_next, rcpt_count;
};

static void
decode_head(struct cursor *in, struct head *head_out)
{
	if (cursor_u8(in) != STATE_VERSION)
		cursor_fail(in);
	uint8_t flags = cursor_u8(in);

	head_out->held = flags & FLAG_HELD;
	head_out->delay_notice_sent = flags & FLAG_DELAY_NOTICE;
	head_out->why = cursor_take_varint(in);
	head_out->batch_next = take_u32(in);
	head_out->rcpt_count = take_u32(in);
	if (head_out->rcpt_count > cursor_left(in) / RCPT_BYTES_MIN)
		cursor_fail(in);
}

static void
decode_words(struct cursor *in, struct message_state *state)
{
	uint64_t count = cursor_varint(in);

	if (count > cursor_left(in) / WORDS_BYTES_MIN)
		cursor_fail(in);
	for (uint64_t i = 0; i < count && !cursor_failed(in); i++) {
		struct state_words *words = add_words(state);

		words->code = cursor_u16(in);
		words->status = arena_dup(&state->arena, cursor_take_varint(in));
		words->text = arena_dup(&state->arena, cursor_take_varint(in));
		words->host = arena_dup(&state->arena, cursor_take_varint(in));
	}
	for (uint32_t i = 0; i < state->rcpt_count; i++) {
		if (state->rcpts[i].words > state->word_count)
			cursor_fail(in);
	}
}

static void
decode_attempt(struct cursor *in, struct message_state *state, struct state_attempt *attempt)
{
	uint32_t last = 0;

	attempt->batch = take_u32(in);
	attempt->host = arena_dup(&state->arena, cursor_take_varint(in));
	attempt->rcpt_count = take_u32(in);
	if (attempt->rcpt_count > state->rcpt_count) {
		cursor_fail(in);
		return;
	}
	attempt->rcpts = arena_alloc_array(&state->arena, attempt->rcpt_count,
	    sizeof(attempt->rcpts[0]));
	for (uint32_t i = 0; i < attempt->rcpt_count; i++) {
		last += take_u32(in);
		if (last >= state->rcpt_count)
			cursor_fail(in);
		attempt->rcpts[i] = last;
	}
}

static void
decode_tail(struct cursor *in, struct message_state *state)
{
	state->attempt_count = take_u32(in);
	if (state->attempt_count > STATE_ATTEMPT_COUNT_MAX) {
		cursor_fail(in);
		return;
	}
	for (uint32_t i = 0; i < state->attempt_count && !cursor_failed(in); i++)
		decode_attempt(in, state, &state->attempts[i]);
	state->event_count = take_u32(in);
	if (state->event_count > STATE_EVENT_COUNT_MAX) {
		cursor_fail(in);
		return;
	}
	for (uint32_t i = 0; i < state->event_count; i++) {
		state->events[i].wall_ms = cursor_i64(in);
		state->events[i].words = take_u32(in);
		state->events[i].rcpt_first = take_u32(in);
		state->events[i].rcpt_count = take_u32(in);
		if (state->events[i].words > state->word_count)
			cursor_fail(in);
	}
}

struct message_state *
state_decode(struct span bytes)
{
	struct cursor in = cursor_init(bytes);
	struct head head;

	decode_head(&in, &head);
	if (cursor_failed(&in))
		return NULL;
	struct message_state *state = state_new(head.rcpt_count);

	state->held = head.held;
	state->delay_notice_sent = head.delay_notice_sent;
	state->why = arena_dup(&state->arena, head.why);
	state->batch_next = head.batch_next;
	for (uint32_t i = 0; i < state->rcpt_count; i++)
		decode_rcpt(&in, &state->rcpts[i]);
	decode_words(&in, state);
	if (!cursor_failed(&in))
		decode_tail(&in, state);
	if (!cursor_ended_well(&in))
		state_free(&state);
	return state;
}

bool
state_peek(struct span bytes, uint32_t rcpt_count, bool *held_out, bool *delay_notice_out,
    void (*each)(void *ctx, uint32_t rcpt, const struct state_rcpt *state), void *ctx)
{
	struct cursor in = cursor_init(bytes);
	struct head head;

	decode_head(&in, &head);
	if (head.rcpt_count != rcpt_count)
		cursor_fail(&in);
	*held_out = head.held;
	*delay_notice_out = head.delay_notice_sent;
	for (uint32_t i = 0; i < rcpt_count && !cursor_failed(&in); i++) {
		struct state_rcpt rcpt;

		decode_rcpt(&in, &rcpt);
		if (!cursor_failed(&in))
			each(ctx, i, &rcpt);
	}
	return !cursor_failed(&in);
}

/* ---- changes --------------------------------------------------------------- */

static bool
words_are(const struct state_words *words, const struct queue_outcome *outcome, struct span host)
{
	return words->code == outcome->reply.code &&
	    span_equal_cstr(words->status, outcome->reply.status) &&
	    span_equal_cstr(words->text, outcome->reply.text) && span_equal(words->host, host);
}

static uint32_t
words_of(struct message_state *state, const struct queue_outcome *outcome)
{
	struct span host = span_first(outcome->host, HOST_BYTES_MAX);

	if (outcome->reply.code == 0)
		return 0;
	/* Most outcomes of a change say the same, so the newest words come first. */
	for (uint32_t i = state->word_count; i-- > 0;) {
		if (words_are(&state->words[i], outcome, host))
			return i + 1;
	}
	struct state_words *words = add_words(state);

	*words = (struct state_words){
		.code = outcome->reply.code,
		.status = arena_dup(&state->arena, span_from_cstr(outcome->reply.status)),
		.text = arena_dup(&state->arena, span_from_cstr(outcome->reply.text)),
		.host = arena_dup(&state->arena, host),
	};
	return state->word_count;
}

static void
add_event(struct message_state *state, uint32_t words, uint32_t rcpt, int64_t wall_ms)
{
	if (state->event_count > 0) {
		struct state_event *last = &state->events[state->event_count - 1];

		if (last->words == words && last->wall_ms == wall_ms) {
			last->rcpt_count++;
			return;
		}
	}
	if (state->event_count == STATE_EVENT_COUNT_MAX) {
		memmove(state->events, state->events + 1,
		    (STATE_EVENT_COUNT_MAX - 1) * sizeof(state->events[0]));
		state->event_count--;
	}
	state->events[state->event_count++] = (struct state_event){
		.wall_ms = wall_ms,
		.words = words,
		.rcpt_first = rcpt,
		.rcpt_count = 1,
	};
}

void
state_apply(struct message_state *state, const struct queue_outcome *outcomes, size_t count,
    int64_t wall_ms)
{
	for (size_t i = 0; i < count; i++) {
		const struct queue_outcome *outcome = &outcomes[i];

		must(outcome->rcpt < state->rcpt_count);
		struct state_rcpt *rcpt = &state->rcpts[outcome->rcpt];
		uint32_t words = words_of(state, outcome);

		if (outcome->tried) {
			rcpt->attempt_count++;
			add_event(state, words, outcome->rcpt, wall_ms);
		}
		/* Who waits for a host, without a time, stays where he is in his schedule. */
		if (outcome->due_ms != 0) {
			bool same = rcpt->class_attempt_count > 0 &&
			    rcpt->class == outcome->class;

			if (outcome->tried)
				rcpt->class_attempt_count = same ?
				    rcpt->class_attempt_count + 1 : 1;
			rcpt->class = outcome->class;
		}
		rcpt->state = outcome->state;
		rcpt->reason = outcome->reason;
		rcpt->due_ms = outcome->due_ms;
		if (words)
			rcpt->words = words;
	}
}

static bool
attempt_is_of(const struct state_attempt *attempt, const uint32_t *rcpts, uint32_t rcpt_count)
{
	return attempt->rcpt_count == rcpt_count &&
	    memcmp(attempt->rcpts, rcpts, rcpt_count * sizeof(rcpts[0])) == 0;
}

uint32_t
state_begin_attempt(struct message_state *state, const uint32_t *rcpts, uint32_t rcpt_count,
    struct span host)
{
	for (uint32_t i = 0; i < state->attempt_count; i++) {
		if (attempt_is_of(&state->attempts[i], rcpts, rcpt_count))
			return state->attempts[i].batch;
	}
	if (state->attempt_count == STATE_ATTEMPT_COUNT_MAX)
		return 0;
	struct state_attempt *attempt = &state->attempts[state->attempt_count++];

	attempt->batch = state->batch_next++;
	attempt->host = arena_dup(&state->arena, span_first(host, HOST_BYTES_MAX));
	attempt->rcpt_count = rcpt_count;
	attempt->rcpts = arena_alloc_array(&state->arena, rcpt_count, sizeof(rcpts[0]));
	for (uint32_t i = 0; i < rcpt_count; i++) {
		must(rcpts[i] < state->rcpt_count && (i == 0 || rcpts[i] > rcpts[i - 1]));
		attempt->rcpts[i] = rcpts[i];
	}
	return attempt->batch;
}

void
state_end_attempt(struct message_state *state, uint32_t batch)
{
	for (uint32_t i = 0; i < state->attempt_count; i++) {
		if (state->attempts[i].batch != batch)
			continue;
		memmove(&state->attempts[i], &state->attempts[i + 1],
		    (state->attempt_count - i - 1) * sizeof(state->attempts[0]));
		state->attempt_count--;
		return;
	}
}

static void
overlay_attempts(const struct message_state *state, struct envelope *envelope)
{
	envelope->attempts = arena_alloc_array(envelope->arena, state->event_count + 1,
	    sizeof(envelope->attempts[0]));
	for (uint32_t i = 0; i < state->event_count; i++) {
		const struct state_event *event = &state->events[i];
		struct envelope_attempt *to = &envelope->attempts[envelope->attempt_count++];

		*to = (struct envelope_attempt){ .wall_ms = event->wall_ms,
		    .rcpt_first = event->rcpt_first, .rcpt_count = event->rcpt_count };
		if (!event->words)
			continue;
		const struct state_words *words = &state->words[event->words - 1];
		char *text = mem_format("%u %.*s%s%.*s", words->code, SPAN_ARGS(words->status),
		    words->status.len ? " " : "", SPAN_ARGS(words->text));

		to->words = envelope_keep(envelope, span_from_cstr(text));
		to->host = envelope_keep(envelope, words->host);
		mem_free(&text);
	}
}

void
state_overlay(const struct message_state *state, struct envelope *envelope)
{
	for (uint32_t i = 0; i < state->rcpt_count && i < envelope->rcpt_count; i++) {
		const struct state_rcpt *from = &state->rcpts[i];
		struct envelope_rcpt *to = &envelope->rcpts[i];

		to->state = from->state;
		to->attempt_count = from->attempt_count;
		if (!from->words)
			continue;
		const struct state_words *words = &state->words[from->words - 1];

		reply_set_foreign(&to->last, words->code, words->status, words->text);
		to->last_host = envelope_keep(envelope, words->host);
	}
	overlay_attempts(state, envelope);
}
