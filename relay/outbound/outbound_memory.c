#include "relay/outbound/outbound_private.h"

#include <inttypes.h>
#include <string.h>

#include "relay/base/ascii.h"
#include "relay/base/mem.h"

/*
 * What is known of the way out and worth more than one life of the process: suspensions,
 * and hosts that are down.  A line each, fields parted by tabs, numbers in decimal, times as
 * the wall clock has them in milliseconds:
 *
 *	chapar destinations 1
 *	suspended NAME UNTIL REASON             UNTIL 0: until resumed
 *	down      KEY SINCE PROBE STEP FAILURES CLASS ERROR
 *
 * Unknown and broken lines are passed over: nothing here is worth a start that fails.
 */
#define MEMORY_HEAD "chapar destinations 1\n"

enum {
	MEMORY_FIELDS_MAX = 8,
	MEMORY_STEP_MAX = 64,
};

/* Of a destination that is not known (yet). */
struct remembered {
	SLIST_ENTRY(remembered) next;
	char *name;
	char *reason;
	int64_t until_wall_ms;
};

/* ---- written ---- */

static void
put_text(struct buf *out, struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		(void)buf_append_byte(out, ascii_is_control(text.data[i]) ? ' ' : text.data[i]);
}

static void
put_suspension(struct buf *out, const char *name, int64_t until_wall_ms, const char *reason)
{
	(void)buf_append_cstr(out, "suspended\t");
	put_text(out, span_from_cstr(name));
	(void)buf_appendf(out, "\t%" PRId64 "\t", until_wall_ms);
	put_text(out, span_from_cstr(reason));
	(void)buf_append_byte(out, '\n');
}

static void
put_host(const struct outbound *outbound, struct buf *out, const struct host *host)
{
	const struct breaker *breaker = &host->breaker;

	(void)buf_appendf(out, "down\t%s\t%" PRId64 "\t%" PRId64 "\t%" PRIu32 "\t%" PRIu32 "\t%s\t",
	    host->key, outbound_wall_of(outbound, (int64_t)breaker->since_ms),
	    outbound_wall_of(outbound, (int64_t)breaker->probe_ms), breaker->open_count,
	    breaker->failure_count, retry_class_name(host->error_class));
	put_text(out, span_from_cstr(host->last_error));
	(void)buf_append_byte(out, '\n');
}

void
outbound_memory(const struct outbound *outbound, struct buf *out)
{
	const struct remembered *remembered;

	(void)buf_append_cstr(out, MEMORY_HEAD);
	SLIST_FOREACH(remembered, &outbound->remembered, next)
		put_suspension(out, remembered->name, remembered->until_wall_ms,
		    remembered->reason);
	for (const struct destination *it = outbound->dispatch.destinations; it;
	    it = it->hh.next)
		if (it->suspended)
			put_suspension(out, it->name, it->suspend_until_ms == INT64_MAX ? 0 :
			    outbound_wall_of(outbound, it->suspend_until_ms),
			    it->suspend_reason ? it->suspend_reason : "");
	for (const struct host *it = outbound->dispatch.hosts; it; it = it->hh.next)
		if (it->breaker.state != BREAKER_CLOSED)
			put_host(outbound, out, it);
}

void
memory_changed(struct outbound *outbound)
{
	if (outbound->settings.memory_changed)
		outbound->settings.memory_changed(outbound->settings.ctx);
}

/* ---- read ---- */

static int64_t
monotonic_of(const struct outbound *outbound, int64_t wall_ms)
{
	return (int64_t)outbound_now(outbound) + (wall_ms - loop_wall_ms(outbound->hub));
}

static void
read_suspension(struct outbound *outbound, const struct span *fields, size_t count)
{
	struct remembered *remembered;
	uint64_t until;

	if (count < 3 || span_is_empty(fields[1]) ||
	    !span_parse_u64(fields[2], INT64_MAX, &until) ||
	    (until && (int64_t)until <= loop_wall_ms(outbound->hub)))
		return;
	remembered = mem_alloc(sizeof(*remembered));
	remembered->name = mem_dup_text(fields[1].data, fields[1].len);
	remembered->reason = mem_dup_text(count > 3 ? fields[3].data : "",
	    count > 3 ? fields[3].len : 0);
	remembered->until_wall_ms = (int64_t)until;
	SLIST_INSERT_HEAD(&outbound->remembered, remembered, next);
}

