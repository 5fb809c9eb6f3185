"""Where TLS begins and ends: octets behind STARTTLS, and connections that end at every octet, in both roles."""
import concurrent.futures
import os
import re
import socket
import ssl
import struct
import threading

from chapar import Failure, check, lmtp_route, smtp_route, swaks, wait_for

USER = "user@example.net"
ENDS = ("notify", "notify, then clear", "alert", "alert in clear", "clear", "reset", "fin")


class Wire:
    """A connection whose TLS is in our own hands, record by record."""

    def __init__(self, raw, context, server_side=False, name="relay"):
        self.raw = raw
        self.raw.settimeout(10)
        self.into, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.into, self.out, server_side=server_side,
                                    server_hostname=None if server_side else name)
        self.rest = b""

    def flush(self):
        data = self.out.read()
        if data:
            self.raw.sendall(data)

    def pump(self, action):
        while True:
            try:
                result = action()
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                data = self.raw.recv(65536)
                if not data:
                    raise ConnectionError("the peer is gone")
                self.into.write(data)

    def handshake(self):
        self.pump(self.tls.do_handshake)
        return self

    def send(self, data):
        if data:
            self.pump(lambda: self.tls.write(data))

    def line(self):
        while b"\n" not in self.rest:
            data = self.pump(lambda: self.tls.read(65536))
            if not data:
                raise ConnectionError("the peer has closed")
            self.rest += data
        line, self.rest = self.rest.split(b"\n", 1)
        return line + b"\n"

    def reply(self):
        lines = [self.line()]
        while lines[-1][3:4] == b"-":
            lines.append(self.line())
        return lines

    def end(self, how, clear=b"NOOP\r\n"):
        """End it, and see that the peer ends it too and says nothing in clear."""
        try:
            if how.startswith("notify"):
                try:
                    self.tls.unwrap()
                except (ssl.SSLWantReadError, ssl.SSLError):
                    pass
                self.flush()
                if how != "notify":
                    self.raw.sendall(clear)
            elif how == "alert":
                self.into.write(b"\x17\x03\x03\x00\x20" + b"x" * 32)
                try:
                    while self.tls.read(65536):
                        pass
                except ssl.SSLError:
                    pass
                self.flush()
            elif how == "alert in clear":
                self.raw.sendall(b"\x15\x03\x03\x00\x02\x02\x28")
            elif how == "clear":
                self.raw.sendall(clear)
            elif how == "reset":
                self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.raw.close()
                return b""
            elif how == "fin":
                self.raw.shutdown(socket.SHUT_WR)
            said = b""
            while data := self.raw.recv(65536):
                said += data
        except (ConnectionError, BrokenPipeError):
            return b""
        except TimeoutError:
            raise Failure(f"after \"{how}\" the connection is left open")
        finally:
            self.raw.close()
        for code in b"250 ", b"221 ", b"354 ", b"500 ", b"503 ", b"554 ", b"220 ":
            check(code not in said, f"after \"{how}\" it speaks in clear: {said!r}")
        return said


def unverified(version=None):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version:
        context.maximum_version = version
    return context


def lone_relay(site):
    """A relay whose next hop is not there: what it accepted stays in its queue."""
    relay = site.relay("relay1", 1, lmtp_route([site.address(3) + ":2424"]))
    relay.start()
    return relay, site.address(1)


BODY = b"Subject: x\r\n\r\n.a\r\n"
ENVELOPE = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<" + USER.encode() + b">\r\n"
CHUNKS = ENVELOPE + b"BDAT 9\r\n" + BODY[:9] + b"BDAT %d LAST\r\n" % (len(BODY) - 9) + BODY[9:]
# What goes in one write, and how many replies are waited for behind it.
DIALOGUES = {
    "commands": ((b"EHLO client.example\r\n", 1), (b"NOOP\r\nVRFY x\r\n" + ENVELOPE + b"RSET\r\nHELP\r\nQUIT\r\n", 0)),
    "chunks": ((b"EHLO client.example\r\n", 1), (CHUNKS, 0)),
    "data": ((b"EHLO client.example\r\n", 1), (ENVELOPE + b"DATA\r\n", 3), (BODY + b".\r\n", 0)),
}


