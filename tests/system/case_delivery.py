"""Letters through relay1 -> relay2 -> mailbox node, and what happens when a hop is not there."""
import email
import os
import re
import time

from chapar import chain, check, lmtp_route, run, smtp_route, swaks, wait_for

USER = "user@example.net"


def start(*daemons):
    for daemon in daemons:
        daemon.start()


def arrived(site, count, box=USER, seconds=20, node="box"):
    wait_for(lambda: len(site.box(node, box)) >= count, seconds, f"{count} letters in {box}: "
             f"{len(site.box(node, box))} there")
    found = site.box(node, box)
    check(len(found) == count, f"{len(found)} letters in {box}, not {count}")
    return [email.message_from_bytes(text) for text in found]


def test_chain_over_verified_tls(site):
    """Three hops, TLS on each, a Received field for each, the queue id in the reply."""
    relay1, relay2, node = chain(site)
    start(node, relay2, relay1)
    said = swaks(site.address(1) + ":2525", "--tls", "--header", "Subject: first", "--body", "hello")
    found = re.search(r"250 2\.0\.0 ([0-9A-HJKMNP-TV-Z]{13})\b", said)
    check(found, "no queue id in the reply:\n" + said)
    check(found.group(1) in relay1.log(), "the log of relay1 does not know the id")
    letter, = arrived(site, 1)
    check(letter["Subject"] == "first" and letter.get_payload().strip() == "hello", letter.as_string())
    hops = letter.get_all("Received")
    check(len(hops) == 3, f"{len(hops)} Received fields:\n" + letter.as_string())
    check(all("TLSv1.3" in hop or "TLS1.3" in hop for hop in hops), "\n".join(hops))
    check("with LMTPS" in hops[0] and "with ESMTPS" in hops[1] and "with ESMTPS" in hops[2],
          "\n".join(hops))
    check(f"id {found.group(1)}" in hops[2], hops[2])
    check(letter["Return-Path"] == "<sender@example.org>", str(letter["Return-Path"]))
    check(letter["Delivered-To"] == USER, str(letter["Delivered-To"]))
    wait_for(lambda: relay1.queue_length() + relay2.queue_length() == 0, 10, "both queues are empty")


def test_plain_starttls_implicit(site):
    """A client may come in clear, with STARTTLS, with implicit TLS."""
    relay1, relay2, node = chain(site)
    start(node, relay2, relay1)
    ip = site.address(1)
    swaks(ip + ":2525")
    swaks(ip + ":2525", "--tls")
    swaks(ip + ":2465", "--tls-on-connect")
    swaks(ip + ":2525", "--tls", "--tls-verify", "--tls-ca-path", site.ca + "/ca.pem",
          "--tls-sni", "relay1.chapar.test")
    arrived(site, 4)


def test_ipv6(site):
    """A listener on ::1 beside IPv4."""
    node = site.mailbox("box", 3, [USER])
    port = 20000 + os.getpid() % 20000
    relay = site.relay("relay1", 1, lmtp_route([site.address(3) + ":2424"]), listeners=f"""
listener "both" {{ address = {{"[::1]:{port}", "{site.address(1)}:2525"}}  tls = starttls }}
""", accept='accept { relay_from = {"127.0.0.0/8", "::1/128"} }\n')
    start(node, relay)
    swaks(f"[::1]:{port}", "--tls")
    swaks(site.address(1) + ":2525", "--tls")
    arrived(site, 2)


