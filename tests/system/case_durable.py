"""No 250 before the data sync: what strace sees of relayd and mailboxd, and what a sync costs.

The order of lines in a trace is the order of events: a thread goes on only after strace has written
its line.  So a sync whose end stands above the beginning of the reply has returned before it.
"""
import os
import re
import signal
import socket
import subprocess
import time

import letters
from chapar import Skip, check, lmtp_route, need, run, wait_for
from flood import Flood

USER = "user@example.net"
WRITES = ("pwritev2", "pwritev", "pwrite64", "writev")
SYNCS = ("fdatasync", "fsync")
REPLIES = ("sendmsg", "sendto")


class Trace:
    """strace attached to a daemon that is ready; afterwards the calls, in order."""

    def __init__(self, site, daemon, calls, string_bytes=2048):
        need("strace")
        self.path = os.path.join(site.path, daemon.name + ".strace")
        self.process = subprocess.Popen(
            ["strace", "-f", "-y", "-s", str(string_bytes), "-e", "abbrev=none", "-e", "signal=none",
             "-e", "trace=" + ",".join(calls), "-o", self.path, "-p", str(daemon.process.pid)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        first = self.process.stderr.readline()
        if "attached" not in first:
            self.process.wait(10)
            raise Skip("strace may not attach to a process: " + first.strip())

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=20)
        with open(self.path, errors="replace") as file:
            return list(calls_of(file.read().splitlines()))


class Call:
    """One system call: begun and ended are line numbers; result is None if it never returned."""

    def __init__(self, name, text, begun):
        self.name, self.text, self.begun = name, text, begun
        self.ended = self.result = None

    def end(self, text, line):
        self.text += text
        found = re.search(r"\)\s*= (-?\d+)[^=]*$", self.text)
        self.ended, self.result = line, int(found.group(1)) if found else None

    @property
    def file(self):
        found = re.match(r"\d+<(.*?)>[,)]", self.text)
        return found.group(1) if found else ""

    @property
    def syncs(self):
        return self.name in SYNCS or "RWF_DSYNC" in self.text[-200:]

    @property
    def good(self):
        return self.result is not None and self.result >= 0


def calls_of(lines):
    waiting = {}
    for number, line in enumerate(lines):
        found = re.match(r"(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)$", line)
        if not found:
            continue
        thread, resumed, name, text = found.groups()
        if resumed:
            call = waiting.pop(thread, None)
            if call:
                call.end(text, number)
                yield call
            continue
        call = Call(name, text, number)
        if text.endswith("<unfinished ...>"):
            call.text = text[:-len("<unfinished ...>")]
            waiting[thread] = call
        else:
            call.end(text, number)
            yield call


def durable_at(calls, mark):
    """The line at which the sync of the octets with this mark had returned; None if never."""
    written = [call for call in calls if call.name in WRITES and mark in call.text and call.good]
    ends = []
    for write in written:
        if write.syncs:
            ends.append(write.ended)
        ends += [call.ended for call in calls if call.name in SYNCS and call.good
                 and call.file == write.file and call.begun >= write.ended]
    return min(ends) if ends else None


def check_order(calls, marks):
    """marks: of each letter (what is in its body, what is in its reply alone)."""
    calls = sorted(calls, key=lambda call: call.begun)
    check(marks, "no letter was sent")
    for body, reply in marks:
        said = [call for call in calls if call.name in REPLIES and reply in call.text]
        check(len(said) == 1, f"{len(said)} replies with {reply!r} in the trace")
        synced = durable_at(calls, body)
        check(synced is not None, f"no sync of the letter with {body!r} that was answered 250")
        check(synced < said[0].begun, f"{reply!r} was written at line {said[0].begun} of the trace, "
              f"the sync of its letter returned at line {synced}")


def quiet_relay(site):
    """A relay without TLS whose next hop does not exist: what it takes it keeps."""
    ip = site.address(1)
    nowhere = lmtp_route([site.address(9) + ":2424"], domains='"*"')
    relay = site.relay("relay1", 1, nowhere, listeners=f'listener "mx" {{ address = {{"{ip}:2525"}} }}\n')
    relay.start()
    return relay, (ip, 2525)


def test_sync_before_250_relayd(site):
    """Forty letters by eight sessions: the sync of each returns before its 250 is written."""
    relay, address = quiet_relay(site)
    trace = Trace(site, relay, WRITES + SYNCS + REPLIES)
    journal = letters.Journal()
    letters.send_all(address, range(40), journal, None, 8, 60)
    calls = trace.end()
    check(len(journal.accepted) == 40, f"{len(journal.accepted)} of 40 accepted")
    check_order(calls, [(f"X-Test-Id: 0-{number}\\r\\n", f"250 2.0.0 {queue_id} ")
                        for number, queue_id in journal.ids.items()])


def test_sync_before_250_mailboxd(site):
    """The same for a mailbox node, by LMTP: the octets in the mbox are synced before the 250."""
    ip = site.address(3)
    node = site.mailbox("box", 3, [USER], listeners=f'listener "lmtp" {{ address = {{"{ip}:2424"}}  '
                        'protocol = lmtp }\n')
    node.start()
    trace = Trace(site, node, WRITES + SYNCS + REPLIES)
    marks = []
    for number in range(10):
        with socket.create_connection((ip, 2424), timeout=20) as client:
            say = client.makefile("rb")
            expect(client, say, b"", 220)
            expect(client, say, b"LHLO client.example.org\r\n", 250)
            expect(client, say, b"MAIL FROM:<sender@example.org> BODY=8BITMIME\r\n", 250)
            expect(client, say, f"RCPT TO:<{USER}>\r\n".encode(), 250)
            expect(client, say, b"DATA\r\n", 354)
            words = expect(client, say, letters.stuffed(letters.letter(number)) + b".\r\n", 250)
            port = client.getsockname()[1]
            marks.append((f"X-Test-Id: 0-{number}\\n", words, port))
    calls = trace.end()
    alone = len({words for _, words, _ in marks}) == len(marks)
    check(alone, f"replies to different letters are alike: {marks[0][1]!r}")
    check_order(calls, [(mark, words) for mark, words, _ in marks])


def expect(client, replies, text, code):
    client.sendall(text)
    while True:
        line = replies.readline(4096).decode()
        check(line.startswith(str(code)), f"{text[:60]!r}: {line!r}, not {code}")
        if line[3:4] == " ":
            return line.strip()


def count_of_relay_is_true(site, relay, address, texts):
    """What the relay says of itself is what strace sees."""
    before = batches_of(relay)
    trace = Trace(site, relay, SYNCS + ("pwritev2",), string_bytes=16)
    Flood(address, texts, 50).run(120)
    batches = batches_of(relay) - before
    syncs = sum(1 for call in trace.end() if call.syncs)
    check(abs(batches - syncs) <= 5 + len(texts) / 100,
          f"the relay counts {batches} batches, strace {syncs} syncs")


def batches_of(relay):
    return [item.get("item", item) for item in relay.ctl_json("status")][0]["queue"]["batches"]


def test_syncs_shared(site):
    """Under 50 sessions at most 0.2 syncs a message: the median of three loads of 2,000 letters.

    strace stops a thread at each of its calls, so that few letters come while a sync runs; it only
    proves the relay's own count, which is then taken of loads without it.
    """
    relay, address = quiet_relay(site)
    texts = [letters.stuffed(letters.letter(number)) + b".\r\n" for number in range(2000)]
    count_of_relay_is_true(site, relay, address, texts[:500])
    shares = []
    for _ in range(3):
        before = batches_of(relay)
        Flood(address, texts, 50).run(120)
        shares.append((batches_of(relay) - before) / len(texts))
    print("  syncs a letter: " + ", ".join(f"{share:.3f}" for share in shares))
    check(sorted(shares)[1] <= 0.2, f"syncs a letter: {shares}")


def raw_sync(path, size):
    """Seconds of one append of `size` octets with its data sync, in the directory of the spool."""
    begun = time.monotonic()
    os.pwrite(path, b"x" * size, os.lseek(path, 0, os.SEEK_END))
    os.fdatasync(path)
    return time.monotonic() - begun


def test_lone_letter_waits_for_no_timer(site):
    """One session, one letter at a time: the 250 comes within a small multiple of one sync.

    A timer would show in the quickest of many letters too, noise of the machine does not: so the
    tenth quickest of 200 is compared, with raw appends in between in the same directory.
    """
    relay, address = quiet_relay(site)
    session = letters.Session(address)
    raw = os.open(os.path.join(site.path, "raw"), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    took, floor = [], []
    for number in range(200):
        text = letters.stuffed(letters.letter(number)) + b".\r\n"
        floor.append(raw_sync(raw, 12288))
        for words, code in ((b"MAIL FROM:<sender@example.org> BODY=8BITMIME\r\n", 250),
                            (f"RCPT TO:<{USER}>\r\n".encode(), 250), (b"DATA\r\n", 354)):
            session.command(words, code)
        session.socket.sendall(text[:-3])
        time.sleep(0.005)
        begun = time.monotonic()
        session.command(text[-3:], 250)
        took.append(time.monotonic() - begun)
    session.close()
    os.close(raw)
    lone, least = sorted(took)[9], sorted(floor)[9]
    print(f"  from the dot to the 250: {lone * 1e3:.3f} ms, a raw append with sync {least * 1e3:.3f} ms; "
          f"medians {sorted(took)[100] * 1e3:.3f} and {sorted(floor)[100] * 1e3:.3f} ms")
    check(lone <= 3 * least + 0.0006, f"{lone * 1e3:.3f} ms from the dot to the 250, a raw append and "
          f"sync take {least * 1e3:.3f} ms")


# These measure.
for case in (test_syncs_shared, test_lone_letter_waits_for_no_timer):
    case.races, case.alone = False, True
