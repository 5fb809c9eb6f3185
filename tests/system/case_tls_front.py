"""What a client meets at the beginning of TLS: which certificate, which protocol, and the session of last time."""
import os
import socket
import ssl
import time

from chapar import ROOT, check, lmtp_route, run, smtp_route

FIRST, SECOND = "relay1.chapar.test", "second.chapar.test"


def relay_with_two_names(site, limits=""):
    """2465 has both certificates, 2466 only the second."""
    ip = site.address(1)
    second = site.certificate(SECOND)
    relay = site.relay("relay1", 1, lmtp_route([site.address(9) + ":2424"]), extra=second + f"limits {{ {limits} }}\n",
                       listeners=f"""
listener "both" {{ address = {{"{ip}:2465"}}  tls = implicit  tls_name = {{"{FIRST}", "{SECOND}"}} }}
listener "second" {{ address = {{"{ip}:2466"}}  tls = implicit  tls_name = {{"{SECOND}"}} }}
listener "mx" {{ address = {{"{ip}:2525"}}  tls = starttls  tls_name = {{"{SECOND}", "{FIRST}"}} }}
""")
    relay.start()
    return relay, ip


def client(site, version=None, alpn=()):
    context = ssl.create_default_context(cafile=os.path.join(site.ca, "ca.pem"))
    context.check_hostname = False
    if version:
        context.maximum_version = version
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def connect(ip, port, context, name, session=None):
    """A session under TLS, greeted, so that the tickets have come."""
    raw = socket.create_connection((ip, port), 10)
    if port == 2525:
        file = raw.makefile("rb")
        file.readline()
        raw.sendall(b"EHLO client.example\r\n")
        while file.readline()[3:4] == b"-":
            pass
        raw.sendall(b"STARTTLS\r\n")
        check(file.readline().startswith(b"220"), "STARTTLS")
    tls = context.wrap_socket(raw, server_hostname=name, session=session)
    tls.sendall(b"EHLO client.example\r\n" if port == 2525 else b"")
    check(tls.recv(1000)[:3] in (b"220", b"250"), "no greeting")
    return tls


def names_of(tls):
    return [name for kind, name in tls.getpeercert()["subjectAltName"] if kind == "DNS"]


def test_certificate_by_name(site):
    """Of several certificates the one that the client asks for, the first where it asks for none that we have."""
    _, ip = relay_with_two_names(site)
    context = client(site)
    for port, name, wanted in ((2465, FIRST, FIRST), (2465, SECOND, SECOND), (2465, SECOND.upper(), SECOND),
                               (2465, "third.chapar.test", FIRST), (2465, "x" + SECOND, FIRST),
                               (2465, "chapar.test", FIRST), (2465, None, FIRST), (2466, FIRST, SECOND),
                               (2466, None, SECOND), (2525, FIRST, FIRST), (2525, None, SECOND)):
        with connect(ip, port, context, name) as tls:
            check(wanted in names_of(tls), f"port {port}, {name}: {names_of(tls)}")


def test_application_protocol(site):
    """ALPN "smtp" is chosen among others; who has only others is refused; who has none is served."""
    _, ip = relay_with_two_names(site)
    for offered, chosen in ((("smtp",), "smtp"), (("h2", "smtp", "http/1.1"), "smtp"), ((), None)):
        with connect(ip, 2465, client(site, alpn=offered), FIRST) as tls:
            check(tls.selected_alpn_protocol() == chosen, f"{offered}: {tls.selected_alpn_protocol()}")
    for offered in (("h2",), ("imap", "pop3"), ("SMTP",), ("smt",), ("smtps",), ("lmtp",)):
        try:
            connect(ip, 2465, client(site, alpn=offered), FIRST).close()
            check(False, f"{offered} was served")
        except (ssl.SSLError, ConnectionError):
            pass


def is_resumed(ip, context, session, port=2465, name=FIRST):
    with connect(ip, port, context, name, session) as tls:
        return tls.session_reused


def one_more(ip, context):
    with connect(ip, 2465, context, FIRST) as tls:
        check(not tls.session_reused, "a session out of nothing")
        return tls.session


