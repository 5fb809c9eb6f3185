#include <stdio.h>

#include "relay/base/ascii.h"
#include "relay/smtp/smtp_server_private.h"

enum verb_flags {
	VERB_ENDS_GROUP = 1 << 0,       /* RFC 2920 section 3.1: the last of a group */
	VERB_IS_USEFUL = 1 << 1,        /* does not count among the useless ones */
};

struct verb_rule {
	const char *name;
	enum step (*handle)(struct smtp_server *s, struct span args, struct reply *reply);
	unsigned int phases;
	unsigned int flags;
	enum question question;         /* that the handler asks */
	const char *out_of_place;       /* the words of 503 */
};

/* ---- greeting ------------------------------------------------------------- */

static enum step
greet(struct smtp_server *s, struct span args, bool extended, struct reply *reply)
{
	struct span name;

	/* What stands behind the name is ignored: some clients say more than they should. */
	if (!span_take_word(&args, &name) || name.len > 255 || span_has_control(name) ||
	    !span_is_ascii(name)) {
		reply_set(reply, 501, "5.5.4", "expected your host name");
		smtp_server_put_reply(s, reply);
		return STEP_CHALLENGE;
	}

	const struct smtp_hello hello = {
		.name = name,
		.extended = extended,
		.is_domain = address_domain_is_valid(name, false),
	};

	smtp_server_end_transaction(s, SMTP_RESET_BY_CLIENT);
	s->phase = PHASE_GREETED;
	s->extended = extended;
	s->asking = true;

	enum step step = s->ops->hello(s->ctx, &hello, reply);

	s->asking = false;
	return step;
}

/* RFC 2033 section 4.1: LHLO in the place of HELO and EHLO, which LMTP has not. */
static enum step
wrong_greeting(struct smtp_server *s, struct reply *reply, const char *text)
{
	reply_set(reply, 500, "5.5.1", "%s", text);
	smtp_server_put_reply(s, reply);
	return STEP_CHALLENGE;
}

static enum step
handle_helo(struct smtp_server *s, struct span args, struct reply *reply)
{
	if (s->settings->lmtp)
		return wrong_greeting(s, reply, "this is LMTP: say LHLO");
	return greet(s, args, false, reply);
}

static enum step
handle_ehlo(struct smtp_server *s, struct span args, struct reply *reply)
{
	if (s->settings->lmtp)
		return wrong_greeting(s, reply, "this is LMTP: say LHLO");
	return greet(s, args, true, reply);
}

static enum step
handle_lhlo(struct smtp_server *s, struct span args, struct reply *reply)
{
	if (!s->settings->lmtp)
		return wrong_greeting(s, reply, "this is SMTP: say EHLO");
	return greet(s, args, true, reply);
}

/* ---- the transaction ------------------------------------------------------ */

static enum step
handle_mail(struct smtp_server *s, struct span args, struct reply *reply)
{
	const struct smtp_server_settings *settings = s->settings;
	struct smtp_mail mail;

	if (settings->mail_count_max && s->mail_count >= settings->mail_count_max) {
		reply_set(reply, 421, "4.7.0", "enough messages for one connection");
		return STEP_REPLY;
	}
	if (!smtp_mail_parse(&mail, args, s->extended ? smtp_server_offered(s) | SMTP_AUTH : 0,
		&s->arena, reply))
		return STEP_REPLY;
	if (settings->size_max && mail.size > settings->size_max) {
		reply_set(reply, 552, "5.3.4", "the message is larger than this system takes");
		return STEP_REPLY;
	}
	s->smtputf8 = mail.smtputf8;
	s->asking = true;

	enum step step = s->ops->mail(s->ctx, &mail, reply);

	s->asking = false;
	return step;
}

static enum step
handle_rcpt(struct smtp_server *s, struct span args, struct reply *reply)
{
	struct smtp_rcpt rcpt;

	if (!smtp_rcpt_parse(&rcpt, args, s->extended ? smtp_server_offered(s) : 0, s->smtputf8,
		&s->arena, reply))
		return STEP_REPLY;
	if (s->settings->rcpt_count_max && s->rcpt_count >= s->settings->rcpt_count_max) {
		if (++s->rcpt_over_count > RCPT_OVER_TIMES_MAX * s->settings->rcpt_count_max)
			s->useless_count++;
		reply_set(reply, 452, "4.5.3", "too many recipients");
		return STEP_REPLY;
	}
	rcpt.index = s->rcpt_count;
	s->asking = true;

	enum step step = s->ops->rcpt(s->ctx, &rcpt, reply);

	s->asking = false;
	return step;
}

