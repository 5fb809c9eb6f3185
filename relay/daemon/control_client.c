#include "relay/daemon/control_client.h"

#include "relay/base/buf.h"
#include "relay/base/mem.h"
#include "relay/daemon/control.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	READ_BYTES = 64 * 1024,
};

struct control_client {
	int fd;
	struct buf input;
	struct json *line;              /* what the last answer was lent from */
};

static int
set_timeouts(int fd, uint64_t timeout_ms, struct err *err)
{
	struct timeval limit = {
		.tv_sec = (time_t)(timeout_ms / 1000),
		.tv_usec = (suseconds_t)(timeout_ms % 1000 * 1000),
	};

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
		return err_set_errno(err, "socket");
	return 0;
}

static int
connect_to(int fd, const char *path, struct err *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(address.sun_path))
		return err_set(err, ERR_LIMIT, "%s: the path is too long for a socket", path);
	memcpy(address.sun_path, path, strlen(path));
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return 0;
	switch (errno) {
	case EACCES:
	case EPERM:
		return err_set(err, ERR_DENIED, "%s: you may not use this socket", path);
	case ENOENT:
		return err_set(err, ERR_NOT_FOUND, "%s: there is no such socket", path);
	case ECONNREFUSED:
		return err_set(err, ERR_REFUSED, "%s: no daemon listens on it", path);
	case EAGAIN:
		return err_set(err, ERR_BUSY, "%s: the daemon is busy", path);
	default:
		return err_set_errno(err, "%s", path);
	}
}

struct control_client *
control_client_open(const char *path, uint64_t timeout_ms, struct err *err)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0) {
		(void)err_set_errno(err, "socket");
		return NULL;
	}
	if (set_timeouts(fd, timeout_ms, err) < 0 || connect_to(fd, path, err) < 0) {
		(void)close(fd);
		return NULL;
	}
	struct control_client *client = mem_alloc(sizeof(*client));

	client->fd = fd;
	buf_init(&client->input, CONTROL_ANSWER_BYTES_MAX + 2);
	return client;
}

void
control_client_close(struct control_client **client)
{
	if (!*client)
		return;
	(void)close((*client)->fd);
	buf_fini(&(*client)->input);
	json_free(&(*client)->line);
	mem_free(client);
}

static int
send_all(int fd, struct span bytes, struct err *err)
{
	while (bytes.len > 0) {
		ssize_t sent = send(fd, bytes.data, bytes.len, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno == EAGAIN)
			return err_set(err, ERR_TIMEOUT, "the daemon does not read");
		if (sent < 0)
			return err_set_errno(err, "control socket");
		bytes = span_skip(bytes, (size_t)sent);
	}
	return 0;
}

int
control_client_ask(struct control_client *client, const char *verb, struct json *args,
		   struct err *err)
{
	struct json *line = json_new_object();
	struct buf text;
	int result;

	json_put_cstr(line, "verb", verb);
	if (args)
		json_put(line, "args", args);
	buf_init(&text, CONTROL_LINE_BYTES_MAX - 1);
	if (json_print(line, &text) < 0 || buf_append_byte(&text, '\n') < 0)
		result = err_set(err, ERR_LIMIT, "the request is too long");
	else
		result = send_all(client->fd, buf_span(&text), err);
	buf_fini(&text);
	json_free(&line);
	return result;
}

static int
read_more(struct control_client *client, struct err *err)
{
	size_t room;
	char *place = buf_reserve(&client->input, READ_BYTES, &room);

	if (!place)
		return err_set(err, ERR_FORMAT, "the daemon's answer has too long a line");
	for (;;) {
		ssize_t got = recv(client->fd, place, room, 0);

		if (got > 0) {
			buf_commit(&client->input, (size_t)got);
			return 0;
		}
		if (got == 0)
			return err_set(err, ERR_CLOSED, "the daemon closed the connection");
		if (errno == EAGAIN)
			return err_set(err, ERR_TIMEOUT, "the daemon does not answer");
		if (errno != EINTR)
			return err_set_errno(err, "control socket");
	}
}

int
control_client_next(struct control_client *client, enum control_client_line *line_out,
		    const struct json **value_out, struct err *err)
{
	struct span input = buf_span(&client->input);
	size_t end;

	json_free(&client->line);
	while (!span_find_byte(input, '\n', &end)) {
		if (read_more(client, err) < 0)
			return -1;
		input = buf_span(&client->input);
	}
	if (json_parse(span_first(input, end), &client->line, err) < 0)
		return -1;
	buf_consume(&client->input, end + 1);
	if (!json_is_object(client->line))
		return err_set(err, ERR_FORMAT, "the daemon's answer is not understood");
	*line_out = CONTROL_CLIENT_ITEM;
	*value_out = json_get(client->line, "item");
	if (*value_out)
		return 0;
	*line_out = CONTROL_CLIENT_END;
	*value_out = json_get(client->line, "end");
	if (*value_out)
		return 0;
	return err_set(err, ERR_FORMAT, "the daemon's answer is not understood");
}
