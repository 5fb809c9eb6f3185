#include "relay/daemon/notify.h"

#include "relay/base/clock.h"
#include "relay/base/mem.h"

#include <stdarg.h>
#include <stdio.h>

#ifdef HAVE_LIBSYSTEMD
#include <systemd/sd-daemon.h>
#else
/* Built without libsystemd: there is nobody to tell. */
static int
sd_notify(int unset_environment, const char *state)
{
	(void)unset_environment;
	(void)state;
	return 0;
}

static int
sd_watchdog_enabled(int unset_environment, uint64_t *usec)
{
	(void)unset_environment;
	*usec = 0;
	return 0;
}
#endif

enum {
	STATUS_BYTES_MAX = 256,
};

struct notify {
	struct loop *loop;
	bool (*watchdog)(void *ctx);
	void *ctx;
	struct loop_timer timer;
	uint64_t interval_ms;
};

static void
sign_of_life(void *ctx)
{
	struct notify *notify = ctx;

	if (!notify->watchdog || notify->watchdog(notify->ctx))
		(void)sd_notify(0, "WATCHDOG=1");       /* a manager that went away is no fault */
	loop_timer_start(notify->loop, &notify->timer, notify->interval_ms);
}

struct notify *
notify_open(struct loop *loop, bool (*watchdog)(void *ctx), void *ctx)
{
	struct notify *notify = mem_alloc(sizeof(*notify));
	uint64_t limit_us = 0;

	notify->loop = loop;
	notify->watchdog = watchdog;
	notify->ctx = ctx;
	loop_timer_init(&notify->timer, sign_of_life, notify);
	if (sd_watchdog_enabled(0, &limit_us) > 0 && limit_us > 0) {
		/* Three signs in the time that is allowed for one. */
		notify->interval_ms = limit_us / 3000 > 0 ? limit_us / 3000 : 1;
		loop_timer_start(loop, &notify->timer, notify->interval_ms);
	}
	return notify;
}

void
notify_close(struct notify **notify)
{
	if (!*notify)
		return;
	loop_timer_stop((*notify)->loop, &(*notify)->timer);
	mem_free(notify);
}

void
notify_ready(struct notify *notify)
{
	(void)notify;
	(void)sd_notify(0, "READY=1");
}

/* systemd with Type=notify-reload wants the time with it, sd_notify(3). */
void
notify_reloading(struct notify *notify)
{
	char state[STATUS_BYTES_MAX];

	(void)snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%llu",
		       (unsigned long long)clock_monotonic_us(loop_clock(notify->loop)));
	(void)sd_notify(0, state);
}

void
notify_stopping(struct notify *notify)
{
	(void)notify;
	(void)sd_notify(0, "STOPPING=1");
}

void
notify_status(struct notify *notify, const char *format, ...)
{
	char text[STATUS_BYTES_MAX];
	char state[STATUS_BYTES_MAX + sizeof("STATUS=")];
	va_list args;

	(void)notify;
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	for (char *at = text; *at; at++)
		if (*at == '\n')                /* it would begin another assignment */
			*at = ' ';
	(void)snprintf(state, sizeof(state), "STATUS=%s", text);
	(void)sd_notify(0, state);
}