def test_tickets(site):
    """A session goes on by its ticket, at the same certificate and while its key is there; keys change."""
    relay, ip = relay_with_two_names(site, "ticket_period = 2s")
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = client(site, version)
        # The keys change every two seconds: a machine that sleeps meanwhile is asked again.
        for _ in range(5):
            session = one_more(ip, context)
            if is_resumed(ip, context, session):
                break
        else:
            check(False, f"{version}: no session is resumed")
        check(session.ticket_lifetime_hint <= 7200, f"a ticket for {session.ticket_lifetime_hint} s")
        session = one_more(ip, context)
        check(not is_resumed(ip, context, session, 2466, FIRST), f"{version}: resumed under another certificate")
        session = one_more(ip, context)
        time.sleep(6.5)                         # two changes of keys, and a busy machine
        check(not is_resumed(ip, context, session), f"{version}: the keys do not change")
    # Neither a reload nor a change of keys costs a session that is under way.
    with connect(ip, 2465, client(site), FIRST) as tls:
        relay.reload()
        time.sleep(2.5)
        tls.sendall(b"EHLO client.example\r\n")
        check(tls.recv(1000).startswith(b"250"), "the session under way is gone")
    context = client(site)
    check(any(is_resumed(ip, context, one_more(ip, context)) for _ in range(5)), "after a reload none is resumed")
    check(relay.stop() == 0, "relayd did not end well")


def test_no_tickets(site):
    """ticket_period = 0s: no session is ever resumed."""
    _, ip = relay_with_two_names(site, "ticket_period = 0s")
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = client(site, version)
        with connect(ip, 2465, context, FIRST) as tls:
            check(not (tls.session and tls.session.has_ticket), f"{version}: a ticket")


def foreign_certificate(site, name):
    """The same name by an authority that nobody here knows."""
    place = os.path.join(site.path, "other-ca")
    for words in (("init",), ("issue", name)):
        run([os.path.join(ROOT, "etc", "chapar-ca"), "-d", place, *words])
    return place


def verdict(site, ip, port, authority, name):
    """What RCPT for a stranger hears from a client with this certificate, or MAIL, or the handshake."""
    context = client(site)
    if name:
        context.load_cert_chain(os.path.join(authority, name + ".pem"), os.path.join(authority, name + ".key"))
    try:
        with connect(ip, port, context, FIRST) as tls:
            for words in ("EHLO client.example", "MAIL FROM:<a@b.example>", "RCPT TO:<user@far.example>"):
                tls.sendall(words.encode() + b"\r\n")
                said = tls.recv(2000).decode()
                if not said.startswith("250"):
                    break
            return words.split()[0], said[:9]
    except (ssl.SSLError, ConnectionError):
        return "handshake", ""


def test_client_certificates(site):
    """Who shows a certificate of ours may relay, if it is named; the name alone, by another authority, is nothing."""
    ip, friend, stranger = site.address(1), "relay9.chapar.test", "relay8.chapar.test"
    for name in (friend, stranger):
        site.certificate(name)
    other = foreign_certificate(site, friend)
    relay = site.relay("relay1", 1, smtp_route([site.address(2) + ":25"], extra="accept = no"), accept=f"""
accept {{ relay_certificates = {{"{friend}"}} }}
""", listeners=f"""
listener "ask" {{ address = {{"{ip}:2465"}}  tls = implicit }}
listener "require" {{ address = {{"{ip}:2466"}}  tls = implicit  client_certificate = require }}
listener "none" {{ address = {{"{ip}:2467"}}  tls = implicit  client_certificate = none }}
listener "named" {{ address = {{"{ip}:2468"}}  tls = implicit  client_names = {{"{stranger}"}} }}
""")
    relay.start()
    yes, denied = ("RCPT", "250 2.1.5"), ("RCPT", "550 5.7.1")
    for port, authority, name, wanted in (
            (2465, site.ca, friend, yes), (2465, site.ca, stranger, denied), (2465, other, friend, denied),
            (2465, None, None, denied), (2466, site.ca, friend, yes), (2466, site.ca, stranger, denied),
            (2466, other, friend, ("handshake", "")), (2466, None, None, ("handshake", "")), (2467, site.ca, friend, denied),
            (2468, site.ca, stranger, denied), (2468, site.ca, friend, ("MAIL", "550 5.7.1")),
            (2468, None, None, ("MAIL", "550 5.7.1"))):
        said = verdict(site, ip, port, authority, name)
        check(said == wanted, f"port {port}, {name} by {authority}: {said}, not {wanted}")


test_tickets.races = False                      # it measures time
