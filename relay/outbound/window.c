#include "relay/outbound/window.h"

enum {
	WINDOW_START_DEFAULT = 2,
	WINDOW_MAX_DEFAULT = 20,
};

void
window_init(struct window *window, const struct window_settings *settings)
{
	*window = (struct window){ 0 };
	window_configure(window, settings);
	window->size = window->start;
}

void
window_configure(struct window *window, const struct window_settings *settings)
{
	window->max = settings->max ? settings->max : WINDOW_MAX_DEFAULT;
	window->start = settings->start ? settings->start : WINDOW_START_DEFAULT;
	if (window->start > window->max)
		window->start = window->max;
	if (window->size > window->max)
		window->size = window->max;
}

void
window_success(struct window *window, uint32_t proven, uint32_t in_use)
{
	if (proven > window->proven)
		window->proven = proven;
	if (in_use < window->size || window->size >= window->max)
		return;
	if (window->size < 2 * window->proven)
		window->size++;
}

void
window_failure(struct window *window, uint64_t begun_ms, uint64_t now_ms)
{
	if (window->halved_ms && begun_ms < window->halved_ms)
		return;
	window->halved_ms = now_ms;
	window->size = window->size > 1 ? window->size / 2 : 1;
	window->proven = window->size;
}

void
window_restart(struct window *window)
{
	window->size = 1;
	window->proven = 0;
}
