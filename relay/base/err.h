#ifndef RELAY_BASE_ERR_H
#define RELAY_BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>

/*
 * How the world failed.  A function that can fail returns -1 and fills a
 * struct err, its last argument.  Nobody logs on the way up; context is added
 * with err_wrap(), and the place that decides what to do logs once.
 * Every function accepts a null err when the caller does not want the reason.
 */
enum err_kind {
	ERR_NONE,
	ERR_SYSTEM,      /* a system call failed; os_errno says how */
	ERR_LIMIT,       /* a bound of ours would be passed */
	ERR_FORMAT,      /* bytes do not have the form they should */
	ERR_DAMAGED,     /* the form is right and the content is not: a checksum */
	ERR_NOT_FOUND,
	ERR_EXISTS,
	ERR_BUSY,        /* somebody has it; later it may work */
	ERR_CANCELLED,
	ERR_TIMEOUT,
	ERR_REFUSED,     /* the other side said no */
	ERR_DENIED,      /* we may not */
	ERR_CLOSED,      /* the other side is gone */
	ERR_TLS,         /* handshake or certificate */
	ERR_UNKNOWN,     /* the outcome is not known, it may have happened */
	ERR_UNSUPPORTED,
	ERR_CONFIG,      /* what the operator wrote cannot be used */
};

#define ERR_TEXT_BYTES 320

struct err {
	enum err_kind kind;
	int os_errno;           /* only with ERR_SYSTEM, else 0 */
	char text[ERR_TEXT_BYTES]; /* one line, ended by a NUL, cut when too long */
};

/* Make the error.  Always returns -1, so that `return err_set(...)` reads well. */
int err_set(struct err *err, enum err_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with ERR_SYSTEM and the current errno; ": " and its text are added. */
int err_set_errno(struct err *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Put context and ": " before what err says already.  Keeps kind and errno. */
int err_wrap(struct err *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void err_clear(struct err *err);

/* Whether err is the system error number `os_errno`. */
bool err_is_errno(const struct err *err, int os_errno);

/* "timeout", "not_found": a fixed word for logs and JSON. */
const char *err_kind_name(enum err_kind kind);

#endif
