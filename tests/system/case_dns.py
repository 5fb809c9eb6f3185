"""Mail by MX, against a name server that lies in every way: nothing is lost, bounced wrongly or looped.

Everything runs in a network of its own, since mail by MX never goes to 127.0.0.0/8.
"""
import ctypes
import os
import re
import subprocess
import sys
import time
import traceback

import lying_dns as dns
from chapar import Failure, Skip, check, run, wait_for
from lying_dns import A, AAAA, ANY, CNAME, MX, Changing, LyingDns, Sink, Truncated

PORT = 2525
GOOD, OTHER, BACKUP, SIXTH = "198.51.100.1", "198.51.100.2", "198.51.100.3", "2001:db8::1"
DEAD, OURS = "198.51.100.9", "198.51.100.25"
CLONE_NEWNET = 0x40000000

# What must have become of a letter to user@DOMAIN.  "bounced" names the status in the notification;
# "waits" means: still in the queue, the sender not told, nothing anywhere.
CASES = [
    # name, zone, outcome
    ("mx", {"": {MX: [(10, "mx.{}")]}, "mx": {A: [GOOD]}}, GOOD),
    ("implicit", {"": {A: [GOOD]}}, GOOD),
    ("implicit-v6", {"": {AAAA: [SIXTH]}}, SIXTH),
    ("v6-dead-v4-good", {"": {MX: [(1, "mx.{}")]}, "mx": {AAAA: ["2001:db8::9"], A: [GOOD]}}, GOOD),
    ("second-address", {"": {MX: [(1, "mx.{}")]}, "mx": {A: [DEAD, GOOD]}}, GOOD),
    ("second-mx", {"": {MX: [(1, "a.{}"), (2, "b.{}")]}, "a": {A: [DEAD]}, "b": {A: [OTHER]}}, OTHER),
    ("mx-without-address", {"": {MX: [(1, "a.{}"), (2, "b.{}")]}, "b": {A: [OTHER]}}, OTHER),
    ("preference", {"": {MX: [(20, "b.{}"), (10, "a.{}")]}, "a": {A: [GOOD]}, "b": {A: [OTHER]}}, GOOD),
    ("cname-of-domain", {"": {CNAME: ["real.{}"]}, "real": {MX: [(1, "mx.{}")]}, "mx": {A: [GOOD]}}, GOOD),
    ("cname-of-mx", {"": {MX: [(1, "alias.{}")]}, "alias": {CNAME: ["mx.{}"]}, "mx": {A: [GOOD]}}, GOOD),
    ("truncated-tcp-good", {"": {MX: Truncated([(1, "mx.mx.test")])}}, GOOD),
    ("nxdomain-for-mx-only", {"": {MX: dns.NO_SUCH_NAME, A: [GOOD]}}, GOOD),
    ("fails-then-good", {"": {MX: Changing(dns.SERVER_FAILS, dns.SERVER_FAILS, [(1, "mx.mx.test")])}}, GOOD),
    ("missing-once", {"": {MX: Changing(dns.NO_SUCH_NAME, [(1, "mx.mx.test")]),
                           A: dns.NO_SUCH_NAME, AAAA: dns.NO_SUCH_NAME}}, GOOD),
    ("null-mx", {"": {MX: [(0, ".")], A: [GOOD]}}, "bounced 5.1.10"),
    ("null-mx-beside-another", {"": {MX: [(0, "."), (10, "mx.{}")], A: [OTHER]}, "mx": {A: [GOOD]}}, GOOD),
    ("no-such-domain", None, "bounced 5.1.2"),
    ("no-mail-there", {"": {16: []}}, "bounced 5.1.2"),
    ("server-fails", {"": {ANY: dns.SERVER_FAILS}}, "waits"),
    ("server-fails-for-mx", {"": {MX: dns.SERVER_FAILS, A: [GOOD]}}, "waits"),
    ("server-fails-for-address", {"": {MX: [(1, "mx.{}")]}, "mx": {ANY: dns.SERVER_FAILS}}, "waits"),
    ("implicit-fails", {"": {A: dns.SERVER_FAILS, AAAA: dns.SERVER_FAILS}}, "waits"),
    ("half-fails", {"": {A: dns.SERVER_FAILS, AAAA: [SIXTH]}}, SIXTH),
    ("refuses", {"": {ANY: dns.REFUSES}}, "waits"),
    ("refuses-mx", {"": {MX: dns.REFUSES, A: [GOOD]}}, "waits"),
    ("truncates", {"": {ANY: dns.TRUNCATES}}, "waits"),
    ("truncates-mx", {"": {MX: dns.TRUNCATES, A: [GOOD]}}, "waits"),
    ("wrong-id", {"": {ANY: dns.WRONG_ID}}, "waits"),
    ("other-name", {"": {ANY: dns.OTHER_NAME}}, "waits"),
    ("empty", {"": {ANY: dns.EMPTY}}, "waits"),
    ("empty-mx", {"": {MX: dns.EMPTY, A: [GOOD]}}, GOOD),
    ("header-only", {"": {ANY: dns.HEADER_ONLY}}, "waits"),
    ("garbage", {"": {ANY: dns.GARBAGE}}, "waits"),
    ("silent", {"": {ANY: dns.SILENT}}, "waits"),
    ("silent-mx", {"": {MX: dns.SILENT, A: [GOOD]}}, "waits"),
    ("cname-loop", {"": {CNAME: ["a.{}"]}, "a": {CNAME: ["{}"]}}, "waits"),
    ("cname-to-itself", {"": {CNAME: ["{}"]}}, "waits"),
    ("cname-loop-of-mx", {"": {MX: [(1, "a.{}")]}, "a": {CNAME: ["b.{}"]}, "b": {CNAME: ["a.{}"]}}, "waits"),
    ("mx-nowhere", {"": {MX: [(1, "nobody.{}")], A: [GOOD]}}, "waits"),
    ("mx-unspecified", {"": {MX: [(1, "mx.{}")], A: [GOOD]}, "mx": {A: ["0.0.0.0"], AAAA: ["::"]}}, "waits"),
    ("mx-localhost", {"": {MX: [(1, "localhost")], A: [GOOD]}}, "waits"),
    ("mx-loopback", {"": {MX: [(1, "mx.{}")]}, "mx": {A: ["127.0.0.1"], AAAA: ["::1"]}}, "waits"),
    ("mx-mapped-loopback", {"": {MX: [(1, "mx.{}")]}, "mx": {AAAA: ["::ffff:127.0.0.1"]}}, "waits"),
    ("mx-literal", {"": {MX: [(1, "127.0.0.1")]}}, "waits"),
    ("mx-is-we", {"": {MX: [(1, "relay.chapar.test"), (5, "b.{}")]}, "b": {A: [BACKUP]}}, "waits"),
    ("mx-is-our-address", {"": {MX: [(1, "mx.{}"), (5, "b.{}")]}, "mx": {A: [OURS]}, "b": {A: [BACKUP]}},
     "waits"),
    ("better-than-we", {"": {MX: [(1, "a.{}"), (5, "relay.chapar.test"), (9, "b.{}")]},
                        "a": {A: [GOOD]}, "b": {A: [BACKUP]}}, GOOD),
    ("better-than-we-is-dead", {"": {MX: [(1, "a.{}"), (5, "relay.chapar.test"), (9, "b.{}")]},
                                "a": {A: [DEAD]}, "b": {A: [BACKUP]}}, "waits"),
    ("better-than-our-address-is-dead", {"": {MX: [(1, "a.{}"), (5, "mx.{}"), (9, "b.{}")]},
                                         "a": {A: [DEAD]}, "mx": {A: [OURS]}, "b": {A: [BACKUP]}}, "waits"),
    ("many-mx", {"": {MX: [(i, f"m{i}.{{}}") for i in range(40)] + [(99, "mx.mx.test")]}}, "waits or arrives"),
]


