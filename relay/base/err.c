#include "relay/base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "relay/base/ascii.h"
#include "relay/base/must.h"

/* So much of the context is kept, however long the cause is. */
#define CONTEXT_BYTES_MIN 32

/* One line, whatever foreign words are in it. */
static void __attribute__((format(printf, 3, 0)))
print_line(char *text, size_t size, const char *format, va_list args)
{
	(void)vsnprintf(text, size, format, args);      /* cut on purpose */
	for (char *at = text; *at; at++)
		if (ascii_is_control(*at))
			*at = '?';
}

int
err_set(struct err *err, enum err_kind kind, const char *format, ...)
{
	va_list args;

	if (!err)
		return -1;
	err->kind = kind;
	err->os_errno = 0;
	va_start(args, format);
	print_line(err->text, sizeof(err->text), format, args);
	va_end(args);
	return -1;
}

int
err_set_errno(struct err *err, const char *format, ...)
{
	int os_errno = errno;
	char reason[128];
	va_list args;
	size_t len;

	if (!err)
		return -1;
	err->kind = ERR_SYSTEM;
	err->os_errno = os_errno;
	va_start(args, format);
	print_line(err->text, sizeof(err->text), format, args);
	va_end(args);
	len = strlen(err->text);
	(void)snprintf(err->text + len, sizeof(err->text) - len, ": %s",
	    strerror_r(os_errno, reason, sizeof(reason)));
	errno = os_errno;
	return -1;
}

int
err_wrap(struct err *err, const char *format, ...)
{
	char before[ERR_TEXT_BYTES];
	va_list args;

	if (!err)
		return -1;
	va_start(args, format);
	print_line(before, sizeof(before), format, args);
	va_end(args);

	/* When both do not fit, the context gives way: the cause says more. */
	size_t text_max = sizeof(err->text) - 1;
	size_t inner_len = strnlen(err->text, text_max);
	size_t before_len = strlen(before);
	size_t before_max = text_max - 2 > inner_len ? text_max - 2 - inner_len : 0;

	if (before_max < CONTEXT_BYTES_MIN)
		before_max = CONTEXT_BYTES_MIN;
	if (before_len > before_max)
		before_len = before_max;
	if (inner_len > text_max - 2 - before_len)
		inner_len = text_max - 2 - before_len;
	memmove(err->text + before_len + 2, err->text, inner_len);
	memcpy(err->text, before, before_len);
	memcpy(err->text + before_len, ": ", 2);
	err->text[before_len + 2 + inner_len] = '\0';
	return -1;
}

void
err_clear(struct err *err)
{
	if (err)
		*err = (struct err){ .kind = ERR_NONE };
}

bool
err_is_errno(const struct err *err, int os_errno)
{
	return err && err->kind == ERR_SYSTEM && err->os_errno == os_errno;
}

const char *
err_kind_name(enum err_kind kind)
{
	switch (kind) {
	case ERR_NONE: return "none";
	case ERR_SYSTEM: return "system";
	case ERR_LIMIT: return "limit";
	case ERR_FORMAT: return "format";
	case ERR_DAMAGED: return "damaged";
	case ERR_NOT_FOUND: return "not_found";
	case ERR_EXISTS: return "exists";
	case ERR_BUSY: return "busy";
	case ERR_CANCELLED: return "cancelled";
	case ERR_TIMEOUT: return "timeout";
	case ERR_REFUSED: return "refused";
	case ERR_DENIED: return "denied";
	case ERR_CLOSED: return "closed";
	case ERR_TLS: return "tls";
	case ERR_UNKNOWN: return "unknown";
	case ERR_UNSUPPORTED: return "unsupported";
	case ERR_CONFIG: return "config";
	}
	must_not_reach();
}
