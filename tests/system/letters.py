"""Letters whose every octet can be foretold, a sender that keeps a journal, and the checker.

A letter is a function of its number alone: bodies with dots at the start of lines, "From " lines,
8-bit octets, lines of 998 octets, empty ones.  So the checker needs no copy of what was sent.
"""
import base64
import hashlib
import os
import random
import re
import socket
import ssl
import threading
import time

from chapar import Failure, check

LINES = [b".", b"..", b".From here", b"From nowhere Thu Jan  1 00:00:00 1970", b">From quoted",
         b">>From twice", b"", b" ", b"From: inside the body", b"\tindented", b"a" * 998,
         "caf\u00e9 \u2014 \u4fe1".encode(), bytes(range(1, 10)) + bytes(range(11, 13)) + b"\x0e\xfe\xff"]


def letter(number, size=10240, run="0"):
    """The message as it goes over the wire before dot-stuffing: CRLF lines."""
    chance = random.Random(f"{run}-{number}")
    lines = [f"From: <sender@example.org>", f"To: <user@example.net>",
             f"Subject: letter {number}", f"X-Test-Id: {run}-{number}",
             f"Message-ID: <{run}.{number}@load.example.org>",
             "Date: Thu, 01 Jan 2026 00:00:00 +0000", ""]
    text = "\r\n".join(lines).encode() + b"\r\n"
    parts = [text]
    length = len(text)
    while length < size:
        if chance.random() < 0.2:
            line = chance.choice(LINES)
        else:
            line = base64.b64encode(chance.randbytes(54))
        parts.append(line + b"\r\n")
        length += len(line) + 2
    return b"".join(parts)


def stuffed(text):
    text = text.replace(b"\r\n.", b"\r\n..")
    return b"." + text if text.startswith(b".") else text


class Journal:
    """What the sender knows of each letter: acknowledged, refused, or unknown."""

    def __init__(self):
        self.lock = threading.Lock()
        self.accepted, self.refused, self.unknown = set(), {}, set()
        self.ids = {}
        self.cut = 0

    def note(self, number, what, words=""):
        with self.lock:
            if what == "accepted":
                self.accepted.add(number)
                self.unknown.discard(number)
                self.ids[number] = words
            elif what == "unknown":
                self.unknown.add(number)
            else:
                self.refused[number] = words


