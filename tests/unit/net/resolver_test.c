/*
 * Names by a name server of the test: what each of its answers means, what the hosts file and
 * the search list say, and what is cancelled.
 */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/clock.h"
#include "relay/net/resolver.h"
#include "tests/unit/net/net_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { A = 1, MX = 15, AAAA = 28, HEADER = 12, NXDOMAIN = 3, SERVFAIL = 2 };

/* A record, or what is said of a name and type that has none. */
static const struct record {
	const char *name;
	unsigned type;
	const char *data;               /* an address, or preference and host; NULL: none */
	unsigned code;
	bool soa;                       /* the denial has an SOA beside it */
} zone[] = {
	{ "both.test", A, "192.0.2.1", 0, false },
	{ "both.test", AAAA, "2001:db8::1", 0, false },
	{ "four.test", A, "192.0.2.4", 0, false },
	{ "four.test", AAAA, NULL, 0, true },
	{ "half.test", A, "192.0.2.5", 0, false },
	{ "half.test", AAAA, NULL, SERVFAIL, false },
	{ "mapped.test", A, NULL, 0, true },
	{ "mapped.test", AAAA, "::ffff:192.0.2.6", 0, false },
	{ "empty.test", A, NULL, 0, true },
	{ "empty.test", AAAA, NULL, 0, true },
	{ "bare.test", A, NULL, 0, false },
	{ "bare.test", AAAA, NULL, 0, false },
	{ "broken.test", A, NULL, SERVFAIL, false },
	{ "broken.test", AAAA, NULL, SERVFAIL, false },
	{ "host.second.test", A, "192.0.2.8", 0, false },
	{ "mail.test", MX, "20 B.mail.test", 0, false },
	{ "mail.test", MX, "10 a.mail.test", 0, false },
	{ "null.test", MX, "0 ", 0, false },
	{ "four.test", MX, NULL, 0, true },
};

/* ---- the name server */

struct packet {
	uint8_t octets[512];
	size_t len;
};

static void
put(struct packet *to, const void *octets, size_t len)
{
	assert_true(to->len + len <= sizeof(to->octets));
	memcpy(to->octets + to->len, octets, len);
	to->len += len;
}

static void
put_u16(struct packet *to, unsigned value)
{
	put(to, (uint8_t[]){ (uint8_t)(value >> 8), (uint8_t)value }, 2);
}

static void
put_name(struct packet *to, const char *name)
{
	while (*name) {
		size_t len = strcspn(name, ".");

		put(to, (uint8_t[]){ (uint8_t)len }, 1);
		put(to, name, len);
		name += len + (name[len] == '.');
	}
	put(to, "", 1);
}

static void
put_record(struct packet *to, const char *name, unsigned type, const struct packet *data)
{
	put_name(to, name);
	put_u16(to, type);
	put_u16(to, 1);
	put_u16(to, 0);
	put_u16(to, 60);
	put_u16(to, (unsigned)data->len);
	put(to, data->octets, data->len);
}

static void
put_data(struct packet *to, const struct record *record)
{
	struct packet data = { .len = 0 };

	if (record->type == MX) {
		put_u16(&data, (unsigned)strtoul(record->data, NULL, 10));
		put_name(&data, strchr(record->data, ' ') + 1);
	} else {
		int family = record->type == A ? AF_INET : AF_INET6;

		data.len = family == AF_INET ? 4 : 16;
		assert_int_equal(inet_pton(family, record->data, data.octets), 1);
	}
	put_record(to, record->name, record->type, &data);
}

static void
put_soa(struct packet *to)
{
	struct packet data = { .len = 0 };

	put_name(&data, "ns.test");
	put_name(&data, "root.test");
	for (int i = 0; i < 10; i++)
		put_u16(&data, 1);
	put_record(to, "test", 6, &data);
}

static size_t
question_of(const struct packet *asked, char name_out[256], unsigned *type_out)
{
	size_t at = HEADER, len = 0;

	while (at < asked->len && asked->octets[at] > 0) {
		size_t label = asked->octets[at];

		assert_true(label < 64 && at + 1 + label < asked->len && len + label < 250);
		memcpy(name_out + len, asked->octets + at + 1, label);
		len += label;
		name_out[len++] = '.';
		at += label + 1;
	}
	name_out[len > 0 ? len - 1 : 0] = '\0';
	*type_out = (unsigned)asked->octets[at + 1] << 8 | asked->octets[at + 2];
	return at + 5;
}

