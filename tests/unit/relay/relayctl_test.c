/* relayctl: its table of verbs, its command line, what it shows, and its manual. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/buf.h"
#include "relay/base/file.h"
#include "relay/relayctl_print.h"
#include "relay/relayctl_socket.h"
#include "relay/relayctl_verbs.h"

enum { OUTPUT_BYTES_MAX = 65536 };

/* ------------------------------------------------------------------ verbs */

static const struct {
	const char *name, *word, *verb;
} verb_cases[] = {
	{ "takes a whole verb", "status", "status" },
	{ "takes a beginning that only one has", "sta", "status" },
	{ "takes one letter if that is enough", "e", "explain" },
	{ "tells release from retry by its third letter", "rel", NULL },
	{ "takes four letters", "rele", "release" },
	{ "refuses what several have", "re", NULL },
	{ "refuses the empty word", "", NULL },
	{ "refuses an unknown word", "delete", NULL },
	{ "refuses a verb with more behind it", "statuses", NULL },
};

static void
test_verbs(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(verb_cases) / sizeof(verb_cases[0]); i++) {
		struct err err = { 0 };
		const struct relayctl_verb *verb = relayctl_verb_find(verb_cases[i].word, &err);

		if (!verb != !verb_cases[i].verb ||
		    (verb && strcmp(verb->name, verb_cases[i].verb) != 0))
			fail_msg("%s: got %s", verb_cases[i].name, verb ? verb->name : "none");
		if (!verb)
			assert_true(err.text[0] != '\0');
	}
}

/* ------------------------------------------------------------------ the socket */

static const struct {
	const char *name, *text, *expected;     /* NULL: none is named */
} socket_cases[] = {
	{ "in quotes", "node { control = \"/a/b\" }", "/a/b" },
	{ "in single quotes", "node { control = '/a/b' }", "/a/b" },
	{ "without quotes", "node { control = /a/b }", "/a/b" },
	{ "without blanks", "node{control=/a/b}", "/a/b" },
	{ "behind others", "node {\n\thostname = \"x\"\n\tcontrol = \"/a\"\n}", "/a" },
	{ "behind a list", "accept { from = {\"a\", \"b\"} }\nnode { control = \"/a\" }", "/a" },
	{ "in the section node alone", "tls \"x\" { control = \"/no\" }", NULL },
	{ "not of a section called so", "route \"node\" { control = \"/no\" }", NULL },
	{ "not deeper", "node { x { control = \"/no\" } }", NULL },
	{ "not in a comment", "node {\n# control = \"/no\"\n// control = \"/no\"\n"
	    "/* control = \"/no\" */ control = \"/a\" }", "/a" },
	{ "not in a text", "node { hostname = \"control = /no\" }", NULL },
	{ "not behind a quoted brace", "node { hostname = \"}\" control = \"/a\" }", "/a" },
	{ "not another option", "node { control_group = \"adm\" }", NULL },
	{ "not an empty one", "node { control = \"\" }", NULL },
	{ "nothing in nothing", "", NULL },
	{ "nothing in an open comment", "node { /* control = /no", NULL },
	{ "nothing in an open text", "node { hostname = \"control = /no", NULL },
	{ "nothing behind a backslash at the end", "node { hostname = \"\\", NULL },
	{ "nothing behind braces that close nothing", "}}} node { control = \"/a\" }", "/a" },
};

static void
test_socket_in_text(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(socket_cases) / sizeof(socket_cases[0]); i++) {
		struct span got = SPAN("");
		bool found = relayctl_socket_in_text(span_from_cstr(socket_cases[i].text), &got);

		if (found != (socket_cases[i].expected != NULL) ||
		    (found && !span_equal_cstr(got, socket_cases[i].expected)))
			fail_msg("%s: got %.*s", socket_cases[i].name, (int)got.len, got.data);
	}
}

static void
write_file(const char *directory, const char *name, const char *text)
{
	char path[128];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "w");
	assert_non_null(file);
	(void)fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static void
