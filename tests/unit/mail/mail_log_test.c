#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/clock.h"
#include "relay/base/file.h"
#include "relay/base/log.h"
#include "relay/mail/mail_log.h"

/* Operators parse these lines: a change here is a change of our face. */

struct fixture {
	struct clock_manual clock;
	struct log *log;
	int fd;
	struct buf text;
};

static void
begin(struct fixture *f)
{
	struct log_settings settings = { .level = LOG_LEVEL_INFO, .synchronous = true };

	clock_manual_init(&f->clock, 0, 1772368245123);
	f->fd = memfd_create("log", MFD_CLOEXEC);
	assert_true(f->fd >= 0);
	settings.clock = &f->clock.clock;
	settings.fd = f->fd;
	settings.without_time = true;
	f->log = log_new(&settings);
	(void)log_attach(f->log, NULL);
	buf_init(&f->text, 65536);
}

static void
end(struct fixture *f, const char *expected)
{
	assert_int_equal(lseek(f->fd, 0, SEEK_SET), 0);
	assert_int_equal(file_read_whole_fd(f->fd, &f->text, NULL), 0);
	assert_string_equal(buf_cstr(&f->text), expected);
	buf_fini(&f->text);
	log_free(&f->log);
	file_close(&f->fd);
}

static void
tells_the_life_of_a_message(void **state)
{
	struct envelope *envelope = envelope_new();
	struct reply reply = { 250, "2.0.0", "ok \"quoted\"" };
	struct mail_log_outcome outcome = {
		.id = 1, .sender = SPAN("a@b"), .rcpt = SPAN("c@d"), .destination = SPAN("mbox"),
		.host = SPAN("mbox1[192.0.2.1]:24"), .tls = SPAN("TLSv1.3"), .attempt = 2,
		.age_ms = 61000, .reply = &reply, .error_class = SPAN("connect"),
		.reason = SPAN("waiting-retry"), .next_ms = 300000,
	};
	struct mail_log_stored stored = {
		.id = 2, .origin = SPAN("n1.0001"), .rcpt = SPAN("c@d"), .box = SPAN("/m/c"),
		    .bytes = 5,
	};
	struct fixture f;

	(void)state;
	begin(&f);
	envelope->sender = envelope_keep(envelope, SPAN("a@b"));
	envelope->client_hello = envelope_keep(envelope, SPAN("x event=faked\ny"));
	envelope->protocol = PROTOCOL_ESMTPS;
	envelope->body_bytes = 42;
	(void)envelope_add_rcpt(envelope, SPAN("c@d"));
	mail_log_accepted(&(struct mail_log_accepted){ 1, envelope, SPAN("<i@j>"),
	    SPAN("TLSv1.3") });
	mail_log_attempt(&(struct mail_log_attempt){ .id = 1, .rcpt_count = 1,
	    .destination = SPAN("mbox"), .host = SPAN("h"), .attempt = 1 });
	mail_log_deferred(&outcome);
	mail_log_delivered(&outcome);
	mail_log_discarded(1, SPAN(""), SPAN(""), SPAN("c@d"), DISCARDED_DOUBLE_BOUNCE);
	mail_log_rebound(1, SPAN("o"), SPAN("c@d"), SPAN("h"), SPAN("i"));
	mail_log_notified(1, 3, SPAN("a@b"), SPAN("failed"), 2);
	mail_log_stored(&stored);
	mail_log_absorbed(&stored);
	mail_log_held(1, SPAN("uid:0"), SPAN("looks odd"));
	mail_log_resumed(1, SPAN("n2"), 100);
	mail_log_done(1, SPAN(""), 90000);
	end(&f,
	    "level=info event=accepted id=0000000000001 from=<a@b> nrcpt=1 size=42 msgid=<i@j> "
	    "proto=ESMTPS hello=\"x event=faked\\x0ay\" tls=TLSv1.3\n"
	    "level=info event=attempt id=0000000000001 nrcpt=1 dest=mbox host=h attempt=1\n"
	    "level=info event=deferred id=0000000000001 from=<a@b> to=<c@d> dest=mbox "
	    "host=mbox1[192.0.2.1]:24 tls=TLSv1.3 attempt=2 age=1m1s code=250 status=2.0.0 "
	    "reply=\"ok \\\"quoted\\\"\" class=connect reason=waiting-retry next=5m\n"
	    "level=info event=delivered id=0000000000001 from=<a@b> to=<c@d> dest=mbox "
	    "host=mbox1[192.0.2.1]:24 tls=TLSv1.3 attempt=2 age=1m1s code=250 status=2.0.0 "
	    "reply=\"ok \\\"quoted\\\"\"\n"
	    "level=info event=discarded id=0000000000001 from=<> to=<c@d> why=double-bounce\n"
	    "level=info event=rebound id=0000000000001 origin=o to=<c@d> was=h dest=i\n"
	    "level=info event=notified id=0000000000001 action=failed nrcpt=2 to=<a@b> "
	    "notice=0000000000003\n"
	    "level=info event=stored id=0000000000002 origin=n1.0001 from=<> to=<c@d> box=/m/c "
	    "size=5\n"
	    "level=info event=absorbed id=0000000000002 origin=n1.0001 from=<> to=<c@d> box=/m/c "
	    "size=5\n"
	    "level=info event=held id=0000000000001 by=uid:0 why=\"looks odd\"\n"
	    "level=info event=resumed id=0000000000001 by=n2 offset=100\n"
	    "level=info event=done id=0000000000001 age=1m30s\n");
	envelope_free(&envelope);
}

