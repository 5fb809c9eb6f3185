/* The control socket: a daemon's side on a loop, and peers that behave in every way. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/buf.h"
#include "relay/base/clock.h"
#include "relay/base/mem.h"
#include "relay/daemon/control.h"
#include "relay/daemon/control_client.h"
#include "relay/net/work.h"

enum {
	TURNS_MAX = 20000,
	STREAM_ITEMS = 50000,
};

struct rig {
	char directory[32];
	char path[64];
	struct loop *loop;
	struct control *control;
	struct control_request *held;
	unsigned released;
	unsigned streamed;
};

/* ------------------------------------------------------------------ verbs of the test */

static void
ping(void *ctx, struct control_request *request)
{
	struct json *item = json_new_object();
	struct span word = SPAN("none");

	(void)ctx;
	(void)json_get_text(control_args(request), "word", &word);
	json_put_text(item, "pong", word);
	control_item(request, item);
	json_put_int(control_end_fields(request), "extra", 7);
	control_end(request, CONTROL_OK);
}

static void
refuse(void *ctx, struct control_request *request)
{
	(void)ctx;
	control_fail(request, CONTROL_NO_MATCH, "no %s", "match");
}

static void
count_release(void *state)
{
	struct rig *rig = state;

	rig->released++;
	rig->held = NULL;
}

static void
hold(void *ctx, struct control_request *request)
{
	static const struct control_hold_ops ops = { .release = count_release };
	struct rig *rig = ctx;

	rig->held = request;
	control_hold(request, &ops, rig);
}

static enum control_pace
stream_more(void *state, struct control_request *request)
{
	struct rig *rig = state;

	for (int i = 0; i < CONTROL_ITEMS_A_TURN && !control_is_full(request); i++) {
		struct json *item;

		if (rig->streamed == STREAM_ITEMS) {
			control_end(request, CONTROL_OK);
			return CONTROL_ENDED;
		}
		item = json_new_object();
		json_put_int(item, "n", rig->streamed++);
		json_put_cstr(item, "filler", "so that the kernel's buffer is soon full");
		control_item(request, item);
	}
	return CONTROL_AGAIN;
}

static void
stream(void *ctx, struct control_request *request)
{
	static const struct control_hold_ops ops = { .more = stream_more,
	    .release = count_release };
	struct rig *rig = ctx;

	rig->streamed = 0;
	control_hold(request, &ops, rig);
}

static const struct control_verb verbs[] = {
	{ "ping", CONTROL_LOOK, ping, "Answers." },
	{ "refuse", CONTROL_CHANGE, refuse, "Does not." },
	{ "hold", CONTROL_LOOK, hold, "Waits." },
	{ "stream", CONTROL_LOOK, stream, "Tells much." },
};

/* ------------------------------------------------------------------ the rig */

static int
open_control(struct rig *rig, struct err *err)
{
	struct control_settings settings = {
		.path = rig->path,
		.verbs = verbs,
		.verb_count = sizeof(verbs) / sizeof(verbs[0]),
		.ctx = rig,
		.uid = geteuid(),
	};

	rig->control = control_open(rig->loop, &settings, err);
	return rig->control ? 0 : -1;
}

static int
setup(void **state)
{
	struct rig *rig = mem_alloc(sizeof(*rig));
	struct err err;

	(void)snprintf(rig->directory, sizeof(rig->directory), "/tmp/control.XXXXXX");
	assert_non_null(mkdtemp(rig->directory));
	(void)snprintf(rig->path, sizeof(rig->path), "%s/sock", rig->directory);
	rig->loop = loop_new(clock_system(), &err);
	assert_non_null(rig->loop);
	if (open_control(rig, &err) < 0)
		fail_msg("%s", err.text);
	*state = rig;
	return 0;
}

static int
teardown(void **state)
{
	struct rig *rig = *state;

	control_close(&rig->control);
	assert_int_equal(access(rig->path, F_OK), -1);
	loop_free(&rig->loop);
	assert_int_equal(rmdir(rig->directory), 0);
	mem_free(&rig);
	return 0;
}