class Session:
    """One SMTP connection that sends letters, with STARTTLS verified against the site's CA."""

    def __init__(self, address, ca=None, recipient="user@example.net", size=10240, run="0"):
        self.recipient, self.size, self.run = recipient, size, run
        self.socket = socket.create_connection(address, timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        self.reply(220)
        if ca:
            self.command(b"EHLO load.example.org\r\n", 250)
            self.command(b"STARTTLS\r\n", 220)
            context = ssl.create_default_context(cafile=ca)
            self.socket = context.wrap_socket(self.socket, server_hostname=address[0])
            self.file = self.socket.makefile("rb")
        self.command(b"EHLO load.example.org\r\n", 250)

    def reply(self, wanted=None):
        while True:
            line = self.file.readline(4096)
            if not line.endswith(b"\n"):
                raise ConnectionError("connection lost")
            if line[3:4] != b"-":
                break
        code = int(line[:3])
        if wanted and code != wanted:
            raise ConnectionError(line.decode(errors="replace").strip())
        return code, line.decode(errors="replace").strip()

    def command(self, text, wanted=None):
        self.socket.sendall(text)
        return self.reply(wanted)

    def send(self, number, journal):
        """True when the connection is good for another letter."""
        text = stuffed(letter(number, self.size, self.run))
        self.socket.sendall(b"MAIL FROM:<sender@example.org> BODY=8BITMIME\r\nRCPT TO:<"
                            + self.recipient.encode() + b">\r\nDATA\r\n")
        answers = [self.reply() for _ in range(3)]
        if [code for code, _ in answers] != [250, 250, 354]:
            if answers[2][0] == 354:
                self.command(b".\r\n")
            journal.note(number, "refused", "; ".join(words for _, words in answers))
            return answers[0][0] != 421
        journal.note(number, "unknown")
        code, words = self.command(text + b".\r\n")
        if code == 250:
            journal.note(number, "accepted", words.split()[2] if len(words.split()) > 2 else "")
        elif 400 <= code < 600:
            journal.note(number, "refused" if code >= 500 else "unknown", words)
        return code != 421

    def close(self):
        try:
            self.socket.sendall(b"QUIT\r\n")
        except OSError:
            pass
        self.socket.close()


def send_all(address, numbers, journal, ca=None, sessions=10, seconds=300, **letters):
    """Send every letter until it is acknowledged, over connections that are made anew when lost.

    A letter whose outcome is unknown is not sent again: the checker then accepts one copy or none.
    """
    todo = list(numbers)
    todo.reverse()
    lock = threading.Lock()
    end = time.monotonic() + seconds
    troubles = []

    def take():
        with lock:
            return todo.pop() if todo else None

    def worker():
        number = take()
        while number is not None and time.monotonic() < end:
            session = None
            try:
                session = Session(address, ca, **letters)
                good = True
                while good and number is not None and time.monotonic() < end:
                    good = session.send(number, journal)
                    if number in journal.accepted or number in journal.unknown:
                        number = take()
                    elif number in journal.refused:
                        time.sleep(0.05)
                session.close()
            except (OSError, ConnectionError, ValueError) as trouble:
                troubles.append(str(trouble))
                with journal.lock:
                    journal.cut += 1
                if number in journal.unknown or number in journal.accepted:
                    number = take()
                if session:
                    session.socket.close()
                time.sleep(0.1)

    threads = [threading.Thread(target=worker, daemon=True) for _ in range(sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()) + 35)
    check(not todo and not any(thread.is_alive() for thread in threads),
          f"the load did not end: {len(todo)} letters left; last troubles: {troubles[-3:]}")
    return troubles


TRACE = re.compile(rb"^(Return-Path|Delivered-To|X-Original-To|Received):", re.I)


def messages_of(path):
    """The raw messages of an mbox (mboxrd), without their From_ lines, quoting undone."""
    with open(path, "rb") as file:
        data = file.read()
    if not data:
        return []
    check(data.startswith(b"From "), f"{path} does not start with a From_ line")
    check(data.endswith(b"\n\n") or data.endswith(b"\n"), f"{path} ends in the midst of a line")
    found = re.split(rb"(?:\A|(?<=\n\n))From [^\n]*\n", data)[1:]
    return [re.sub(rb"(?m)^>(>*From )", rb"\1", text[:-1]) for text in found]


def untraced(text):
    """Without the trace fields that the network put in front."""
    lines = text.split(b"\n")
    at = 0
    while at < len(lines) and TRACE.match(lines[at]):
        at += 1
        while at < len(lines) and lines[at][:1] in (b" ", b"\t") and lines[at].strip():
            at += 1
    return b"\n".join(lines[at:])


class Verdict:
    def __init__(self):
        self.copies, self.wrong, self.strange = {}, [], 0

    @property
    def doubles(self):
        return sum(count - 1 for count in self.copies.values())


def judge(paths, size=10240, run="0"):
    """Count the copies of each letter in the boxes and compare every octet."""
    verdict = Verdict()
    for path in paths:
        for text in messages_of(path) if os.path.exists(path) else []:
            found = re.search(rb"^X-Test-Id: (\S+)-(\d+)$", text, re.M)
            if not found or found.group(1).decode() != run:
                verdict.strange += 1
                continue
            number = int(found.group(2))
            verdict.copies[number] = verdict.copies.get(number, 0) + 1
            if untraced(text) != letter(number, size, run).replace(b"\r\n", b"\n"):
                verdict.wrong.append(number)
    return verdict


def settle(journal, paths, doubles_max, size=10240, run="0"):
    """The promise: acknowledged means there, whole, and no more copies than can be explained."""
    verdict = judge(paths, size, run)
    lost = journal.accepted - set(verdict.copies)
    check(not lost, f"{len(lost)} acknowledged letters are lost: {sorted(lost)[:10]} "
          f"ids {[journal.ids.get(n) for n in sorted(lost)[:10]]}")
    check(not verdict.wrong, f"{len(verdict.wrong)} letters differ: {sorted(verdict.wrong)[:10]}")
    check(verdict.strange == 0, f"{verdict.strange} messages that nobody sent")
    ghosts = set(verdict.copies) - journal.accepted - journal.unknown
    check(not ghosts, f"letters delivered that were refused: {sorted(ghosts)[:10]}")
    check(verdict.doubles <= doubles_max,
          f"{verdict.doubles} copies too many, {doubles_max} explained")
    return verdict


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


__all__ = ["Failure", "Journal", "Session", "judge", "letter", "messages_of", "send_all",
           "settle", "stuffed", "untraced"]
