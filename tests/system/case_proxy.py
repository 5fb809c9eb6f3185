"""Proxies in front of a relay say whom they speak for; nobody else is believed."""
import re
import smtplib
import socket
import ssl
import struct
import time

from chapar import check, lmtp_route, wait_for

USER = "user@example.net"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(client, command=0x21, more=b""):
    body = socket.inet_aton(client) + socket.inet_aton("203.0.113.1") + struct.pack(">HH", 5000, 25) + more
    return SIGNATURE + struct.pack(">BBH", command, 0x11, len(body)) + body


def v1(client):
    return f"PROXY TCP4 {client} 203.0.113.1 5000 25\r\n".encode()


class Proxied(smtplib.SMTP):
    """smtplib behind a header, whole or octet by octet, over TLS or not."""

    def __init__(self, address, header, slowly=False, context=None, source=None):
        self.header, self.slowly, self.context, self.source = header, slowly, context, source
        super().__init__(*address, timeout=10)

    def _get_socket(self, host, port, timeout):
        raw = socket.create_connection((host, port), timeout, (self.source, 0) if self.source else None)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(self.header), 1 if self.slowly else len(self.header) or 1):
            raw.sendall(self.header[at:at + 1] if self.slowly else self.header)
            if self.slowly:
                time.sleep(0.002)
        return self.context.wrap_socket(raw) if self.context else raw


def test_proxy_protocol(site):
    """Versions 1 and 2, in clear and before TLS: policy, log and Received have the client; LOCAL has the proxy."""
    ip = site.address(1)
    site.mailbox("box", 3, [USER]).start()
    relay = site.relay("relay1", 1, lmtp_route([site.address(3) + ":2424"]), accept="""
accept { refuse_from = {"192.0.2.66"} }
""", listeners=f"""
listener "mx" {{ address = {{"{ip}:2525"}}  proxy_from = {{"127.0.0.1", "::1"}} }}
listener "smtps" {{ address = {{"{ip}:2465"}}  tls = implicit  proxy_from = {{"127.0.0.0/30"}} }}
listener "plain" {{ address = {{"{ip}:2526"}} }}
""")
    relay.start()
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    number = 0
    for header, client in ((v1("192.0.2.7"), "192.0.2.7"), (v2("192.0.2.8"), "192.0.2.8"),
                           (v2("192.0.2.9", more=b"\x01\0\x03abc"), "192.0.2.9"),
                           (b"PROXY TCP6 2001:db8::7 2001:db8::1 5000 25\r\n", "2001:db8::7"),
                           (v2("192.0.2.66", command=0x20), "127.0.0.1"), (b"PROXY UNKNOWN\r\n", "127.0.0.1")):
        for port, tls in (2525, None), (2465, context):
            for slowly in False, True:
                session = Proxied((ip, port), header, slowly, tls, source="127.0.0.1")
                session.sendmail("a@b.example", [USER], b"Subject: x\r\n\r\nhello\r\n")
                session.quit()
                number += 1
                wait_for(lambda: len(site.box("box", USER)) >= number, 20, f"letter {number}")
                check(f"client={client}" in relay.log().splitlines()[-3:].__str__() or
                      re.search(rf"event=accepted .*client={re.escape(client)} ", relay.log()), relay.log()[-900:])
                letter = site.box("box", USER)[-1].decode()
                received = letter.split("Received: ")[2]
                check(f"[{client}]" in received or f"[IPv6:{client}]" in received, received)
    try:
        Proxied((ip, 2525), v1("192.0.2.66"), source="127.0.0.1")
        check(False, "a client that is refused came in behind a proxy")
    except smtplib.SMTPConnectError as refused:
        check(refused.smtp_code == 554, str(refused))


def test_refusals(site):
    """Who is no proxy, says no header, or a bad one, is closed without a word; no header counts where none belongs."""
    ip = site.address(1)
    relay = site.relay("relay1", 1, lmtp_route([site.address(3) + ":2424"]), listeners=f"""
listener "mx" {{ address = {{"{ip}:2525"}}  proxy_from = {{"127.0.0.1"}} }}
listener "plain" {{ address = {{"{ip}:2526"}} }}
""")
    relay.start()

    def said(text, source, port=2525, end=True):
        with socket.create_connection((ip, port), 10, (source, 0)) as raw:
            try:
                raw.sendall(text)
                if end:
                    raw.shutdown(socket.SHUT_WR)
                return raw.recv(4096)
            except TimeoutError:
                raise
            except OSError:
                return b""      # it was reset, at one moment or another

    for text, source, why in ((v1("192.0.2.7"), "127.0.0.2", "none of our proxies"), (b"", "127.0.0.2", "none of our"),
                              (b"EHLO x\r\n", "127.0.0.1", "no PROXY header"), (b"PROXY TCP4", "127.0.0.1", "ended inside"),
                              (b"PROXY TCP4 x y 1 2\r\n", "127.0.0.1", "malformed"), (v2("192.0.2.7", 0x22), "127.0.0.1", "another"),
                              (SIGNATURE + b"\x21\x11\xff\xff" + b"x" * 70000, "127.0.0.1", "too long"),
                              (b"PROXY UNKNOWN " + b"x" * 200, "127.0.0.1", "too long")):
        check(said(text, source) == b"", f"an answer to {text[:40]!r}")
        wait_for(lambda: why in relay.log(), 5, f"{why} in the log")
    begun = time.monotonic()
    check(said(b"PROXY", "127.0.0.1", end=False) == b"" and 3 < time.monotonic() - begun < 9, "no deadline")
    check(said(v1("192.0.2.7"), "127.0.0.1", 2526).startswith((b"220", b"554")), "no proxies, and no greeting")
    check("192.0.2.7" not in relay.log(), "somebody was believed")
    check(relay.stop() == 0, "relayd did not end well")