static int
connect_peer(const struct rig *rig)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(address.sun_path, rig->path, strlen(rig->path));
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void
put(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Turns the loop until the peer has LINES lines, or its end; appends them to OUT. */
static bool
take(struct rig *rig, int fd, size_t lines, struct buf *out)
{
	size_t seen = 0;

	for (int turn = 0; turn < TURNS_MAX && seen < lines; turn++) {
		char bytes[4096];
		ssize_t got;

		loop_turn(rig->loop, 0);
		got = recv(fd, bytes, sizeof(bytes), 0);
		if (got == 0)
			return false;
		for (ssize_t i = 0; i < got; i++)
			seen += bytes[i] == '\n';
		if (got > 0)
			assert_int_equal(buf_append(out, span_make(bytes, (size_t)got)), 0);
	}
	assert_true(seen >= lines);
	return true;
}

static void
turn_a_while(struct rig *rig)
{
	for (int i = 0; i < 50; i++)
		loop_turn(rig->loop, 0);
}

/* ------------------------------------------------------------------ tests */

static const struct {
	const char *name, *request;
	const char *answer;             /* all of it; NULL: only that the code is 64 */
} answer_cases[] = {
	{ "answers with an item and an end", "{\"verb\":\"ping\",\"args\":{\"word\":\"x\"}}\n",
	  "{\"item\":{\"pong\":\"x\"}}\n{\"end\":{\"extra\":7,\"code\":0}}\n" },
	{ "needs no args", "{\"verb\":\"ping\"}\n",
	  "{\"item\":{\"pong\":\"none\"}}\n{\"end\":{\"extra\":7,\"code\":0}}\n" },
	{ "says why not", "{\"verb\":\"refuse\"}\n",
	  "{\"end\":{\"code\":1,\"error\":\"no match\"}}\n" },
	{ "refuses an unknown verb", "{\"verb\":\"pong\"}\n",
	  "{\"end\":{\"code\":64,\"error\":\"there is no verb \\\"pong\\\" here\"}}\n" },
	{ "refuses a verb by its beginning", "{\"verb\":\"pin\"}\n", NULL },
	{ "refuses args that are a list", "{\"verb\":\"ping\",\"args\":[]}\n", NULL },
	{ "refuses a number as verb", "{\"verb\":7}\n", NULL },
	{ "refuses a list", "[1,2]\n", NULL },
	{ "refuses an empty line", "\n", NULL },
	{ "refuses what is not json", "GET / HTTP/1.0\r\n\r\n", NULL },
	{ "refuses half a document", "{\"verb\":\"ping\"\n", NULL },
	{ "refuses two documents on a line", "{\"verb\":\"ping\"}{\"verb\":\"ping\"}\n", NULL },
	{ "refuses a deep nest", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n", NULL },
};

static void
test_answers(void **state)
{
	struct rig *rig = *state;

	for (size_t i = 0; i < sizeof(answer_cases) / sizeof(answer_cases[0]); i++) {
		int fd = connect_peer(rig);
		struct buf out;

		buf_init(&out, 65536);
		put(fd, answer_cases[i].request);
		assert_true(take(rig, fd, answer_cases[i].answer &&
		    strstr(answer_cases[i].answer, "item") ? 2 : 1, &out));
		if (answer_cases[i].answer
		    ? strcmp(buf_cstr(&out), answer_cases[i].answer) != 0
		    : strncmp(buf_cstr(&out), "{\"end\":{\"code\":64,", 18) != 0)
			fail_msg("%s: got %s", answer_cases[i].name, buf_cstr(&out));
		buf_fini(&out);
		(void)close(fd);
		turn_a_while(rig);
		assert_int_equal(control_session_count(rig->control), 0);
	}
}

static void
test_takes_a_request_byte_by_byte(void **state)
{
	struct rig *rig = *state;
	const char *request = "{\"verb\":\"ping\"}\n";
	int fd = connect_peer(rig);
	struct buf out;

	buf_init(&out, 65536);
	for (size_t i = 0; request[i]; i++) {
		char one[2] = { request[i], '\0' };

		put(fd, one);
		loop_turn(rig->loop, 0);
	}
	assert_true(take(rig, fd, 2, &out));
	buf_fini(&out);
	(void)close(fd);
}

static void
test_answers_several_requests_in_order_after_half_close(void **state)
{
	struct rig *rig = *state;
	int fd = connect_peer(rig);
	struct buf out;

	buf_init(&out, 65536);
	put(fd, "{\"verb\":\"refuse\"}\n{\"verb\":\"ping\"}\n{\"verb\":\"refuse\"}\n");
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_true(take(rig, fd, 4, &out));
	assert_string_equal(buf_cstr(&out), "{\"end\":{\"code\":1,\"error\":\"no match\"}}\n"
	    "{\"item\":{\"pong\":\"none\"}}\n{\"end\":{\"extra\":7,\"code\":0}}\n"
	    "{\"end\":{\"code\":1,\"error\":\"no match\"}}\n");
	assert_false(take(rig, fd, 1, &out));
	assert_int_equal(control_session_count(rig->control), 0);
	buf_fini(&out);
	(void)close(fd);
}

static void
test_refuses_a_line_without_end(void **state)
{
	struct rig *rig = *state;
	char block[4096];
	int fd = connect_peer(rig);
	struct buf out;
	ssize_t sent = 0;

	buf_init(&out, 65536);
	memset(block, 'x', sizeof(block));
	for (int i = 0; i < 4 * CONTROL_LINE_BYTES_MAX / (int)sizeof(block) && sent >= 0; i++) {
		sent = send(fd, block, sizeof(block), MSG_NOSIGNAL);
		loop_turn(rig->loop, 0);
	}
	turn_a_while(rig);
	/* It is told, or the connection was already cut: the daemon lives and forgot it. */
	assert_int_equal(control_session_count(rig->control), 0);
	buf_fini(&out);
	(void)close(fd);
	fd = connect_peer(rig);
	buf_init(&out, 65536);
	put(fd, "{\"verb\":\"ping\"}\n");
	assert_true(take(rig, fd, 2, &out));
	buf_fini(&out);
	(void)close(fd);
}

static void
test_waits_for_a_peer_that_does_not_read(void **state)
{
	struct rig *rig = *state;
	int slow = connect_peer(rig);
	int quick = connect_peer(rig);
	struct buf out;

	buf_init(&out, (size_t)16 << 20);
	put(slow, "{\"verb\":\"stream\"}\n");
	turn_a_while(rig);
	unsigned streamed = rig->streamed;

	turn_a_while(rig);
	assert_true(streamed > 0 && streamed < STREAM_ITEMS);
	assert_int_equal(rig->streamed, streamed);      /* it has stopped */
	put(quick, "{\"verb\":\"ping\"}\n");
	assert_true(take(rig, quick, 2, &out));         /* and others are served */
	buf_clear(&out);
	assert_true(take(rig, slow, STREAM_ITEMS + 1, &out));
	assert_int_equal(rig->streamed, STREAM_ITEMS);
	assert_int_equal(rig->released, 1);
	buf_fini(&out);
	(void)close(slow);
	(void)close(quick);
}

static void
test_releases_a_stream_whose_peer_is_gone(void **state)
{
	struct rig *rig = *state;
	int fd = connect_peer(rig);

	put(fd, "{\"verb\":\"stream\"}\n");
	turn_a_while(rig);
	(void)close(fd);
	turn_a_while(rig);
	assert_int_equal(rig->released, 1);
	assert_int_equal(control_session_count(rig->control), 0);
}

static void
test_answers_later(void **state)
{
	struct rig *rig = *state;
	int fd = connect_peer(rig);
	struct buf out;

	buf_init(&out, 65536);
	put(fd, "{\"verb\":\"hold\"}\n{\"verb\":\"ping\"}\n");
	turn_a_while(rig);
	assert_non_null(rig->held);
	assert_int_equal(rig->released, 0);
	control_end(rig->held, CONTROL_OK);
	assert_true(take(rig, fd, 3, &out));
	assert_int_equal(rig->released, 1);
	assert_int_equal(strncmp(buf_cstr(&out), "{\"end\":{\"code\":0}}\n", 19), 0);
	buf_fini(&out);
	(void)close(fd);
}

static void
test_close_releases_what_is_held(void **state)
{
	struct rig *rig = *state;
	int fd = connect_peer(rig);

	put(fd, "{\"verb\":\"hold\"}\n");
	turn_a_while(rig);
	assert_non_null(rig->held);
	control_close(&rig->control);
	assert_int_equal(rig->released, 1);
	(void)close(fd);
}

static void
test_refuses_sessions_beyond_the_bound(void **state)
{
	struct rig *rig = *state;
	int fds[CONTROL_SESSIONS_MAX + 1];
	struct buf out;

	buf_init(&out, 65536);
	for (int i = 0; i <= CONTROL_SESSIONS_MAX; i++) {
		fds[i] = connect_peer(rig);
		turn_a_while(rig);
	}
	assert_int_equal(control_session_count(rig->control), CONTROL_SESSIONS_MAX);
	assert_true(take(rig, fds[CONTROL_SESSIONS_MAX], 1, &out));
	assert_non_null(strstr(buf_cstr(&out), "\"code\":75"));
	for (int i = 0; i <= CONTROL_SESSIONS_MAX; i++)
		(void)close(fds[i]);
	turn_a_while(rig);
	assert_int_equal(control_session_count(rig->control), 0);
	buf_fini(&out);
}

static void
test_socket_file(void **state)
{
	struct rig *rig = *state;
	struct rig second = *rig;
	struct stat status;
	struct err err;
	FILE *file;

	assert_int_equal(stat(rig->path, &status), 0);
	assert_true(S_ISSOCK(status.st_mode));
	assert_int_equal(status.st_mode & 07777, 0660);
	/* One that lives is not taken away. */
	assert_int_equal(open_control(&second, &err), -1);
	assert_int_equal(err.kind, ERR_BUSY);
	/* A leftover is replaced. */
	control_close(&rig->control);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	memcpy(address.sun_path, rig->path, strlen(rig->path));
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	(void)close(fd);
	assert_int_equal(open_control(rig, &err), 0);
	control_close(&rig->control);
	/* What is no socket is left alone. */
	file = fopen(rig->path, "w");
	assert_non_null(file);
	(void)fclose(file);
	assert_int_equal(open_control(rig, &err), -1);
	assert_int_equal(err.kind, ERR_EXISTS);
	assert_int_equal(access(rig->path, F_OK), 0);
	assert_int_equal(unlink(rig->path), 0);
}

/* ------------------------------------------------------------------ the client */

struct dialogue {
	const struct rig *rig;
	struct loop *home;
	bool done;
	int item_count;
	int64_t code;
	struct err err;
};

static void
client_run(void *ctx)
{
	struct dialogue *dialogue = ctx;
	struct control_client *client = control_client_open(dialogue->rig->path, 5000,
	    &dialogue->err);
	enum control_client_line line;
	const struct json *value;

	dialogue->code = -1;
	if (!client)
		return;
	if (control_client_ask(client, "stream", NULL, &dialogue->err) == 0)
		while (control_client_next(client, &line, &value, &dialogue->err) == 0) {
			if (line == CONTROL_CLIENT_END) {
				(void)json_get_int(value, "code", &dialogue->code);
				break;
			}
			dialogue->item_count++;
		}
	control_client_close(&client);
}

static void
client_done(void *ctx)
{
	struct dialogue *dialogue = ctx;

	dialogue->done = true;
}

static void
test_client_reads_a_long_answer(void **state)
{
	struct rig *rig = *state;
	struct dialogue dialogue = { .rig = rig };
	struct work_pool_settings settings = { "client", 1, 1 };
	struct err err;
	struct work_pool *pool = work_pool_new(&settings, &err);
	struct work_job job;

	assert_non_null(pool);
	work_job_init(&job, client_run, client_done, NULL, &dialogue);
	assert_int_equal(work_submit(pool, rig->loop, &job, &err), 0);
	for (int i = 0; i < TURNS_MAX && !dialogue.done; i++)
		loop_turn(rig->loop, 100);
	work_pool_free(&pool);
	assert_true(dialogue.done);
	assert_int_equal(dialogue.code, 0);
	assert_int_equal(dialogue.item_count, STREAM_ITEMS);
}

static void
test_client_says_who_is_missing(void **state)
{
	struct rig *rig = *state;
	struct control_client *client;
	struct err err;

	control_close(&rig->control);
	client = control_client_open(rig->path, 1000, &err);
	assert_null(client);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
}

#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_RIG(test_answers),
		WITH_RIG(test_takes_a_request_byte_by_byte),
		WITH_RIG(test_answers_several_requests_in_order_after_half_close),
		WITH_RIG(test_refuses_a_line_without_end),
		WITH_RIG(test_waits_for_a_peer_that_does_not_read),
		WITH_RIG(test_releases_a_stream_whose_peer_is_gone),
		WITH_RIG(test_answers_later),
		WITH_RIG(test_close_releases_what_is_held),
		WITH_RIG(test_refuses_sessions_beyond_the_bound),
		WITH_RIG(test_socket_file),
		WITH_RIG(test_client_reads_a_long_answer),
		WITH_RIG(test_client_says_who_is_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