static enum step
handle_data(struct smtp_server *s, struct span args, struct reply *reply)
{
	if (span_trim(args).len) {
		reply_set(reply, 501, "5.5.4", "DATA takes no argument");
		return STEP_REPLY;
	}
	s->asking = true;

	enum step step = s->ops->data(s->ctx, reply);

	s->asking = false;
	return step;
}

/* RFC 5321 section 4.1.1: what stands behind RSET and QUIT is refused, and nothing is done. */
static bool
has_argument(struct smtp_server *s, struct span args)
{
	if (span_trim(args).len == 0)
		return false;
	smtp_server_say(s, 501, "5.5.4", "the command takes no argument");
	return true;
}

static enum step
handle_rset(struct smtp_server *s, struct span args, struct reply *reply)
{
	(void)reply;
	if (has_argument(s, args))
		return STEP_CHALLENGE;
	smtp_server_end_transaction(s, SMTP_RESET_BY_CLIENT);
	smtp_server_say(s, 250, "2.0.0", "ok");
	return STEP_CHALLENGE;
}

/* ---- the rest ------------------------------------------------------------- */

static enum step
handle_noop(struct smtp_server *s, struct span args, struct reply *reply)
{
	(void)args;
	(void)reply;
	smtp_server_say(s, 250, "2.0.0", "ok");
	return STEP_CHALLENGE;
}

static enum step
handle_quit(struct smtp_server *s, struct span args, struct reply *reply)
{
	(void)reply;
	if (has_argument(s, args))
		return STEP_CHALLENGE;
	smtp_server_end_transaction(s, SMTP_RESET_BY_CLIENT);
	smtp_server_close(s, 221, "2.0.0", "goodbye");
	return STEP_CHALLENGE;
}

/* RFC 5321 section 7.3: neither yes nor no. */
static enum step
handle_vrfy(struct smtp_server *s, struct span args, struct reply *reply)
{
	(void)reply;
	if (span_trim(args).len)
		smtp_server_say(s, 252, "2.5.0", "send some mail, and see");
	else
		smtp_server_say(s, 501, "5.5.4", "expected VRFY address");
	return STEP_CHALLENGE;
}

static enum step
handle_expn(struct smtp_server *s, struct span args, struct reply *reply)
{
	(void)args;
	(void)reply;
	smtp_server_say(s, 502, "5.5.1", "lists are not shown");
	return STEP_CHALLENGE;
}

static enum step
handle_help(struct smtp_server *s, struct span args, struct reply *reply)
{
	(void)args;
	(void)reply;
	smtp_server_say(s, 214, "2.0.0", "see RFC 5321");
	return STEP_CHALLENGE;
}

static enum step
handle_starttls(struct smtp_server *s, struct span args, struct reply *reply)
{
	(void)reply;
	if (!s->extended || !(smtp_server_offered(s) & SMTP_STARTTLS)) {
		smtp_server_say(s, s->tls ? 503 : 502, "5.5.1",
		    s->tls ? "this is TLS already" : "TLS is not offered here");
	} else if (span_trim(args).len) {
		smtp_server_say(s, 501, "5.5.4", "STARTTLS takes no argument");
	} else {
		smtp_server_end_transaction(s, SMTP_RESET_BY_CLIENT);
		smtp_server_say(s, 220, "2.0.0", "go ahead");
		s->wants_tls = true;
	}
	return STEP_CHALLENGE;
}

