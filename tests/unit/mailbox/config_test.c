/*
 * The configuration of mailboxd: what is wrong is named with its line, and each address finds
 * its boxes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "mailbox/mailbox_config.h"
#include "relay/base/buf.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Lines 1 to 3 of every configuration below; a case adds its own from line 4 on. */
#define GOOD                                                                    \
	"node {\n  hostname = \"mbox.example.net\" }\n"                         \
	"listener \"lmtp\" { address = {\"127.0.0.1:0\"} }\n"
#define BOX(address) "box \"" address "\" { file = \"/b/" address "\" }\n"

static const struct {
	const char *name;
	const char *text;
	unsigned line;
	const char *words;
} broken[] = {
	{ "an unknown section", GOOD "bocks \"a@b\" { }\n", 4, "bocks" },
	{ "an unknown option", GOOD "box \"a@example.net\" {\n  fail = \"/b\" }\n", 5, "fail" },
	{ "no box at all", GOOD, 1, "section box" },
	{ "no host name", "node {\n  spool = \"/s\" }\n", 1, "hostname" },
	{ "a box without a place", GOOD "box \"a@example.net\" { }\n", 4,
	  "either file or maildir" },
	{ "a box with two", GOOD "box \"a@example.net\" { file = \"/b\"\n  maildir = \"/m\" }\n",
	  5, "either file or maildir" },
	{ "a directory for a file", GOOD "box \"a@example.net\" {\n  file = \"/b/\" }\n", 5,
	  "name of a file" },
	{ "no address", GOOD "box \"a b@example.net\" { file = \"/b\" }\n", 4, "a b@" },
	{ "one box twice", GOOD BOX("a@example.net") BOX("A@EXAMPLE.NET"), 5, "A@EXAMPLE" },
	{ "an alias over a box", GOOD BOX("a@example.net")
	  "alias \"a@example.net\" { to = {\"a@example.net\"} }\n", 5, "a@example.net" },
	{ "nobody of this name", GOOD "box \"a@example.net\" { file = \"/b\"\n"
	  "  owner = \"no such user\" }\n", 5, "no such user" },
	{ "a time that is none", GOOD "box \"a@example.net\" { file = \"/b\"\n"
	  "  lock_wait = \"soon\" }\n", 5, "30s" },
	{ "too long a time", GOOD "boxes { lock_wait = 1d }\n", 4, "10m" },
	{ "an alias to nobody", GOOD BOX("a@example.net")
	  "alias \"x@example.net\" { to = {\"y@example.net\"} }\n", 5, "y@example.net" },
	{ "an alias elsewhere, without a way", GOOD BOX("a@example.net")
	  "alias \"x@example.net\" { to = {\"y@example.com\"} }\n", 5, "y@example.com" },
	{ "aliases in a circle", GOOD BOX("a@example.net")
	  "alias \"x@example.net\" { to = {\"y@example.net\"} }\n"
	  "alias \"y@example.net\" { to = {\"x@example.net\"} }\n", 5, "x@example.net" },
	{ "an alias for nobody", GOOD BOX("a@example.net")
	  "alias \"x@example.net\" { }\n", 5, "to" },
	{ "a postmaster without a box", GOOD BOX("a@example.net")
	  "boxes { postmaster = \"nobody@example.net\" }\n", 5, "postmaster" },
	{ "users, which a mailbox node has not", GOOD BOX("a@example.net") "listener \"two\" {\n"
	  "  address = {\"127.0.0.2:0\"}\n  auth = offered\n  auth_in_clear = yes }\n",
	  7, "no users" },
	{ "a way without an address", GOOD BOX("a@example.net")
	  "forward {\n  host = \"r.example\" }\n", 5, "to" },
	{ "a way by a name", GOOD BOX("a@example.net")
	  "forward { host = \"r.example\"\n  to = {\"r:25\"} }\n", 6,
	  "an address such as" },
	{ "TLS without a certificate", GOOD BOX("a@example.net")
	  "listener \"two\" { address = {\"127.0.0.2:0\"}\n  tls = starttls }\n", 5, "tls" },
};

static struct mailbox_config *
load(const char *text, struct err *err)
{
	struct mailbox_config *config = NULL;
	struct conf *conf;

	if (conf_parse_text(&conf, &mailbox_config_schema, span_from_cstr(text),
	    "mailboxd.conf", err) < 0)
		return NULL;
	if (mailbox_config_from(&config, conf, err) < 0)
		assert_null(config);
	conf_free(&conf);
	return config;
}

static void
test_broken(void **state)
{
	size_t failures = 0;

	(void)state;
	for (size_t i = 0; i < COUNT(broken); i++) {
		struct err err = { 0 };
		struct mailbox_config *config = load(broken[i].text, &err);
		char place[64];

		(void)snprintf(place, sizeof(place), "mailboxd.conf:%u: ", broken[i].line);
		if (config || strncmp(err.text, place, strlen(place)) != 0 ||
		    !strstr(err.text, broken[i].words) || strchr(err.text, '\n')) {
			print_error("%s: %s\n", broken[i].name,
			    config ? "taken for good" : err.text);
			failures++;
		}
		mailbox_config_unref(&config);
	}
	assert_int_equal(failures, 0);
}

