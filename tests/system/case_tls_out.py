"""What a route asks of TLS, against next hops whose TLS is good, wrong in a way, or not there."""
import hashlib
import os
import re
import smtplib
import socket
import ssl
import threading
import time

from chapar import check, need, run, smtp_route, wait_for

PEERS = ("plain", "good", "other-name", "self-signed", "broken", "refused")
CLEAR, TLS, WAITS = "clear", "tls", "waits"
# By policy, in the order of PEERS.  Under "may" it goes in clear in the same attempt; under the others never.
TABLE = {
    "none": (CLEAR, CLEAR, CLEAR, CLEAR, CLEAR, CLEAR),
    "may": (CLEAR, TLS, TLS, TLS, CLEAR, CLEAR),
    "require": (WAITS, TLS, TLS, TLS, WAITS, WAITS),
    "verify": (WAITS, TLS, WAITS, WAITS, WAITS, WAITS),
    "fingerprint": (WAITS, WAITS, WAITS, TLS, WAITS, WAITS),
}
# Why a letter waits, in words that tell an operator what is wrong.
REASONS = {"plain": "STARTTLS", "good": "certificate", "other-name": "certificate|hostname|mismatch",
           "self-signed": "certificate|self", "broken": "TLS|handshake|SSL|closed|record|lost", "refused": "454|STARTTLS"}


class Peer:
    """A next hop; `letters` is [(recipient, was it under TLS)]."""

    def __init__(self, address, kind, context):
        self.kind, self.context, self.letters, self.heard_in_clear = kind, context, [], []
        self.listener = socket.socket()
        self.listener.bind((address, 0))
        self.listener.listen(64)
        self.at = f"{address}:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            self.session(connection)
        except (OSError, ValueError):
            pass
        finally:
            connection.close()

    def session(self, connection):
        under_tls, rcpt = False, ""
        file = connection.makefile("rwb")

        def say(text):
            file.write(text.encode() + b"\r\n")
            file.flush()
        say("220 peer ESMTP")
        while line := file.readline():
            verb = line[:4].upper()
            if verb == b"EHLO":
                say("250-peer\r\n250 STARTTLS" if self.kind != "plain" and not under_tls else "250 peer")
            elif verb == b"STAR":
                if self.kind == "refused":
                    say("454 4.7.0 not now")
                    continue
                say("220 go on")
                if self.kind == "broken":
                    connection.sendall(b"\x15\x03\x01 this is no TLS\r\n")
                    return
                connection = self.context.wrap_socket(connection, server_side=True)
                file, under_tls = connection.makefile("rwb"), True
            elif verb == b"DATA":
                say("354 go on")
                while (line := file.readline()) not in (b".\r\n", b""):
                    pass
                self.letters.append((rcpt, under_tls))
                say("250 2.0.0 taken")
            elif verb == b"QUIT":
                say("221 bye")
                return
            else:
                if verb == b"RCPT":
                    rcpt = line.split(b"<")[1].split(b">")[0].decode()
                say("250 2.1.0 ok")


def contexts(site):
    """A server's context for each kind of certificate; and the fingerprint of the self-signed one."""
    need("openssl")
    own = os.path.join(site.path, "self")
    run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=self", "-keyout", own + ".key", "-out", own + ".pem"])
    site.certificate("good.test", site.address(8))
    site.certificate("other.test", "other.test")
    files = {"good": site.ca + "/good.test", "other-name": site.ca + "/other.test", "self-signed": own}
    found = {}
    for kind in PEERS:
        found[kind] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        base = files.get(kind, own)
        found[kind].load_cert_chain(base + ".pem", base + ".key")
    with open(own + ".pem") as file:
        der = ssl.PEM_cert_to_DER_cert(file.read())
    return found, hashlib.sha256(der).hexdigest()


