"""What senders are told: failure, delay, success; read back with Python's email as RFC 3464 says."""
import email
import email.policy
import email.utils
import re
import smtplib
import socket
import threading
import time

from chapar import check, free_port, lmtp_route, smtp_route, wait_for

ACTIONS = {"failed", "delayed", "delivered", "relayed", "expanded"}


class ScriptedSink:
    """Takes mail; answers RCPT by the local part: bad*, later*, and all others well."""

    def __init__(self, address, extensions=("PIPELINING",), delay=0):
        self.extensions = extensions
        self.delay = delay              # in front of the refusal of later*
        self.letters = []               # (MAIL line, RCPT lines, octets)
        self.listener = socket.socket()
        self.listener.bind((address, 0))
        self.listener.listen(64)
        self.at = f"{address}:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            self.session(connection)
        except ConnectionError:
            pass

    def session(self, connection):
        with connection, connection.makefile("rwb") as file:
            def say(text):
                file.write(text.encode() + b"\r\n")
                file.flush()
            say("220 sink.test ESMTP")
            mail, rcpts = "", []
            for line in file:
                verb = line[:4].upper()
                text = line.decode("utf-8").strip()
                if verb == b"EHLO":
                    lines = ["sink.test", *self.extensions]
                    say("\r\n".join(f"250{' ' if i + 1 == len(lines) else '-'}{word}"
                                    for i, word in enumerate(lines)))
                elif verb == b"RCPT":
                    local = text.split("<")[1].lower()
                    if local.startswith("bad"):
                        say("550 5.1.1 no such user h\u00e9re" if "8BITMIME" in self.extensions
                            else "550 5.1.1 no such user here")
                    elif local.startswith("later"):
                        time.sleep(self.delay)
                        say("451 4.2.1 come again")
                    else:
                        rcpts.append(text)
                        say("250 2.1.5 ok")
                elif verb == b"DATA":
                    if not rcpts:
                        say("503 5.5.1 no recipients")
                        continue
                    say("354 go on")
                    letter = b""
                    for line in file:
                        if line == b".\r\n":
                            break
                        letter += line[1:] if line.startswith(b".") else line
                    self.letters.append((mail, rcpts, letter))
                    rcpts = []
                    say("250 2.0.0 taken")
                elif verb == b"QUIT":
                    say("221 2.0.0 bye")
                    return
                else:
                    if verb == b"MAIL":
                        mail, rcpts = text, []
                    say("250 2.1.0 ok")


class Notice:
    """A notification, taken apart; every rule of RFC 3464 that can be seen is checked on the way."""

    def __init__(self, letter):
        self.mail, self.rcpts, octets = letter
        check(self.mail.startswith("MAIL FROM:<>"), "it has a sender: " + self.mail)
        check(b"\n" not in octets.replace(b"\r\n", b"") and b"\r" not in octets.replace(b"\r\n", b""),
              "a bare CR or LF")
        check(max(map(len, octets.split(b"\r\n"))) <= 998, "a line is too long")
        self.text = octets.decode("utf-8")
        check(octets.isascii() or "BODY=8BITMIME" in self.mail or "SMTPUTF8" in self.mail, "8 bits, unannounced")
        self.message = email.message_from_bytes(octets, policy=email.policy.default)
        check(not self.message.defects, f"defects: {self.message.defects}")
        check(self.message.get_content_type() == "multipart/report"
              and self.message.get_param("report-type") in ("delivery-status",), "no report:\n" + self.text[:500])
        for field in ("Date", "From", "To", "Subject", "Message-ID"):
            check(self.message[field], "no " + field)
        check(self.message["Auto-Submitted"] == "auto-replied", "Auto-Submitted: " + str(self.message["Auto-Submitted"]))
        parts = list(self.message.iter_parts())
        check(len(parts) == 3, f"{len(parts)} parts")
        for part in self.message.walk():
            check(not part.defects, f"defects in {part.get_content_type()}: {part.defects}")
        check(parts[0].get_content_type() == "text/plain", "the first part is " + parts[0].get_content_type())
        self.human, self.status, self.original = parts
        check(self.status.get_content_type() in ("message/delivery-status", "message/global-delivery-status"),
              self.status.get_content_type())
        self.blocks = self.status_blocks()
        self.about = self.blocks[0]
        check(re.fullmatch(r"dns; ?[\w.-]+", self.about["Reporting-MTA"]), str(self.about["Reporting-MTA"]))
        self.of = {}
        for block in self.blocks[1:]:
            check(block["Action"] in ACTIONS, f"Action: {block['Action']}")
            check(re.fullmatch(r"[245]\.\d{1,3}\.\d{1,3}", block["Status"].split()[0]), f"Status: {block['Status']}")
            kind, address = re.fullmatch(r"([\w-]+); ?(.*)", block["Final-Recipient"]).groups()
            check(kind.lower() in ("rfc822", "utf-8"), "Final-Recipient of type " + kind)
            if block["Diagnostic-Code"]:
                check(block["Diagnostic-Code"].startswith("smtp;"), block["Diagnostic-Code"])
            for field in ("Last-Attempt-Date", "Will-Retry-Until"):
                if block[field]:
                    check(email.utils.parsedate_to_datetime(block[field]), f"{field}: {block[field]}")
            self.of[address.strip()] = block

    def status_blocks(self):
        """Groups of fields between blank lines, also where Python takes the part for a leaf."""
        payload = self.status.get_payload()
        if isinstance(payload, list) and self.status.get_content_type() == "message/delivery-status":
            return [block for block in payload if block.keys()]
        text = self.text.split("message/global-delivery-status", 1)[1].split("\r\n\r\n", 1)[1]
        text = text.split("\r\n--=_")[0]
        return [email.message_from_string(block, policy=email.policy.default)
                for block in re.split(r"(?:\r\n){2,}", text.strip())]

    def action(self, address):
        return self.of[address]["Action"] if address in self.of else None


