/*
 * relayctl: asks a daemon over its control socket, and shows the answer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/base64.h"
#include "relay/base/buf.h"
#include "relay/base/conf.h"
#include "relay/base/file.h"
#include "relay/base/mem.h"
#include "relay/base/version.h"
#include "relay/daemon/control.h"
#include "relay/daemon/control_client.h"
#include "relay/relayctl_socket.h"
#include "relay/relayctl_passwd.h"
#include "relay/relayctl_spool.h"
#include "relay/relayctl_verbs.h"

#define CONFIG_DIRECTORY CHAPAR_SYSCONFDIR "/chapar"

enum {
	TIMEOUT_MS = 120 * 1000,
	OUTPUT_BYTES_MAX = 16 << 20,
};

struct arguments {
	const char *socket;             /* NULL: as the daemon's configuration says */
	bool json;
	const struct relayctl_verb *verb;
	struct json *args;
};

static void
say(struct span text)
{
	/* Nobody may be there to read it: `relayctl list | head` is no failure of ours. */
	if (fwrite(text.data, 1, text.len, stdout) < text.len)
		exit(CONTROL_IO);
}

static int
fail(enum control_code code, const char *text)
{
	(void)fprintf(stderr, "relayctl: %s\n", text);
	return code;
}

static void
print_help(void)
{
	size_t count;
	const struct relayctl_verb *verbs = relayctl_verbs(&count);

	(void)printf("usage: relayctl [-s SOCKET] [-j] VERB [ARGUMENTS]\n\n"
	    "  -s SOCKET  the daemon's control socket, instead of $CHAPAR_SOCKET or the one\n"
	    "             that " CONFIG_DIRECTORY "/relayd.conf or mailboxd.conf names\n"
	    "  -j         JSON lines, for programs\n\n"
	    "verbs, which may be shortened:\n");
	for (size_t i = 0; i < count; i++)
		(void)printf("  %-8s %-32s%s%s\n", verbs[i].name, verbs[i].usage,
		    strlen(verbs[i].usage) <= 32 ? " " : "\n           ", verbs[i].help);
	(void)printf("  %-8s %-32s %s\n", "spool", "check|dump|export|import|adopt",
	    "a spool whose daemon is off; alone, it says how");
	(void)printf("\nfilters, of which all must hold: ID id= from= to= domain= dest= client= "
	    "state=\n  reason= age> size> attempts> next<    (* and ? in texts; also < and =)\n"
	    "exit: 0 done, 1 nothing matched, 64 usage, 69 no daemon, 75 try again, 77 not "
	    "allowed\n");
}

/* ------------------------------------------------------------------ the answer */

static int
write_content(const struct json *item, struct buf *out, struct err *err)
{
	struct span text = SPAN("");

	(void)json_get_text(item, "data", &text);
	return base64_decode(text, out, err);
}

static int
show_item(const struct arguments *arguments, const struct json *item, struct buf *out,
    struct err *err)
{
	const struct relayctl_verb *verb = arguments->verb;

	buf_clear(out);
	if (verb->is_content && !arguments->json) {
		if (write_content(item, out, err) < 0)
			return -1;
	} else if (arguments->json) {
		(void)json_print(item, out);
		(void)buf_append_byte(out, '\n');
	} else if (verb->item) {
		verb->item(out, item);
	}
	say(buf_span(out));
	return 0;
}

static int
show_end(const struct arguments *arguments, const struct json *end, struct buf *out)
{
	const struct relayctl_verb *verb = arguments->verb;
	const char *error = json_get_cstr(end, "error");
	int64_t code = CONTROL_SOFTWARE;

	(void)json_get_int(end, "code", &code);
	buf_clear(out);
	if (arguments->json && strcmp(verb->name, "count") == 0) {
		(void)json_print(end, out);
		(void)buf_append_byte(out, '\n');
	} else if (!arguments->json && (code == CONTROL_OK || code == CONTROL_NO_MATCH)) {
		if (verb->what)
			relayctl_print_change_end(out, verb->what, end);
		else if (verb->end)
			verb->end(out, end);
	}
	say(buf_span(out));
	if (fflush(stdout) != 0)
		return CONTROL_IO;
	if (error)
		(void)fprintf(stderr, "relayctl: %s\n", error);
	return code >= 0 && code <= 255 ? (int)code : CONTROL_SOFTWARE;
}

