/* One peer of the control socket: lines in, answers out, one request at a time. */
#include "relay/daemon/control_private.h"

#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	READ_BYTES = 16 * 1024,
	READS_A_TURN_MAX = 8,
	OUTPUT_HIGH_BYTES = 256 * 1024,
	OUTPUT_BYTES_MAX = 8 * 1024 * 1024,
	REQUESTS_A_TURN_MAX = 16,
	LIMIT_MS = 60 * 1000,           /* no request for so long, or output not read */
};

static void
update_watch(struct control_session *session)
{
	unsigned events = 0;

	if (!session->input_ended && buf_room(&session->input) > 0)
		events |= LOOP_READ;
	if (!buf_is_empty(&session->output))
		events |= LOOP_WRITE;
	loop_watch_set(session->watch, events);
}

static void
work_soon(struct control_session *session)
{
	if (!loop_timer_is_running(&session->work_timer))
		loop_timer_start(session->control->loop, &session->work_timer, 0);
}

static void
request_release(struct control_request *request)
{
	const struct control_hold_ops *ops = request->hold_ops;
	void *state = request->hold_state;
	struct control_session *session = request->session;

	if (!request->document)
		return;
	json_free(&request->document);
	json_free(&request->no_args);
	json_free(&request->end_fields);
	*request = (struct control_request){ .session = session };
	if (ops)
		ops->release(state);
}

static void
session_release(void *object)
{
	struct control_session *session = object;

	buf_fini(&session->input);
	buf_fini(&session->output);
	mem_free(&session);
}

void
control_session_free(struct control_session *session)
{
	struct control *control = session->control;

	request_release(&session->request);
	loop_timer_stop(control->loop, &session->work_timer);
	loop_timer_stop(control->loop, &session->limit_timer);
	loop_watch_free(&session->watch);
	(void)close(session->fd);
	LIST_REMOVE(session, entry);
	control->session_count--;
	loop_defer_free(control->loop, session_release, session);
}

/* ------------------------------------------------------------------ answers */

static void
put_line(struct control_session *session, const struct json *line)
{
	struct buf text;

	buf_init(&text, CONTROL_ANSWER_BYTES_MAX);
	if (json_print(line, &text) < 0) {
		buf_clear(&text);
		(void)buf_append_cstr(&text, "{\"item\":{\"error\":\"too long to be shown\"}}");
	}
	if (buf_append(&session->output, buf_span(&text)) < 0 ||
	    buf_append_byte(&session->output, '\n') < 0) {
		/* The giver does not heed control_is_full(): this session ends, not the hub. */
		log_warn("control: an answer grew beyond its bound");
		session->is_lost = true;
		work_soon(session);
	}
	buf_fini(&text);
}

const struct json *
control_args(const struct control_request *request)
{
	return request->args;
}

enum control_right
control_request_right(const struct control_request *request)
{
	return request->session->right;
}

uid_t
control_request_uid(const struct control_request *request)
{
	return request->session->uid;
}

void
control_item(struct control_request *request, struct json *item)
{
	struct json *line = json_new_object();

	must(request->document && !request->ended);
	json_put(line, "item", item);
	put_line(request->session, line);
	json_free(&line);
	update_watch(request->session);
}

bool
control_is_full(const struct control_request *request)
{
	return request->session->is_lost ||
	       buf_len(&request->session->output) >= OUTPUT_HIGH_BYTES;
}

struct json *
control_end_fields(struct control_request *request)
{
	if (!request->end_fields)
		request->end_fields = json_new_object();
	return request->end_fields;
}

static void
end_with(struct control_request *request, enum control_code code, const char *error)
{
	struct json *line = json_new_object();
	struct json *fields;

	must(request->document && !request->ended);
	fields = control_end_fields(request);
	json_put_int(fields, "code", code);
	if (error)
		json_put_cstr(fields, "error", error);
	request->end_fields = NULL;
	json_put(line, "end", fields);
	put_line(request->session, line);
	json_free(&line);
	request->ended = true;
	work_soon(request->session);
}

void
control_end(struct control_request *request, enum control_code code)
{
	end_with(request, code, NULL);
}

void
control_fail(struct control_request *request, enum control_code code, const char *format, ...)
{
	char text[ERR_TEXT_BYTES];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	end_with(request, code, text);
}

void
control_hold(struct control_request *request, const struct control_hold_ops *ops, void *state)
{
	must(!request->hold_ops && ops->release);
	request->hold_ops = ops;
	request->hold_state = state;
	request->waits = !ops->more;
}

void
control_go_on(struct control_request *request)
{
	request->waits = request->hold_ops && !request->hold_ops->more;
	work_soon(request->session);
}

/* ------------------------------------------------------------------ requests */

static const struct control_verb *
find_verb(const struct control *control, struct span name)
{
	for (size_t i = 0; i < control->verb_count; i++)
		if (span_equal_cstr(name, control->verbs[i].name))
			return &control->verbs[i];
	return NULL;
}

static void
handle_document(struct control_session *session)
{
	struct control_request *request = &session->request;
	struct span name;

	request->args = json_is_object(request->document)
		? json_get(request->document, "args") : NULL;
	if (!request->args) {
		request->no_args = json_new_object();
		request->args = request->no_args;
	}
	if (!json_is_object(request->document) ||
	    !json_get_text(request->document, "verb", &name) || !json_is_object(request->args)) {
		control_fail(request, CONTROL_USAGE,
			     "expected {\"verb\":\"...\",\"args\":{...}}");
		return;
	}
	const struct control_verb *verb = find_verb(session->control, name);

	if (!verb) {
		control_fail(request, CONTROL_USAGE, "there is no verb \"%.*s\" here",
			     (int)(name.len < 40 ? name.len : 40), name.data);
		return;
	}
	if (session->right < verb->right) {
		control_fail(request, CONTROL_DENIED, "you may look, but not change anything");
		return;
	}
	verb->handle(session->control->ctx, request);
	must(request->ended || request->hold_ops);
}

