"""What one client may use up, and what becomes of the others."""
import socket
import time

from chapar import check, lmtp_route, swaks, wait_for

USER = "user@example.net"


class Client:
    """A connection that says and hears lines."""

    def __init__(self, server, source, port=2525, timeout=15):
        self.socket = socket.create_connection((server, port), timeout, (source, 0))
        self.file = self.socket.makefile("rwb", buffering=0)

    def line(self):
        return self.file.readline().decode("utf-8", "replace")

    def reply(self):
        line = text = self.line()
        while line[3:4] == "-":
            line = self.line()
            text += line
        return text

    def say(self, text):
        self.socket.sendall(text.encode() + b"\r\n")
        return self.reply()

    def close(self):
        self.file.close()
        self.socket.close()


def relay_alone(site, fairness, limits="", listeners=None):
    node = site.mailbox("box", 3, [USER])
    return site.relay("relay1", 1, lmtp_route([site.address(3) + ":2424"]), listeners=listeners,
                      accept='accept { relay_from = {"127.1.0.0/16"} }\n',
                      extra=f"fairness {{ {fairness} }}\nlimits {{ {limits} }}\n"), node


def load(relay):
    return relay.ctl_json("status")[0]["load"]


def test_overload_by_stages(site):
    """Amber slows strangers, red says 421 before TLS, our own nodes come in, mail under way goes on."""
    stranger, known, own = "127.3.0.", "127.1.0.", "127.2.0.1"
    relay, node = relay_alone(site, 'own_from = {"127.2.0.0/16"}  amber_greeting = 700ms '
                              "amber_command_timeout = 2s", "connections = 20")
    node.start()
    relay.start()
    ip = site.address(1)
    under_way = Client(ip, stranger + "1")
    under_way.reply()
    for words in ("EHLO x", "MAIL FROM:<a@b.example>", f"RCPT TO:<{USER}>", "DATA"):
        said = under_way.say(words)
    check(said.startswith("354"), said)
    held = [Client(ip, known + str(i)) for i in range(14)]
    check(all(client.reply().startswith("220") for client in held), "the known ones are not greeted")
    wait_for(lambda: load(relay)["level"] == "amber", 5, "amber: " + str(load(relay)))

    begun = time.monotonic()
    slow = Client(ip, stranger + "2")
    check(slow.reply().startswith("220"), "a stranger is not greeted")
    check(time.monotonic() - begun > 0.6, "a stranger did not wait")
    more = Client(ip, stranger + "3")
    said = more.reply()
    check(said.startswith("421 4.3.2"), "the third of a network: " + said)
    early = Client(ip, "127.4.0.1")
    said = early.say("EHLO x")
    check(said.startswith("554"), "who speaks before the greeting: " + said)
    early.close()
    check(slow.reply().startswith("421 4.4.2"), "a stranger has all the time of the world")

    held += [Client(ip, known + str(i)) for i in range(20, 23)]
    wait_for(lambda: load(relay)["level"] == "red", 5, "red: " + str(load(relay)))
    said = Client(ip, known + "50").reply()
    check(said.startswith("421 4.3.2"), said)
    for client in held[:1]:
        client.say("EHLO x")
        said = client.say("MAIL FROM:<a@b.example>")
        check(said.startswith("452 4.3.1"), said)
    swaks(ip + ":2525", "--tls", "--local-interface", own)
    said = under_way.say("Subject: x\r\n\r\nunder way\r\n.")
    check(said.startswith("250 2.0.0"), "mail under way was given up: " + said)
    check(load(relay)["turned_away"]["red"] >= 2, str(load(relay)))
    for client in held:
        client.close()
    wait_for(lambda: load(relay)["level"] == "green", 5, "green again")
    swaks(ip + ":2525", "--local-interface", stranger + "9")
    wait_for(lambda: len(site.box("box", USER)) == 3, 20, "three letters")
    check("event=load level=red" in relay.log(), "the log does not say red")


