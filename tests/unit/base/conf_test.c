#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/conf.h"
#include "relay/base/mem.h"
#include "relay/base/random.h"

static const char *const tls_choices[] = { "none", "starttls", "implicit", NULL };

static int
check_port(struct span value, struct err *err)
{
	size_t at;

	if (!span_find_last_byte(value, ':', &at))
		return err_set(err, ERR_FORMAT, "expected \"ADDRESS:PORT\"");
	return 0;
}

static const struct conf_option node_options[] = {
	{ .name = "hostname", .type = CONF_STRING, .required = true, .help = "Its name.",
	  .example = "relay.example.net" },
	{ .name = "workers", .type = CONF_INT, .fallback = "2", .min = 1, .max = 64,
	  .help = "Threads that serve." },
	{ .name = "size", .type = CONF_SIZE, .fallback = "10M", .min = 1024, .help = "A size." },
	{ .name = "wait", .type = CONF_DURATION, .fallback = "5m", .min = 1000, .max = 86400000,
	  .help = "A wait." },
	{ .name = "volatile", .type = CONF_BOOL, .fallback = "no", .help = "A question." },
	{ .name = "note", .type = CONF_STRING, .help = "Unset unless written." },
};

static const struct conf_option listener_options[] = {
	{ .name = "address", .type = CONF_STRING_LIST, .required = true, .min = 1, .max = 3,
	  .check = check_port, .example = "[::]:25, 0.0.0.0:25", .help = "Where." },
	{ .name = "tls", .type = CONF_ENUM, .fallback = "starttls", .choices = tls_choices,
	  .help = "Whether." },
	{ .name = "from", .type = CONF_NETWORK_LIST, .fallback = "127.0.0.0/8, ::1",
	  .help = "From whom." },
	{ .name = "net", .type = CONF_NETWORK, .help = "One range." },
	{ .name = "modes", .type = CONF_ENUM_LIST, .choices = tls_choices, .help = "Some." },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct conf_section sections[] = {
	{ .name = "node", .required = true, .options = node_options,
	  .options_count = COUNT(node_options), .help = "The node." },
	{ .name = "listener", .titled = true, .example_title = "mx", .options = listener_options,
	  .options_count = COUNT(listener_options), .help = "A door." },
};

static const struct conf_schema schema = {
	.file_name = "test.conf", .help = "An example.", .sections = sections,
	.sections_count = COUNT(sections),
};

static int
parse(struct conf **conf_out, const char *text, struct err *err)
{
	return conf_parse_text(conf_out, &schema, span_from_cstr(text), "test.conf", err);
}

static void
reads_values_and_defaults(void **state)
{
	static const char text[] =
	    "# a comment\n"
	    "node { hostname = \"relay1\" // and one more\n"
	    "  wait = 1m30s\r\n"
	    "  volatile = on /* and\none more */ }\n"
	    "listener \"mx\" {\n"
	    "\taddress = {\"[::]:25\", 0.0.0.0:25}\n"
	    "\ttls = implicit net = 10.0.0.0/8 modes = {} }\n"
	    "listener 'sub' {\n"
	    "  address = 127.0.0.1:465\n"
	    "}\n";
	struct conf *conf;
	struct err err;

	(void)state;
	if (parse(&conf, text, &err) < 0)
		fail_msg("%s", err.text);

	const struct conf_block *node = conf_block(conf, "node");
	const struct conf_block *mx = conf_block_find(conf, "listener", "mx");
	const struct conf_block *sub = conf_block_at(conf, "listener", 1);

	assert_string_equal(conf_string(node, "hostname"), "relay1");
	assert_int_equal(conf_int(node, "workers"), 2);
	assert_int_equal(conf_size(node, "size"), 10 << 20);
	assert_int_equal(conf_duration_ms(node, "wait"), 90000);
	assert_true(conf_bool(node, "volatile"));
	assert_null(conf_string(node, "note"));
	assert_false(conf_is_set(node, "note"));
	assert_false(conf_is_written(node, "workers"));
	assert_true(conf_is_set(node, "workers"));
	assert_int_equal(conf_line(node, "wait"), 3);
	assert_int_equal(conf_line(node, "workers"), 2);

	assert_int_equal(conf_block_count(conf, "listener"), 2);
	assert_int_equal(conf_block_line(mx), 6);
	assert_int_equal(conf_line(mx, "address"), 7);
	assert_int_equal(conf_list_count(mx, "address"), 2);
	assert_string_equal(conf_list_string(mx, "address", 1), "0.0.0.0:25");
	assert_int_equal(conf_enum(mx, "tls"), 2);
	assert_int_equal(conf_network(mx, "net")->prefix_bits, 104);
	assert_true(conf_is_written(mx, "modes"));
	assert_int_equal(conf_list_count(mx, "modes"), 0);
	assert_string_equal(conf_block_title(sub), "sub");
	assert_int_equal(conf_block_line(sub), 9);
	assert_int_equal(conf_list_count(sub, "from"), 2);
	assert_int_equal(conf_enum(sub, "tls"), 1);
	assert_int_equal(conf_list_network(sub, "from", 1)->prefix_bits, 128);
	assert_false(conf_is_written(sub, "modes"));
	assert_null(conf_block_find(conf, "listener", "none"));

	assert_int_equal(conf_fail(mx, "tls", &err, "needs a %s", "certificate"), -1);
	assert_string_equal(err.text, "test.conf:8: listener \"mx\": tls: needs a certificate");
	conf_free(&conf);
}

#define NODE "node { hostname = a }\n"

static const struct {
	const char *name, *text, *error;
} bad_cases[] = {
	{ "nothing", "", "test.conf:1: expected a section node" },
	{ "an equals sign", "=", "test.conf:1: expected a section's name, not =" },
	{ "a brace", "{", "expected a section's name, not {" },
	{ "a closing brace", "}", "expected a section's name" },
	{ "a comma", ",", "expected a section's name" },
	{ "a text", "\"node\"", "expected a section's name" },
	{ "unknown section", NODE "route { }",
	  "test.conf:2: unknown section route, expected one of "
	  "node, listener" },
	{ "unknown option", "node {\n hostnome = a }",
	  "test.conf:2: unknown option hostnome in node, "
	  "expected one of hostname, workers" },
	{ "a section in a section", "node { node { } }", "unknown option node" },
	{ "required option", "\nnode { }", "test.conf:2: node: hostname: expected a value" },
	{ "no number", "node { hostname = a\nworkers = few }",
	  "test.conf:2: node: workers: expected a "
	  "number from 1 to 64, not \"few\"" },
	{ "number too large", "node { hostname = a workers = 65 }", "a number from 1 to 64" },
	{ "number beyond 64 bits", "node { hostname = a workers = 99999999999999999999 }",
	  "1 to 64" },
	{ "no size", "node { hostname = a size = 10X }", "expected a size" },
	{ "size too small", "node { hostname = a size = 1 }", "a size of at least 1k, not \"1\"" },
	{ "no duration", "node { hostname = a wait = 5 }", "expected a duration such as" },
	{ "duration too long", "node { hostname = a wait = 2d }", "a duration from 1s to 1d" },
	{ "no bool", "node { hostname = a volatile = maybe }",
	  "expected yes or no, not \"maybe\"" },
	{ "no choice", NODE "listener a {\naddress = x:1\ntls = often }",
	  "test.conf:4: listener \"a\": tls: expected one of none, starttls, implicit, not" },
	{ "no network", NODE "listener a { address = x:1 from = {10.0.0.1/8} }",
	  "without bits set" },
	{ "a check of the module's", NODE "listener a { address = x }",
	  "expected \"ADDRESS:PORT\", not \"x\"" },
	{ "empty list", NODE "listener a { address = {} }", "expected at least 1 items" },
	{ "long list", NODE "listener a { address = {a:1,a:2,a:3,a:4} }", "expected at most 3" },
	{ "list for one", "node { hostname = {a} }", "expected one value" },
	{ "+= for one", "node { hostname += a }", "expected = after" },
	{ "no title", NODE "listener { }", "expected a title in quotes" },
	{ "a quote in a title", NODE "listener 'a\"' { }", "without quotes or backslashes" },
	{ "empty title", NODE "listener \"\" { }", "expected a title in quotes" },
	{ "a title too many", "node \"a\" { }", "expected { to begin the section" },
	{ "duplicate title", NODE "listener a { address = x:1 }\nlistener a { address = x:1 }",
	  "test.conf:3: expected section listener a once, it begins on line 2" },
	{ "duplicate section",
	  NODE NODE, "test.conf:2: expected section node once, it begins on line 1" },
	{ "duplicate option", "node { hostname = a\nhostname = b }",
	  "test.conf:2: expected hostname once, it is on line 1 already" },
	{ "open text", "node { hostname = \"a\n }", "expected \" at the end of this text" },
	{ "open single text", "node { hostname = 'a", "expected ' at the end of this text" },
	{ "escaped end", "node { hostname = \"a\\\" }\n", "expected \" at the end" },
	{ "open section", "node { hostname = a\n\n",
	  "test.conf:3: expected an option's name or }, not the "
	  "end of the file" },
	{ "open list", NODE "listener a { address = {a:1", "expected a comma or }, not the end" },
	{ "no comma", NODE "listener a { address = {a:1 b:1} }", "expected a comma or }" },
	{ "list in a list", NODE "listener a { address = {{a:1}} }",
	  "expected an item of the list" },
	{ "open comment", NODE "/* to the end", "test.conf:2: expected \"*/\"" },
	{ "no value", "node { hostname = }", "expected a value, not }" },
	{ "no equals", "node { hostname a }", "expected = after the option's name, not a" },
	{ "a parenthesis", "include(\"/etc/passwd\")", "unknown section include" },
	{ "a strange word", "node { hostname = a*b }",
	  "expected a word, or the value in quotes, not *" },
	{ "environment", "node { hostname = \"${HOME}\" }", "nothing is replaced" },
	{ "a control character", "node { hostname = \"a\001\" }",
	  "not the control character 0x01" },
	{ "a bare cr", "node {\n hostname = a\rb }",
	  "test.conf:2: expected text, not the control" },
	{ "no utf-8", "node { hostname = \"\xff\" }", "expected UTF-8" },
};

static void
refuses_with_a_place_and_what_was_expected(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(bad_cases); i++) {
		struct conf *conf;
		struct err err = { .kind = ERR_NONE };

		if (parse(&conf, bad_cases[i].text, &err) == 0)
			fail_msg("%s: accepted", bad_cases[i].name);
		assert_null(conf);
		if (err.kind != ERR_CONFIG || strncmp(err.text, "test.conf:", 10) != 0 ||
		    !strstr(err.text, bad_cases[i].error))
			fail_msg("%s: said: %s", bad_cases[i].name, err.text);
	}
}

