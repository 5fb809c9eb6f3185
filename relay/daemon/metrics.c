#include "relay/daemon/metrics.h"

#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/net/socket_address.h"

#include <microhttpd.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	BACKLOG = 16,
	CONNECTIONS_MAX = 16,
	IDLE_SECONDS = 15,
	WORDS_BYTES_MAX = 1024,
};

struct metrics {
	struct loop *loop;
	const struct metrics_ops *ops;
	void *ctx;
	struct MHD_Daemon *server;
	struct loop_watch *watch;
	struct loop_timer timer;
	struct endpoint address;
};

/* ---- pages */

static enum MHD_Result
respond(struct MHD_Connection *connection, unsigned code, const char *type, struct span text)
{
	/* The copy lives until it was sent; libmicrohttpd does not write to it. */
	struct MHD_Response *response = MHD_create_response_from_buffer(text.len,
		(void *)(uintptr_t)text.data, MHD_RESPMEM_MUST_COPY);
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	if (code == MHD_HTTP_METHOD_NOT_ALLOWED)
		(void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	result = MHD_queue_response(connection, code, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result
say(struct MHD_Connection *connection, unsigned code, struct span text)
{
	return respond(connection, code, "text/plain; charset=utf-8", text);
}

static enum MHD_Result
show_numbers(struct metrics *metrics, struct MHD_Connection *connection)
{
	struct metrics_page page;
	enum MHD_Result result;

	metrics_page_init(&page);
	metrics->ops->collect(metrics->ctx, &page);
	if (buf_overflowed(&page.text))
		result = say(connection, MHD_HTTP_INTERNAL_SERVER_ERROR,
			     SPAN("the page is too long\n"));
	else
		result = respond(connection, MHD_HTTP_OK,
				 "text/plain; version=0.0.4; charset=utf-8", buf_span(&page.text));
	metrics_page_fini(&page);
	return result;
}

static enum MHD_Result
show_state(struct metrics *metrics, struct MHD_Connection *connection,
	   bool (*is_good)(void *ctx, struct buf *why))
{
	struct buf why;
	enum MHD_Result result;

	buf_init(&why, WORDS_BYTES_MAX);
	if (is_good(metrics->ctx, &why)) {
		result = say(connection, MHD_HTTP_OK, SPAN("ok\n"));
	} else {
		(void)buf_append_byte(&why, '\n');
		result = say(connection, MHD_HTTP_SERVICE_UNAVAILABLE, buf_span(&why));
	}
	buf_fini(&why);
	return result;
}

static enum MHD_Result
answer(void *ctx, struct MHD_Connection *connection, const char *url, const char *method,
       const char *version, const char *upload, size_t *upload_len, void **request)
{
	struct metrics *metrics = ctx;

	(void)version;
	(void)upload;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return say(connection, MHD_HTTP_METHOD_NOT_ALLOWED, SPAN("only GET\n"));
	if (!*request) {
		*request = metrics;             /* the header was read; an answer comes next */
		return MHD_YES;
	}
	if (*upload_len > 0)
		return MHD_NO;                  /* nobody sends us anything */
	if (strcmp(url, "/metrics") == 0)
		return show_numbers(metrics, connection);
	if (strcmp(url, "/healthz") == 0)
		return show_state(metrics, connection, metrics->ops->is_alive);
	if (strcmp(url, "/readyz") == 0)
		return show_state(metrics, connection, metrics->ops->is_ready);
	return say(connection, MHD_HTTP_NOT_FOUND,
		   SPAN("there are /metrics, /healthz and /readyz\n"));
}

/* ---- the server on the loop */

static void
run(struct metrics *metrics)
{
	MHD_UNSIGNED_LONG_LONG wait_ms;

	(void)MHD_run(metrics->server);
	if (MHD_get_timeout(metrics->server, &wait_ms) == MHD_YES)
		loop_timer_start(metrics->loop, &metrics->timer, wait_ms);
	else
		loop_timer_stop(metrics->loop, &metrics->timer);
}

static void
server_ready(void *ctx, unsigned events)
{
	(void)events;
	run(ctx);
}

static void
server_time(void *ctx)
{
	run(ctx);
}

static int
open_socket(const struct endpoint *address, struct err *err)
{
	char text[ENDPOINT_TEXT_BYTES_MAX];
	struct sockaddr_storage storage;
	socklen_t len = socket_address_of(address, &storage);
	const int on = 1;
	int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    bind(fd, (const struct sockaddr *)&storage, len) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	(void)err_set_errno(err, "metrics: cannot listen on %s", endpoint_print(address, text));
	if (fd >= 0)
		(void)close(fd);
	return -1;
}

struct metrics *
metrics_open(struct loop *loop, const struct endpoint *address, const struct metrics_ops *ops,
	     void *ctx, struct err *err)
{
	struct metrics *metrics = mem_alloc(sizeof(*metrics));
	const union MHD_DaemonInfo *info;
	int fd = open_socket(address, err);

	metrics->loop = loop;
	metrics->ops = ops;
	metrics->ctx = ctx;
	loop_timer_init(&metrics->timer, server_time, metrics);
	if (fd < 0)
		goto failed;
	metrics->address = socket_address_local(fd);
	/* SIGPIPE is ignored, see signals.h. */
	metrics->server = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, answer, metrics,
		MHD_OPTION_LISTEN_SOCKET, fd,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
		MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
		MHD_OPTION_END);
	if (!metrics->server) {
		(void)err_set(err, ERR_SYSTEM, "metrics: the HTTP server does not start");
		(void)close(fd);
		goto failed;
	}
	info = MHD_get_daemon_info(metrics->server, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info || info->epoll_fd < 0) {
		(void)err_set(err, ERR_UNSUPPORTED, "metrics: libmicrohttpd has no epoll here");
		goto failed;
	}
	metrics->watch = loop_watch_new(loop, info->epoll_fd, LOOP_READ, server_ready, metrics);
	return metrics;
failed:
	if (metrics->server)
		MHD_stop_daemon(metrics->server);
	mem_free(&metrics);
	return NULL;
}

void
metrics_close(struct metrics **metrics)
{
	if (!*metrics)
		return;
	loop_timer_stop((*metrics)->loop, &(*metrics)->timer);
	loop_watch_free(&(*metrics)->watch);
	MHD_stop_daemon((*metrics)->server);
	mem_free(metrics);
}

struct endpoint
metrics_address(const struct metrics *metrics)
{
	return metrics->address;
}
