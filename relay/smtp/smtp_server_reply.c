#include "relay/base/ascii.h"
#include "relay/base/must.h"
#include "relay/smtp/smtp_server_private.h"

/* Whatever went into the text, a reply of one line stays a reply of one line. */
static void
make_harmless(struct smtp_server *s, size_t text_at)
{
	for (size_t i = s->out.start + text_at; i < s->out.end; i++)
		if (ascii_is_control(s->out.data[i]))
			s->out.data[i] = '?';
}

void
smtp_server_put_reply(struct smtp_server *s, const struct reply *reply)
{
	bool has_status = reply->status[0] && reply->code / 100 != 3;
	size_t text_at = buf_len(&s->out);

	must(reply->code >= 200 && reply->code <= 599);
	(void)buf_appendf(&s->out, "%u %s%s%s", reply->code, has_status ? reply->status : "",
	    has_status ? " " : "", reply->text);
	make_harmless(s, text_at);
	(void)buf_append(&s->out, SPAN("\r\n"));
	if (reply->code == 421)
		s->ending = ENDING_CLOSE;
	if (reply_is_permanent(reply))
		s->error_count++;
}

void
smtp_server_say(struct smtp_server *s, uint16_t code, const char *status, const char *text)
{
	struct reply reply;

	reply_set(&reply, code, status, "%s", text);
	smtp_server_put_reply(s, &reply);
}

void
smtp_server_close(struct smtp_server *s, uint16_t code, const char *status, const char *text)
{
	smtp_server_say(s, code, status, text);
	s->ending = ENDING_CLOSE;
}

uint32_t
smtp_server_offered(const struct smtp_server *s)
{
	uint32_t offered = s->settings->offered | s->offers;

	offered &= ~(uint32_t)SMTP_AUTH;
	if (s->tls)
		offered &= ~(uint32_t)SMTP_STARTTLS;
	if (s->settings->rcpt_count_max == 0 && s->settings->mail_count_max == 0)
		offered &= ~(uint32_t)SMTP_LIMITS;
	if (s->mechanisms && !s->authenticated)
		offered |= SMTP_AUTH;
	return offered;
}

static void
put_capability(struct smtp_server *s, const struct smtp_capability_name *name)
{
	const struct smtp_server_settings *settings = s->settings;

	switch (name->capability) {
	case SMTP_SIZE:
		(void)buf_appendf(&s->out, "250-SIZE %llu\r\n",
		    (unsigned long long)settings->size_max);
		return;
	case SMTP_AUTH:
		(void)buf_appendf(&s->out, "250-AUTH %s\r\n", s->mechanisms);
		return;
	case SMTP_LIMITS:
		(void)buf_appendf(&s->out, "250-LIMITS");
		if (settings->rcpt_count_max)
			(void)buf_appendf(&s->out, " RCPTMAX=%zu", settings->rcpt_count_max);
		if (settings->mail_count_max)
			(void)buf_appendf(&s->out, " MAILMAX=%zu", settings->mail_count_max);
		(void)buf_append(&s->out, SPAN("\r\n"));
		return;
	case SMTP_PIPELINING: case SMTP_8BITMIME: case SMTP_SMTPUTF8:
	case SMTP_ENHANCEDSTATUSCODES: case SMTP_CHUNKING: case SMTP_DSN:
	case SMTP_STARTTLS: case SMTP_CHECKPOINT: case SMTP_XORIGIN:
		(void)buf_appendf(&s->out, "250-%s\r\n", name->keyword);
		return;
	}
	must_not_reach();
}

/* RFC 5321 section 4.1.1.1: the host name, then a line for each extension. */
void
smtp_server_put_hello(struct smtp_server *s)
{
	const struct smtp_capability_name *table;
	size_t count, last_line = buf_len(&s->out);

	(void)buf_appendf(&s->out, "250-%.*s\r\n", SPAN_ARGS(s->settings->hostname));
	if (s->extended) {
		table = smtp_capability_table(&count);
		for (size_t i = 0; i < count; i++) {
			if (!(smtp_server_offered(s) & (uint32_t)table[i].capability))
				continue;
			last_line = buf_len(&s->out);
			put_capability(s, &table[i]);
		}
	}
	s->out.data[s->out.start + last_line + 3] = ' ';
}