def test_big_letter(site):
    """A letter of 25 MB arrives octet by octet; one over the limit is refused at MAIL and at data."""
    relay1, relay2, node = chain(site)
    start(node, relay2, relay1)
    path = os.path.join(site.path, "big")
    lines = b"".join(b"%07d " % i + b"x" * 68 + b"\r\n" for i in range(25_000_000 // 78))
    with open(path, "wb") as file:
        file.write(b"Subject: big\r\n\r\n" + lines)
    swaks(site.address(1) + ":2525", "--tls", "--data", "@" + path)
    letter, = arrived(site, 1, seconds=60)
    check(letter.get_payload().rstrip("\n") + "\n" == lines.replace(b"\r\n", b"\n").decode(),
          "the big letter differs")


def test_8bit_and_dots(site):
    """Octets above 127, lines of dots and From lines pass unchanged."""
    relay1, relay2, node = chain(site)
    start(node, relay2, relay1)
    body = "Subject: caf\u00e9\r\n\r\n.\r\n..\r\nFrom me\r\n>From you\r\nna\u00efve \u4fe1\r\n"
    path = os.path.join(site.path, "letter")
    with open(path, "wb") as file:
        file.write(body.encode())
    swaks(site.address(1) + ":2525", "--tls", "--data", "@" + path)
    arrived(site, 1)
    raw = open(site.box_path("box", USER), "rb").read()
    wanted = "\n.\n..\n>From me\n>>From you\nna\u00efve \u4fe1\n".encode()
    check(wanted in raw, "the body differs: " + repr(raw[-300:]))


def test_many_recipients(site):
    """One letter to 100 boxes and one unknown: 100 copies, and the sender is told of the one."""
    boxes = [f"u{i}@example.net" for i in range(100)] + ["sender@example.net"]
    relay1, relay2, node = chain(site, boxes)
    start(node, relay2, relay1)
    to = ",".join([f"u{i}@example.net" for i in range(100)] + ["nobody@example.net"])
    swaks(site.address(1) + ":2525", "--tls", sender="sender@example.net", to=to)
    for i in range(100):
        arrived(site, 1, f"u{i}@example.net", seconds=30)
    notice, = arrived(site, 1, "sender@example.net", seconds=30)
    check(notice.get_content_type() == "multipart/report", notice.as_string()[:2000])
    check(notice["Return-Path"] == "<>", "the notification has a sender: " + str(notice["Return-Path"]))
    status = [part for part in notice.walk() if part.get_content_type() == "message/delivery-status"]
    check(len(status) == 1, "no delivery-status part:\n" + notice.as_string()[:2000])
    fields = status[0].as_string()
    check("nobody@example.net" in fields and "failed" in fields.lower() and "5.1.1" in fields, fields)
    check("u1@example.net" not in fields, fields)


def test_refuses_to_relay(site):
    """A client outside relay_from may send to our routes and nowhere else."""
    node = site.mailbox("box", 3, [USER])
    relay = site.relay("relay1", 1, lmtp_route([site.address(3) + ":2424"]),
                       accept='accept { relay_from = {"127.250.0.0/16"} }\n')
    start(node, relay)
    said = swaks(site.address(1) + ":2525", to="someone@elsewhere.example", good=(24,))
    check(re.search(r"<\*\* 55[04] 5\.7\.1", said), said)
    swaks(site.address(1) + ":2525")
    arrived(site, 1)


def test_waits_and_goes_on(site):
    """The mailbox node is away: the letter waits and says why; the node is back: it is delivered."""
    relay1, relay2, node = chain(site)
    start(node, relay2, relay1)
    node.stop()
    swaks(site.address(1) + ":2525", "--tls")
    wait_for(lambda: relay2.queue_length() == 1 and relay1.queue_length() == 0, 15, "relay2 has it")
    item, = wait_for(lambda: [i for i in relay2.ctl_json("list") if "refused" in str(i).lower()],
                     15, "the list says why: " + str(relay2.ctl_json("list")))
    text = relay2.ctl("show", item["queue_id"])
    check("refused" in text.lower() and USER in text, text)
    check("This is a test mailing" in relay2.ctl("cat", item["queue_id"]), "cat shows no body")
    node.start()
    relay2.ctl("retry", "--all")
    arrived(site, 1)
    wait_for(lambda: relay2.queue_length() == 0, 10, "the queue of relay2 is empty")


def test_returns_without_being_asked(site):
    """Nobody calls retry: the relay itself finds that the next hop is back."""
    relay1, relay2, node = chain(site)
    start(relay2, relay1)
    swaks(site.address(1) + ":2525", "--tls")
    wait_for(lambda: relay2.queue_length() == 1, 15, "relay2 has it")
    time.sleep(2)
    node.start()
    arrived(site, 1, seconds=45)


def test_hosts_in_turn(site):
    """The first host of a route is dead: the second gets the letter in the same attempt."""
    node = site.mailbox("box", 3, [USER])
    relay = site.relay("relay1", 1, lmtp_route([site.address(9) + ":2424", site.address(3) + ":2424"]))
    start(node, relay)
    swaks(site.address(1) + ":2525", "--tls")
    arrived(site, 1, seconds=10)


def test_wrong_certificate_is_no_next_hop(site):
    """A next hop whose certificate has another name gets nothing, in clear neither."""
    node = site.mailbox("box", 3, [USER])
    text = open(node.config_path).read()
    wrong = site.certificate("other.chapar.test", "other.chapar.test")
    text = re.sub(r'tls "box.chapar.test" \{.*?\n\}\n', lambda _: wrong, text, flags=re.S)
    node.configure(text)
    relay = site.relay("relay1", 1, lmtp_route([site.address(3) + ":2424"]))
    start(node, relay)
    swaks(site.address(1) + ":2525", "--tls")
    wait_for(lambda: "certificate" in str(relay.ctl_json("list")).lower()
             or "hostname" in str(relay.ctl_json("list")).lower(), 15,
             "the list says that the certificate is wrong: " + str(relay.ctl_json("list")))
    check(not os.path.exists(site.box_path("box", USER)), "it was delivered all the same")


def test_hold_release_drop(site):
    """The verbs of relayctl do what they say, on sets, with a dry run."""
    relay1, relay2, node = chain(site)
    start(relay2, relay1)
    for number in range(3):
        swaks(site.address(1) + ":2525", "--tls", sender=f"s{number}@example.org")
    wait_for(lambda: relay2.queue_length() == 3, 15, "three letters wait at relay2")
    relay2.ctl("hold", "from=s0@example.org")
    held = relay2.ctl_json("list", "state=held")
    check(len(held) == 1 and held[0]["sender"] == "s0@example.org", str(held))
    relay2.ctl("drop", "-n", "from=s1@example.org")
    check(relay2.queue_length() == 3, "a dry run dropped")
    relay2.ctl("drop", "from=s1@example.org")
    wait_for(lambda: relay2.queue_length() == 2, 5, "the dropped one is gone")
    relay2.ctl("drop", good=(64,))
    relay2.ctl("drop", "from=nobody@nowhere.example", good=(1,))
    node.start()
    relay2.ctl("retry", "--all")
    arrived(site, 1)
    relay2.ctl("release", "from=s0@example.org")
    arrived(site, 2)
    check({m["Return-Path"] for m in map(email.message_from_bytes, site.box("box", USER))}
          == {"<s0@example.org>", "<s2@example.org>"}, "the wrong ones arrived")


def test_survives_restart(site):
    """A queue outlives its daemon: SIGTERM, start, and all of it is still there."""
    relay1, relay2, node = chain(site)
    start(relay1)
    for number in range(5):
        swaks(site.address(1) + ":2525", "--tls", sender=f"s{number}@example.org")
    check(relay1.stop() == 0, "relay1 did not end well")
    relay1.start()
    check(relay1.queue_length() == 5, f"{relay1.queue_length()} letters after the restart")
    start(node, relay2)
    relay1.ctl("retry", "--all")
    arrived(site, 5)


def test_status_and_help(site):
    """Every program says its version and its help; relayctl says when there is no daemon."""
    relay1, relay2, node = chain(site)
    for program in (site.relayd, site.mailboxd, site.relayctl):
        said = run([program, "--version"])
        check(re.match(rf"{os.path.basename(program)}\b.* \d+\.\d+", said), said)
        check("usage" in run([program, "--help"]).lower(), program + " --help")
        run([program, "--no-such-option"], good=(64,))
    relay1.ctl("status", good=(69,))
    start(relay1)
    check("relay1.chapar.test" in relay1.ctl("status"), relay1.ctl("status"))
