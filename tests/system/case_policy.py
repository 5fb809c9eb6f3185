"""Who may send what to whom, and what says so."""
from chapar import check, lmtp_route, smtp_route

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
    """relayctl route names the line of the configuration that decides, and the sessions obey it."""
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