static void
tells_of_refusals(void **state)
{
	struct reply reply = { 550, "5.1.1", "no such user" };
	struct fixture f;

	(void)state;
	begin(&f);
	mail_log_refused(&(struct mail_log_refused){ .stage = SPAN("rcpt"), .sender = SPAN("a@b"),
	    .rcpt = SPAN("x@y"), .client_address = SPAN("192.0.2.1"), .listener = SPAN("mx"),
	    .protocol = PROTOCOL_SMTP, .reply = &reply });
	end(&f, "level=info event=refused stage=rcpt from=<a@b> to=<x@y> proto=SMTP "
	    "client=192.0.2.1 listener=mx code=550 status=5.1.1 reply=\"no such user\"\n");
}

#define OUTCOME "id=0000000000001 from=<a@b> to=<c@d> dest=mbox attempt=0 age=0 code=550 " \
	"status=5.1.1 reply=no"
#define TO_NOBODY "id=0000000000001 from=<> to=<c@d>"

/* The same fields under every name that an outcome can have. */
static void
tells_every_outcome_and_deed(void **state)
{
	static const struct reply reply = { 550, "5.1.1", "no" };
	const struct mail_log_outcome outcome = {
		.id = 1, .sender = SPAN("a@b"), .rcpt = SPAN("c@d"), .destination = SPAN("mbox"),
		.reply = &reply, .next_ms = 1000,
	};
	struct fixture f;

	(void)state;
	begin(&f);
	mail_log_uncertain(&outcome);
	mail_log_bounced(&outcome);
	mail_log_expired(&outcome);
	mail_log_relayed(&outcome);
	mail_log_released(1, SPAN("uid:0"), SPAN("looked at"));
	mail_log_retried(1, SPAN("uid:0"), SPAN(""));
	mail_log_removed(1, SPAN("uid:0"), SPAN(""));
	for (int why = DISCARDED_NULL_SENDER; why <= DISCARDED_DOUBLE_BOUNCE; why++)
		mail_log_discarded(1, SPAN(""), SPAN(""), SPAN("c@d"), (enum mail_log_why)why);
	end(&f,
	    "level=info event=uncertain " OUTCOME " next=1s\n"
	    "level=info event=bounced " OUTCOME "\n"
	    "level=info event=expired " OUTCOME "\n"
	    "level=info event=relayed " OUTCOME "\n"
	    "level=info event=released id=0000000000001 by=uid:0 why=\"looked at\"\n"
	    "level=info event=retried id=0000000000001 by=uid:0\n"
	    "level=info event=removed id=0000000000001 by=uid:0\n"
	    "level=info event=discarded " TO_NOBODY " why=null-sender\n"
	    "level=info event=discarded " TO_NOBODY " why=notify-never\n"
	    "level=info event=discarded " TO_NOBODY " why=operator\n"
	    "level=info event=discarded " TO_NOBODY " why=double-bounce\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_the_life_of_a_message),
		cmocka_unit_test(tells_every_outcome_and_deed),
		cmocka_unit_test(tells_of_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
