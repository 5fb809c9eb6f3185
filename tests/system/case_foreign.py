"""relayd delivers to Postfix, Exim, OpenSMTPD, Dovecot's LMTP and Haraka, and to each while it fails half-way.

With each: every octet of every kind of letter; STARTTLS verified and AUTH where the server has them; kill -9 under
load, twice, and nothing is lost; and refusals at every stage at which the server can be told to refuse.  What every
reply at every stage of the protocol means is the table of tests/unit/outbound/outbound_test.c; here the same rows
are met by the servers that people run.
"""
import os
import re
import smtplib
import time

import case_notices
import letters
import receivers
from chapar import check, lmtp_route, smtp_route, wait_for
from receivers import PASSWORD, PORT, USER, sender

HEAD = ("From: <ann@example.org>\r\nTo: <box@example.net>\r\nSubject: {0}\r\nMessage-ID: <{0}@example.org>\r\n"
        "Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n")
KINDS = {
    "plain": b"\r\nhello\r\n",
    "empty": b"\r\n",
    "eight-bit": b"\r\ncaf\xc3\xa9 \xfe\xff\x80\r\n",
    "dots": b"\r\n.\r\n..\r\n.x\r\n\r\n.\r\n",
    "from-lines": b"\r\nFrom here\r\n>From there\r\nFrom: nobody\r\n",
    "blanks": b"\r\n \r\n\t\r\n\r\n\r\ntrailing  \r\n\r\n",
    "long-line": b"\r\n" + b"l" * 998 + b"\r\n",
    "folded-header": b"X-Folded: one\r\n\ttwo\r\n three\r\nX-Empty:\r\n\r\nbody\r\n",
    "no-last-end": b"\r\nthe last line has no end",
    "megabyte": b"\r\n" + b"".join(b"%07d " % line + b"m" * 68 + b"\r\n" for line in range(1 << 20 >> 6)),
}
TRACE = re.compile(rb"(?:(?:Return-Path|Delivered-To|Received|X-Original-To|Envelope-to|Delivery-date|Authentication-Results):[^\n]*\n"
                   rb"(?:[ \t][^\n]*\n)*)+", re.I)


class World:
    """relay -> receiver for example.net, and the senders' home for example.org."""

    def __init__(self, site, kind):
        self.site = site
        self.receiver = kind(site)
        self.home = case_notices.ScriptedSink(site.address(9), ("PIPELINING", "8BITMIME"))
        password = site.path + "/password"
        with open(password, "w", opener=private) as file:
            file.write(PASSWORD + "\n")
        auth = f'auth_user = "{USER}"  auth_password = "{password}"' if kind.auth else ""
        route = (lmtp_route if kind.protocol == "lmtp" else smtp_route)(
            [f"{self.receiver.ip}:{PORT}"], name="there", domains='"example.net"', tls=kind.tls,
            extra=f'retry = "once" {auth}')
        self.relay = site.relay("relay", 1, route + smtp_route([self.home.at], name="home", tls="none"), extra="""
retry "once" { schedule = {"1h"} }
delivery { probe = 1s  probe_own = 1s }
""")

    def __enter__(self):
        self.receiver.begin()
        self.relay.start()
        return self

    def __exit__(self, kind, value, trace):
        if kind:
            print(self.receiver.log()[-2500:])
        self.receiver.stop()

    def waiting(self):
        """The sender of each letter that waits, with what it waits for."""
        return {item["sender"]: str(item) for item in self.relay.ctl_json("list")}

    def again(self):
        self.relay.ctl("retry", "--all", good=(0, 1))

    def empty(self, seconds=20):
        end = time.monotonic() + seconds
        while self.waiting() and time.monotonic() < end:
            self.again()
            time.sleep(0.5)
        check(not self.waiting(), f"these wait: {self.waiting()}")


def untraced(text):
    trace = TRACE.match(text)
    check(trace, f"no trace field on top: {text[:300]!r}")
    return text[trace.end():]


def private(path, flags):
    return os.open(path, flags, 0o600)


