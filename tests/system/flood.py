"""Many SMTP sessions at a time from one thread: while one waits for its 250 the others go on.

The load of letters.send_all() is made by threads that mostly wait for each other; this one costs
its machine little, so that as many letters wait at the relay as there are sessions.
"""
import re
import selectors
import socket
import time

from chapar import check

LAST_LINE = re.compile(rb"^(\d{3})(?: [^\n]*)?\n", re.M)


class Session:
    """One connection: greeting, EHLO, then letter after letter until there are none left."""

    def __init__(self, flood, address):
        self.flood = flood
        self.socket = socket.create_connection(address, timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer, self.waits, self.wanted = b"", self.greeted, [b"220"]

    def say(self, octets, waits, *wanted):
        self.waits, self.wanted = waits, list(wanted)
        self.socket.sendall(octets)

    def readable(self):
        octets = self.socket.recv(65536)
        check(octets, "the relay cut a connection of the load")
        self.buffer += octets
        while self.wanted:
            found = LAST_LINE.search(self.buffer)
            if not found:
                return
            check(found.group(1) == self.wanted[0],
                  f"{self.buffer[:200]!r} instead of {self.wanted[0]!r}")
            self.buffer = self.buffer[found.end():]
            self.wanted.pop(0)
            if not self.wanted:
                self.waits()

    def greeted(self):
        self.say(b"EHLO load.example.org\r\n", self.next_letter, b"250")

    def next_letter(self):
        if not self.flood.texts:
            self.flood.end(self)
            return
        self.text = self.flood.texts.pop()
        self.say(self.flood.envelope, self.send_text, b"250", b"250", b"354")

    def send_text(self):
        self.say(self.text, self.accepted, b"250")

    def accepted(self):
        self.flood.accepted += 1
        self.next_letter()


class Flood:
    """Sends each text (dot-stuffed, with its final dot) once; every one must be taken."""

    def __init__(self, address, texts, sessions, sender="sender@example.org",
                 recipient="user@example.net"):
        self.texts, self.accepted = list(texts), 0
        self.envelope = (f"MAIL FROM:<{sender}> BODY=8BITMIME\r\nRCPT TO:<{recipient}>\r\n"
                         "DATA\r\n").encode()
        self.selector = selectors.DefaultSelector()
        self.open = set()
        for _ in range(sessions):
            session = Session(self, address)
            self.open.add(session)
            self.selector.register(session.socket, selectors.EVENT_READ, session)

    def end(self, session):
        self.selector.unregister(session.socket)
        session.socket.close()
        self.open.discard(session)

    def run(self, seconds):
        count, end = len(self.texts), time.monotonic() + seconds
        while self.open:
            check(time.monotonic() < end,
                  f"{self.accepted} of {count} letters accepted within {seconds} s")
            for key, _ in self.selector.select(1):
                key.data.readable()
        check(self.accepted == count, f"{self.accepted} of {count} letters accepted")
