"""What a peer takes at a time: recipients, messages, letters a minute."""
import smtplib
import socket
import threading
import time

from case_notices import ScriptedSink
from chapar import check, smtp_route, wait_for


class LimitedSink:
    """Takes RCPT_MAX recipients in a transaction and MAIL_MAX transactions a connection; says so or not."""

    def __init__(self, address, rcpt_max=1000, mail_max=1000, says=False):
        self.rcpt_max, self.mail_max, self.says = rcpt_max, mail_max, says
        self.transactions = []          # recipients of each
        self.refused = 0
        self.connections = 0
        self.times = []
        self.listener = socket.socket()
        self.listener.bind((address, 0))
        self.listener.listen(64)
        self.at = f"{address}:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            self.connections += 1
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            self.session(connection)
        except OSError:
            pass

    def session(self, connection):
        mails, rcpts = 0, []
        with connection, connection.makefile("rwb") as file:
            def say(text):
                file.write(text.encode() + b"\r\n")
                file.flush()
            say("220 sink ESMTP")
            for line in file:
                verb = line[:4].upper()
                if verb == b"EHLO":
                    limits = f"250-LIMITS RCPTMAX={self.rcpt_max} MAILMAX={self.mail_max}\r\n" if self.says else ""
                    say("250-sink\r\n" + limits + "250-PIPELINING\r\n250 ENHANCEDSTATUSCODES")
                elif verb == b"MAIL":
                    mails, rcpts = mails + 1, []
                    if mails > self.mail_max:
                        say("421 4.7.0 enough")
                        return
                    say("250 2.1.0 ok")
                elif verb == b"RCPT":
                    if len(rcpts) == self.rcpt_max:
                        self.refused += 1
                        say("452 4.5.3 too many recipients")
                    else:
                        rcpts.append(line.split(b"<")[1].split(b">")[0].decode())
                        say("250 2.1.5 ok")
                elif verb == b"DATA":
                    say("354 go on")
                    for line in file:
                        if line == b".\r\n":
                            break
                    self.transactions.append(rcpts)
                    self.times.append(time.monotonic())
                    say("250 2.0.0 taken")
                elif verb == b"QUIT":
                    say("221 bye")
                    return
                else:
                    say("250 ok")

    def taken(self):
        return sorted(rcpt for transaction in self.transactions for rcpt in transaction)


def relay_to(site, sink, extra=""):
    return site.relay("relay", 1, smtp_route([sink.at], tls="none", extra=extra)).start()


def send(site, rcpts, count=1):
    client = smtplib.SMTP(site.address(1), 2525, "client.example.org", timeout=20)
    for _ in range(count):
        client.sendmail("sender@example.org", rcpts, "Subject: x\r\n\r\nhello\r\n")
    client.quit()


RCPTS = [f"u{i:02}@example.com" for i in range(25)]


def test_recipients_as_stated(site):
    """LIMITS RCPTMAX=10: 25 recipients in three transactions of one connection, none refused."""
    sink = LimitedSink(site.address(9), rcpt_max=10, says=True)
    relay = relay_to(site, sink)
    send(site, RCPTS)
    wait_for(lambda: relay.queue_length() == 0, 10, "all delivered")
    check(sink.taken() == RCPTS, str(sink.transactions))
    check([len(rcpts) for rcpts in sink.transactions] == [10, 10, 5], str(sink.transactions))
    check((sink.refused, sink.connections) == (0, 1), f"{sink.refused} refused, {sink.connections} connections")


def test_recipients_as_seen(site):
    """452 4.5.3 from the eighth on: the rest goes at once, and the next letter begins with seven."""
    sink = LimitedSink(site.address(9), rcpt_max=7)
    relay = relay_to(site, sink)
    send(site, RCPTS)
    wait_for(lambda: relay.queue_length() == 0, 10, "all delivered")
    check(sink.taken() == RCPTS, str(sink.transactions))
    check(sink.refused == 18, f"{sink.refused} refused: only the first transaction was to learn")
    send(site, RCPTS)
    wait_for(lambda: relay.queue_length() == 0, 10, "all delivered again")
    check(sink.taken() == sorted(RCPTS * 2), "lost or doubled")
    check(sink.refused == 18, f"the limit of seven is forgotten: {sink.refused} refused")


def test_messages_as_stated(site):
    """LIMITS MAILMAX=2 with RCPTMAX=5: five transactions over three connections, nobody hears 421."""
    sink = LimitedSink(site.address(9), rcpt_max=5, mail_max=2, says=True)
    relay = relay_to(site, sink)
    send(site, RCPTS)
    wait_for(lambda: relay.queue_length() == 0, 10, "all delivered")
    check(sink.taken() == RCPTS and len(sink.transactions) == 5, str(sink.transactions))
    check(sink.connections == 3, f"{sink.connections} connections")
    check("421" not in relay.log(), "it went on until 421")


def test_letters_a_minute(site):
    """messages_a_minute = 120: two a second, evenly; what waits says rate-limit, and when it goes."""
    sink = LimitedSink(site.address(9))
    relay = relay_to(site, sink, extra="messages_a_minute = 120")
    send(site, ["a@example.com"], count=9)
    wait_for(lambda: relay.ctl_json("list")[-1]["reason"] == "rate-limit", 2, "the reason is rate-limit")
    wait_for(lambda: relay.queue_length() == 0, 10, "all delivered")
    spent = sink.times[-1] - sink.times[0]
    check(3 < spent < 5, f"nine letters in {spent:.1f} s")


def test_schedule_of_one_kind(site):
    """retry { schedule = 1h  other = 1s }: what is refused with 451 comes back in a second, lost calls do not."""
    away = ScriptedSink(site.address(8))
    relay = site.relay("relay", 1, smtp_route([away.at], tls="none", extra='retry = "r"'),
                       extra='retry "r" { schedule = {"1h"}  other = {"1s"} }\n').start()
    send(site, ["later@example.com"])
    wait_for(lambda: relay.log().count("class=other") >= 3, 10, "three attempts:\n" + relay.log()[-1000:])
    check(relay.ctl_json("list")[0]["attempts"] >= 3, "the list does not count them")


def test_a_letter_to_a_hundred_places(site):
    """A hundred destinations of one letter that all refuse: each is asked again and again, none is left out."""
    away = ScriptedSink(site.address(8), delay=1.5)
    routes = "".join(smtp_route([away.at], name=f"r{i}", domains=f'"d{i}.example.com"', tls="none",
                                extra='retry = "r"') for i in range(100))
    relay = site.relay("relay", 1, routes, extra='retry "r" { other = {"1s"} }\n').start()
    send(site, [f"later@d{i}.example.com" for i in range(100)])

    def asked():
        log = relay.log()
        return all(log.count(f"to=<later@d{i}.example.com>") >= 2 for i in range(100))
    wait_for(asked, 30, "two attempts for each of the hundred")
    check("level=error" not in relay.log(), "an error:\n" + relay.log()[-1000:])
