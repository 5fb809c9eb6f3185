/* The senders: strangers who speak plain SMTP to relay1, and note what they were told. */
#include "tests/sim/letters.h"

#include <stdio.h>
#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/net/conn.h"
#include "relay/net/dial.h"
#include "tests/sim/loop_private.h"

enum {
	PATIENCE_MS = 200 * 1000,
	LINE_COUNT_MAX = 1500,
	REPLY_BYTES_MAX = 2000,
	LETTER_BYTES_MAX = 1 << 20,
};

enum step {
	STEP_GREETING,
	STEP_HELLO,
	STEP_MAIL,
	STEP_RCPT,
	STEP_DATA,
	STEP_END,
	STEP_QUIT,
};

struct sender {
	struct letters *letters;
	size_t number;
	struct loop *loop;
	struct loop_timer begin;
	struct dial *dial;
	struct conn *conn;
	enum step step;
	size_t rcpt;
};

/* ---- what is sent */

static void
invent(struct letter *letter)
{
	letter->sender = (int)sim_between(0, SIM_SENDERS - 1);
	letter->rcpt_count = sim_between(1, LETTER_RCPTS_MAX);
	for (size_t i = 0; i < letter->rcpt_count; i++)
		letter->rcpts[i] = (int)((sim_between(0, SIM_USERS - 1) + i) % SIM_USERS);
	for (size_t i = 1; i < letter->rcpt_count; i++)         /* nobody twice */
		for (size_t j = 0; j < i; j++)
			if (letter->rcpts[i] == letter->rcpts[j])
				letter->rcpts[i] = -1;
	size_t kept = 0;

	for (size_t i = 0; i < letter->rcpt_count; i++)
		if (letter->rcpts[i] >= 0)
			letter->rcpts[kept++] = letter->rcpts[i];
	letter->rcpt_count = kept;
	if (sim_chance(1, 5))
		letter->rcpts[letter->rcpt_count - 1] = LETTER_NOBODY;
	letter->line_count = sim_chance(1, 6) ? sim_between(300, LINE_COUNT_MAX)
	    : sim_between(0, 60);
}

void
letter_print(const struct letters *letters, size_t number, struct buf *out)
{
	const struct letter *letter = &letters->letters[number];

	(void)buf_appendf(out, "From: <s%d@example.org>\r\nSubject: letter\r\n"
	    "X-Sim-Letter: %zu\r\n\r\n",
	    letter->sender, number);
	for (size_t i = 0; i < letter->line_count; i++)
		(void)buf_appendf(out, "%s%zu.%zu of the letter, %s\r\n",
		    i % 7 == 3 ? "." : i % 11 == 5 ? "From " : "", number, i,
		    "which has lines of words that nobody reads but a program");
	(void)buf_appendf(out, "%zu ends\r\n", number);
}

/* ---- how it is sent */

static void
give_up(struct sender *sender)
{
	if (sender->conn)
		conn_free(&sender->conn);
	sender->letters->ended++;
}

static void
say(struct sender *sender, const char *verb, const char *word, const char *rest)
{
	char *line = mem_format("%s%s%s\r\n", verb, word, rest);

	conn_write(sender->conn, span_from_cstr(line));
	mem_free(&line);
	conn_set_deadline(sender->conn, PATIENCE_MS);
}

static void
say_rcpt(struct sender *sender)
{
	const struct letter *letter = &sender->letters->letters[sender->number];
	int user = letter->rcpts[sender->rcpt];
	char address[32];

	/* Nobody is missed now on one mailbox node, now on the other. */
	if (user == LETTER_NOBODY)
		(void)snprintf(address, sizeof(address), "nobody@%s",
		    network_domain_of((int)(sender->number % SIM_USERS)));
	else
		(void)snprintf(address, sizeof(address), "u%d@%s", user, network_domain_of(user));
	say(sender, "RCPT TO:<", address, ">");
}

/* Dots are doubled, RFC 5321 section 4.5.2. */
static void
say_body(struct sender *sender)
{
	struct buf plain, stuffed;
	struct span rest;

	buf_init(&plain, LETTER_BYTES_MAX);
	buf_init(&stuffed, LETTER_BYTES_MAX);
	letter_print(sender->letters, sender->number, &plain);
	rest = buf_span(&plain);
	for (bool begins = true; rest.len > 0; rest = span_skip(rest, 1)) {
		if (begins && rest.data[0] == '.')
			(void)buf_append_byte(&stuffed, '.');
		(void)buf_append_byte(&stuffed, rest.data[0]);
		begins = rest.data[0] == '\n';
	}
	(void)buf_append_cstr(&stuffed, ".\r\n");
	must(!buf_overflowed(&stuffed) && !buf_overflowed(&plain));
	conn_write(sender->conn, buf_span(&stuffed));
	conn_set_deadline(sender->conn, PATIENCE_MS);
	sender->letters->letters[sender->number].sent_whole = true;
	buf_fini(&plain);
	buf_fini(&stuffed);
}

