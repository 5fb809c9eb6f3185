/*
 * Configuration files.  Sections tls are left to the parser alone: what they name is opened.
 * What was read can be written, and what is written reads as the same.
 */
#include "relay/base/buf.h"
#include "relay/base/must.h"
#include "relay/relay_config.h"
#include "tests/fuzz/fuzz.h"

enum { DUMP_BYTES_MAX = 4 << 20 };

static void
check_error(const struct err *err)
{
	must(err->kind != ERR_NONE && err->text[0] != '\0');
	must(!span_has_control(span_from_cstr(err->text)));
}

/*
 * A dump notes where each value stands, so the first differs from the second in these words; the
 * second and the third do not.
 */
static void
dump_and_read(const struct conf *conf, struct buf *dump, unsigned int times)
{
	struct conf *again;
	struct buf next;
	struct err err;

	buf_init(&next, DUMP_BYTES_MAX);
	if (conf_dump(conf, &next) == 0 && buf_len(&next) <= CONF_FILE_BYTES_MAX) {
		must(times > 0 || span_equal(buf_span(&next), buf_span(dump)));
		must(conf_parse_text(&again, relay_config_schema(), buf_span(&next), "dump",
		    &err) == 0);
		if (times > 0)
			dump_and_read(again, &next, times - 1);
		conf_free(&again);
	}
	buf_fini(&next);
}

void
fuzz_config(struct span input)
{
	struct relay_config *config;
	struct conf *conf;
	struct err err = { .kind = ERR_NONE };
	size_t tls_count;

	if (conf_parse_text(&conf, relay_config_schema(), input, "relayd.conf", &err) < 0) {
		check_error(&err);
		return;
	}
	dump_and_read(conf, NULL, 2);
	tls_count = conf_block_count(conf, "tls");
	conf_free(&conf);
	if (tls_count > 0)
		return;
	config = relay_config_load_text(input, "relayd.conf", &err);
	if (config)
		relay_config_free(&config);
	else
		check_error(&err);
}
