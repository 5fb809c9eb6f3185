#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/base64.h"
#include "relay/session/sasl.h"

/* One user, ann, whose password is "secret"; keys as RFC 5803 has them. */
struct users {
	struct sasl_scram scram;
	unsigned int asked;
};

static bool
password_is(void *ctx, struct span user, struct span password)
{
	struct users *users = ctx;

	users->asked++;
	return span_equal_cstr(user, "ann") && span_equal_cstr(password, "secret");
}

static void
scram_of(void *ctx, struct span user, struct sasl_scram *scram_out)
{
	struct users *users = ctx;

	users->asked++;
	*scram_out = users->scram;
	if (!span_equal_cstr(user, "ann"))
		memset(scram_out->stored_key, 1, SASL_KEY_BYTES);
}

static const struct sasl_server_ops ops = { .password_is = password_is, .scram_of = scram_of };

static void
users_init(struct users *users)
{
	*users = (struct users){ .scram = { .iterations = 4096, .salt_len = 8,
	    .salt = "saltsalt" } };
	assert_int_equal(sasl_scram_derive(SPAN("secret"), &users->scram), 0);
}

/* ---- the server, word by word */

#define NONE { NULL, 0 }
#define TEXT(text) { text, sizeof(text) - 1 }

static const struct {
	const char *name, *mechanism, *identity;
	struct span responses[3];       /* the first is NONE where no initial one came */
	enum sasl_step steps[3];
	const char *challenges[3];
	unsigned int asked;
} cases[] = {
	{ "plain at once", "PLAIN", "", { TEXT("\0ann\0secret") }, { SASL_DONE }, { 0 }, 1 },
	{ "plain when asked", "PLAIN", "", { NONE, TEXT("\0ann\0secret") },
	  { SASL_CHALLENGE, SASL_DONE }, { "" }, 1 },
	{ "plain as himself", "PLAIN", "", { TEXT("ann\0ann\0secret") }, { SASL_DONE }, { 0 }, 1 },
	{ "plain as another", "PLAIN", "", { TEXT("bob\0ann\0secret") }, { SASL_REFUSED }, { 0 },
	  1 },
	{ "plain, wrong password", "PLAIN", "", { TEXT("\0ann\0Secret") }, { SASL_REFUSED },
	  { 0 }, 1 },
	{ "plain, longer password", "PLAIN", "", { TEXT("\0ann\0secrets") }, { SASL_REFUSED },
	  { 0 },
	  1 },
	{ "plain, nobody", "PLAIN", "", { TEXT("\0\0secret") }, { SASL_REFUSED }, { 0 }, 0 },
	{ "plain, nobody knows him", "PLAIN", "", { TEXT("\0bob\0secret") }, { SASL_REFUSED },
	  { 0 },
	  1 },
	{ "plain, no password", "PLAIN", "", { TEXT("\0ann\0") }, { SASL_REFUSED }, { 0 }, 1 },
	{ "plain, no second zero", "PLAIN", "", { TEXT("\0ann") }, { SASL_MALFORMED }, { 0 }, 0 },
	{ "plain, no zero", "PLAIN", "", { TEXT("annsecret") }, { SASL_MALFORMED }, { 0 }, 0 },
	{ "plain, a zero too many", "PLAIN", "", { TEXT("\0ann\0sec\0ret") }, { SASL_MALFORMED },
	  { 0 }, 0 },
	{ "plain, a line end in the name", "PLAIN", "", { TEXT("\0an\nn\0secret") },
	  { SASL_REFUSED }, { 0 }, 0 },
	{ "login", "LOGIN", "", { NONE, TEXT("ann"), TEXT("secret") },
	  { SASL_CHALLENGE, SASL_CHALLENGE, SASL_DONE }, { "User Name", "Password" }, 1 },
	{ "login with the name at once", "LOGIN", "", { TEXT("ann"), TEXT("secret") },
	  { SASL_CHALLENGE, SASL_DONE }, { "Password" }, 1 },
	{ "login, wrong password", "LOGIN", "", { TEXT("ann"), TEXT("sekret") },
	  { SASL_CHALLENGE, SASL_REFUSED }, { "Password" }, 1 },
	{ "login, empty name", "LOGIN", "", { NONE, TEXT("") },
	  { SASL_CHALLENGE, SASL_MALFORMED }, { "User Name" }, 0 },
	{ "login, a zero in the password", "LOGIN", "", { TEXT("ann"), TEXT("secret\0x") },
	  { SASL_CHALLENGE, SASL_MALFORMED }, { "Password" }, 0 },
	{ "external", "EXTERNAL", "ann", { TEXT("") }, { SASL_DONE }, { 0 }, 0 },
	{ "external when asked", "EXTERNAL", "ann", { NONE, TEXT("") },
	  { SASL_CHALLENGE, SASL_DONE }, { "" }, 0 },
	{ "external as himself", "EXTERNAL", "ann", { TEXT("ann") }, { SASL_DONE }, { 0 }, 0 },
	{ "external as another", "EXTERNAL", "ann", { TEXT("bob") }, { SASL_REFUSED }, { 0 }, 0 },
	{ "external without certificate", "EXTERNAL", "", { TEXT("") }, { SASL_REFUSED }, { 0 },
	  0 },
	{ "external without certificate, as somebody", "EXTERNAL", "", { TEXT("ann") },
	  { SASL_REFUSED }, { 0 }, 0 },
	{ "scram, no gs2 header", "SCRAM-SHA-256", "", { TEXT("n=ann,r=abc") },
	  { SASL_MALFORMED }, { 0 }, 0 },
	{ "scram, nothing", "SCRAM-SHA-256", "", { NONE }, { SASL_CHALLENGE }, { "" }, 0 },
	{ "scram, no name", "SCRAM-SHA-256", "", { TEXT("n,,n=,r=abc") }, { SASL_MALFORMED }, { 0 },
	  0 },
	{ "scram, nonsense", "SCRAM-SHA-256", "", { TEXT("\xff\xfe") }, { SASL_MALFORMED }, { 0 },
	  0 },
};

