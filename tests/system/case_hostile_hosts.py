"""Next hops that want to harm us or are out of their mind: each is given up in time, and costs nobody else anything."""
import smtplib
import socket
import threading
import time

import lying_dns
from chapar import check, smtp_route, wait_for

STAGES = ("greeting", "EHLO", "MAIL", "RCPT", "DATA", "end")


def endless_lines(connection, code):
    while True:
        connection.sendall(b"%d-and on and on\r\n" % code * 100)


def endless_line(connection, code):
    connection.sendall(b"%d " % code)
    while True:
        connection.sendall(b"x" * 65536)


def drip(connection, code):
    for octet in b"%d-" % code + b"slowly " * 1000:
        connection.sendall(bytes([octet]))
        time.sleep(0.3)


def silence(connection, code):
    time.sleep(60)


def nonsense(connection, code):
    connection.sendall(bytes(range(256)) * 40 + b"\r\n")
    time.sleep(60)


WAYS = (endless_lines, endless_line, drip, silence, nonsense)
CODES = {"greeting": 220, "EHLO": 250, "MAIL": 250, "RCPT": 250, "DATA": 354, "end": 250}


class Hostile:
    """Speaks SMTP until STAGE, then in WAY."""

    def __init__(self, address, stage, way):
        self.stage, self.way, self.sessions = stage, way, 0
        self.listener = socket.socket()
        self.listener.bind((address, 0))
        self.listener.listen(16)
        self.at = f"{address}:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            self.sessions += 1
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        def say(stage, text):
            if stage == self.stage:
                self.way(connection, CODES[stage])
                raise OSError
            connection.sendall(text + b"\r\n")
        try:
            with connection, connection.makefile("rb") as file:
                say("greeting", b"220 hostile")
                for line in file:
                    verb = line[:4].upper()
                    if verb == b"DATA":
                        say("DATA", b"354 go on")
                        while file.readline() not in (b".\r\n", b""):
                            pass
                        say("end", b"250 taken")
                    elif verb == b"QUIT":
                        return
                    else:
                        say(verb.decode(), b"250 ok")
        except OSError:
            pass


def memory_kb(daemon):
    with open(f"/proc/{daemon.process.pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def test_thirty_hostile_hosts(site):
    """Lines and replies without end, a drip, silence, nonsense, at every stage: none is believed, none holds others."""
    peers = {(stage, way.__name__): Hostile(site.address(8), stage, way) for stage in STAGES for way in WAYS}
    sink = lying_dns.Sink([site.address(9)], 2599)
    names = {key: f"{key[0].lower()}-{key[1].replace('_', '-')}" for key in peers}
    times = "  ".join(f"{word}_timeout = 2s" for word in ("connect", "greeting", "command", "data", "body", "end"))
    routes = "".join(smtp_route([peer.at], name=names[key], domains=f'"{names[key]}.test"', tls="none",
                                extra=f'retry = "once"  {times}') for key, peer in peers.items())
    relay = site.relay("relay", 1, routes + smtp_route([f"{site.address(9)}:2599"], tls="none"),
                       extra='retry "once" { schedule = {"1h"} }\ndelivery { breaker_backoff = 1h  probe = 1h }\n').start()
    before = memory_kb(relay)
    client = smtplib.SMTP(site.address(1), 2525, "client.test", timeout=20)
    for name in names.values():
        client.sendmail("ann@example.org", [f"user@{name}.test"], "Subject: x\r\n\r\nhello\r\n")
    for number in range(20):
        client.sendmail("ann@example.org", [f"user{number}@example.com"], "Subject: x\r\n\r\nhello\r\n")
    client.quit()
    for number in range(20):
        check(sink.until(f"user{number}@example.com", 1, 15), f"letter {number} to a good host does not arrive")
    log = relay.log

    def left():
        return [name for name in names.values()
                if not any(f"to=<user@{name}.test>" in line and ("event=deferred" in line or "event=uncertain" in line)
                           for line in log().splitlines())]
    wait_for(lambda: not left(), 30, f"given up in time: {left()}")
    check(relay.alive() and "event=bounced" not in log() and "event=delivered" in log(), log()[-1500:])
    wrong = [line for line in log().splitlines() if ".test> dest=" in line and "event=delivered" in line]
    check(not wrong, f"believed: {wrong}")
    after_the_dot = [names["end", way.__name__] for way in WAYS]
    for name in names.values():
        uncertain = f"to=<user@{name}.test>" in "".join(line for line in log().splitlines() if "event=uncertain" in line)
        check(uncertain == (name in after_the_dot), f"{name}: uncertain {uncertain}")
    grown = memory_kb(relay) - before
    check(grown < 30000, f"{grown} kB more memory")


test_thirty_hostile_hosts.races = False         # it measures memory
