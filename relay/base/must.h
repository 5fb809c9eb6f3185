#ifndef RELAY_BASE_MUST_H
#define RELAY_BASE_MUST_H

/*
 * Our own promises.  must() is always compiled in; when its condition does not
 * hold, the program prints file, line and condition, and aborts.  Never apply
 * it to input: not to bytes from a socket, a file or the configuration.
 * These are macros because the condition's text and place belong to the caller.
 */
#define must(condition)                                                         \
	(__builtin_expect(!(condition), 0)                                      \
	     ? must_failed(__FILE__, __LINE__, #condition) : (void)0)

/* Stands after a switch over an enum that handles every value and returns. */
#define must_not_reach() must_failed(__FILE__, __LINE__, "this place is never reached")

_Noreturn void must_failed(const char *file, int line, const char *condition);

#endif