static const struct verb_rule verb_rules[] = {
	{ "MAIL", handle_mail, PHASE_READY, 0, QUESTION_MAIL,
	    "there is a transaction already, or no greeting yet" },
	{ "RCPT", handle_rcpt, PHASE_MAIL | PHASE_RCPT, VERB_IS_USEFUL, QUESTION_RCPT,
	    "there is no sender" },
	{ "DATA", handle_data, PHASE_RCPT, VERB_IS_USEFUL | VERB_ENDS_GROUP, QUESTION_DATA,
	    "there is no recipient" },
	{ "BDAT", smtp_server_bdat, PHASE_ANY, VERB_IS_USEFUL, QUESTION_CHUNK, "" },
	{ "RSET", handle_rset, PHASE_ANY, 0, QUESTION_NONE, "" },
	{ "QUIT", handle_quit, PHASE_ANY | PHASE_REFUSED, 0, QUESTION_NONE, "" },
	{ "EHLO", handle_ehlo, PHASE_ANY, VERB_ENDS_GROUP, QUESTION_HELLO, "" },
	{ "HELO", handle_helo, PHASE_ANY, VERB_ENDS_GROUP, QUESTION_HELLO, "" },
	{ "LHLO", handle_lhlo, PHASE_ANY, VERB_ENDS_GROUP, QUESTION_HELLO, "" },
	{ "STARTTLS", handle_starttls, PHASE_GREETED | PHASE_READY, VERB_ENDS_GROUP, QUESTION_NONE,
	    "there is a transaction" },
	{ "AUTH", smtp_server_auth, PHASE_READY, VERB_ENDS_GROUP, QUESTION_AUTH,
	    "there is a transaction, or no greeting yet" },
	{ "NOOP", handle_noop, PHASE_ANY, 0, QUESTION_NONE, "" },
	{ "VRFY", handle_vrfy, PHASE_ANY, 0, QUESTION_NONE, "" },
	{ "EXPN", handle_expn, PHASE_ANY, 0, QUESTION_NONE, "" },
	{ "HELP", handle_help, PHASE_ANY, 0, QUESTION_NONE, "" },
};

enum { VERB_RULE_COUNT = sizeof(verb_rules) / sizeof(verb_rules[0]) };

/* A browser was sent here to speak for somebody else (ALPACA): it gets no word. */
static bool
is_http(struct span verb)
{
	static const char *const methods[] = { "GET", "POST", "HEAD", "PUT", "CONNECT", "OPTIONS",
		"DELETE", "PATCH", "TRACE", "PRI" };

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (span_equal_cstr(verb, methods[i]))
			return true;
	return false;
}

static void
keep_verb(struct smtp_server *s, const char *name)
{
	(void)snprintf(s->last_verb, sizeof(s->last_verb), "%s", name);
}

static void
run(struct smtp_server *s, const struct verb_rule *rule, struct span args)
{
	struct reply reply = { 0 };

	if (!(s->phase & rule->phases)) {
		smtp_server_say(s, 503, "5.5.1", rule->out_of_place);
		return;
	}

	enum step step = rule->handle(s, args, &reply);

	/* What a handler said by itself needs nothing more; a refusal of its own is a reply. */
	if (step == STEP_REPLY && rule->question == QUESTION_AUTH)
		smtp_server_auth_answered(s, &reply);
	else if (step != STEP_CHALLENGE)
		smtp_server_take_step(s, rule->question, step, &reply);
}

void
smtp_server_command(struct smtp_server *s, struct span line)
{
	struct span verb, rest = line;

	arena_reset(&s->arena);
	if (!span_take_word(&rest, &verb) || ascii_is_blank(line.data[0])) {
		s->useless_count++;
		smtp_server_say(s, 500, "5.5.2", "a line without a command");
		return;
	}
	if (s->command_count == 1 && is_http(verb)) {
		s->ending = ENDING_CUT;
		return;
	}
	if (s->phase == PHASE_REFUSED && !span_equal_nocase(verb, SPAN("QUIT"))) {
		smtp_server_say(s, 503, "5.5.1", "you were refused: say QUIT");
		return;
	}
	if (rest.len)
		rest = span_skip(rest, 1);
	for (size_t i = 0; i < VERB_RULE_COUNT; i++) {
		const struct verb_rule *rule = &verb_rules[i];

		if (!span_equal_nocase_cstr(verb, rule->name))
			continue;
		keep_verb(s, rule->name);
		s->group_ended = (rule->flags & VERB_ENDS_GROUP) != 0;
		if (!(rule->flags & VERB_IS_USEFUL))
			s->useless_count++;
		run(s, rule, rest);
		return;
	}
	s->useless_count++;
	smtp_server_say(s, 500, "5.5.1", "the command is not known");
}