/* Each option of --example is right as it stands there, without its #. */
static void
test_example_is_right(void **state)
{
	struct buf example;
	struct conf *conf;
	struct err err;

	(void)state;
	buf_init(&example, 1 << 20);
	assert_int_equal(conf_print_example(&mailbox_config_schema, &example), 0);
	for (size_t i = example.start + 1; i < example.end; i++)
		if (example.data[i] == '#' && example.data[i - 1] == '\t' &&
		    example.data[i + 1] != ' ')
			example.data[i] = ' ';
	if (conf_parse_text(&conf, &mailbox_config_schema, buf_span(&example), "example",
	    &err) < 0)
		fail_msg("%s", err.text);
	conf_free(&conf);
	buf_fini(&example);
}

#define BOXES                                                                   \
	GOOD "boxes { separators = \"+-\" }\n"                                  \
	BOX("ann@example.net") BOX("bob@example.net") BOX("bob+list@example.net") \
	BOX("@catch.example") BOX("@*.catch.example")                           \
	"alias \"both@example.net\" { to = {\"ann@example.net\", \"bob@example.net\"} }\n" \
	"alias \"all@example.net\" { to = {\"both@example.net\", \"ann@example.net\"} }\n" \
	"alias \"away@example.net\" { to = {\"ann@example.net\", \"x@elsewhere.example\"} }\n" \
	"forward { to = {\"127.0.0.1:25\"}  host = \"r.example\"  tls = none }\n"

/* An address, and the boxes that it finds. */
static const struct {
	const char *address, *found;
} lookups[] = {
	{ "ann@example.net", "/b/ann@example.net" },
	{ "ANN@Example.NET", "/b/ann@example.net" },
	{ "ann+x@example.net", "/b/ann@example.net" },
	{ "ann-x+y@example.net", "/b/ann@example.net" },
	{ "bob+list@example.net", "/b/bob+list@example.net" },
	{ "bob+other@example.net", "/b/bob@example.net" },
	{ "carl@example.net", "" },
	{ "ann@example.com", "" },
	{ "ann@sub.example.net", "" },
	{ "both@example.net", "/b/ann@example.net /b/bob@example.net" },
	{ "both+x@example.net", "/b/ann@example.net /b/bob@example.net" },
	{ "all@example.net", "/b/ann@example.net /b/bob@example.net" },
	{ "away@example.net", "/b/ann@example.net >x@elsewhere.example" },
	{ "postmaster@example.net", "/b/ann@example.net" },
	{ "Postmaster@catch.example", "/b/ann@example.net" },
	{ "postmaster@example.com", "" },
	{ "anybody@catch.example", "/b/@catch.example" },
	{ "any@sub.catch.example", "/b/@*.catch.example" },
	{ "any@a.b.catch.example", "/b/@*.catch.example" },
	{ "any@xcatch.example", "" },
};

static void
find(const struct mailbox_config *config, const char *text, char found[256])
{
	const struct boxes_target *targets;
	struct address address;
	struct arena arena;
	size_t len = 0;

	arena_init(&arena, 0);
	assert_int_equal(address_parse(&address, span_from_cstr(text), false, &arena), ADDRESS_OK);
	found[0] = '\0';
	for (size_t i = 0, count = boxes_find(config->boxes, &address, &targets); i < count; i++)
		len += (size_t)snprintf(found + len, 256 - len, "%s%s%.*s", i ? " " : "",
		    targets[i].box ? targets[i].box->path : ">",
		    targets[i].box ? 0 : (int)targets[i].forward_to.len,
		    targets[i].box ? "" : targets[i].forward_to.data);
	arena_fini(&arena);
}

static void
test_lookups(void **state)
{
	struct err err;
	struct mailbox_config *config = load(BOXES, &err);
	size_t failures = 0;

	(void)state;
	if (!config)
		fail_msg("%s", err.text);
	for (size_t i = 0; i < COUNT(lookups); i++) {
		char found[256];

		find(config, lookups[i].address, found);
		if (strcmp(found, lookups[i].found) != 0) {
			print_error("%s: \"%s\"\n", lookups[i].address, found);
			failures++;
		}
	}
	assert_int_equal(failures, 0);
	mailbox_config_unref(&config);
	assert_null(config);
}

/* What a box does not say itself is said by the section boxes. */
static void
test_defaults(void **state)
{
	struct err err;
	struct mailbox_config *config = load(GOOD "boxes { quota = 5M  lock_wait = 7s }\n"
	    BOX("ann@example.net") "box \"bob@example.net\" { file = \"/b\"  quota = 0 }\n", &err);

	(void)state;
	if (!config)
		fail_msg("%s", err.text);
	assert_int_equal(boxes_count(config->boxes), 2);
	for (size_t i = 0; i < 2; i++) {
		const struct box *box = boxes_at(config->boxes, i);
		bool is_bob = span_equal_cstr(box->address, "bob@example.net");

		assert_int_equal(box->quota.bytes, is_bob ? 0 : 5 << 20);
		assert_int_equal(box->lock_wait_ms, 7000);
		assert_true(box->dot_lock);
	}
	mailbox_config_unref(&config);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_example_is_right),
		cmocka_unit_test(test_lookups),
		cmocka_unit_test(test_defaults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
