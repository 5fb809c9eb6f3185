#ifndef TESTS_SIM_LETTERS_H
#define TESTS_SIM_LETTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/buf.h"
#include "relay/base/err.h"
#include "tests/sim/network.h"

/*
 * What is sent, what the first relay said to it, and what must have become of it in the end.
 * Letters are functions of their number, so that every octet of what arrives can be foretold.
 */
enum {
	LETTERS_MAX = 64,
	LETTER_RCPTS_MAX = 4,
	LETTER_NOBODY = SIM_USERS,      /* a recipient who has no box */
};

struct letter {
	int sender;
	int rcpts[LETTER_RCPTS_MAX];
	bool accepted[LETTER_RCPTS_MAX];        /* 250 to its RCPT */
	size_t rcpt_count;
	size_t line_count;
	bool acknowledged;              /* 250 to the final dot */
	bool sent_whole;                /* the final dot left */
};

struct letters {
	struct letter letters[LETTERS_MAX];
	size_t count;
	size_t begun, ended;
};

/* COUNT letters by chance; then starts their senders, who spread them over SPREAD_US. */
void letters_begin(struct letters *letters, size_t count, uint64_t spread_us);

/* The octets of its data, lines ended by CRLF, without the final dot. */
void letter_print(const struct letters *letters, size_t number, struct buf *out);

/* Every sender has had its answer or has given up. */
bool letters_are_sent(const struct letters *letters);

/* A message with the number found in its header and body found whole: see check.c. */
struct letters_found {
	uint64_t acknowledged, copies, notices;
};

/* Looks into every box; a violation is one line that says which promise is broken. */
int letters_check(const struct letters *letters, struct letters_found *found_out,
    struct err *err);

#endif