static void
refuses_a_nul_and_what_is_too_long(void **state)
{
	static const char nul[] = "node { hostname = a }\n\0listener";
	struct conf *conf;
	struct err err;
	struct buf text;

	(void)state;
	assert_int_equal(conf_parse_text(&conf, &schema, span_make(nul, sizeof(nul) - 1), "f",
	    &err),
	    -1);
	assert_string_equal(err.text, "f:2: expected text, not the control character 0x00");

	buf_init(&text, 2 * CONF_FILE_BYTES_MAX);
	(void)buf_append_cstr(&text, "node { hostname = \"");
	(void)buf_append_repeat(&text, 'a', CONF_VALUE_BYTES_MAX);
	(void)buf_append_cstr(&text, "\" }");
	assert_int_equal(conf_parse_text(&conf, &schema, buf_span(&text), "f", &err), -1);
	assert_non_null(strstr(err.text, "at most 4096 bytes"));

	buf_clear(&text);
	(void)buf_append_repeat(&text, '{', CONF_FILE_BYTES_MAX);
	assert_int_equal(conf_parse_text(&conf, &schema, buf_span(&text), "f", &err), -1);
	(void)buf_append_repeat(&text, '\n', 1);
	assert_int_equal(conf_parse_text(&conf, &schema, buf_span(&text), "f", &err), -1);
	assert_non_null(strstr(err.text, "at most 1048576 bytes"));
	buf_fini(&text);
}

