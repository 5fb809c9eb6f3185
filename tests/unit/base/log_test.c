#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/clock.h"
#include "relay/base/file.h"
#include "relay/base/log.h"
#include "relay/base/random.h"

static struct clock_manual test_clock;

static struct log *
new_log(int *fd_out, bool synchronous, size_t ring_bytes)
{
	struct log_settings settings = {
		.clock = &test_clock.clock, .level = LOG_LEVEL_INFO, .synchronous = synchronous,
		.ring_bytes = ring_bytes,
	};

	clock_manual_init(&test_clock, 0, 1772368245123);
	*fd_out = memfd_create("log", MFD_CLOEXEC);
	assert_true(*fd_out >= 0);
	settings.fd = *fd_out;
	return log_new(&settings);
}

static void
read_log(int fd, struct buf *text)
{
	buf_init(text, (size_t)64 << 20);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(file_read_whole_fd(fd, text, NULL), 0);
}

#define TIME "time=2026-03-01T12:30:45.123Z "

static void
writes_lines_of_fields(void **state)
{
	struct log_line line;
	struct buf text;
	int fd;
	struct log *log = new_log(&fd, true, 0);

	(void)state;
	(void)log_attach(log, "hub");
	log_warn("spool: %s", "a \"b\"\nc");
	log_debug("not wanted");
	log_begin(&line, LOG_LEVEL_INFO, "connected");
	log_span(&line, "plain", SPAN("a.b[1]<c>"));
	log_span(&line, "empty", SPAN(""));
	log_span(&line, "equals", SPAN("a=b"));
	log_span(&line, "bytes", SPAN("\x00\x1b\x7f\xff\xc2\x85 \xc3\xa9"));
	log_u64(&line, "most", UINT64_MAX);
	log_i64(&line, "least", INT64_MIN);
	log_bool(&line, "yes", true);
	log_duration(&line, "took", 90000);
	log_id(&line, "id", 31);
	log_time(&line, "at", 0);
	log_end(&line);
	log_set_level(log, LOG_LEVEL_DEBUG);
	log_debug("wanted");
	assert_true(log_wants(LOG_LEVEL_DEBUG));
	log_free(&log);

	read_log(fd, &text);
	assert_string_equal(buf_cstr(&text),
	    TIME "level=warn thread=hub msg=\"spool: a \\\"b\\\"\\x0ac\"\n"
	    TIME "level=info thread=hub event=connected plain=a.b[1]<c> empty=\"\" equals=\"a=b\" "
	    "bytes=\"\\x00\\x1b\\x7f\\xff\\xc2\\x85 \xc3\xa9\" most=18446744073709551615 "
	    "least=-9223372036854775808 yes=yes took=1m30s id=000000000000Z "
	    "at=1970-01-01T00:00:00.000Z\n"
	    TIME "level=debug thread=hub msg=wanted\n");
	buf_fini(&text);
	file_close(&fd);
}

/* Whatever bytes come, a line is one line, and within its bound. */
static void
makes_one_line_of_noise(void **state)
{
	struct random_seeded random;
	struct buf text;
	struct span rest, line_text;
	int fd;
	struct log *log = new_log(&fd, true, 0);
	size_t lines = 0;

	(void)state;
	random_init_seeded(&random, 1);
	(void)log_attach(log, NULL);
	for (int round = 0; round < 500; round++) {
		char noise[3000];
		struct log_line line;

		random_fill(&random.random, noise, sizeof(noise));
		log_begin(&line, LOG_LEVEL_INFO, "noise");
		for (int i = 0; i < 3; i++)
			log_span(&line, "k",
			    span_make(noise, random_below(&random.random, sizeof(noise))));
		log_end(&line);
	}
	log_free(&log);
	read_log(fd, &text);
	rest = buf_span(&text);
	while (span_take_part(&rest, '\n', &line_text) && line_text.len > 0) {
		assert_true(line_text.len < LOG_LINE_BYTES_MAX);
		assert_true(span_starts_with(line_text, SPAN(TIME "level=info event=noise k=")));
		assert_false(span_has_control(line_text));
		lines++;
	}
	assert_int_equal(lines, 500);
	buf_fini(&text);
	file_close(&fd);
}

struct worker {
	struct log *log;
	int number;
	int lines;
};