test_socket_of_a_machine(void **state)
{
	char directory[] = "/tmp/relayctl_test_XXXXXX";
	char path[128], wanted[128];
	struct buf got;

	(void)state;
	assert_non_null(mkdtemp(directory));
	buf_init(&got, 4096);
	relayctl_socket_find(directory, &got);
	assert_string_equal(buf_cstr(&got), "/run/chapar/relayd.sock");
	write_file(directory, "mailboxd.conf", "node { hostname = \"x\" }");
	relayctl_socket_find(directory, &got);
	assert_string_equal(buf_cstr(&got), "/run/chapar/mailboxd.sock");
	write_file(directory, "relayd.conf", "node { control = \"relay.sock\" }");
	relayctl_socket_find(directory, &got);
	(void)snprintf(wanted, sizeof(wanted), "%s/relay.sock", directory);
	assert_string_equal(buf_cstr(&got), wanted);
	buf_fini(&got);
	(void)snprintf(path, sizeof(path), "%s/mailboxd.conf", directory);
	assert_int_equal(unlink(path), 0);
	(void)snprintf(path, sizeof(path), "%s/relayd.conf", directory);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(directory), 0);
}

/* ------------------------------------------------------------------ arguments */

static const struct {
	const char *name, *verb;
	const char *words[6];
	const char *expected;           /* NULL: refused */
} args_cases[] = {
	{ "an empty set", "list", { NULL }, "{}" },
	{ "filters as they are", "list", { "from=a@*", "age>2h" },
	  "{\"filters\":[\"from=a@*\",\"age>2h\"]}" },
	{ "an id as a filter, in upper case", "hold", { "0sy8ve461a000" },
	  "{\"filters\":[\"id=0SY8VE461A000\"]}" },
	{ "a limit", "list", { "--limit", "10" }, "{\"limit\":10}" },
	{ "a dry run in short", "drop", { "-n", "--all" }, "{\"dry_run\":true,\"all\":true}" },
	{ "a dry run in full", "drop", { "--dry-run" }, "{\"dry_run\":true}" },
	{ "an id", "show", { "0SY8VE461A000" }, "{\"id\":\"0SY8VE461A000\"}" },
	{ "the header", "cat", { "0SY8VE461A000", "-h" },
	  "{\"id\":\"0SY8VE461A000\",\"part\":\"header\"}" },
	{ "a reason and a time", "suspend", { "mbox", "--reason", "why not", "--for", "5m" },
	  "{\"dest\":\"mbox\",\"reason\":\"why not\",\"for\":\"5m\"}" },
	{ "a sender", "route", { "a@b", "--from", "c@d" }, "{\"to\":\"a@b\",\"from\":\"c@d\"}" },
	{ "no limit of zero", "list", { "--limit", "0" }, NULL },
	{ "no limit of words", "list", { "--limit", "many" }, NULL },
	{ "no limit without a number", "list", { "--limit" }, NULL },
	{ "no dry run of a list", "list", { "-n" }, NULL },
	{ "no option that nobody knows", "drop", { "--force" }, NULL },
	{ "no status of something", "status", { "x" }, NULL },
	{ "no show of nothing", "show", { NULL }, NULL },
	{ "no show of two", "show", { "0SY8VE461A000", "0SY8VE461A001" }, NULL },
	{ "no show of what is no id", "show", { "0SY8VE461A00" }, NULL },
	{ "no two destinations", "dest", { "a", "b" }, NULL },
};

static void
test_args(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(args_cases) / sizeof(args_cases[0]); i++) {
		struct err err = { 0 };
		struct buf out;
		char *words[6];
		size_t count = 0;

		while (count < 6 && args_cases[i].words[count]) {
			words[count] = strdup(args_cases[i].words[count]);
			count++;
		}
		struct json *args = relayctl_verb_args(
		    relayctl_verb_find(args_cases[i].verb, &err), words, count, &err);

		buf_init(&out, OUTPUT_BYTES_MAX);
		if (args)
			assert_int_equal(json_print(args, &out), 0);
		if (!args != !args_cases[i].expected ||
		    (args && strcmp(buf_cstr(&out), args_cases[i].expected) != 0))
			fail_msg("%s: got %s%s", args_cases[i].name,
			    args ? buf_cstr(&out) : "refused: ", err.text);
		buf_fini(&out);
		json_free(&args);
		while (count > 0)
			free(words[--count]);
	}
}

/* ------------------------------------------------------------------ what is shown */