static void
says_when_the_file_is_not_there(void **state)
{
	struct conf *conf;
	struct err err;

	(void)state;
	assert_int_equal(conf_parse_file(&conf, &schema, "/nonexistent/x.conf", &err), -1);
	assert_int_equal(err.kind, ERR_SYSTEM);
	assert_non_null(strstr(err.text, "/nonexistent/x.conf"));
}

/* What is printed must be read again: the example, and a dump of a dump. */
static void
prints_what_it_can_read(void **state)
{
	struct conf *conf, *again;
	struct buf example, dump, dump_again, manual;
	struct err err;

	(void)state;
	buf_init(&example, 65536);
	buf_init(&dump, 65536);
	buf_init(&dump_again, 65536);
	buf_init(&manual, 65536);
	assert_int_equal(conf_print_example(&schema, &example), 0);
	if (conf_parse_text(&conf, &schema, buf_span(&example), "example", &err) < 0)
		fail_msg("%s in\n%s", err.text, buf_cstr(&example));
	assert_string_equal(conf_list_string(conf_block_at(conf, "listener", 0), "address",
	    0), "[::]:25");
	conf_free(&conf);

	if (parse(&conf, "node { hostname = \"a \\\" \\\\ b\" note = 'x ${y} \"' }\n"
	    "listener \"q r\" { address = {\"a, b:1\"} modes = {} }", &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(conf_string(conf_block(conf, "node"), "hostname"), "a \" \\ b");
	assert_int_equal(conf_dump(conf, &dump), 0);
	if (conf_parse_text(&again, &schema, buf_span(&dump), "dump", &err) < 0)
		fail_msg("%s in\n%s", err.text, buf_cstr(&dump));
	assert_string_equal(conf_string(conf_block(again, "node"), "hostname"), "a \" \\ b");
	assert_string_equal(conf_string(conf_block(again, "node"), "note"), "x ${y} \"");
	assert_non_null(conf_block_find(again, "listener", "q r"));
	assert_string_equal(conf_list_string(conf_block_at(again, "listener", 0), "address",
	    0), "a, b:1");
	assert_int_equal(conf_block_count(again, "listener"), 1);
	conf_free(&conf);
	conf_free(&again);

	assert_int_equal(conf_print_manual(&schema, &manual), 0);
	assert_non_null(strstr(buf_cstr(&manual), ".SS listener"));
	assert_non_null(strstr(buf_cstr(&manual), ".B hostname"));
	buf_fini(&example);
	buf_fini(&dump);
	buf_fini(&dump_again);
	buf_fini(&manual);
}

/* Pieces of the grammar and single bytes thrown together: an error or a tree, no crash. */
static void
survives_noise(void **state)
{
	static const char *const pieces[] = {
		"node", "listener", " ", "\n", "{", "}", "=", "+=", ",", "\"", "'", "\\", "#",
		    "//", "/*",
		"*/", "hostname", "address", "tls", "a", "\"a:1\"", "10M", "${", "(", ")",
		    "include", "\t",
		"node { hostname = a }", "listener \"a\" { address = {\"a:1\"} }",
	};
	struct random_seeded random;
	struct buf text;
	size_t accepted = 0;

	(void)state;
	random_init_seeded(&random, 42);
	buf_init(&text, 4096);
	for (int round = 0; round < 20000; round++) {
		size_t count = random_below(&random.random, 24);
		struct conf *conf;
		struct err err = { .kind = ERR_NONE };

		buf_clear(&text);
		for (size_t i = 0; i < count; i++) {
			if (random_below(&random.random, 16) == 0)
				(void)buf_append_byte(&text, (char)random_u64(&random.random));
			else
				(void)buf_append_cstr(&text,
				    pieces[random_below(&random.random, COUNT(pieces))]);
			if (random_below(&random.random, 2) == 0)
				(void)buf_append_byte(&text, ' ');
		}
		if (conf_parse_text(&conf, &schema, buf_span(&text), "noise", &err) == 0) {
			accepted++;
			conf_free(&conf);
		} else if (strncmp(err.text, "noise:", 6) != 0) {
			fail_msg("seed 42 round %d: %s", round, err.text);
		}
	}
	assert_true(accepted > 0);
	buf_fini(&text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_values_and_defaults),
		cmocka_unit_test(refuses_with_a_place_and_what_was_expected),
		cmocka_unit_test(refuses_a_nul_and_what_is_too_long),
		cmocka_unit_test(says_when_the_file_is_not_there),
		cmocka_unit_test(prints_what_it_can_read),
		cmocka_unit_test(survives_noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