def fill(value, domain):
    if isinstance(value, str):
        return value.replace("{}", domain)
    if isinstance(value, tuple):
        return tuple(fill(part, domain) for part in value)
    if isinstance(value, list):
        return [fill(part, domain) for part in value]
    return value


def whole_zone():
    zone = {"test": {}, "sender.test": {MX: [(1, "mx.sender.test")]}, "mx.sender.test": {A: [GOOD]},
            "relay.chapar.test": {A: [OURS]}}
    for name, part, _ in CASES:
        domain = f"{name}.test"
        for label, types in (part or {}).items():
            here = f"{label}.{domain}" if label else domain
            zone[here] = {kind: fill(what, domain) for kind, what in types.items()}
    return zone


def in_a_network(site, work):
    """Runs work(site) in a child with a network of its own; its failure is ours."""
    libc = ctypes.CDLL(None, use_errno=True)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        text = b""
        try:
            if libc.unshare(CLONE_NEWNET) != 0:
                text = b"skip no network namespace can be made here"
            else:
                run(["ip", "link", "set", "lo", "up"])
                for address in (GOOD, OTHER, BACKUP, OURS):
                    run(["ip", "address", "add", address + "/32", "dev", "lo"])
                run(["ip", "address", "add", SIXTH + "/128", "dev", "lo", "nodad"])
                try:
                    work(site)
                finally:
                    for daemon in site.daemons:
                        daemon.stop()
        except Failure as failure:
            text = str(failure).encode()
            text += b"".join(b"\n" + daemon.log()[-2500:].encode() for daemon in site.daemons)
        except BaseException:
            text = traceback.format_exc().encode()
            text += b"".join(b"\n" + daemon.log()[-2500:].encode() for daemon in site.daemons)
        os.write(write_end, text[-6000:])
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        text = pipe.read().decode("utf-8", "replace")
    os.waitpid(child, 0)
    if text.startswith("skip "):
        raise Skip(text[5:])
    check(not text, text)


