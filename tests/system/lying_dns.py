"""A name server for tests that tells the truth, or lies in every way a name server can.

A zone is {name: {type: answer}}; an answer is a list of records, or one of the lies below.  What
is not in the zone is NXDOMAIN, a type that a name lacks is NODATA, both with their SOA.
"""
import socket
import struct
import threading
import time

A, CNAME, SOA, MX, AAAA, ANY = 1, 5, 6, 15, 28, 255
NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5


class Lie:
    """An answer that is none; the word says which."""

    def __init__(self, word):
        self.word = word


SERVER_FAILS = Lie("SERVFAIL")
REFUSES = Lie("REFUSED")
SILENT = Lie("no answer")
TRUNCATES = Lie("TC, and TCP cuts off")
WRONG_ID = Lie("the answer to another question")
OTHER_NAME = Lie("the answer for another name")
EMPTY = Lie("NOERROR, nothing in it, not even an SOA")
HEADER_ONLY = Lie("a header without a question")
GARBAGE = Lie("octets")
NO_SUCH_NAME = Lie("NXDOMAIN")


class Truncated:
    """TC by UDP, the records by TCP."""

    def __init__(self, records):
        self.records = records


class Changing:
    """Another answer each time it is asked; the last one from then on."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def next(self):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def wire_name(name):
    if name in ("", "."):
        return b"\0"
    return b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split(".")) + b"\0"


def record(name, kind, data, ttl=60):
    if kind == A:
        octets = socket.inet_pton(socket.AF_INET, data)
    elif kind == AAAA:
        octets = socket.inet_pton(socket.AF_INET6, data)
    elif kind == MX:
        octets = struct.pack(">H", data[0]) + wire_name(data[1])
    elif kind == CNAME:
        octets = wire_name(data)
    else:
        octets = data
    return wire_name(name) + struct.pack(">HHIH", kind, 1, ttl, len(octets)) + octets


def soa():
    data = wire_name("ns.test") + wire_name("hostmaster.test") + struct.pack(">5I", 1, 60, 60, 600, 60)
    return record("test", SOA, data)


class LyingDns:
    """Serves zone on UDP and TCP; `asked` counts the questions by (name, type)."""

    def __init__(self, address, port, zone):
        self.zone = zone
        self.asked = {}
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((address, port))
        self.tcp = socket.socket()
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.tcp.bind((address, port))
        self.tcp.listen(32)
        for work in (self.serve_udp, self.serve_tcp):
            threading.Thread(target=work, daemon=True).start()

    def close(self):
        self.udp.close()
        self.tcp.close()

    def serve_udp(self):
        while True:
            try:
                query, peer = self.udp.recvfrom(4096)
            except OSError:
                return
            reply = self.reply(query, False)
            if reply is not None:
                self.udp.sendto(reply, peer)

    def serve_tcp(self):
        while True:
            try:
                connection, _ = self.tcp.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(2)
                try:
                    size = struct.unpack(">H", connection.recv(2))[0]
                    reply = self.reply(connection.recv(size), True)
                    if reply is not None:
                        connection.sendall(struct.pack(">H", len(reply)) + reply)
                except (OSError, struct.error):
                    pass

    @staticmethod
    def question(query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode("latin-1").lower())
            at += query[at] + 1
        return ".".join(labels), struct.unpack(">H", query[at + 1:at + 3])[0], query[12:at + 5]

    def find(self, name, kind):
        """(rcode, records in the answer, or a lie)."""
        answer, seen = [], set()
        while True:
            here = self.zone.get(name)
            if here is None:
                return NXDOMAIN, answer
            what = here.get(kind, here.get(ANY))
            if isinstance(what, Changing):
                what = what.next()
            if isinstance(what, (Lie, Truncated)):
                return NOERROR, what
            if what is not None:
                return NOERROR, answer + [record(name, kind, data) for data in what]
            if CNAME not in here:
                return NOERROR, answer
            target = here[CNAME][0]
            answer.append(record(name, CNAME, target))
            if name in seen or len(seen) > 20:
                return NOERROR, answer
            seen.add(name)
            name = target

    def reply(self, query, by_tcp):
        try:
            name, kind, question = self.question(query)
        except (IndexError, struct.error):
            return None
        self.asked[name, kind] = self.asked.get((name, kind), 0) + 1
        rcode, answer = self.find(name, kind)
        identity = query[:2]
        if isinstance(answer, Truncated):
            answer = [record(name, kind, data) for data in answer.records] if by_tcp else TRUNCATES
        if not isinstance(answer, Lie):
            return self.packet(identity, question, rcode, answer, [] if answer else [soa()])
        return self.lie(answer, identity, name, kind, question, by_tcp)

    def lie(self, lie, identity, name, kind, question, by_tcp):
        if lie in (SERVER_FAILS, REFUSES):
            return self.packet(identity, question, SERVFAIL if lie is SERVER_FAILS else REFUSED, [], [])
        if lie is NO_SUCH_NAME:
            return self.packet(identity, question, NXDOMAIN, [], [soa()])
        if lie is EMPTY:
            return self.packet(identity, question, NOERROR, [], [])
        if lie is TRUNCATES:
            return None if by_tcp else self.packet(identity, question, NOERROR, [], [], flags=0x0200)
        if lie is WRONG_ID:
            false = [record(name, A, "198.51.100.66")] if kind == A else []
            other = bytes(octet ^ 0xff for octet in identity)
            return self.packet(other, question, NXDOMAIN if not false else NOERROR, false, [soa()])
        if lie is OTHER_NAME:
            other = wire_name("other.test") + question[-4:]
            return self.packet(identity, other, NXDOMAIN, [], [soa()])
        if lie is HEADER_ONLY:
            return identity + struct.pack(">HHHHH", 0x8180, 0, 0, 0, 0)
        if lie is GARBAGE:
            return identity + b"\x81\x80" + b"\xff" * 40
        return None

    @staticmethod
    def packet(identity, question, rcode, answers, authority, flags=0):
        return (identity + struct.pack(">HHHHH", 0x8180 | flags | rcode, 1, len(answers), len(authority), 0)
                + question + b"".join(answers) + b"".join(authority))


class Sink:
    """Takes mail by SMTP at addresses of this machine; `letters` is [(address, recipients, octets)]."""

    def __init__(self, addresses, port):
        self.letters = []
        self.sockets = []
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            listener = socket.socket(family)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen(64)
            self.sockets.append(listener)
            threading.Thread(target=self.accept, args=(listener, address), daemon=True).start()

    def close(self):
        for listener in self.sockets:
            listener.close()

    def accept(self, listener, address):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.session, args=(connection, address), daemon=True).start()

    def session(self, connection, address):
        with connection, connection.makefile("rwb") as file:
            def say(text):
                file.write(text.encode() + b"\r\n")
                file.flush()
            say(f"220 sink-{address} ESMTP")
            recipients = []
            for line in file:
                verb = line[:4].upper()
                if verb in (b"EHLO", b"HELO"):
                    say("250 sink")
                elif verb == b"DATA":
                    say("354 go on")
                    letter = b""
                    for line in file:
                        if line == b".\r\n":
                            break
                        letter += line
                    self.letters.append((address, recipients, letter))
                    recipients = []
                    say("250 2.0.0 taken")
                elif verb == b"QUIT":
                    say("221 bye")
                    return
                else:
                    if verb == b"RCPT":
                        recipients.append(line.split(b"<")[1].split(b">")[0].decode())
                    say("250 2.1.0 ok")

    def of(self, recipient):
        return [letter for letter in list(self.letters) if recipient in letter[1]]

    def until(self, recipient, count, seconds):
        end = time.monotonic() + seconds
        while len(self.of(recipient)) < count and time.monotonic() < end:
            time.sleep(0.02)
        return self.of(recipient)