def cut_at(ip, context, dialogue, position, how):
    raw = socket.create_connection((ip, 2465), 10)
    wire = Wire(raw, context).handshake()
    wire.reply()
    for text, replies in dialogue:
        some = text[:position]
        wire.send(some)
        position -= len(some)
        if len(some) < len(text) or position == 0:
            return wire.end(how, clear=text[len(some):] + b"NOOP\r\nQUIT\r\n")
        for _ in range(replies):
            wire.reply()
    raise Failure("there is no such position")


def cut_everywhere(ip, context, ends, names=DIALOGUES):
    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        jobs = {}
        for name in names:
            dialogue = DIALOGUES[name]
            for position in range(sum(len(text) for text, _ in dialogue)):
                for how in ends:
                    jobs[threads.submit(cut_at, ip, context, dialogue, position, how)] = f"{name} {position} {how}"
        for job, what in jobs.items():
            try:
                job.result(60)
            except Exception as failure:
                raise Failure(f"{what}: {failure!r}")
        return len(jobs)


def test_receiving(site):
    """close_notify, alerts, clear text, FIN and RST at every octet of every command, of DATA and of BDAT chunks."""
    relay, ip = lone_relay(site)
    count = cut_everywhere(ip, unverified(), ENDS, ("chunks",))
    count += cut_everywhere(ip, unverified(), ("notify, then clear", "alert", "reset"), ("commands", "data"))
    count += cut_everywhere(ip, unverified(ssl.TLSVersion.TLSv1_2), ("notify, then clear", "alert"), ("chunks",))
    check(count > 1000, f"only {count} places")
    check(relay.queue_length() == 0, "a letter that was cut is in the queue")
    swaks(ip + ":2525", "--tls")
    check(relay.queue_length() == 1, "and a whole one is not")
    check(relay.stop() == 0, "relayd did not end well")


def rest_of(file):
    said = b""
    try:
        while octet := file.read(1):
            said += octet
    except ConnectionError:
        pass
    return said


def test_behind_starttls(site):
    """Any octet behind STARTTLS, in the same write, ends the connection before a handshake."""
    relay, ip = lone_relay(site)
    for octet in range(256):
        with socket.create_connection((ip, 2525), 10) as raw:
            file = raw.makefile("rb")
            file.readline()
            raw.sendall(b"EHLO client.example\r\n")
            while file.readline()[3:4] == b"-":
                pass
            raw.sendall(b"STARTTLS\r\n" + bytes([octet]))
            said = rest_of(file)
            check(said in (b"", b"220 2.0.0 go ahead\r\n"), f"behind octet {octet}: {said!r}")
    # In clear after the 220, where the handshake belongs.
    for text in b"MAIL FROM:<a@b.example>\r\n", b"EHLO x\r\n", b"\x16\x03\x01\xff\xff", b"\x15\x03\x01\x00\x02\x02\x28":
        with socket.create_connection((ip, 2525), 10) as raw:
            file = raw.makefile("rb")
            file.readline()
            raw.sendall(b"EHLO client.example\r\n")
            while file.readline()[3:4] == b"-":
                pass
            raw.sendall(b"STARTTLS\r\n")
            check(file.readline().startswith(b"220"), "STARTTLS was refused")
            try:
                raw.sendall(text)
                raw.shutdown(socket.SHUT_WR)
            except OSError:
                pass                    # it was reset already
            said = rest_of(file)
            check(not re.search(rb"(^|\n)[2-5]\d\d[ -]", said), f"it speaks in clear: {said!r}")
    swaks(ip + ":2525", "--tls")
    check(relay.stop() == 0, "relayd did not end well")


# ---- the other role: a peer that ends at every octet of what it says

REPLIES = (b"220 peer.example ESMTP\r\n", b"250-peer.example\r\n250 STARTTLS\r\n", b"220 go ahead\r\n",
           b"250-peer.example\r\n250-PIPELINING\r\n250 CHUNKING\r\n", b"250 ok\r\n250 ok\r\n", b"250 got it\r\n")
CLEAR = 3               # so many of them are said before TLS
SENT = sum(len(reply) for reply in REPLIES)


