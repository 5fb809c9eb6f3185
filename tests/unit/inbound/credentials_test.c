#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/inbound/credentials.h"

/* "secret", cheaply. */
#define HASH "$6$rounds=1000$saltsalt$rcPFmKSlC2YQ.wXSTfUhxLF.KxlgL3bLFG8tOLzJ2Rj6qz8bZ5W9g0" \
	     "W7uYvU8B3GGkY5kmuF3u0dI0yT1K0bX/"
#define KEYS "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmt" \
	     "bsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static const struct {
	const char *name, *text, *error;        /* NULL: it is good */
	size_t count;
} files[] = {
	{ "nobody", "", NULL, 0 },
	{ "comments", "# x\n\n  \n#y:z\n", NULL, 0 },
	{ "a hash", "ann:" HASH "\n", NULL, 1 },
	{ "without a last line end", "ann:" HASH, NULL, 1 },
	{ "keys", "user:" KEYS "\n", NULL, 1 },
	{ "both, and lines of another system", "ann:" HASH "\r\nuser:" KEYS "\r\n", NULL, 2 },
	{ "an address", "ann@example.net:" HASH "\n", NULL, 1 },
	{ "no colon", "ann:" HASH "\nbob\n", "users:2: expected user:secret", 0 },
	{ "no name", "#\n\n:" HASH "\n", "users:3: expected a user's name of 1", 0 },
	{ "a control in the name", "a\tb:" HASH "\n",
	  "users:1: expected a user's name of UTF-8", 0 },
	{ "a name in Latin-1", "caf\xe9:" HASH "\n",
	  "users:1: expected a user's name of UTF-8", 0 },
	{ "twice", "ann:" HASH "\nbob:" HASH "\nann:" HASH "\n",
	  "users:3: the user stands in line 1 already", 0 },
	{ "the password itself", "ann:secret\n", "users:1: expected a hash of crypt(3)", 0 },
	{ "nothing behind the colon", "ann:\n", "users:1: expected a hash", 0 },
	{ "locked", "ann:!\n", "users:1: expected a hash", 0 },
	{ "DES", "ann:abJnggxhB/yWI\n", "users:1: expected a hash", 0 },
	{ "MD5", "ann:$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/\n", "users:1: expected a hash", 0 },
	{ "only a prefix", "ann:$y$\n", "users:1: expected a hash", 0 },
	{ "keys without salt", "ann:SCRAM-SHA-256$4096$a:b\n", "users:1: expected SCRAM", 0 },
	{ "keys that are too cheap", "ann:SCRAM-SHA-256$1000:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3Otc"
	  "Pnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n",
	  "users:1: expected SCRAM", 0 },
	{ "keys that are short", "ann:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d:wfPL\n",
	  "users:1: expected SCRAM", 0 },
	{ "keys that are no base64", "ann:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$?:?\n",
	  "users:1: expected SCRAM", 0 },
	{ "keys of another digest", "ann:SCRAM-SHA-1$4096:x$y:z\n", "users:1: expected a hash", 0 },
};

static void
test_files(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct err err = { 0 };
		struct credentials *it = credentials_parse(span_from_cstr(files[i].text), "users",
		    &err);

		if ((it == NULL) != (files[i].error != NULL))
			fail_msg("%s: %s", files[i].name, it ? "taken" : err.text);
		if (it)
			assert_int_equal(credentials_count(it), files[i].count);
		else if (strncmp(err.text, files[i].error, strlen(files[i].error)) != 0)
			fail_msg("%s: \"%s\"", files[i].name, err.text);
		credentials_free(&it);
	}
}