def send(server, sender, rcpts, options=(), body="hello\r\n", headers="", utf8=False):
    """RCPTS is a list of (address, parameters)."""
    client = smtplib.SMTP(server, 2525, "client.example.org", timeout=20)
    client.ehlo()
    if utf8:
        client.command_encoding = "utf-8"
    code, words = client.mail(sender, list(options))
    check(code == 250, f"MAIL: {code} {words}")
    for address, parameters in rcpts:
        code, words = client.rcpt(address, list(parameters))
        check(code == 250, f"RCPT {address}: {code} {words}")
    code, words = client.data(f"Subject: the subject\r\nMessage-ID: <m@example.org>\r\n{headers}\r\n{body}".encode())
    check(code == 250, f"DATA: {code} {words}")
    client.quit()
    return re.search(r"[0-9A-HJKMNP-TV-Z]{13}", words.decode()).group(0)


class World:
    """relay.chapar.test between a sink for example.com and the senders' home example.org."""

    def __init__(self, site, extensions=("PIPELINING",), retry='schedule = {"1s"}', delivery="", away=None):
        self.site = site
        self.away = ScriptedSink(site.address(8), extensions)
        self.home = ScriptedSink(site.address(9), ("PIPELINING", "8BITMIME", "SMTPUTF8"))
        routes = away or smtp_route([self.away.at], domains='"example.com"', tls="none", extra='retry = "r"')
        self.relay = site.relay("relay", 1, routes + smtp_route([self.home.at], name="home", tls="none"),
                                extra=f'retry "r" {{ {retry} }}\ndelivery {{ {delivery} }}\n').start()
        self.server = site.address(1)

    def send(self, *words, **more):
        return send(self.server, *words, **more)

    def notices(self, count, seconds=10, quiet=0.7):
        wait_for(lambda: len(self.home.letters) >= count, seconds, f"{count} notices, {len(self.home.letters)} there")
        time.sleep(quiet)
        check(len(self.home.letters) == count, f"{len(self.home.letters)} notices, not {count}")
        return [Notice(letter) for letter in self.home.letters]

    def empty(self):
        wait_for(lambda: self.relay.queue_length() == 0, 10, "the queue is empty")

    def logged(self, *words):
        return [line for line in self.relay.log().splitlines() if all(word in line for word in words)]