static int
code_of_failure(const struct err *err)
{
	switch (err->kind) {
	case ERR_DENIED:
		return CONTROL_DENIED;
	case ERR_TIMEOUT:
	case ERR_BUSY:
		return CONTROL_TRY_AGAIN;
	case ERR_LIMIT:
		return CONTROL_USAGE;
	default:
		return CONTROL_UNAVAILABLE;
	}
}

static int
receive(const struct arguments *arguments, struct control_client *client, struct buf *out)
{
	bool head_wanted = arguments->verb->is_table && !arguments->json;
	enum control_client_line line;
	const struct json *value;
	struct err err;

	for (;;) {
		if (control_client_next(client, &line, &value, &err) < 0)
			return fail(code_of_failure(&err), err.text);
		if (line == CONTROL_CLIENT_END)
			return show_end(arguments, value, out);
		if (head_wanted) {
			relayctl_print_list_head(out);
			say(buf_span(out));
			head_wanted = false;
		}
		if (show_item(arguments, value, out, &err) < 0)
			return fail(CONTROL_SOFTWARE, err.text);
	}
}

static int
ask(struct arguments *arguments)
{
	struct err err;
	struct control_client *client;
	struct json *args = arguments->args;
	struct buf socket, out;
	int code;

	arguments->args = NULL;
	buf_init(&socket, CONF_VALUE_BYTES_MAX);
	if (!arguments->socket)
		relayctl_socket_find(CONFIG_DIRECTORY, &socket);
	client = control_client_open(arguments->socket ? arguments->socket : buf_cstr(&socket),
	    TIMEOUT_MS, &err);
	buf_fini(&socket);
	if (!client) {
		json_free(&args);
		return fail(code_of_failure(&err), err.text);
	}
	buf_init(&out, OUTPUT_BYTES_MAX);
	if (control_client_ask(client, arguments->verb->name, args, &err) < 0)
		code = fail(code_of_failure(&err), err.text);
	else
		code = receive(arguments, client, &out);
	buf_fini(&out);
	control_client_close(&client);
	return code;
}

/* ------------------------------------------------------------------ the command line */

/* -1: go on; else the exit code. */
static int
read_arguments(struct arguments *arguments, int argc, char **argv)
{
	const char *from_environment = getenv("CHAPAR_SOCKET");
	struct err err;
	int at = 1;

	if (from_environment && from_environment[0])
		arguments->socket = from_environment;
	for (; at < argc && argv[at][0] == '-'; at++) {
		if (strcmp(argv[at], "--help") == 0) {
			print_help();
			return CONTROL_OK;
		} else if (strcmp(argv[at], "--version") == 0) {
			(void)printf("relayctl %s\n", version_text());
			return CONTROL_OK;
		} else if (strcmp(argv[at], "-j") == 0) {
			arguments->json = true;
		} else if (strcmp(argv[at], "-s") == 0 && at + 1 < argc) {
			arguments->socket = argv[++at];
		} else {
			return fail(CONTROL_USAGE, "usage: relayctl [-s SOCKET] [-j] VERB "
			    "[ARGUMENTS]; see relayctl --help");
		}
	}
	if (at == argc)
		return fail(CONTROL_USAGE, "expected a verb; see relayctl --help");
	arguments->verb = relayctl_verb_find(argv[at], &err);
	if (!arguments->verb)
		return fail(CONTROL_USAGE, err.text);
	/* -j may stand behind the verb too: people look for it there. */
	int kept = at + 1;

	for (int i = at + 1; i < argc; i++) {
		if (strcmp(argv[i], "-j") == 0)
			arguments->json = true;
		else
			argv[kept++] = argv[i];
	}
	arguments->args = relayctl_verb_args(arguments->verb, &argv[at + 1],
	    (size_t)(kept - at - 1), &err);
	return arguments->args ? -1 : fail(CONTROL_USAGE, err.text);
}

static int
run_here(struct arguments *arguments)
{
	struct err err;
	int code = CONTROL_OK;

	if (relayctl_passwd(arguments->args, &err) < 0)
		code = fail(err.kind == ERR_SYSTEM ? CONTROL_IO : CONTROL_USAGE, err.text);
	json_free(&arguments->args);
	return code;
}

int
main(int argc, char **argv)
{
	struct arguments arguments = { 0 };

	if (argc > 1 && strcmp(argv[1], "spool") == 0)
		return relayctl_spool(argc - 2, argv + 2);
	int code = read_arguments(&arguments, argc, argv);

	if (code >= 0)
		return code;
	return arguments.verb->is_local ? run_here(&arguments) : ask(&arguments);
}