class Peer:
    """A port that ends its connections at one octet of its replies, in one way."""

    def __init__(self, ip, context, position, how):
        self.listener = socket.create_server((ip, 0), backlog=16)
        self.port = self.listener.getsockname()[1]
        self.context, self.position, self.how = context, position, how
        self.heard = b""                # in clear
        self.count = 0
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                raw, _ = self.listener.accept()
            except OSError:
                return
            self.count += 1
            try:
                with raw:
                    self.serve(raw)
            except (OSError, ssl.SSLError, ConnectionError, Failure):
                pass

    def say(self, send, reply, left):
        send(reply[:left])
        return left - len(reply[:left]), len(reply) > left

    def serve(self, raw):
        raw.settimeout(10)
        left = self.position
        for number in range(CLEAR):
            if number > 0:
                self.heard += raw.recv(4096)
            left, over = self.say(raw.sendall, REPLIES[number], left)
            if over:
                if self.how == "clear":
                    raw.sendall(b"\r\n250 ok\r\n" * 3)
                elif self.how == "reset":
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                raw.shutdown(socket.SHUT_WR)
                self.heard += raw.recv(65536)
                return
        wire = Wire(raw, self.context, server_side=True).handshake()
        seen = b""
        for number, wanted in ((3, b"EHLO"), (4, b"RCPT TO"), (5, b"\r\n\r\n")):
            while wanted not in seen or not seen.endswith(b"\n"):
                seen += wire.line()
            seen = seen if number == 4 else b""
            left, over = self.say(wire.send, REPLIES[number], left)
            if over:
                self.heard += wire.end(self.how, clear=REPLIES[number][len(REPLIES[number]) - 1:] + b"250 ok\r\n")
                return
        while True:
            wire.line()


def test_sending(site):
    """A peer that ends at every octet of its replies: nothing in clear, nothing lost, nothing taken for delivered."""
    site.certificate("peer.chapar.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(site.ca, "peer.chapar.test.pem"), os.path.join(site.ca, "peer.chapar.test.key"))
    peers = [Peer(site.address(4), context, position, how) for position in range(SENT + 1)
             for how in (("notify, then clear", "alert", "reset") if position < SENT else ("fin",))]
    routes = "".join(smtp_route([f"{site.address(4)}:{peer.port}"], name=f"r{number}",
                                domains=f'"d{number}.example"', tls="require") for number, peer in enumerate(peers))
    relay = site.relay("relay1", 1, routes)
    relay.start()
    for first in range(0, len(peers), 40):
        swaks(site.address(1) + ":2525", "--tls", "--body", "hello",
              to=",".join(f"user@d{number}.example" for number in range(first, min(first + 40, len(peers)))))
    wait_for(lambda: all(peer.count > 0 for peer in peers), 60, "every peer was tried")
    delivered = f"d{len(peers) - 1}.example"
    wait_for(lambda: "event=delivered" in relay.log(), 20, "the peer that ends behind its last octet has the letter")
    wait_for(lambda: len(set(re.findall(r"event=(?:deferred|uncertain) .*?to=<user@(d\d+)\.", relay.log())))
             >= len(peers) - 1, 60, "all were put off")
    for line in relay.log().splitlines():
        check("event=bounced" not in line, line)
        check("event=delivered" not in line or delivered in line, line)
    for number, peer in enumerate(peers):
        check(b"MAIL" not in peer.heard and b"DATA" not in peer.heard and b"hello" not in peer.heard,
              f"{peer.how} at {peer.position}: in clear it said {peer.heard!r}")
    uncertain = set(re.findall(r"event=uncertain .*?to=<user@(d\d+)\.", relay.log()))
    for number, peer in enumerate(peers[:-1]):
        # A letter this small leaves with its envelope: from there on the peer may have it.
        check((f"d{number}" in uncertain) == (peer.position >= SENT - len(REPLIES[-1] + REPLIES[-2])),
              f"{peer.how} at {peer.position} of {SENT}: uncertain or not")
    check(relay.alive(), "relayd is gone")
    for peer in peers:
        peer.listener.close()
    check(relay.stop() == 0, "relayd did not end well")


test_receiving.long = test_sending.long = True
