"""Who may send what to whom, and what says so."""
import smtplib

from chapar import check, lmtp_route, smtp_route, wait_for

ACCEPT = """
accept {
  relay_from = {"127.0.0.0/8"}
  relay_certificates = {"relay9.example"}
  refuse_from = {"192.0.2.0/24"}
  refuse_senders = {"*.spam.example"}
  refuse_recipients = {"nobody@"}
}
user "ann" { senders = {"ann@example.net", "sales@example.net"} }
user "*" { senders = {"self@example.net"} }
"""


def line_of(daemon, text):
    lines = open(daemon.config_path).read().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_route_says_which_line(site):
    """relayctl route names the line of the configuration that decides."""
    relay = site.relay("relay1", 1, lmtp_route([site.address(3) + ":2424"])
                       + smtp_route([site.address(2) + ":2525"], extra="accept = no"), accept=ACCEPT)
    relay.start()

    def route(*words):
        item, = relay.ctl_json("route", *words, good=(0,))
        return item

    at = {word: f"({relay.config_path}:{line_of(relay, word)})" for word in (
        "relay_from", "relay_certificates", "refuse_from", "refuse_senders", "refuse_recipients",
        'user "ann"', 'user "*"')}
    far, ours = "a@far.example", "user@Example.NET"
    for words, key, says, would in (
            ((far, "--client", "127.0.0.1"), "recipient", f"yes: relay_from 127.0.0.0/8 {at['relay_from']}", "accept"),
            ((far, "--client", "198.51.100.1"), "recipient", "550 5.7.1 relaying denied: no line admits it", "refuse"),
            ((ours, "--client", "198.51.100.1"), "recipient", "yes: a route takes it from anybody", "accept"),
            ((ours, "--client", "192.0.2.7"), "client", at["refuse_from"], "refuse"),
            ((ours, "--from", "a@b.spam.example"), "sender", at["refuse_senders"], "refuse"),
            (("nobody@example.net",), "recipient", at["refuse_recipients"], "refuse"),
            ((far, "--certificate", "relay9.example"), "recipient", at["relay_certificates"], "accept"),
            ((far, "--user", "ann", "--from", "sales@example.net"), "sender", at['user "ann"'], "accept"),
            ((far, "--user", "ann", "--from", "boss@example.net"), "sender",
             "550 5.7.1 you may not send as this sender", "refuse"),
            ((far, "--user", "bob", "--from", "bob@example.net"), "sender", at['user "*"'], "accept"),
            ((far, "--user", "bob", "--from", "bob@example.net"), "recipient", "relay_authenticated", "accept")):
        item = route(*words)
        check(says in item[key] and item["would"] == would, f"{words}: {item}")
    item = route(ours)
    check(item["route"] == "site" and item["where"] == f"{relay.config_path}:" + str(line_of(relay, "route \"site")), str(item))
    relay.ctl("route", "not an address", good=(64,))
    text = relay.ctl("route", far, "--client", "127.0.0.1")
    check("relay_from" in text and "onward" in text, text)


OBEYED = """
accept {
  relay_from = {"127.1.0.0/16", "127.2.0.7"}
  refuse_from = {"127.9.0.0/16"}
  refuse_senders = {"*.spam.example", "bad@b.example"}
  refuse_recipients = {"nobody@", "*@closed.example.net"}
}
delivery { postmaster = "user@example.net" }
"""


def verdict_of_a_session(ip, client, sender, rcpt):
    """What a real client hears: at the greeting, at MAIL, or at RCPT."""
    try:
        with smtplib.SMTP(ip, 2525, "client.example.org", 20, (client, 0)) as session:
            session.ehlo()
            for code, text in (session.mail(sender), session.rcpt(rcpt)):
                if code != 250:
                    break
            return code, text.decode()
    except smtplib.SMTPConnectError as refused:
        return refused.smtp_code, refused.smtp_error.decode()


def test_sessions_obey(site):
    """For clients, senders and recipients of all kinds a session ends as relayctl route says that it would."""
    relay = site.relay("relay1", 1, lmtp_route([site.address(3) + ":2424"], extra="accept = no")
                       + smtp_route([site.address(2) + ":2525"], name="ours", domains='"b.example", "*.example.net"'),
                       accept=OBEYED)
    relay.start()
    answers = set()
    for client in ("127.1.0.1", "127.2.0.7", "127.2.0.8", "127.3.0.1", "127.9.0.1"):
        for sender in ("a@b.example", "bad@b.example", "BAD@B.Example", "a@x.spam.example", "a@spam.example"):
            for rcpt in ("user@example.net", "u@b.example", "u@B.EXAMPLE", "u@c.b.example", "u@x.example.net",
                         "nobody@b.example", "u@closed.example.net", "u@far.example", '"u@b.example"@far.example'):
                said, = relay.ctl_json("route", rcpt, "--client", client, "--from", sender, good=(0, 1, 2))
                code, text = verdict_of_a_session(site.address(1), client, sender, rcpt)
                check((code == 250) == (said["would"] == "accept"), f"{client} {sender} {rcpt}: {code} {text}, {said}")
                refusals = [said[key] for key in ("client", "sender", "recipient") if said.get(key, "y")[0] in "45"]
                check(not refusals or refusals[0].startswith(f"{code} {text.split()[0]}"), f"{code} {text}: {refusals}")
                answers.add(text)
    check(len(answers) >= 5, f"only {answers}")


def test_postmaster(site):
    """RFC 5321 section 4.5.1: <postmaster> without a domain, in any case, is for whom it may concern, from anybody."""
    node = site.mailbox("box", 3, ["user@example.net"])
    relay = site.relay("relay1", 1, lmtp_route([site.address(3) + ":2424"], extra="accept = no"), accept=OBEYED)
    node.start()
    relay.start()
    for number, rcpt in enumerate(("postmaster", "Postmaster", "POSTMASTER"), 1):
        code, text = verdict_of_a_session(site.address(1), "127.3.0.1", "a@far.example", rcpt)
        check(code == 250, f"{rcpt}: {code} {text}")
        with smtplib.SMTP(site.address(1), 2525, "client.example.org", 20, ("127.3.0.1", 0)) as session:
            session.sendmail("a@far.example", [rcpt], b"Subject: help\r\n\r\nhello\r\n")
        wait_for(lambda: len(site.box("box", "user@example.net")) == number, 20, f"the letter for {rcpt}")
    for rcpt in ("postmaster2", "post master", "user@example.net", "postmaster@far.example"):
        code, text = verdict_of_a_session(site.address(1), "127.3.0.1", "a@far.example", rcpt)
        check(code // 100 == 5, f"{rcpt}: {code} {text}")