/* A time of the life before may lie before the start of this machine. */
static uint64_t
not_negative(int64_t ms)
{
	return ms > 0 ? (uint64_t)ms : 0;
}

static void
read_host(struct outbound *outbound, const struct span *fields, size_t count)
{
	uint64_t since, probe, step, failures;
	struct host *host;
	size_t len;
	char *name;

	if (count < 7 || span_is_empty(fields[1]) ||
	    !span_parse_u64(fields[2], INT64_MAX, &since) ||
	    !span_parse_u64(fields[3], INT64_MAX, &probe) ||
	    !span_parse_u64(fields[4], UINT32_MAX, &step) ||
	    !span_parse_u64(fields[5], UINT32_MAX, &failures))
		return;
	name = mem_dup_text(fields[1].data, fields[1].len);
	host = dispatch_host(&outbound->dispatch, name, NULL, outbound_now(outbound));
	mem_free(&name);
	breaker_restore(&host->breaker, step < MEMORY_STEP_MAX ? (uint32_t)step :
	    MEMORY_STEP_MAX, (uint32_t)failures,
	    not_negative(monotonic_of(outbound, (int64_t)since)),
	    not_negative(monotonic_of(outbound, (int64_t)probe)), outbound_now(outbound));
	(void)retry_class_parse(fields[6], &host->error_class);
	if (count < 8)
		return;
	len = fields[7].len < HOST_ERROR_BYTES ? fields[7].len : HOST_ERROR_BYTES - 1;
	if (len)
		memcpy(host->last_error, fields[7].data, len);
	host->last_error[len] = '\0';
}

void
outbound_remember(struct outbound *outbound, struct span text)
{
	struct span line;

	if (!span_starts_with(text, SPAN(MEMORY_HEAD)))
		return;
	while (span_take_part(&text, '\n', &line)) {
		struct span fields[MEMORY_FIELDS_MAX];
		size_t count = 0;

		while (count < MEMORY_FIELDS_MAX && span_take_part(&line, '\t', &fields[count]))
			count++;
		if (count == 0)
			continue;
		if (span_equal_cstr(fields[0], "suspended"))
			read_suspension(outbound, fields, count);
		else if (span_equal_cstr(fields[0], "down"))
			read_host(outbound, fields, count);
	}
}

static void
forget(struct outbound *outbound, struct remembered *remembered)
{
	SLIST_REMOVE(&outbound->remembered, remembered, remembered, next);
	mem_free(&remembered->name);
	mem_free(&remembered->reason);
	mem_free(&remembered);
}

/* Another of the same name is suspended: what was said of the name holds for this one too. */
static void
follow_namesake(struct outbound *outbound, struct destination *destination)
{
	const struct destination *it = outbound->dispatch.destinations;

	while (it && (it == destination || !it->suspended ||
	    strcmp(it->name, destination->name) != 0))
		it = it->hh.next;
	if (it)
		dispatch_suspend(&outbound->dispatch, destination,
		    span_from_cstr(it->suspend_reason ? it->suspend_reason : ""),
		    it->suspend_until_ms, outbound_now(outbound));
}

void
memory_apply(struct outbound *outbound, struct destination *destination)
{
	struct remembered *it, *next;

	follow_namesake(outbound, destination);
	for (it = SLIST_FIRST(&outbound->remembered); it; it = next) {
		next = SLIST_NEXT(it, next);
		if (strcmp(it->name, destination->name) != 0)
			continue;
		if (!it->until_wall_ms || it->until_wall_ms > loop_wall_ms(outbound->hub))
			dispatch_suspend(&outbound->dispatch, destination,
			    span_from_cstr(it->reason), it->until_wall_ms ?
			    monotonic_of(outbound, it->until_wall_ms) : INT64_MAX,
			    outbound_now(outbound));
		forget(outbound, it);
	}
}

void
memory_free(struct outbound *outbound)
{
	while (!SLIST_EMPTY(&outbound->remembered))
		forget(outbound, SLIST_FIRST(&outbound->remembered));
}
