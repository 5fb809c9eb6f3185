#include "relay/relayctl_socket.h"

#include <unistd.h>

#include "relay/base/conf.h"
#include "relay/base/file.h"
#include "relay/base/mem.h"

static const struct {
	const char *file, *fallback;
} daemons[] = {
	{ "relayd.conf", "/run/chapar/relayd.sock" },
	{ "mailboxd.conf", "/run/chapar/mailboxd.sock" },
};

enum { DAEMON_COUNT = sizeof(daemons) / sizeof(daemons[0]) };

/* ---- the file, word by word */

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool
is_word(char c)
{
	return !is_space(c) && c != '{' && c != '}' && c != '=' && c != '"' && c != '\'' &&
	    c != ',' && c != '#' && c != '\0';
}

static void
skip_past(struct span *rest, struct span end)
{
	size_t at;

	*rest = span_find(*rest, end, &at) ? span_skip(*rest, at + end.len) : SPAN("");
}

static void
skip_space_and_comments(struct span *rest)
{
	while (rest->len > 0) {
		if (is_space(rest->data[0]))
			*rest = span_skip(*rest, 1);
		else if (rest->data[0] == '#' || span_starts_with(*rest, SPAN("//")))
			skip_past(rest, SPAN("\n"));
		else if (span_starts_with(*rest, SPAN("/*")))
			skip_past(rest, SPAN("*/"));
		else
			return;
	}
}

/* A word, a quoted text without its quotes, or one sign; empty at the end of the file. */
static struct span
take_token(struct span *rest, bool *is_sign_out)
{
	struct span token;
	size_t len = 0;

	skip_space_and_comments(rest);
	*is_sign_out = false;
	if (rest->len == 0)
		return *rest;
	if (rest->data[0] == '"' || rest->data[0] == '\'') {
		char quote = rest->data[0];

		*rest = span_skip(*rest, 1);
		while (len < rest->len && rest->data[len] != quote)
			len += rest->data[len] == '\\' ? 2 : 1;
		token = span_first(*rest, len);
		*rest = span_skip(*rest, len < rest->len ? len + 1 : rest->len);
		return token;
	}
	while (len < rest->len && is_word(rest->data[len]))
		len++;
	*is_sign_out = len == 0;
	token = span_first(*rest, len == 0 ? 1 : len);
	*rest = span_skip(*rest, token.len);
	return token;
}

bool
relayctl_socket_in_text(struct span text, struct span *value_out)
{
	struct span before = SPAN(""), option = SPAN("");
	bool in_node = false;
	unsigned depth = 0, words = 0;          /* of the words since the last sign */

	while (text.len > 0) {
		bool is_sign;
		struct span token = take_token(&text, &is_sign);

		words += !is_sign;
		if (is_sign && token.data[0] == '{') {
			/* Two words are a section with a title. */
			in_node = depth++ == 0 && words == 1 && span_equal_cstr(before, "node");
		} else if (is_sign && token.data[0] == '}') {
			depth -= depth > 0;
		} else if (is_sign && token.data[0] == '=') {
			option = before;
		} else {
			if (in_node && depth == 1 && span_equal_cstr(option, "control") &&
			    token.len > 0) {
				*value_out = token;
				return true;
			}
			option = SPAN("");
			before = token;
			continue;
		}
		words = 0;
	}
	return false;
}

/* ---- which file */

static void
set_path(struct buf *path, const char *directory, struct span value)
{
	buf_clear(path);
	if (value.len > 0 && value.data[0] != '/') {
		(void)buf_append_cstr(path, directory);
		(void)buf_append_byte(path, '/');
	}
	(void)buf_append(path, value);
}

void
relayctl_socket_find(const char *directory, struct buf *path)
{
	struct span value = span_from_cstr(daemons[0].fallback);
	struct buf text;

	buf_init(&text, CONF_FILE_BYTES_MAX);
	for (size_t i = 0; i < DAEMON_COUNT; i++) {
		char *file = mem_format("%s/%s", directory, daemons[i].file);
		bool is_there = access(file, F_OK) == 0;

		if (is_there) {
			value = span_from_cstr(daemons[i].fallback);
			/* One that we may not read has its default, as far as we know. */
			if (file_read_whole(file, &text, NULL) == 0)
				(void)relayctl_socket_in_text(buf_span(&text), &value);
		}
		mem_free(&file);
		if (is_there)
			break;
	}
	set_path(path, directory, value);
	buf_fini(&text);
}