/* Answers all questions that are there; "silent.test" has no answer. */
static void
serve(int fd)
{
	struct sockaddr_storage from;
	struct packet asked;

	for (;;) {
		struct packet said = { .len = 0 };
		unsigned type, answers = 0, code = NXDOMAIN;
		socklen_t from_len = sizeof(from);
		bool soa = true;
		char name[256];
		ssize_t got = recvfrom(fd, asked.octets, sizeof(asked.octets), MSG_DONTWAIT,
		    (struct sockaddr *)&from, &from_len);

		if (got < HEADER)
			return;
		asked.len = (size_t)got;
		put(&said, asked.octets, question_of(&asked, name, &type));
		if (strcmp(name, "silent.test") == 0)
			continue;
		for (size_t i = 0; i < COUNT(zone); i++) {
			if (strcmp(zone[i].name, name) != 0 || zone[i].type != type)
				continue;
			code = zone[i].code;
			soa = zone[i].soa;
			if (zone[i].data)
				put_data(&said, &zone[i]), answers++;
		}
		if (soa)
			put_soa(&said);
		said.octets[2] = 0x81;
		said.octets[3] = (uint8_t)(0x80 | code);
		memcpy(said.octets + 6, (uint8_t[]){ 0, (uint8_t)answers, 0, soa, 0, 0 }, 6);
		(void)sendto(fd, said.octets, said.len, 0, (struct sockaddr *)&from, from_len);
	}
}

/* ---- the rig */

struct rig {
	struct loop *loop;
	struct resolver *resolver;
	struct resolver_client *client;
	int fd;
	char hosts[64];
	size_t answered;
	enum resolver_status status;
	bool vouched;
	char addresses[128];            /* or exchangers */
};

static void
rig_open(struct rig *rig, const struct resolver_settings *more)
{
	static const char *const search[] = { "first.test", "second.test" };
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct resolver_settings settings = *more;
	socklen_t len = sizeof(in);
	char server[64];
	const char *servers[] = { server };
	struct err err;
	int file;

	*rig = (struct rig){ .hosts = "/tmp/chapar-hosts-XXXXXX" };
	file = mkstemp(rig->hosts);
	assert_true(file >= 0);
	assert_int_equal(dprintf(file, "# known to the machine\n192.0.2.9 known.test known\n"), 50);
	(void)close(file);
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	rig->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(rig->fd, (struct sockaddr *)&in, len), 0);
	assert_int_equal(getsockname(rig->fd, (struct sockaddr *)&in, &len), 0);
	(void)snprintf(server, sizeof(server), "127.0.0.1@%u", ntohs(in.sin_port));
	settings.servers = servers;
	settings.server_count = 1;
	settings.hosts_file = rig->hosts;
	settings.search = search;
	settings.search_count = COUNT(search);
	settings.allow_localhost_server = true;
	rig->loop = loop_new(clock_system(), &err);
	rig->resolver = resolver_new(rig->loop, &settings, &err);
	if (!rig->resolver)
		fail_msg("%s", err.text);
	rig->client = resolver_client_new(rig->resolver, rig->loop);
}

static void
rig_close(struct rig *rig)
{
	resolver_client_free(&rig->client);
	loop_turn(rig->loop, 0);
	resolver_free(&rig->resolver);
	loop_free(&rig->loop);
	(void)close(rig->fd);
	(void)unlink(rig->hosts);
}

static void
is_answered(void *ctx, const struct resolver_answer *answer)
{
	struct rig *rig = ctx;
	size_t len = 0;

	rig->answered++;
	rig->status = answer->status;
	rig->vouched = answer->vouched;
	rig->addresses[0] = '\0';
	assert_false(answer->secure);
	assert_true(answer->status == RESOLVER_OK || (answer->text && answer->text[0]));
	for (size_t i = 0; i < answer->address_count; i++) {
		char text[ENDPOINT_TEXT_BYTES_MAX];

		(void)endpoint_print(&answer->addresses[i], text);
		len += (size_t)snprintf(rig->addresses + len, sizeof(rig->addresses) - len,
		    "%s%s", len ? " " : "", text);
	}
	for (size_t i = 0; i < answer->mx_count; i++)
		len += (size_t)snprintf(rig->addresses + len, sizeof(rig->addresses) - len,
		    "%s%u %s", len ? ", " : "", answer->exchangers[i].preference,
		    answer->exchangers[i].host);
}

#define AWAIT(rig, condition) RUN_UNTIL((rig)->loop, (serve((rig)->fd), (condition)))

/* ---- the tests */

#define DNS RESOLVER_DNS
#define HOST RESOLVER_CONFIGURED_HOST