static void
test_cases(void **state)
{
	struct sasl *sasl = sasl_new(NULL);
	struct users users;
	struct buf challenge;

	(void)state;
	users_init(&users);
	buf_init(&challenge, 1024);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sasl_server *server = sasl_server_new(sasl,
		    span_from_cstr(cases[i].mechanism), span_from_cstr(cases[i].identity), &ops,
		    &users);

		users.asked = 0;
		for (size_t j = 0; j < 3; j++) {
			struct span response = cases[i].responses[j];
			enum sasl_step step;

			if (j > 0 && !response.data)
				break;
			step = sasl_server_step(server, response.data != NULL, response,
			    &challenge);
			if (step != cases[i].steps[j] || (step == SASL_CHALLENGE &&
			    !span_equal_cstr(buf_span(&challenge), cases[i].challenges[j])))
				fail_msg("%s: step %zu is %d \"%.*s\"", cases[i].name, j, step,
				    SPAN_ARGS(buf_span(&challenge)));
			if (step == SASL_DONE)
				assert_true(span_equal_cstr(sasl_server_user(server), "ann"));
		}
		if (users.asked != cases[i].asked)
			fail_msg("%s: asked %u times", cases[i].name, users.asked);
		sasl_server_free(&server);
	}
	assert_null(sasl_server_new(sasl, SPAN("GSSAPI"), SPAN(""), &ops, &users));
	assert_null(sasl_server_new(sasl, SPAN("ANONYMOUS"), SPAN(""), &ops, &users));
	assert_null(sasl_client_new(sasl, SPAN("CRAM-MD5"), SPAN("a"), SPAN("b")));
	buf_fini(&challenge);
	sasl_free(&sasl);
}

/* ---- both sides against each other */