def send(address, who, octets, rcpt="box@example.net", chunked=False):
    """One letter, its octets as they are; by BDAT where the last line has no end."""
    client = smtplib.SMTP(address, 2525, "client.example.org", timeout=20)
    client.ehlo()
    check(client.mail(who, ["BODY=8BITMIME"])[0] == 250 and client.rcpt(rcpt)[0] == 250, "MAIL or RCPT refused")
    if chunked:
        client.send(b"BDAT %d LAST\r\n" % len(octets) + octets)
    else:
        check(client.docmd("DATA")[0] == 354, "DATA refused")
        client.send(letters.stuffed(octets) + b".\r\n")
    code, words = client.getreply()
    check(code == 250, f"{code} {words}")
    client.quit()


def every_octet(world):
    """Letters of every kind, as they were sent but for trace fields on top."""
    address, receiver = world.site.address(1), world.receiver
    wanted = {}
    for name, body in KINDS.items():
        octets = HEAD.format(name).encode() + body
        send(address, "ann@example.org", octets, chunked=not octets.endswith(b"\r\n"))
        wanted[name] = octets.replace(b"\r\n", b"\n")
        if not octets.endswith(b"\r\n") and not receiver.keeps_missing_end:
            wanted[name] += b"\n"
    wait_for(lambda: len(receiver.files()) >= len(KINDS), 20,
             f"{len(KINDS)} letters, {len(receiver.files())} there: {world.waiting()}")
    for text in receiver.letters():
        text = untraced(text)
        name = re.search(rb"^Subject: (\S+)$", text, re.M).group(1).decode()
        check(text == wanted.pop(name), f"{name} differs: {text[-300:]!r}")
    check(not wanted, f"not there: {list(wanted)}")
    check(not world.home.letters, "the sender was told something")
    world.empty()
    delivered = [line for line in world.relay.log().splitlines() if "event=delivered" in line and "dest=there" in line]
    check(len(delivered) == len(KINDS), f"{len(delivered)} delivered")
    if receiver.tls == "verify":
        check(all('tls="TLSv1.3' in line for line in delivered), "not under TLS: " + delivered[0])
    return delivered


def killed_under_load(world, count=80):
    """kill -9 of the server, twice, while letters flow: each is there, and copies are explained."""
    receiver, begin = world.receiver, len(world.receiver.files())
    journal = letters.Journal()
    letters.send_all((world.site.address(1), 2525), range(count), journal, sessions=4, seconds=30, size=4096,
                     recipient="box@example.net")
    check(len(journal.accepted) == count, f"{len(journal.accepted)} accepted")
    for _ in range(2):
        there = len(receiver.files())
        wait_for(lambda: len(receiver.files()) > min(there + 10, begin + count - 1), 20, "it takes letters")
        receiver.kill()
        time.sleep(0.3)
        receiver.begin()
        world.again()
    world.empty(30)
    uncertain = world.relay.log().count("event=uncertain")

    def missing():
        # What has the same trace fields was taken from us once; the server killed itself made it two.
        numbers = [int(found.group(1)) for text in set(receiver.letters())
                   for found in [re.search(rb"^X-Test-Id: 0-(\d+)$", text, re.M)] if found]
        copies.clear()
        copies.update({number: numbers.count(number) for number in set(numbers)})
        return set(range(count)) - set(copies)
    copies = {}
    wait_for(lambda: not missing(), 20, f"every letter is there; not {missing()}")
    for text in receiver.letters():
        found = re.search(rb"^X-Test-Id: 0-(\d+)$", text, re.M)
        if found:
            whole = letters.letter(int(found.group(1)), 4096).replace(b"\r\n", b"\n")
            check(untraced(text) == whole, f"letter {found.group(1)} differs")
    extra = sum(copies.values()) - count
    check(extra <= uncertain, f"{extra} copies too many, {uncertain} outcomes were uncertain")


def restart(receiver, refusing):
    receiver.kill()
    receiver.configure(refusing)
    receiver.begin()