def test_every_policy_with_every_peer(site):
    """Thirty ways: in clear only where the policy allows it, and then in the same attempt."""
    by_kind, fingerprint = contexts(site)
    peers = {kind: Peer(site.address(8), kind, by_kind[kind]) for kind in PEERS}
    routes = "".join(smtp_route([peer.at], name=f"{policy}-{kind}", domains=f'"{policy}-{kind}.test"', tls=policy,
                                extra='retry = "once"' + (f' fingerprints = {{"{fingerprint}"}}'
                                                          if policy == "fingerprint" else ""))
                     for policy in TABLE for kind, peer in peers.items())
    relay = site.relay("relay", 1, routes, extra='retry "once" { schedule = {"1h"} }\n').start()
    client = smtplib.SMTP(site.address(1), 2525, "client.test", timeout=20)
    ways = {(policy, kind): outcome for policy, row in TABLE.items() for kind, outcome in zip(PEERS, row)}
    for policy, kind in ways:
        client.sendmail("ann@example.org", [f"user@{policy}-{kind}.test"], "Subject: x\r\n\r\nhello\r\n")
    client.quit()

    def outcome(policy, kind):
        rcpt = f"user@{policy}-{kind}.test"
        copies = [under_tls for to, under_tls in peers[kind].letters if to == rcpt]
        if copies:
            return (TLS if copies[0] else CLEAR) if len(copies) == 1 else f"{len(copies)} copies"
        return WAITS if rcpt in waiting else "nowhere"
    waiting = ""

    def wrong():
        nonlocal waiting
        waiting = str(relay.ctl_json("list"))
        return [f"{policy} {kind}: {outcome(policy, kind)}, not {wanted}" for (policy, kind), wanted in ways.items()
                if outcome(policy, kind) != wanted]
    end = time.monotonic() + 20
    while ((wrong() or relay.log().count("event=deferred") < list(ways.values()).count(WAITS))
           and time.monotonic() < end):
        time.sleep(0.1)
    check(not wrong(), f"in the end: {wrong()}")
    time.sleep(3)
    check(not wrong(), f"later: {wrong()}")
    log = relay.log()
    for (policy, kind), wanted in ways.items():
        lines = [line for line in log.splitlines() if f"to=<user@{policy}-{kind}.test>" in line and " attempt=" in line]
        if wanted == WAITS:
            check(lines and all("event=deferred" in line for line in lines) and re.search(REASONS[kind], lines[0]),
                  f"{policy} {kind}: {lines[:1]}")
        else:
            check(len(lines) == 1 and "event=delivered" in lines[0] and " attempt=1 " in lines[0],
                  f"{policy} {kind}: {lines}")


def test_one_route_is_no_burden_to_another(site):
    """Two routes to one host: where the one's TLS or password does not suit it, the mail of the other flows."""
    by_kind, _ = contexts(site)
    peer = Peer(site.address(8), "self-signed", by_kind["self-signed"])
    password = os.path.join(site.path, "password")
    with open(password, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write("secret\n")
    relay = site.relay("relay", 1, smtp_route([peer.at], name="free", domains='"free.test"', tls="none")
                       + smtp_route([peer.at], name="strict", domains='"strict.test"', tls="verify")
                       + smtp_route([peer.at], name="login", domains='"login.test"', tls="require",
                                    extra=f'auth_user = "ann"  auth_password = "{password}"')).start()
    client = smtplib.SMTP(site.address(1), 2525, "client.test", timeout=20)
    for number in range(10):
        for domain in ("strict", "login"):
            client.sendmail("ann@example.org", [f"user{number}@{domain}.test"], "Subject: x\r\n\r\nhello\r\n")
    wait_for(lambda: relay.log().count("event=breaker-open") >= 2, 15, "both give up for a while")
    for number in range(50):
        begun = time.monotonic()
        client.sendmail("ann@example.org", [f"user{number}@free.test"], "Subject: x\r\n\r\nhello\r\n")
        wait_for(lambda: len(peer.letters) > number, 5, f"letter {number} waits for another route's sake")
        check(time.monotonic() - begun < 3, f"letter {number} took {time.monotonic() - begun:.1f} s")
    log = relay.log()
    for domain in ("strict", "login"):
        check(log.count(f"@{domain}.test> dest=") < 40, f"{log.count(f'@{domain}.test> dest=')} attempts of {domain}")
    wait_for(lambda: relay.queue_length() == 20, 5, "the others wait still")
    check("event=bounced" not in relay.log(), "what waits has failed")


test_one_route_is_no_burden_to_another.races = False    # it measures time
