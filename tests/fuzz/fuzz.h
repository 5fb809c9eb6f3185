/*
 * Targets for octets from strangers.  One table, two drivers: replay_main.c shows each target
 * the files of its corpus (in make check, with any compiler); libfuzzer_main.c hands one target
 * to libFuzzer.  A target ends the program by must() when a promise does not hold.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/span.h"

struct fuzz_target {
	const char *name;               /* and the directory of its corpus */
	void (*run)(struct span input);
};

/* All of them, ended by a row without a name. */
extern const struct fuzz_target fuzz_targets[];

const struct fuzz_target *fuzz_find(const char *name);

/*
 * Choices come from the front of the input as characters, so that corpora can be read and
 * written by people; at the end of the input every choice is 0.
 */
unsigned int fuzz_choice(struct span *input);

/* Up to the next "|", which is eaten. */
struct span fuzz_field(struct span *input);

/* Sizes of pieces: a small generator whose seed is a choice; 0 means all at once. */
struct fuzz_pieces {
	uint32_t state;
};

struct fuzz_pieces fuzz_pieces_init(unsigned int seed);
size_t fuzz_piece(struct fuzz_pieces *pieces, size_t max);

/* Text that leaves for others: lines that end in CRLF, no bare CR or LF, no NUL, bounded. */
void fuzz_check_lines(struct span text, size_t line_bytes_max);

void fuzz_address(struct span input);
void fuzz_body(struct span input);
void fuzz_client(struct span input);
void fuzz_command(struct span input);
void fuzz_config(struct span input);
void fuzz_dns(struct span input);
void fuzz_header(struct span input);
void fuzz_notice(struct span input);
void fuzz_proxy(struct span input);
void fuzz_quote(struct span input);
void fuzz_record(struct span input);
void fuzz_reply(struct span input);
void fuzz_server(struct span input);
void fuzz_auth(struct span input);

#endif