def relay_by_mx(site, address, servers="127.0.0.1@5353", extra=""):
    relay = site.relay("relay", 1, f"""
route "world" {{ for = {{"*"}}  via = mx  mx_port = {PORT}  tls = none  retry = "soon"
  connect_timeout = 2s }}
""", listeners=f'listener "mx" {{ address = {{"{address}:{PORT}"}}  tls = none }}\n',
                       accept='accept { relay_from = {"127.0.0.0/8", "198.51.100.0/24"} }\n',
                       extra=f"""
retry "soon" {{ schedule = {{"3s"}}  lifetime = 1h }}
dns {{ servers = {{"{servers}"}}  timeout = 2s  {extra} }}
delivery {{ probe = 3s  probe_own = 3s }}
""")
    return relay.start()


def send(domains):
    """One letter for each domain, from user@sender.test."""
    import smtplib
    client = smtplib.SMTP(OURS, PORT, "client.test", timeout=20)
    for domain in domains:
        client.sendmail("user@sender.test", [f"user@{domain}"], f"Subject: to {domain}\r\n\r\nhello\r\n")
    client.quit()


def told(sink, domain):
    """The status in the notification about user@domain, or None."""
    for _, _, octets in sink.of("user@sender.test"):
        text = octets.decode()
        found = re.search(r"Final-Recipient: rfc822; ?user@" + re.escape(domain)
                          + r"\r?\nAction: (\w+)\r?\nStatus: ([\d.]+)", text, re.I)
        if found:
            return f"{'bounced' if found.group(1) == 'failed' else found.group(1)} {found.group(2)}"
    return None


def waiting(relay):
    return {rcpt for item in relay.ctl_json("list") for rcpt in
            re.findall(r"user@[-\w.]+", str(item))} - {"user@sender.test"}


def check_case(relay, sink, name, outcome, left):
    rcpt = f"user@{name}.test"
    copies = [address for address, _, _ in sink.of(rcpt)]
    news = told(sink, f"{name}.test")
    if outcome == "waits":
        return (rcpt in left and not copies and not news,
                f"should wait: in the queue {rcpt in left}, copies {copies}, sender told {news}")
    if outcome == "waits or arrives":
        return ((rcpt in left) != bool(copies) and len(copies) <= 1 and not news,
                f"in the queue {rcpt in left}, copies {copies}, sender told {news}")
    if outcome.startswith("bounced"):
        return (news == outcome and not copies and rcpt not in left,
                f"should be {outcome}: {news}, copies {copies}, in the queue {rcpt in left}")
    return (copies == [outcome] and not news and rcpt not in left,
            f"should be once at {outcome}: {copies}, sender told {news}, in the queue {rcpt in left}")