static void
step_on(struct sender *sender, int code)
{
	struct letter *letter = &sender->letters->letters[sender->number];
	char name[16];

	switch (sender->step) {
	case STEP_GREETING:
		say(sender, "EHLO ", "client.sim", "");
		break;
	case STEP_HELLO:
		(void)snprintf(name, sizeof(name), "s%d", letter->sender);
		say(sender, "MAIL FROM:<", name, "@example.org>");
		break;
	case STEP_MAIL:
		say_rcpt(sender);
		break;
	case STEP_RCPT:
		letter->accepted[sender->rcpt++] = code == 250;
		if (sender->rcpt < letter->rcpt_count) {
			say_rcpt(sender);
			return;
		}
		say(sender, "DATA", "", "");
		break;
	case STEP_DATA:
		say_body(sender);
		break;
	case STEP_END:
		letter->acknowledged = code == 250;
		say(sender, "QUIT", "", "");
		break;
	case STEP_QUIT:
		give_up(sender);
		return;
	}
	sender->step++;
}

static bool
is_welcome(const struct sender *sender, int code)
{
	switch (sender->step) {
	case STEP_GREETING:
		return code == 220;
	case STEP_DATA:
		return code == 354;
	case STEP_RCPT:
	case STEP_END:
	case STEP_QUIT:
		return true;
	case STEP_HELLO:
	case STEP_MAIL:
		return code == 250;
	}
	must_not_reach();
}

static size_t
replies_come(void *ctx, struct span input)
{
	struct sender *sender = ctx;
	size_t consumed = 0;

	while (sender->conn) {
		struct span line = span_skip(input, consumed);
		const char *end = memchr(line.data, '\n', line.len);
		uint64_t code;

		if (!end)
			break;
		line.len = (size_t)(end - line.data) + 1;
		consumed += line.len;
		if (line.len < 4 || !span_parse_u64(span_first(line, 3), 999, &code))
			must_not_reach();               /* the relay speaks no SMTP */
		if (line.data[3] == '-')
			continue;
		if (!is_welcome(sender, (int)code)) {
			give_up(sender);
			break;
		}
		step_on(sender, (int)code);
	}
	return consumed;
}

static void
patience_is_over(void *ctx)
{
	give_up(ctx);
}

static void
connection_is_over(void *ctx, enum conn_end end, const struct err *err)
{
	(void)end;
	(void)err;
	give_up(ctx);
}

static void
output_drained(void *ctx)
{
	(void)ctx;
}

static void
dialled(void *ctx, const struct dial_result *result)
{
	static const struct conn_ops ops = {
		.input = replies_come, .expired = patience_is_over, .closed = connection_is_over,
		.drained = output_drained,
	};
	const struct conn_settings settings = { .input_bytes_max = REPLY_BYTES_MAX,
	    .output_high_bytes = LETTER_BYTES_MAX };
	struct sender *sender = ctx;

	sender->dial = NULL;
	if (!result->conn) {
		sender->letters->ended++;
		return;
	}
	sender->conn = result->conn;
	conn_start(sender->conn, sender->loop, &settings, &ops, sender);
	conn_set_deadline(sender->conn, PATIENCE_MS);
}

static void
begin(void *ctx)
{
	struct sender *sender = ctx;
	struct endpoint address = network_host(0)->address;

	address.port = 25;
	sender->letters->begun++;
	sender->dial = dial_start(sender->loop, &(struct dial_settings){
		.addresses = &address, .address_count = 1,
	}, dialled, sender);
}

void
letters_begin(struct letters *letters, size_t count, uint64_t spread_us)
{
	struct loop *loop;

	must(count <= LETTERS_MAX);
	sim_host_enter(network_client());
	loop = loop_new(&network_client()->clock, NULL);
	sim_loop_begin(loop);
	letters->count = count;
	for (size_t i = 0; i < count; i++) {
		struct sender *sender = mem_alloc(sizeof(*sender));

		invent(&letters->letters[i]);
		sender->letters = letters;
		sender->number = i;
		sender->loop = loop;
		loop_timer_init(&sender->begin, begin, sender);
		loop_timer_start(loop, &sender->begin, sim_between(0, spread_us / 1000));
	}
	sim_host_enter(NULL);
}

bool
letters_are_sent(const struct letters *letters)
{
	return letters->ended == letters->count;
}
