#include "relay/daemon/signals.h"

#include "relay/base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct signals {
	struct loop_watch *watch;
	const struct signals_ops *ops;
	void *ctx;
	int fd;
	sigset_t mask_before;
	struct sigaction pipe_before;
};

enum {
	SIGNALS_A_TURN_MAX = 16,
};

static void
signals_ready(void *ctx, unsigned events)
{
	struct signals *signals = ctx;
	struct signalfd_siginfo seen[SIGNALS_A_TURN_MAX];
	ssize_t got = read(signals->fd, seen, sizeof(seen));
	const struct signals_ops *ops = signals->ops;
	void *app = signals->ctx;

	(void)events;
	/* A callback may close us: after the first one nothing of ours is touched. */
	for (ssize_t i = 0; got > 0 && i < got / (ssize_t)sizeof(seen[0]); i++) {
		if (seen[i].ssi_signo == SIGHUP)
			ops->reload(app);
		else
			ops->terminate(app);
	}
}

struct signals *
signals_open(struct loop *loop, const struct signals_ops *ops, void *ctx, struct err *err)
{
	struct signals *signals = mem_alloc(sizeof(*signals));
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	sigset_t wanted;

	signals->ops = ops;
	signals->ctx = ctx;
	(void)sigemptyset(&wanted);
	(void)sigaddset(&wanted, SIGTERM);
	(void)sigaddset(&wanted, SIGINT);
	(void)sigaddset(&wanted, SIGHUP);
	signals->fd = signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC);
	if (signals->fd < 0) {
		(void)err_set_errno(err, "signalfd");
		mem_free(&signals);
		return NULL;
	}
	errno = pthread_sigmask(SIG_BLOCK, &wanted, &signals->mask_before);
	if (errno != 0 || sigaction(SIGPIPE, &ignore, &signals->pipe_before) < 0) {
		(void)err_set_errno(err, "signals");
		(void)close(signals->fd);
		mem_free(&signals);
		return NULL;
	}
	signals->watch = loop_watch_new(loop, signals->fd, LOOP_READ, signals_ready, signals);
	return signals;
}

void
signals_close(struct signals **signals)
{
	if (!*signals)
		return;
	loop_watch_free(&(*signals)->watch);
	(void)close((*signals)->fd);
	(void)sigaction(SIGPIPE, &(*signals)->pipe_before, NULL);
	(void)pthread_sigmask(SIG_SETMASK, &(*signals)->mask_before, NULL);
	mem_free(signals);
}