/* False when the line is garbage: who sends that is not listened to again. */
static bool
handle_line(struct control_session *session, struct span line)
{
	struct control_request *request = &session->request;
	struct err err;

	loop_timer_stop(session->control->loop, &session->limit_timer);
	if (json_parse(line, &request->document, &err) < 0) {
		request->document = json_new_object();
		control_fail(request, CONTROL_USAGE, "not one JSON document on a line: %s",
			     err.text);
		return false;
	}
	handle_document(session);
	return true;
}

/* False when there is no whole line. */
static bool
next_request(struct control_session *session)
{
	struct span input = buf_span(&session->input);
	size_t end;

	if (span_find_byte(input, '\n', &end)) {
		bool is_sound = handle_line(session, span_first(input, end));

		buf_consume(&session->input, end + 1);
		if (!is_sound) {
			session->input_ended = true;
			buf_clear(&session->input);
		}
		return true;
	}
	if (buf_room(&session->input) == 0) {
		session->request.document = json_new_object();
		control_fail(&session->request, CONTROL_USAGE, "a request has at most %d bytes",
			     CONTROL_LINE_BYTES_MAX);
		session->input_ended = true;
		buf_clear(&session->input);
		return true;
	}
	return false;
}

/* False when the request needs something from outside before it can go on. */
static bool
pump_request(struct control_session *session)
{
	struct control_request *request = &session->request;

	if (request->ended) {
		request_release(request);
		return true;
	}
	if (request->waits || control_is_full(request))
		return false;
	enum control_pace pace = request->hold_ops->more(request->hold_state, request);

	must(pace != CONTROL_ENDED || request->ended);
	if (pace == CONTROL_WAIT && !request->ended)
		request->waits = true;
	if (pace == CONTROL_AGAIN || request->ended)
		work_soon(session);             /* a turn for everybody else between */
	return false;
}

static void
flush(struct control_session *session)
{
	while (!buf_is_empty(&session->output)) {
		struct span rest = buf_span(&session->output);
		ssize_t sent = send(session->fd, rest.data, rest.len, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0) {
			if (errno != EAGAIN)
				session->is_lost = true;
			return;
		}
		buf_consume(&session->output, (size_t)sent);
		/* It reads: the time begins anew. */
		loop_timer_start(session->control->loop, &session->limit_timer, LIMIT_MS);
	}
	buf_release_if_empty(&session->output);
}

static void
work(void *ctx)
{
	struct control_session *session = ctx;

	for (int i = 0; i < REQUESTS_A_TURN_MAX && !session->is_lost; i++) {
		bool goes_on = session->request.document ? pump_request(session)
							 : next_request(session);

		if (!goes_on)
			break;
		if (i + 1 == REQUESTS_A_TURN_MAX)
			work_soon(session);
	}
	flush(session);
	if (session->request.document && !session->request.waits && !session->request.ended &&
	    !control_is_full(&session->request))
		work_soon(session);
	bool is_done = session->input_ended && !session->request.document &&
		buf_is_empty(&session->output);

	if (session->is_lost || is_done) {
		control_session_free(session);
		return;
	}
	/* A request that waits has its own bounds; silence and unread output have this one. */
	if (session->request.document && buf_is_empty(&session->output))
		loop_timer_stop(session->control->loop, &session->limit_timer);
	else if (!loop_timer_is_running(&session->limit_timer))
		loop_timer_start(session->control->loop, &session->limit_timer, LIMIT_MS);
	update_watch(session);
}

static void
read_input(struct control_session *session)
{
	for (int i = 0; i < READS_A_TURN_MAX; i++) {
		size_t room;
		char *place = buf_reserve(&session->input, READ_BYTES, &room);

		if (!place)
			return;
		ssize_t got = recv(session->fd, place, room, 0);

		if (got > 0) {
			buf_commit(&session->input, (size_t)got);
			continue;
		}
		if (got < 0 && errno == EINTR)
			continue;
		if (got == 0)
			session->input_ended = true;    /* its answers still go out */
		else if (errno != EAGAIN)
			session->is_lost = true;
		return;
	}
}

static void
session_ready(void *ctx, unsigned events)
{
	struct control_session *session = ctx;

	if ((events & LOOP_READ) && !session->input_ended)
		read_input(session);
	loop_timer_stop(session->control->loop, &session->work_timer);
	work(session);
}

static void
limit_passed(void *ctx)
{
	control_session_free(ctx);
}

void
control_session_start(struct control *control, int fd, enum control_right right, uid_t uid)
{
	struct control_session *session = mem_alloc(sizeof(*session));

	session->control = control;
	session->fd = fd;
	session->right = right;
	session->uid = uid;
	session->request.session = session;
	buf_init(&session->input, CONTROL_LINE_BYTES_MAX);
	buf_init(&session->output, OUTPUT_BYTES_MAX);
	loop_timer_init(&session->work_timer, work, session);
	loop_timer_init(&session->limit_timer, limit_passed, session);
	loop_timer_start(control->loop, &session->limit_timer, LIMIT_MS);
	session->watch = loop_watch_new(control->loop, fd, LOOP_READ, session_ready, session);
	LIST_INSERT_HEAD(&control->sessions, session, entry);
	control->session_count++;
}