def test_failure(site):
    """One notice for all recipients that failed, with ENVID and ORCPT, and the headers returned."""
    world = World(site)
    identity = world.send("me@example.org", [("good@example.com", []),
                                             ("bad1@example.com", ["ORCPT=rfc822;Old+2Bname@example.com"]),
                                             ("bad2@example.com", [])],
                          options=["RET=HDRS", "ENVID=QQ+2B314"], body="a secret body\r\n")
    notice, = world.notices(1)
    check(notice.rcpts == ["RCPT TO:<me@example.org>"], str(notice.rcpts))
    check(set(notice.of) == {"bad1@example.com", "bad2@example.com"}, str(set(notice.of)))
    first = notice.of["bad1@example.com"]
    check((first["Action"], first["Status"]) == ("failed", "5.1.1"), str(first))
    check(re.fullmatch(r"rfc822; ?Old\+name@example.com", first["Original-Recipient"]), str(first["Original-Recipient"]))
    check("550 5.1.1 no such user here" in first["Diagnostic-Code"], first["Diagnostic-Code"])
    check(notice.of["bad2@example.com"]["Original-Recipient"] is None, "an ORCPT out of nowhere")
    check(notice.about["Original-Envelope-ID"] == "QQ+314", str(notice.about["Original-Envelope-ID"]))
    check(notice.original.get_content_type() == "text/rfc822-headers", notice.original.get_content_type())
    check("the subject" in notice.text and "a secret body" not in notice.text, "RET=HDRS is not honoured")
    check(identity in notice.human.get_content(), "the queue id is not told")
    world.empty()


def test_failure_with_the_whole_letter(site):
    """RET=FULL returns it, and what looks like MIME inside stays inside."""
    world = World(site)
    world.send("me@example.org", [("bad@example.com", [])], options=["RET=FULL"], body="From the body\r\n--=_x--\r\n")
    notice, = world.notices(1)
    check(notice.original.get_content_type() == "message/rfc822", notice.original.get_content_type())
    check("From the body" in notice.original.get_payload()[0].get_content(), notice.text)


def test_nobody_to_tell(site):
    """No notice for the null sender or NOTIFY=NEVER; the log says what became of each."""
    world = World(site)
    world.send("", [("bad@example.com", [])])
    world.send("me@example.org", [("bad@example.com", ["NOTIFY=NEVER"]), ("bad2@example.com", ["NOTIFY=DELAY"])])
    wait_for(lambda: len(world.logged("event=discarded")) == 3, 10, "three discarded:\n" + world.relay.log()[-1500:])
    world.notices(0)
    check(len(world.logged("event=discarded", "why=null-sender")) == 1, "null sender")
    check(len(world.logged("event=discarded", "why=notify-never")) == 2, "never")
    world.empty()


def test_success_to_a_host_without_dsn(site):
    """Who asks for success and goes to a host that will not tell hears "relayed", the others nothing."""
    world = World(site)
    world.send("me@example.org", [("a@example.com", ["NOTIFY=SUCCESS,FAILURE"]), ("b@example.com", []),
                                  ("c@example.com", ["NOTIFY=SUCCESS"]), ("d@example.com", ["NOTIFY=NEVER"])],
               options=["ENVID=e1"])
    notice, = world.notices(1)
    check({address: block["Action"] for address, block in notice.of.items()}
          == {"a@example.com": "relayed", "c@example.com": "relayed"}, str(set(notice.of)))
    check(notice.of["a@example.com"]["Status"].startswith("2."), notice.of["a@example.com"]["Status"])
    check(len(world.away.letters) == 1 and len(world.away.letters[0][1]) == 4, "the letter itself")
    check(len(world.logged("event=relayed")) == 2, "the log knows")
    world.empty()


def test_success_is_passed_on(site):
    """A next hop with DSN gets RET, ENVID, NOTIFY and ORCPT, and we say nothing."""
    world = World(site, extensions=("PIPELINING", "DSN"))
    world.send("me@example.org", [("a@example.com", ["NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;x@example.com"]),
                                  ("b@example.com", ["NOTIFY=NEVER"])], options=["RET=FULL", "ENVID=e1"])
    wait_for(lambda: world.away.letters, 10, "the letter")
    world.notices(0)
    mail, rcpts, _ = world.away.letters[0]
    check("RET=FULL" in mail and "ENVID=e1" in mail, mail)
    first = [line for line in rcpts if "<a@" in line][0]
    check("NOTIFY=SUCCESS,DELAY" in first and "ORCPT=rfc822;x@example.com" in first, first)
    check("NOTIFY=NEVER" in [line for line in rcpts if "<b@" in line][0], str(rcpts))
    world.empty()


def test_success_in_a_mailbox(site):
    """LMTP answers for the mailbox: "delivered", and failure of another recipient by itself."""
    node = site.mailbox("box", 3, ["user@example.com"])
    node.start()
    world = World(site, away=lmtp_route([site.address(3) + ":2424"], name="boxes", domains='"example.com"'))
    world.send("me@example.org", [("user@example.com", ["NOTIFY=SUCCESS"]), ("nobody@example.com", [])])
    notices = world.notices(2)
    actions = {address: notice.action(address) for notice in notices for address in notice.of}
    check(actions == {"user@example.com": "delivered", "nobody@example.com": "failed"}, str(actions))
    check(len(site.box("box", "user@example.com")) == 1, "the letter itself")
    world.empty()