static const struct {
	const char *name;
	relayctl_print *print;
	const char *input, *expected;
} print_cases[] = {
	{ "a message that waits", relayctl_print_row,
	  "{\"queue_id\":\"0SY8VE461A000\",\"age_ms\":8040000,\"message_size\":3789,\"attempts\":5,"
	  "\"state\":\"waiting\",\"reason\":\"waiting-retry\",\"next_ms\":360000,"
	  "\"destination\":\"mx.example.net\",\"sender\":\"a@x.org\",\"rcpt_count\":4,"
	  "\"recipients\":[{\"address\":\"b@example.net\",\"delay_reason\":\"451 4.7.1 later\","
	  "\"host\":\"mx1[192.0.2.7]:25\"}]}",
	  "0SY8VE461A000   2h14m   3.7 kB   5 waiting       6m mx.example.net       "
	  "a@x.org -> b@example.net (+3)\n"
	  "              waiting-retry: 451 4.7.1 later (mx1[192.0.2.7]:25)\n" },
	{ "a notification that is held", relayctl_print_row,
	  "{\"queue_id\":\"0SY8VE461A000\",\"age_ms\":10,\"message_size\":10,\"attempts\":0,"
	  "\"state\":\"held\",\"reason\":\"held\",\"because\":\"an operator holds it\","
	  "\"next_ms\":5,\"destination\":\"\",\"sender\":\"\",\"rcpt_count\":1,"
	  "\"recipients\":[{\"address\":\"b@c\"}]}",
	  "0SY8VE461A000      1s     10 B   0 held                                  "
	  "<> -> b@c\n              held: an operator holds it\n" },
	{ "no escape sequence of a stranger", relayctl_print_fields,
	  "{\"words\":\"\\u001b[2Jgone\\u0007\\u009b1m\\r\\n\"}",
	  "words              ?[2Jgone??1m??\n" },
	{ "the foot of a list", relayctl_print_list_end,
	  "{\"matched\":1,\"queued\":3212,\"held\":12}",
	  "-- 1 shown, 3212 queued, 12 held\n" },
	{ "a count", relayctl_print_count_end, "{\"matched\":0,\"bytes\":0}",
	    "0 messages (0 B)\n" },
	{ "fields of every kind", relayctl_print_fields,
	  "{\"a\":1,\"b\":true,\"c\":{\"d\":\"e\"},\"f\":[]}",
	  "a                  1\nb                  yes\nc                  \n"
	  "  d                e\n"
	  "f                  \n" },
	{ "an item without anything", relayctl_print_row, "{}",
	  "                   0s      0 B   0                                       <> -> ?\n" },
};

static void
test_print(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(print_cases) / sizeof(print_cases[0]); i++) {
		struct json *json = NULL;
		struct err err;
		struct buf out;

		buf_init(&out, OUTPUT_BYTES_MAX);
		if (json_parse(span_from_cstr(print_cases[i].input), &json, &err) < 0)
			fail_msg("%s: %s", print_cases[i].name, err.text);
		print_cases[i].print(&out, json);
		if (strcmp(buf_cstr(&out), print_cases[i].expected) != 0)
			fail_msg("%s:\ngot      [%s]\nexpected [%s]", print_cases[i].name,
			    buf_cstr(&out), print_cases[i].expected);
		buf_fini(&out);
		json_free(&json);
	}
}

/* ------------------------------------------------------------------ the manual */

/* The verb stands where its paragraph of the manual begins. */
static bool
manual_has_verb(struct span manual, const char *verb)
{
	struct span line;

	while (span_take_part(&manual, '\n', &line)) {
		struct span macro;
		struct span word;

		if (!span_take_word(&line, &macro) || !span_take_word(&line, &word))
			continue;
		if (span_equal_cstr(word, "\""))
			(void)span_take_word(&line, &word);
		if (macro.len >= 2 && macro.data[0] == '.' && macro.data[1] == 'B' &&
		    span_equal_cstr(word, verb))
			return true;
	}
	return false;
}

static void
test_manual_has_every_verb(void **state)
{
	struct buf manual;
	struct err err;
	size_t count;
	const struct relayctl_verb *verbs = relayctl_verbs(&count);

	(void)state;
	buf_init(&manual, OUTPUT_BYTES_MAX);
	if (file_read_whole(CHAPAR_SOURCE_DIR "/relay/relayctl.8", &manual, &err) < 0)
		fail_msg("%s", err.text);
	for (size_t i = 0; i < count; i++)
		if (!manual_has_verb(buf_span(&manual), verbs[i].name))
			fail_msg("relayctl.8 says nothing of %s", verbs[i].name);
	assert_false(manual_has_verb(buf_span(&manual), "no-such-verb"));
	buf_fini(&manual);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verbs),
		cmocka_unit_test(test_socket_in_text),
		cmocka_unit_test(test_socket_of_a_machine),
		cmocka_unit_test(test_args),
		cmocka_unit_test(test_print),
		cmocka_unit_test(test_manual_has_every_verb),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