def test_rates_of_strangers(site):
    """Strangers have rates by address and network, a sender has one of messages; all are 4yz."""
    relay, node = relay_alone(site, "address_rate = 5  network_rate = 8  network_connections = 6 "
                              "sender_rate = 3")
    node.start()
    relay.start()
    ip = site.address(1)

    def greeting(source):
        client = Client(ip, source)
        said = client.reply()
        client.close()
        return said
    check(all(greeting("127.3.0.1").startswith("220") for _ in range(5)), "five at once")
    said = greeting("127.3.0.1")
    check(said.startswith("421 4.7.0") and "address" in said, said)
    check(all(greeting("127.3.0.2").startswith("220") for _ in range(3)), "a neighbour")
    said = greeting("127.3.0.3")
    check(said.startswith("421 4.7.0") and "network" in said, said)
    check(all(greeting("127.1.0.1").startswith("220") for _ in range(20)), "a known one has a rate")

    client = Client(ip, "127.1.0.1")
    client.reply()
    client.say("EHLO x")
    for _ in range(3):
        check(client.say("MAIL FROM:<a@b.example>").startswith("250"), "three messages")
        client.say("RSET")
    said = client.say("MAIL FROM:<A@b.example>")
    check(said.startswith("450 4.7.1"), said)
    check(client.say("MAIL FROM:<c@b.example>").startswith("250"), "another sender")
    away = load(relay)["turned_away"]
    check(away["address_rate"] == 1 and away["network_rate"] == 1 and away["sender_rate"] == 1, str(away))


def test_speaks_before_the_greeting(site):
    """Who has spoken when we come to greet him is refused."""
    relay, node = relay_alone(site, "")
    relay.start()
    refused = 0
    relay.process.send_signal(19)               # so that the words are surely there first
    client = Client(site.address(1), "127.1.0.1")
    client.socket.sendall(b"EHLO early\r\n")
    relay.process.send_signal(18)
    said = client.reply()
    refused += said.startswith("554 5.5.0")
    check(refused == 1, said)
    check(client.line() == "", "the connection goes on")


def test_slow_body(site):
    """A body that comes slower than 500 octets a second is ended after 30 seconds."""
    relay, node = relay_alone(site, "")
    relay.start()
    client = Client(site.address(1), "127.1.0.1")
    client.reply()
    for words in ("EHLO x", "MAIL FROM:<a@b.example>", f"RCPT TO:<{USER}>", "DATA"):
        client.say(words)
    client.socket.settimeout(0.2)
    begun = time.monotonic()
    said = b""
    while time.monotonic() - begun < 45 and not said:
        try:
            client.socket.sendall(b"slow\r\n")
            said = client.socket.recv(500)
        except TimeoutError:
            pass
    took = time.monotonic() - begun
    check(said.startswith(b"421 4.4.2"), f"after {took:.0f} s: {said}")
    check(29 < took < 36, f"after {took:.0f} s")


def test_half_letters(site):
    """Forty strangers with a quarter of a megabyte of a letter each, and then nothing: others do not feel it."""
    relay = site.relay("relay1", 1, lmtp_route([site.address(9) + ":2424"]),
                       accept='accept { relay_from = {"127.1.0.0/16"} }\n', extra="queue { body_memory = 8M }\n")
    relay.start()
    halves = [Client(site.address(1), f"127.3.{number}.1") for number in range(40)]
    for client in halves:
        client.reply()
        client.say("EHLO half.example")
        client.say("MAIL FROM:<a@example.org>")
        client.say(f"RCPT TO:<{USER}>")
        client.socket.sendall(b"BDAT 40000000\r\n" + b"x" * 255_000)
    for _ in range(5):
        time.sleep(0.5)
        check(load(relay)["level"] != "red", str(load(relay)))
        swaks(site.address(1) + ":2525", "--local-interface", "127.1.0.1")
    check(relay.queue_length() == 5, "an honest letter is not there")
    for client in halves:
        client.close()


# They measure time.
test_overload_by_stages.races = test_slow_body.races = False
test_slow_body.long = True
