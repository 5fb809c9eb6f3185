#include "relay/session/call_login.h"

#include <stdatomic.h>
#include <string.h>

#include "relay/base/file.h"
#include "relay/base/mem.h"

struct call_login {
	atomic_uint holders;
	struct sasl *sasl;
	char *mechanisms, *user, *password;
};

static const struct span mechanisms_usual = { "SCRAM-SHA-256 PLAIN LOGIN", 25 };

enum { PASSWORD_FILE_BYTES_MAX = 4096 };

static int
check_mechanisms(struct span mechanisms, struct err *err)
{
	struct span name;

	while (span_take_word(&mechanisms, &name))
		if (!sasl_knows(name))
			return err_set(err, ERR_CONFIG, "\"%.*s\": expected PLAIN, LOGIN, "
			    "SCRAM-SHA-256 or EXTERNAL", SPAN_ARGS(name));
	return 0;
}

struct call_login *
call_login_new(struct span mechanisms, struct span user, struct span password, struct err *err)
{
	struct call_login *login;
	struct sasl *sasl;
	size_t at;

	if (mechanisms.len == 0)
		mechanisms = mechanisms_usual;
	if (check_mechanisms(mechanisms, err) < 0)
		return NULL;
	if (user.len > SASL_USER_BYTES_MAX || span_has_control(user) ||
	    password.len > SASL_PASSWORD_BYTES_MAX || span_find_byte(password, '\0', &at)) {
		(void)err_set(err, ERR_CONFIG, "the user or the password cannot be said by SASL");
		return NULL;
	}
	sasl = sasl_new(err);
	if (!sasl)
		return NULL;
	login = mem_alloc(sizeof(*login));
	atomic_init(&login->holders, 1);
	login->sasl = sasl;
	login->mechanisms = mem_dup_text(mechanisms.data, mechanisms.len);
	login->user = mem_dup_text(user.data, user.len);
	login->password = mem_dup_text(password.data, password.len);
	return login;
}

struct call_login *
call_login_load(struct span mechanisms, struct span user, const char *path, struct err *err)
{
	struct call_login *login = NULL;
	struct span text, line;
	struct buf buf;

	buf_init(&buf, PASSWORD_FILE_BYTES_MAX);
	if (file_read_whole_private(path, &buf, err) == 0) {
		text = buf_span(&buf);
		if (!span_take_part(&text, '\n', &line) || line.len == 0) {
			(void)err_set(err, ERR_CONFIG, "%s: expected a password", path);
		} else {
			if (line.data[line.len - 1] == '\r')
				line.len--;
			login = call_login_new(mechanisms, user, line, err);
		}
	}
	buf_wipe(&buf);
	return login;
}

struct call_login *
call_login_ref(struct call_login *login)
{
	atomic_fetch_add_explicit(&login->holders, 1, memory_order_relaxed);
	return login;
}

void
call_login_unref(struct call_login **login_pointer)
{
	struct call_login *login = *login_pointer;

	*login_pointer = NULL;
	if (!login || atomic_fetch_sub_explicit(&login->holders, 1, memory_order_acq_rel) != 1)
		return;
	mem_wipe(login->password, strlen(login->password));
	mem_free(&login->password);
	mem_free(&login->user);
	mem_free(&login->mechanisms);
	sasl_free(&login->sasl);
	mem_free(&login);
}

struct span
call_login_mechanisms(const struct call_login *login)
{
	return span_from_cstr(login->mechanisms);
}

struct sasl_client *
call_login_begin(const struct call_login *login, struct span mechanism)
{
	return sasl_client_new(login->sasl, mechanism, span_from_cstr(login->user),
	    span_from_cstr(login->password));
}