def refusals(world):
    """4yz: it waits and nobody is told; 5yz: the sender is told; cut: it waits.  What waits arrives in the end."""
    receiver, address = world.receiver, world.site.address(1)
    restart(receiver, True)
    begin = len(receiver.files())
    told_before = len(world.home.letters)
    for kind, stage in receiver.refuses:
        send(address, sender(kind, stage), HEAD.format(f"{kind}-{stage}").encode() + b"\r\nhello\r\n")
    never = {sender(kind, stage) for kind, stage in receiver.refuses if kind == "5"}
    waits = {sender(kind, stage): stage for kind, stage in receiver.refuses if kind != "5"}

    def settled():
        now = world.waiting()
        return (set(now) == set(waits) and len(world.home.letters) >= told_before + len(never) and
                all(f"later at {stage}" in now[who] for who, stage in waits.items() if who[0] == "4"))
    wait_for(settled, 20, f"waiting {world.waiting()}, {len(world.home.letters) - told_before} told")
    time.sleep(1)
    check(settled(), f"waiting {world.waiting()}")
    check(len(receiver.files()) == begin, f"{len(receiver.files()) - begin} letters came all the same")
    notices = [case_notices.Notice(letter) for letter in world.home.letters[told_before:]]
    told = {notice.rcpts[0].split("<")[1].split(">")[0]: notice for notice in notices}
    check(set(told) == never and len(notices) == len(never), f"told: {sorted(told)}")
    for who, notice in told.items():
        stage = who.split("-")[1].split("@")[0]
        block = notice.of["box@example.net"]
        check((block["Action"], block["Status"]) == ("failed", "5.7.1"), str(block))
        check(f"never at {stage}" in block["Diagnostic-Code"], block["Diagnostic-Code"])
    restart(receiver, False)
    world.empty(30)
    wait_for(lambda: len(receiver.files()) >= begin + len(waits), 10, "what waited")
    time.sleep(0.5)
    check(len(receiver.files()) == begin + len(waits), f"{len(receiver.files()) - begin} copies of {len(waits)}")
    check(len(world.home.letters) == told_before + len(never), "somebody was told of what arrived")


def whole(site, kind):
    with World(site, kind) as world:
        every_octet(world)
        killed_under_load(world)
        refusals(world)


def test_postfix(site):
    """Postfix: octets, STARTTLS, AUTH by Cyrus SASL; killed; 4yz, 5yz and 421 at every stage."""
    whole(site, receivers.Postfix)


def test_exim(site):
    """Exim: octets, STARTTLS, AUTH; killed; 4yz and 5yz at every stage, the greeting and EHLO too."""
    with World(site, receivers.Exim) as world:
        every_octet(world)
        killed_under_load(world)
        greetings_refused(world)
        refusals(world)


def greetings_refused(world):
    """Who refuses at the greeting or at EHLO has said nothing about a letter: it waits, whatever the code."""
    receiver = world.receiver
    before = len(receiver.files())
    for at, (kind, stage) in enumerate((kind, stage) for stage in ("connect", "helo") for kind in "45"):
        mark = f"{receiver.place}/{kind}-{stage}"
        open(mark, "w").close()
        receiver.kill()                 # no warm connection is left
        receiver.begin()
        send(world.site.address(1), f"{kind}{stage}@example.org", HEAD.format("greeted").encode() + b"\r\nhello\r\n")
        wait_for(lambda: any(word in str(world.waiting()) for word in ("later at " + stage, "never at " + stage)), 15,
                 f"it waits for {kind} at {stage}: {world.waiting()}")
        check(len(world.waiting()) == 1 and not world.home.letters, f"{world.waiting()}")
        os.remove(mark)
        world.empty()
        wait_for(lambda: len(receiver.files()) == before + at + 1, 10, "it arrives")


def test_opensmtpd(site):
    """OpenSMTPD: octets, in clear since its TLS is broken; killed; 4yz, 5yz and 421 at every stage."""
    whole(site, receivers.OpenSmtpd)


def test_dovecot_lmtp(site):
    """Dovecot's LMTP: octets, STARTTLS; killed; an unknown user is told of to the sender."""
    with World(site, receivers.Dovecot) as world:
        every_octet(world)
        killed_under_load(world)
        send(site.address(1), "ann@example.org", HEAD.format("lost").encode() + b"\r\nhello\r\n", "nobody@example.net")
        wait_for(lambda: world.home.letters, 10, "a notification")
        block = case_notices.Notice(world.home.letters[0]).of["nobody@example.net"]
        check((block["Action"], block["Status"]) == ("failed", "5.1.1"), str(block))


def test_haraka(site):
    """Haraka: octets, STARTTLS, AUTH; killed; 4yz, 5yz and a lost connection at every stage."""
    whole(site, receivers.Haraka)


for case in (test_postfix, test_exim, test_opensmtpd, test_dovecot_lmtp, test_haraka):
    case.races = False              # what is watched is how others take our letters; a sanitizer is only slower
