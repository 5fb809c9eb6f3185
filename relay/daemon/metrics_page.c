#include "relay/daemon/metrics_page.h"

#include <inttypes.h>
#include <string.h>

void
metrics_page_init(struct metrics_page *page)
{
	*page = (struct metrics_page){ 0 };
	buf_init(&page->text, METRICS_PAGE_BYTES_MAX);
}

void
metrics_page_fini(struct metrics_page *page)
{
	buf_fini(&page->text);
}

void
metrics_family(struct metrics_page *page, const char *name, enum metrics_kind kind,
	       const char *help)
{
	static const char *const words[] = { "counter", "gauge", "histogram" };

	page->family = name;
	(void)buf_appendf(&page->text, "# HELP chapar_%s ", name);
	for (const char *at = help; *at; at++) {
		if (*at == '\\' || *at == '\n')
			(void)buf_append_byte(&page->text, '\\');
		(void)buf_append_byte(&page->text, *at == '\n' ? 'n' : *at);
	}
	(void)buf_appendf(&page->text, "\n# TYPE chapar_%s %s\n", name, words[kind]);
}

/* Values of labels are UTF-8: what is not is shown as '?', so that a scrape never fails. */
static void
put_label(struct buf *text, struct metrics_label label)
{
	bool is_text = span_is_utf8(label.value);

	(void)buf_appendf(text, "%s=\"", label.key);
	for (size_t i = 0; i < label.value.len; i++) {
		char c = label.value.data[i];

		if (c == '\\' || c == '"')
			(void)buf_append_byte(text, '\\');
		if (c == '\n')
			(void)buf_append_cstr(text, "\\n");
		else
			(void)buf_append_byte(text, !is_text && (unsigned char)c > 127 ? '?' : c);
	}
	(void)buf_append_byte(text, '"');
}

void
metrics_sample(struct metrics_page *page, struct metrics_label first, struct metrics_label second,
	       int64_t value)
{
	struct buf *text = &page->text;

	(void)buf_appendf(text, "chapar_%s", page->family);
	if (first.key || second.key) {
		(void)buf_append_byte(text, '{');
		if (first.key)
			put_label(text, first);
		if (first.key && second.key)
			(void)buf_append_byte(text, ',');
		if (second.key)
			put_label(text, second);
		(void)buf_append_byte(text, '}');
	}
	(void)buf_appendf(text, " %" PRId64 "\n", value);
}

void
metrics_sample_millionths(struct metrics_page *page, int64_t value)
{
	(void)buf_appendf(&page->text, "chapar_%s %" PRId64 ".%06" PRId64 "\n", page->family,
			 value / 1000000, value % 1000000);
}

void
metrics_number(struct metrics_page *page, const char *name, enum metrics_kind kind,
	       const char *help, int64_t value)
{
	metrics_family(page, name, kind, help);
	metrics_sample(page, (struct metrics_label){ 0 }, (struct metrics_label){ 0 }, value);
}

static void
put_histogram(struct buf *text, const struct stats_value *value)
{
	const struct stats_def *def = value->def;
	const char *labels = def->labels ? def->labels : "";
	const char *comma = def->labels ? "," : "";
	uint64_t below = 0;

	for (size_t i = 0; i < def->bounds_count; i++) {
		below += value->buckets[i];
		(void)buf_appendf(text, "chapar_%s_bucket{%s%sle=\"%" PRIu64 "\"} %" PRIu64 "\n",
				 def->name, labels, comma, def->bounds[i], below);
	}
	(void)buf_appendf(text, "chapar_%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", def->name,
			 labels, comma, value->count);
	for (int is_sum = 0; is_sum < 2; is_sum++)
		(void)buf_appendf(text, "chapar_%s_%s%s%s%s %" PRIu64 "\n", def->name,
				 is_sum ? "sum" : "count", def->labels ? "{" : "", labels,
				 def->labels ? "}" : "", is_sum ? value->sum : value->count);
}

static void
put_stat(void *ctx, const struct stats_value *value)
{
	struct metrics_page *page = ctx;
	const struct stats_def *def = value->def;
	enum metrics_kind kind = def->kind == STATS_COUNTER ? METRICS_COUNTER
		: def->kind == STATS_GAUGE ? METRICS_GAUGE : METRICS_HISTOGRAM;

	/* Rows of one name stand together in their table and differ in their labels. */
	if (!page->family || strcmp(page->family, def->name) != 0)
		metrics_family(page, def->name, kind, def->help);
	if (def->kind == STATS_HISTOGRAM)
		put_histogram(&page->text, value);
	else
		(void)buf_appendf(&page->text, "chapar_%s%s%s%s %" PRId64 "\n", def->name,
				 def->labels ? "{" : "", def->labels ? def->labels : "",
				 def->labels ? "}" : "", value->value);
}

void
metrics_stats(struct metrics_page *page, struct stats *stats)
{
	page->family = NULL;
	stats_read(stats, put_stat, page);
}