/* What we make ourselves is taken, and opens to that password alone. */
static void
test_made(void **state)
{
	struct random_seeded random;
	struct credentials *it;
	struct buf text;
	struct err err;

	(void)state;
	random_init_seeded(&random, 1);
	buf_init(&text, 4096);
	assert_int_equal(credentials_make(SPAN("ann"), SPAN("secret"), false, &random.random, &text,
	    &err), 0);
	assert_true(span_starts_with(buf_span(&text), SPAN("ann:$y$")));
	(void)buf_append_byte(&text, '\n');
	assert_int_equal(credentials_make(SPAN("bob"), SPAN("geheim: \xc3\xa9"), true,
	    &random.random, &text, &err), 0);
	it = credentials_parse(buf_span(&text), "users", &err);
	assert_non_null(it);
	assert_true(credentials_have_scram(it));
	assert_true(credentials_password_is(it, SPAN("ann"), SPAN("secret")));
	assert_true(credentials_password_is(it, SPAN("bob"), SPAN("geheim: \xc3\xa9")));
	assert_false(credentials_password_is(it, SPAN("ann"), SPAN("geheim: \xc3\xa9")));
	assert_false(credentials_password_is(it, SPAN("ann"), SPAN("")));
	assert_false(credentials_password_is(it, SPAN("ann"), SPAN("Secret")));
	assert_false(credentials_password_is(it, SPAN("Ann"), SPAN("secret")));
	assert_false(credentials_password_is(it, SPAN("bob"), SPAN("secret")));
	assert_false(credentials_password_is(it, SPAN("eve"), SPAN("secret")));
	assert_false(credentials_password_is(it, SPAN("carl"), SPAN("geheim: \xc3\xa9")));
	credentials_free(&it);
	assert_int_equal(credentials_make(SPAN("a:b"), SPAN("x"), false, &random.random, &text,
	    &err), -1);
	assert_int_equal(credentials_make(SPAN("ann"), SPAN(""), false, &random.random, &text,
	    &err), -1);
	assert_int_equal(credentials_make(SPAN("ann"), span_make("a\0b", 3), true, &random.random,
	    &text, &err), -1);
	buf_fini(&text);
}

/* Nobody can tell who has an account by the salt that he is given. */
static void
test_unknown(void **state)
{
	struct sasl_scram user, eve, again, bob;
	struct credentials *it, *other;
	struct err err;

	(void)state;
	it = credentials_parse(SPAN("user:" KEYS "\n"), "users", &err);
	other = credentials_parse(SPAN("\n\nuser:" KEYS "\n"), "users", &err);
	assert_non_null(it);
	assert_non_null(other);
	credentials_scram_of(it, SPAN("user"), &user);
	assert_int_equal(user.iterations, 4096);
	credentials_scram_of(it, SPAN("eve"), &eve);
	credentials_scram_of(it, SPAN("eve"), &again);
	credentials_scram_of(it, SPAN("bob"), &bob);
	assert_memory_equal(&eve, &again, sizeof(eve));
	assert_int_equal(eve.iterations, user.iterations);
	assert_int_equal(eve.salt_len, user.salt_len);
	assert_memory_not_equal(eve.salt, bob.salt, eve.salt_len);
	assert_memory_not_equal(eve.stored_key, bob.stored_key, SASL_KEY_BYTES);
	assert_true(credentials_password_is(it, SPAN("user"), SPAN("pencil")));
	assert_false(credentials_password_is(it, SPAN("eve"), SPAN("pencil")));
	credentials_scram_of(other, SPAN("eve"), &again);
	assert_memory_not_equal(eve.salt, again.salt, eve.salt_len);
	credentials_free(&it);
	credentials_free(&other);
	it = credentials_parse(SPAN(""), "users", &err);
	assert_false(credentials_have_scram(it));
	credentials_scram_of(it, SPAN("eve"), &eve);
	assert_true(eve.iterations >= SASL_ITERATIONS_MIN);
	assert_false(credentials_password_is(it, SPAN("eve"), SPAN("x")));
	credentials_free(&it);
}

static void
test_file_of_all(void **state)
{
	char path[] = "/tmp/chapar-credentials-XXXXXX";
	int fd = mkstemp(path);
	struct credentials *it;
	struct err err;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "ann:" HASH "\n", sizeof("ann:" HASH "\n") - 1),
	    sizeof("ann:" HASH "\n") - 1);
	assert_int_equal(close(fd), 0);
	assert_int_equal(chmod(path, 0644), 0);
	assert_null(credentials_load(path, &err));
	assert_non_null(strstr(err.text, ": everybody may touch this file (mode 644)"));
	assert_int_equal(chmod(path, 0640), 0);
	it = credentials_load(path, &err);
	assert_non_null(it);
	credentials_free(&it);
	assert_int_equal(unlink(path), 0);
	assert_null(credentials_load(path, &err));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_made),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_file_of_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
