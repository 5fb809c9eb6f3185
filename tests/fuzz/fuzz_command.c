/* Arguments of MAIL and RCPT, and addresses. */
#include "relay/base/buf.h"
#include "relay/base/must.h"
#include "relay/mail/xtext.h"
#include "relay/smtp/smtp_capability.h"
#include "relay/smtp/smtp_param.h"
#include "tests/fuzz/fuzz.h"

/* What was understood says the same when it is printed and read again. */
static void
check_address(const struct address *address, bool utf8, struct arena *arena)
{
	struct span text = address_text(address, arena);
	struct address again;

	must(!span_has_control(text));
	must(text.len <= ADDRESS_TEXT_BYTES_MAX);
	must(address->local.len <= ADDRESS_LOCAL_BYTES_MAX);
	must(address->domain.len <= ADDRESS_DOMAIN_BYTES_MAX);
	must(utf8 || span_is_ascii(text));
	must(address->needs_utf8 == !span_is_ascii(text));
	if (span_is_empty(address->domain))
		return;
	must(address_parse(&again, text, utf8, arena) == ADDRESS_OK);
	must(address_equal(address, &again));
	must(span_equal(address_text(&again, arena), text));
}

void
fuzz_address(struct span input)
{
	unsigned int choice = fuzz_choice(&input);
	bool utf8 = choice & 1;
	struct address address;
	struct arena arena;
	enum address_syntax syntax;

	arena_init(&arena, 0);
	switch (choice >> 1 & 3) {
	case 0:
		syntax = address_parse(&address, input, utf8, &arena);
		must(syntax != ADDRESS_OK || !span_is_empty(address.domain));
		break;
	case 1:
		syntax = address_parse_reverse_path(&address, input, utf8, &arena);
		break;
	case 2:
		syntax = address_parse_forward_path(&address, input, utf8, &arena);
		must(syntax != ADDRESS_OK || !address_is_null(&address));
		break;
	default:
		(void)address_domain_is_valid(input, utf8);
		syntax = ADDRESS_BAD;
		break;
	}
	if (syntax == ADDRESS_OK)
		check_address(&address, utf8, &arena);
	arena_fini(&arena);
}

static void
check_refusal(const struct reply *reply)
{
	must(reply->code >= 400 && reply->code <= 599);
	must(reply->status[0] == '0' + reply->code / 100);
	must(!span_has_control(span_from_cstr(reply->text)));
}

void
fuzz_command(struct span input)
{
	unsigned int choice = fuzz_choice(&input);
	uint32_t offered = choice & 1 ? UINT32_MAX : SMTP_CAPABILITIES_COMMON;
	struct arena arena;
	struct reply reply = { 0 };

	if (choice & 2)
		offered = 0;
	arena_init(&arena, 0);
	if (choice & 4) {
		struct smtp_rcpt rcpt;
		bool utf8 = choice & 8;

		if (smtp_rcpt_parse(&rcpt, input, offered, utf8, &arena, &reply)) {
			check_address(&rcpt.to, utf8, &arena);
			must(rcpt.orcpt.len <= SMTP_ORCPT_BYTES_MAX);
			must(!span_has_control(rcpt.orcpt));
			must(!(rcpt.notify & NOTIFY_NEVER) || rcpt.notify == NOTIFY_NEVER);
		} else {
			check_refusal(&reply);
		}
	} else {
		struct smtp_mail mail;

		if (smtp_mail_parse(&mail, input, offered, &arena, &reply)) {
			check_address(&mail.from, mail.smtputf8, &arena);
			must(xtext_is_valid(mail.envid) || span_is_empty(mail.envid));
			must(mail.envid.len <= SMTP_ENVID_BYTES_MAX);
			must(mail.transid.len <= SMTP_TRANSID_BYTES_MAX);
			must(mail.origin.len <= SMTP_ORIGIN_BYTES_MAX);
			must(mail.has_size || mail.size == 0);
		} else {
			check_refusal(&reply);
		}
	}
	arena_fini(&arena);
}