static const struct {
	const char *name;
	bool mx;
	enum resolver_scope scope;
	enum resolver_status status;
	const char *found;
} cases[] = {
	{ "192.0.2.7", false, DNS, RESOLVER_OK, "192.0.2.7:25" },
	{ "2001:db8::7", false, HOST, RESOLVER_OK, "[2001:db8::7]:25" },
	{ "both.test", false, DNS, RESOLVER_OK, "[2001:db8::1]:25 192.0.2.1:25" },
	{ "BOTH.test", false, HOST, RESOLVER_OK, "[2001:db8::1]:25 192.0.2.1:25" },
	{ "four.test", false, DNS, RESOLVER_OK, "192.0.2.4:25" },
	{ "half.test", false, DNS, RESOLVER_OK, "192.0.2.5:25" },
	{ "mapped.test", false, DNS, RESOLVER_OK, "192.0.2.6:25" },
	{ "empty.test", false, DNS, RESOLVER_NODATA, "" },
	{ "empty.test", false, HOST, RESOLVER_TEMPORARY, "" },
	{ "none.test", false, DNS, RESOLVER_NXDOMAIN, "" },
	{ "none.test", false, HOST, RESOLVER_TEMPORARY, "" },
	{ "broken.test", false, DNS, RESOLVER_TEMPORARY, "" },
	{ "silent.test", false, DNS, RESOLVER_TEMPORARY, "" },
	{ "known.test", false, HOST, RESOLVER_OK, "192.0.2.9:25" },
	{ "Known", false, HOST, RESOLVER_OK, "192.0.2.9:25" },
	{ "known.test", false, DNS, RESOLVER_NXDOMAIN, "" },
	{ "localhost", false, HOST, RESOLVER_OK, "[::1]:25 127.0.0.1:25" },
	{ "host", false, HOST, RESOLVER_OK, "192.0.2.8:25" },
	{ "host", false, DNS, RESOLVER_NXDOMAIN, "" },
	{ "mail.test", true, DNS, RESOLVER_OK, "10 a.mail.test, 20 b.mail.test" },
	{ "null.test", true, DNS, RESOLVER_OK, "0 " },
	{ "four.test", true, DNS, RESOLVER_NODATA, "" },
	{ "none.test", true, DNS, RESOLVER_NXDOMAIN, "" },
};

static void
ask(struct rig *rig, size_t i, struct resolver_question **question_out)
{
	struct span name = span_from_cstr(cases[i].name);

	*question_out = cases[i].mx
	    ? resolver_ask_mx(rig->client, name, is_answered, rig)
	    : resolver_ask_addresses(rig->client, name, 25, cases[i].scope, is_answered, rig);
}

static void
test_answers(void **state)
{
	struct resolver_question *question;
	struct rig rig;
	size_t failures = 0;

	(void)state;
	rig_open(&rig, &(struct resolver_settings){ .timeout_ms = 1500 });
	for (size_t i = 0; i < COUNT(cases); i++) {
		rig.answered = 0;
		ask(&rig, i, &question);
		assert_int_equal(rig.answered, 0);      /* never before the return */
		assert_true(AWAIT(&rig, rig.answered));
		if (rig.status != cases[i].status || strcmp(rig.addresses, cases[i].found) != 0) {
			print_error("%s: %s \"%s\"\n", cases[i].name,
			    resolver_status_name(rig.status), rig.addresses);
			failures++;
		}
	}
	assert_int_equal(failures, 0);
	rig_close(&rig);
}

/* A denial without an SOA is what broken servers say. */
static void
test_vouched(void **state)
{
	static const char *const names[] = { "bare.test", "empty.test" };
	struct rig rig;

	(void)state;
	rig_open(&rig, &(struct resolver_settings){ 0 });
	for (size_t i = 0; i < COUNT(names); i++) {
		rig.answered = 0;
		resolver_ask_addresses(rig.client, span_from_cstr(names[i]), 25, DNS, is_answered,
		    &rig);
		assert_true(AWAIT(&rig, rig.answered));
		assert_int_equal(rig.status, RESOLVER_NODATA);
		assert_int_equal(rig.vouched, i == 1);
	}
	rig_close(&rig);
}

/* What is cancelled never comes, at whatever time, and the next question has its answer. */
static void
test_cancelled(void **state)
{
	struct resolver_question *question;
	struct rig rig;

	(void)state;
	rig_open(&rig, &(struct resolver_settings){ 0 });
	for (int turns = 0; turns < 6; turns++) {
		ask(&rig, 2 + (size_t)turns, &question);
		for (int i = 0; i < turns; i++) {
			serve(rig.fd);
			loop_turn(rig.loop, 1);
		}
		if (rig.answered == 0) {
			resolver_cancel(&question);
			assert_null(question);
		}
		rig.answered = 0;
		for (int i = 0; i < 10; i++) {
			serve(rig.fd);
			loop_turn(rig.loop, 2);
		}
		assert_int_equal(rig.answered, 0);
	}
	ask(&rig, 2, &question);
	assert_true(AWAIT(&rig, rig.answered));
	assert_int_equal(rig.answered, 1);
	assert_string_equal(rig.addresses, cases[2].found);
	rig_close(&rig);
}

static void
test_too_many(void **state)
{
	struct resolver_question *question;
	struct rig rig;

	(void)state;
	rig_open(&rig, &(struct resolver_settings){ .question_count_max = 1 });
	resolver_ask_addresses(rig.client, SPAN("silent.test"), 25, DNS, is_answered, &rig);
	ask(&rig, 2, &question);
	assert_true(AWAIT(&rig, rig.answered));
	assert_int_equal(rig.status, RESOLVER_TEMPORARY);
	assert_int_equal(rig.answered, 1);
	rig_close(&rig);                /* with a question under way */
	assert_int_equal(rig.answered, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_vouched),
		cmocka_unit_test(test_cancelled),
		cmocka_unit_test(test_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