def test_delay_and_expiry(site):
    """The delay is told once and to those who want it; at the end of its time it has failed."""
    world = World(site, retry='schedule = {"1s"}  delay_notice = 2s  lifetime = 5s')
    world.send("me@example.org", [("later1@example.com", []), ("later2@example.com", ["NOTIFY=FAILURE"]),
                                  ("good@example.com", [])])
    delayed, = world.notices(1, quiet=0.3)
    check({address: block["Action"] for address, block in delayed.of.items()}
          == {"later1@example.com": "delayed"}, str(delayed.of))
    check(delayed.of["later1@example.com"]["Will-Retry-Until"], "until when?")
    check(delayed.of["later1@example.com"]["Status"].startswith("4."), delayed.of["later1@example.com"]["Status"])
    failed = world.notices(2, quiet=2)[1]
    check(set(failed.of) == {"later1@example.com", "later2@example.com"}, str(set(failed.of)))
    for block in failed.of.values():
        check(block["Action"] == "failed" and "451 4.2.1 come again" in block["Diagnostic-Code"], str(block))
        check(block["Status"] in ("4.4.7", "5.4.7"), block["Status"])
    check(len(world.logged("event=expired")) == 2, "the log says expired")
    world.empty()


def test_addresses_in_utf8(site):
    """RFC 6533: a host without SMTPUTF8 cannot take it; the notice has the types for UTF-8."""
    world = World(site, extensions=("PIPELINING", "8BITMIME"))
    world.send("j\u00fcrgen@example.org", [("d\u00f6rte@example.com", [])], options=["SMTPUTF8"], utf8=True)
    notice, = world.notices(1)
    check("SMTPUTF8" in notice.mail, notice.mail)
    check(notice.status.get_content_type() == "message/global-delivery-status", notice.status.get_content_type())
    block = notice.of["d\u00f6rte@example.com"]
    check(block["Action"] == "failed" and block["Status"] == "5.6.7", str(block))
    check(notice.original.get_content_type() == "message/global-headers", notice.original.get_content_type())


def test_hostile_words(site):
    """Octets above 127 in a peer's reply do no harm to the notice."""
    world = World(site, extensions=("PIPELINING", "8BITMIME"))
    world.send("me@example.org", [("bad@example.com", [])])
    notice, = world.notices(1)
    check("no such user" in notice.of["bad@example.com"]["Diagnostic-Code"], notice.text)


def test_a_notice_that_cannot_be_delivered(site):
    """It goes to the postmaster if there is one; from him nothing comes back but a line in the log."""
    world = World(site, delivery='postmaster = "root@example.org"')
    world.send("bad.sender@example.org", [("bad@example.com", [])])
    notice, = world.notices(1)
    check(notice.rcpts == ["RCPT TO:<root@example.org>"], str(notice.rcpts))
    world.empty()
    other = site.relay("other", 2, smtp_route([world.away.at], tls="none")).start()
    send(site.address(2), "bad.sender@example.com", [("bad@example.com", [])])
    wait_for(lambda: "why=double-bounce" in other.log(), 10, "discarded:\n" + other.log()[-1500:])
    wait_for(lambda: other.queue_length() == 0, 10, "the queue is empty")


def test_notices_are_limited_in_rate(site):
    """Over the limit failures wait and are not forgotten; a restart does not forget them either."""
    world = World(site, delivery="notices_a_minute = 3")
    for _ in range(8):
        world.send("me@example.org", [("bad@example.com", [])])
    wait_for(lambda: len(world.home.letters) >= 3, 10, "three notices")
    time.sleep(1)
    check(3 <= len(world.home.letters) <= 6, f"{len(world.home.letters)} notices")      # a minute may turn
    told = len(world.home.letters)
    wait_for(lambda: world.relay.queue_length() == 8 - told, 5, "the rest waits")
    check(world.relay.stop() == 0, "ends well")
    world.relay.start()

    def all_known():
        return world.relay.queue_length() + len(world.home.letters) == 8
    # Three more may be told at once, in the new life's first minute.
    wait_for(all_known, 10, "each failure is told or waits, over a restart too")
    time.sleep(0.5)
    wait_for(all_known, 5, "none is told twice, or forgotten")
    check(len(world.home.letters) <= told + 6, f"{len(world.home.letters)} notices, {told} before the restart")
