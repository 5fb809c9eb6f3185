#include "relay/relayctl_passwd.h"

#include <stdio.h>
#include <termios.h>
#include <unistd.h>

#include "relay/base/buf.h"
#include "relay/base/random.h"
#include "relay/inbound/credentials.h"

enum { LINE_BYTES_MAX = 4096 };

/* One line of the input, without its end. */
static int
read_line(struct buf *out, struct err *err)
{
	char octet;
	ssize_t got;

	while ((got = read(STDIN_FILENO, &octet, 1)) == 1 && octet != '\n')
		if (buf_append_byte(out, octet) < 0)
			return err_set(err, ERR_LIMIT, "the password is too long");
	if (got < 0)
		return err_set_errno(err, "standard input");
	if (got == 0 && buf_is_empty(out))
		return err_set(err, ERR_FORMAT, "expected a password on standard input");
	if (span_ends_with(buf_span(out), SPAN("\r")))
		buf_truncate(out, buf_len(out) - 1);
	return 0;
}

static int
ask(const char *prompt, struct buf *out, struct err *err)
{
	struct termios before, silent;
	int result;

	if (tcgetattr(STDIN_FILENO, &before) != 0)
		return err_set_errno(err, "terminal");
	silent = before;
	silent.c_lflag &= ~(tcflag_t)ECHO;
	(void)fprintf(stderr, "%s: ", prompt);
	if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent) != 0)
		return err_set_errno(err, "terminal");
	result = read_line(out, err);
	(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
	(void)fputc('\n', stderr);
	return result;
}

static int
read_password(struct buf *out, struct err *err)
{
	struct buf again;
	int result;

	if (!isatty(STDIN_FILENO))
		return read_line(out, err);
	if (ask("Password", out, err) < 0)
		return -1;
	buf_init(&again, LINE_BYTES_MAX);
	result = ask("Once more", &again, err);
	if (result == 0 && !span_equal_secret(buf_span(out), buf_span(&again)))
		result = err_set(err, ERR_FORMAT, "the two are not the same");
	buf_wipe(&again);
	return result;
}

int
relayctl_passwd(const struct json *args, struct err *err)
{
	struct span user = SPAN("");
	bool scram = false;
	struct buf password, line;
	struct random random;
	int result;

	(void)json_get_bool(args, "scram", &scram);
	if (!json_get_text(args, "user", &user))
		return err_set(err, ERR_LIMIT, "usage: relayctl passwd [--scram] USER");
	if (credentials_check_user(user, err) < 0)
		return -1;
	random_init_system(&random);
	buf_init(&password, LINE_BYTES_MAX);
	buf_init(&line, LINE_BYTES_MAX);
	result = read_password(&password, err);
	if (result == 0)
		result = credentials_make(user, buf_span(&password), scram, &random, &line, err);
	if (result == 0 && (printf("%s\n", buf_cstr(&line)) < 0 || fflush(stdout) != 0))
		result = err_set_errno(err, "standard output");
	buf_wipe(&password);
	buf_wipe(&line);
	return result;
}