static void *
run_worker(void *argument)
{
	struct worker *worker = argument;
	struct log_ring *ring = log_attach(worker->log, "w");

	for (int i = 0; i < worker->lines; i++) {
		struct log_line line;

		log_begin_mail(&line, "step");
		log_i64(&line, "worker", worker->number);
		log_i64(&line, "n", i);
		log_end(&line);
	}
	log_detach(ring);
	return NULL;
}

static void *
run_writer(void *argument)
{
	log_run_writer(argument);
	return NULL;
}

/* What is not counted as dropped is there, whole, and in order for each thread. */
static void
moves_the_lines_of_many_threads(void **state)
{
	enum { WORKERS = 4, LINES = 20000 };
	struct worker workers[WORKERS];
	pthread_t threads[WORKERS], writer;
	int last[WORKERS] = { -1, -1, -1, -1 };
	size_t lines = 0;
	uint64_t told = 0;
	struct buf text;
	struct span rest, line;
	int fd;
	struct log *log = new_log(&fd, false, 65536);

	(void)state;
	assert_int_equal(pthread_create(&writer, NULL, run_writer, log), 0);
	for (int i = 0; i < WORKERS; i++) {
		workers[i] = (struct worker){ log, i, LINES };
		assert_int_equal(pthread_create(&threads[i], NULL, run_worker, &workers[i]), 0);
	}
	for (int i = 0; i < WORKERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	log_stop_writer(log);
	assert_int_equal(pthread_join(writer, NULL), 0);

	read_log(fd, &text);
	rest = buf_span(&text);
	while (span_take_part(&rest, '\n', &line) && line.len > 0) {
		unsigned long long dropped;
		int worker, n;

		char copy[256];

		assert_true(line.len < sizeof(copy));
		memcpy(copy, line.data, line.len);
		copy[line.len] = '\0';
		if (sscanf(copy, "level=warn event=log_dropped lines=%llu", &dropped) == 1) {
			told += dropped;
			continue;
		}
		assert_int_equal(sscanf(strstr(copy, "worker="), "worker=%d n=%d", &worker, &n), 2);
		assert_true(n > last[worker]);
		last[worker] = n;
		lines++;
	}
	assert_int_equal(lines + log_dropped(log), WORKERS * LINES);
	assert_int_equal(told, log_dropped(log));
	assert_int_equal(log_write_failures(log), 0);
	log_free(&log);
	buf_fini(&text);
	file_close(&fd);
}

/* With no writer a ring fills: others are dropped while mail still has room. */
static void
drops_mail_last(void **state)
{
	struct log_line line;
	uint64_t dropped;
	int fd;
	struct log *log = new_log(&fd, false, 1);

	(void)state;
	(void)log_attach(log, NULL);
	for (int i = 0; i < 1000; i++)
		log_info("filling");
	dropped = log_dropped(log);
	assert_true(dropped > 0 && dropped < 1000);
	log_begin_mail(&line, "accepted");
	log_end(&line);
	assert_int_equal(log_dropped(log), dropped);
	for (int i = 0; i < 1000; i++) {
		log_begin_mail(&line, "accepted");
		log_end(&line);
	}
	assert_true(log_dropped(log) > dropped);
	log_free(&log);
	file_close(&fd);
}

static void
picks_the_log_of_a_node(void **state)
{
	struct buf text;
	int fd_a, fd_b;
	struct log *a = new_log(&fd_a, true, 0);
	struct log *b = new_log(&fd_b, true, 0);

	(void)state;

	struct log_ring *ring_a = log_attach(a, "a");
	struct log_ring *ring_b = log_attach(b, "b");

	log_info("to b");
	assert_ptr_equal(log_use(ring_a), ring_b);
	log_info("to a");
	(void)log_use(NULL);
	log_free(&a);
	log_free(&b);
	read_log(fd_a, &text);
	assert_string_equal(buf_cstr(&text), TIME "level=info thread=a msg=\"to a\"\n");
	buf_fini(&text);
	file_close(&fd_a);
	file_close(&fd_b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_lines_of_fields),
		cmocka_unit_test(makes_one_line_of_noise),
		cmocka_unit_test(moves_the_lines_of_many_threads),
		cmocka_unit_test(drops_mail_last),
		cmocka_unit_test(picks_the_log_of_a_node),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
