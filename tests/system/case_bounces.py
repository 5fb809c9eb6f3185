"""Notifications read by the bounce parsers of others: those of tests/golden and those that relayd sends.

GNU Mailman's (flufl.bounce) and the Perl world's (Mail::DeliveryStatus::BounceParser), from their packages, beside
Python's email package, which reads every field that RFC 3464 has.
"""
import glob
import json
import os
import re

import case_notices
from chapar import ROOT, Skip, check, need, run, wait_for

GOLDEN = os.path.join(ROOT, "tests", "golden")
BOB = "bob@example.org"
# Of each fixture: (recipient, action, status) of each block, and the type of what is returned.
FIXTURES = {
    "failure-hdrs": ([(BOB, "failed", "5.1.1")], "text/rfc822-headers"),
    "failure-full": ([(BOB, "failed", "5.1.1")], "message/rfc822"),
    "delay": ([(BOB, "delayed", "4.2.1")], "text/rfc822-headers"),
    "delivered": ([(BOB, "delivered", "2.0.0")], "text/rfc822-headers"),
    "relayed": ([(BOB, "relayed", "2.0.0")], "text/rfc822-headers"),
    "expanded": ([("all@example.org", "expanded", "2.0.0")], "text/rfc822-headers"),
    "several": ([(BOB, "failed", "5.1.1"), ('"c d"@example.org', "failed", "5.0.0"),
                 ("eve@example.com", "failed", "5.4.7"), ("fay@example.com", "failed", "5.4.7")],
                "text/rfc822-headers"),
    "utf8-hdrs": ([("d\u00f6rte@example.org", "failed", "5.6.7")], "message/global-headers"),
    "utf8-full": ([("d\u00f6rte@example.org", "failed", "5.6.7")], "message/global"),
}
PYTHON = "/usr/bin/python3"             # the one that Debian's packages are for
MAILMAN = """
import email, json, sys
from flufl.bounce import all_failures
found = all_failures(email.message_from_bytes(sys.stdin.buffer.read()))
print(json.dumps([[address.decode() for address in some] for some in found]))
"""
PERL = """
use Mail::DeliveryStatus::BounceParser;
local $/; my $b = Mail::DeliveryStatus::BounceParser->new(scalar <STDIN>);
print "bounce\\n" if $b->is_bounce;
print join(" ", map { $_ // "" } $_->get("email"), $_->get("std_reason"), $_->get("status")), "\\n" for $b->reports;
"""


def fixtures():
    for name, (blocks, returned) in FIXTURES.items():
        with open(f"{GOLDEN}/{name}.eml", "rb") as file:
            yield name, file.read(), blocks, returned


def test_golden_by_rfc3464(site):
    """Every fixture is a report by every rule that Python's email package and our reader can see."""
    check({os.path.basename(path)[:-4] for path in glob.glob(GOLDEN + "/*.eml")} == set(FIXTURES), "other fixtures")
    for name, octets, blocks, returned in fixtures():
        smtp = "" if octets.isascii() else " SMTPUTF8"
        notice = case_notices.Notice(("MAIL FROM:<>" + smtp, [], octets))
        found = [(address, block["Action"], block["Status"]) for address, block in notice.of.items()]
        check(found == blocks, f"{name}: {found}")
        check(notice.original.get_content_type() == returned, f"{name}: {notice.original.get_content_type()}")
        whole = name.endswith("-full")
        check(b"The body." in octets or "Gr\u00fc\u00df dich.".encode() in octets if whole else
              b"The body." not in octets and "Gr\u00fc\u00df dich.".encode() not in octets, f"{name}: the body")
        check(re.search(rb"^Message-ID: <[12]@example.net>", octets, re.M), f"{name}: nothing of the original")
    about = case_notices.Notice(("MAIL FROM:<>", [], open(GOLDEN + "/failure-hdrs.eml", "rb").read())).about
    check(about["Original-Envelope-ID"] == "QQ+314", str(about))


def by_mailman(octets):
    """(addresses that fail for now, addresses that fail for good) as Mailman sees them."""
    said = run([PYTHON, "-c", MAILMAN], data=octets, good=None)
    if "ModuleNotFoundError" in said:
        raise Skip("python3-flufl.bounce is not installed")
    return tuple(set(addresses) for addresses in json.loads(said))


def test_golden_by_mailman(site):
    """Mailman takes failures for failures, delays for what passes, and the rest for no bounce."""
    for name, octets, blocks, _ in fixtures():
        if name.startswith("utf8"):
            continue                    # it knows nothing of RFC 6533
        temporary, permanent = by_mailman(octets)
        wanted = {original(name, address) for address, action, _ in blocks if action == "failed"}
        check(permanent == wanted, f"{name}: {permanent} for good, not {wanted}")
        check(temporary == {address for address, action, _ in blocks if action == "delayed"}, f"{name}: {temporary}")


def by_perl(octets):
    """Line ends as in a mailbox, where it reads."""
    return run(["perl", "-e", PERL], data=octets.replace(b"\r\n", b"\n")).splitlines()


def original(name, address):
    """The address that the sender had given, which is what parsers prefer."""
    return "Robert+x@example.org" if name.startswith("failure") else address


def need_perl():
    need("perl")
    said = run(["perl", "-MMail::DeliveryStatus::BounceParser", "-e", "print 'there'"], good=None)
    if "there" not in said:
        raise Skip("perl has no Mail::DeliveryStatus::BounceParser")


def test_golden_by_perl(site):
    """BounceParser finds each recipient that failed, with its reason and status, and no bounce in a delay."""
    need_perl()
    for name, octets, blocks, _ in fixtures():
        if name.startswith("utf8"):
            continue
        said = by_perl(octets)
        failed = [(address, status) for address, action, status in blocks if action == "failed"]
        check(("bounce" in said) == bool(failed), f"{name}: {said}")
        for address, status in failed:
            check(any(line.startswith(original(name, address) + " ") and line.endswith(" " + status) for line in said),
                  f"{name}: nothing of {address} {status}: {said}")
    check("Robert+x@example.org user_unknown 5.1.1" in by_perl(open(GOLDEN + "/failure-full.eml", "rb").read()), "the reason")


def test_real_ones(site):
    """What relayd sends for a failure and for a delay, by both parsers."""
    world = case_notices.World(site, retry='schedule = {"1s"}  delay_notice = 2s  lifetime = 30s')
    world.send("me@example.org", [("bad1@example.com", []), ("bad2@example.com", []), ("later@example.com", [])],
               options=["RET=FULL"])
    world.notices(2)
    failed, delayed = sorted((octets for _, _, octets in world.home.letters), key=lambda text: b"delayed" in text)
    bad = {"bad1@example.com", "bad2@example.com"}
    check(by_mailman(failed) == (set(), bad), str(by_mailman(failed)))
    check(by_mailman(delayed) == ({"later@example.com"}, set()), str(by_mailman(delayed)))
    need_perl()
    said = by_perl(failed)
    check("bounce" in said and {line.split()[0] for line in said if "@" in line} >= bad, str(said))
    check(sum("user_unknown" in line for line in said) == 2, str(said))
    check("bounce" not in by_perl(delayed), str(by_perl(delayed)))
    world.relay.ctl("drop", "--all", good=(0, 1))
    wait_for(lambda: not re.search("later", str(world.relay.ctl_json("list"))), 5, "nothing is left")