static enum sasl_step
converse(struct sasl *sasl, const char *mechanism, const char *user, const char *password,
    struct users *users, char flipped, bool *satisfied_out)
{
	struct sasl_server *server = sasl_server_new(sasl, span_from_cstr(mechanism), SPAN("ann"),
	    &ops, users);
	struct sasl_client *client = sasl_client_new(sasl, span_from_cstr(mechanism),
	    span_from_cstr(user), span_from_cstr(password));
	enum sasl_step step = SASL_CHALLENGE;
	struct buf challenge, response;
	bool has_challenge = false;

	buf_init(&challenge, 1024);
	buf_init(&response, 1024);
	for (int turn = 0; turn < 8 && step == SASL_CHALLENGE; turn++) {
		int said;

		buf_clear(&response);
		said = sasl_client_step(client, has_challenge, buf_span(&challenge), &response);
		if (said < 0 && has_challenge) {
			step = SASL_FAILED;             /* the client gave up */
			break;
		}
		step = sasl_server_step(server, said == 0, buf_span(&response), &challenge);
		has_challenge = true;
		/* Somebody in the middle changes what the server says of itself. */
		if (flipped && buf_len(&challenge) > 2 && buf_span(&challenge).data[0] == flipped)
			challenge.data[challenge.start + 4] ^= 1;
	}
	*satisfied_out = sasl_client_is_satisfied(client);
	sasl_server_free(&server);
	sasl_client_free(&client);
	buf_fini(&challenge);
	buf_fini(&response);
	return step;
}

static void
test_both_sides(void **state)
{
	static const char *const mechanisms[] = { "PLAIN", "LOGIN", "SCRAM-SHA-256" };
	struct sasl *sasl = sasl_new(NULL);
	struct users users;
	bool satisfied;

	(void)state;
	users_init(&users);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(converse(sasl, mechanisms[i], "ann", "secret", &users, 0,
		    &satisfied), SASL_DONE);
		assert_true(satisfied);
		assert_int_equal(converse(sasl, mechanisms[i], "ann", "secreT", &users, 0,
		    &satisfied), SASL_REFUSED);
		assert_int_equal(converse(sasl, mechanisms[i], "bob", "secret", &users, 0,
		    &satisfied), SASL_REFUSED);
	}
	assert_int_equal(converse(sasl, "EXTERNAL", "ann", "", &users, 0, &satisfied), SASL_DONE);
	/* A server that does not know the keys cannot say the last word. */
	assert_int_equal(converse(sasl, "SCRAM-SHA-256", "ann", "secret", &users, 'v',
	    &satisfied), SASL_FAILED);
	assert_false(satisfied);
	/* Nor is a nonce of somebody else's believed. */
	assert_int_equal(converse(sasl, "SCRAM-SHA-256", "ann", "secret", &users, 'r',
	    &satisfied), SASL_FAILED);
	assert_false(satisfied);
	sasl_free(&sasl);
}

/* RFC 7677 section 3: user "user", password "pencil"; the server signature hangs on the keys. */
static void
test_rfc7677(void **state)
{
	struct sasl_scram scram = { .iterations = 4096 };
	struct buf text;

	(void)state;
	buf_init(&text, 256);
	assert_int_equal(base64_decode(SPAN("W22ZaJ0SNY7soEsUEjb6gQ=="), &text, NULL), 0);
	scram.salt_len = buf_len(&text);
	memcpy(scram.salt, buf_span(&text).data, scram.salt_len);
	assert_int_equal(sasl_scram_derive(SPAN("pencil"), &scram), 0);
	buf_clear(&text);
	(void)base64_encode(span_make(scram.stored_key, SASL_KEY_BYTES), &text);
	assert_string_equal(buf_cstr(&text), "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=");
	buf_clear(&text);
	(void)base64_encode(span_make(scram.server_key, SASL_KEY_BYTES), &text);
	assert_string_equal(buf_cstr(&text), "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
	buf_fini(&text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_both_sides),
		cmocka_unit_test(test_rfc7677),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
