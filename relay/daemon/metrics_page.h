/*
 * A page of numbers in the text format of Prometheus (version 0.0.4).  A family is announced
 * once, then come its samples.  Names get "chapar_" in front.
 */
#ifndef RELAY_DAEMON_METRICS_PAGE_H
#define RELAY_DAEMON_METRICS_PAGE_H

#include "relay/base/buf.h"
#include "relay/base/span.h"
#include "relay/base/stats.h"

#include <stddef.h>
#include <stdint.h>

enum metrics_kind {
	METRICS_COUNTER,
	METRICS_GAUGE,
	METRICS_HISTOGRAM,
};

struct metrics_label {
	const char *key;
	struct span value;              /* any octets */
};

enum { METRICS_PAGE_BYTES_MAX = 8 << 20 };

struct metrics_page {
	struct buf text;
	const char *family;             /* the samples that follow are of it */
};

void metrics_page_init(struct metrics_page *page);
void metrics_page_fini(struct metrics_page *page);

/* HELP is a sentence. */
void metrics_family(struct metrics_page *page, const char *name, enum metrics_kind kind,
		    const char *help);

/* A sample of the family announced last; a LABEL with a NULL key is left out. */
void metrics_sample(struct metrics_page *page, struct metrics_label first,
		    struct metrics_label second, int64_t value);

/* Millionths, printed as a decimal fraction: microseconds as seconds. */
void metrics_sample_millionths(struct metrics_page *page, int64_t value);

/* A family of one sample. */
void metrics_number(struct metrics_page *page, const char *name, enum metrics_kind kind,
		    const char *help, int64_t value);

/* Everything that modules count. */
void metrics_stats(struct metrics_page *page, struct stats *stats);

#endif