def lies(site):
    server = LyingDns("127.0.0.1", 5353, whole_zone())
    sink = Sink([GOOD, OTHER, BACKUP, SIXTH], PORT)
    relay = relay_by_mx(site, OURS)
    send([f"{name}.test" for name, _, _ in CASES])
    end = time.monotonic() + 60
    settled = -1

    def bad():
        left = waiting(relay)
        found = []
        for name, _, outcome in CASES:
            good, words = check_case(relay, sink, name, outcome, left)
            if not good:
                found.append(f"{name}: {words}")
        return found
    while bad() and time.monotonic() < end:
        time.sleep(0.5)
    check(not bad(), "\n".join(bad()))
    # Whoever waits goes on waiting, and whoever has it does not get it again.
    time.sleep(10)
    check(not bad(), "later:\n" + "\n".join(bad()))
    check(relay.alive(), "the relay ended")
    loops = [line for line in relay.log().splitlines() if "event=refused" in line]
    check(not loops, "it talked to itself:\n" + "\n".join(loops[:5]))
    del server, settled


def test_a_name_server_that_lies(site):
    """Fifty ways of a zone and of a name server, each with its outcome; none loses, bounces or loops."""
    in_a_network(site, lies)


def sharing(site):
    set_one = [(10, "a.shared.test"), (20, "b.shared.test")]
    zone = {"test": {}, "one.test": {MX: set_one}, "two.test": {MX: list(reversed(set_one))},
            "three.test": {MX: [(10, "a.shared.test")]}, "four.test": {MX: [(20, "a.shared.test"), (10, "b.shared.test")]},
            "a.shared.test": {A: [GOOD]}, "b.shared.test": {A: [OTHER]}}
    server = LyingDns("127.0.0.1", 5353, zone)
    sink = Sink([GOOD, OTHER], PORT)
    relay = relay_by_mx(site, OURS)
    send(["one.test", "two.test", "three.test", "four.test"])
    for domain, place in (("one", GOOD), ("two", GOOD), ("three", GOOD), ("four", OTHER)):
        found = [address for address, _, _ in sink.until(f"user@{domain}.test", 1, 20)]
        check(found == [place], f"{domain}: {found}")
    def hosts():
        return sorted(tuple(host["name"].split(".")[0] for host in item["hosts"]) for item in relay.ctl_json("dest"))
    check(hosts() == [("a",), ("a", "b"), ("b", "a")], str(hosts()))

    # Two of them have the name of their first host: what is said of the name holds for both, and for who comes later.
    relay.ctl("suspend", "a.shared.test", "--reason", "they move house")
    zone["five.test"] = {MX: [(10, "a.shared.test"), (30, "b.shared.test")]}
    send(["one.test", "three.test", "four.test", "five.test"])
    check(len(sink.until("user@four.test", 2, 20)) == 2, "it is not called so")
    time.sleep(1)
    counts = {domain: len(sink.of(f"user@{domain}.test")) for domain in ("one", "three", "five")}
    check(counts == {"one": 1, "three": 1, "five": 0}, f"sent though suspended: {counts}")
    relay.ctl("resume", "a.shared.test")
    for domain, count in (("one", 2), ("three", 2), ("five", 1)):
        check(len(sink.until(f"user@{domain}.test", count, 20)) == count, f"{domain} waits though resumed")
    del server


def test_domains_with_the_same_exchangers(site):
    """They share a destination, in whatever order the answers come; others have their own."""
    in_a_network(site, sharing)


def bogus(site):
    zone = whole_zone()
    server = LyingDns("127.0.0.1", 5353, zone)
    sink = Sink([GOOD, OTHER, BACKUP, SIXTH], PORT)
    anchor = os.path.join(site.path, "anchor")
    with open(anchor, "w") as file:
        file.write("test. 3600 IN DS 4711 13 2 " + 32 * "ab" + "\n")
    relay = relay_by_mx(site, OURS, extra=f'trust_anchor = "{anchor}"')
    domains = ["mx.test", "implicit.test", "null-mx.test", "no-such-domain.test", "no-mail-there.test"]
    send(domains)
    wait_for(lambda: relay.log().count("event=deferred") >= len(domains), 30, "all wait:\n" + relay.log()[-1500:])
    time.sleep(5)
    check(waiting(relay) == {"user@" + domain for domain in domains}, f"waiting: {waiting(relay)}")
    check(not sink.letters and "event=bounced" not in relay.log(), relay.log()[-1500:])
    check("DNSSEC" in relay.log() or "bogus" in relay.log(), relay.log()[-1500:])
    del server


def test_signatures_that_do_not_hold(site):
    """What DNSSEC calls bogus is believed in nothing: neither where mail goes nor that there is nobody."""
    in_a_network(site, bogus)
