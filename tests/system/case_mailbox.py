"""The mailbox node by itself: kinds of boxes, addresses, quota."""
import mailbox
import os
import re
import smtplib
import ssl
import time

import letters
from chapar import Skip, check, lmtp_route, run, wait_for

USER = "user@example.net"


def connect(site, number=3):
    """An SMTP session with the node, over STARTTLS."""
    client = smtplib.SMTP(site.address(number), 2526, local_hostname="client.example.org", timeout=20)
    client.starttls(context=ssl.create_default_context(cafile=site.ca + "/ca.pem"))
    client.ehlo()
    return client


def send(client, recipient, body="hello", sender="sender@example.org"):
    """The reply to the message, or the refusal on the way there: code and words."""
    for reply in (client.mail(sender), client.rcpt(recipient)):
        if reply[0] != 250:
            client.rset()
            return reply[0], reply[1].decode()
    code, words = client.data(f"Subject: test\r\nX-To: {recipient}\r\n\r\n{body}\r\n")
    return code, words.decode()


def node_with(site, extra, **words):
    return site.mailbox("box", 3, [], extra=extra, **words).start()


def path(site, name):
    return os.path.join(site.path, "box.boxes", name)


def subjects(site, name):
    box = mailbox.mbox(path(site, name), create=False)
    try:
        return [message["X-To"] for message in box]
    finally:
        box.close()


def test_maildir(site):
    """A Maildir gets every letter whole, as it was sent, under a name of its own; tmp/ is empty."""
    node_with(site, f'box "{USER}" {{ maildir = "{path(site, "user")}" }}\n')
    journal = letters.Journal()
    letters.send_all((site.address(3), 2526), range(60), journal, site.ca + "/ca.pem", 6, 60)
    check(len(journal.accepted) == 60, f"{len(journal.accepted)} accepted")
    names = os.listdir(path(site, "user/new"))
    check(len(names) == 60 and not os.listdir(path(site, "user/tmp")), f"{len(names)} in new/")
    found = set()
    for name in names:
        with open(path(site, "user/new/" + name), "rb") as file:
            text = file.read()
        check(f",S={len(text)}" in name, f"{name} has {len(text)} octets")
        number = int(re.search(rb"^X-Test-Id: 0-(\d+)$", text, re.M).group(1))
        check(letters.untraced(text) == letters.letter(number).replace(b"\r\n", b"\n"),
              f"letter {number} was changed")
        check(text.startswith(b"Return-Path: <sender@example.org>\n"), text[:200])
        found.add(number)
    check(found == set(range(60)), f"missing: {set(range(60)) - found}")
    box = mailbox.Maildir(path(site, "user"), create=False)
    check(len(box) == 60, f"Python sees {len(box)}")


test_maildir.races = True


def test_maildir_is_refused(site):
    """A Maildir that is a link, a file, or has a link for new/, gets nothing, and nobody else does."""
    os.makedirs(path(site, "elsewhere/new"))
    os.makedirs(path(site, "part"))
    for name in ("tmp", "cur"):
        os.makedirs(path(site, "elsewhere/" + name))
        os.makedirs(path(site, "part/" + name))
    os.symlink(path(site, "elsewhere"), path(site, "link"))
    os.symlink(path(site, "elsewhere/new"), path(site, "part/new"))
    open(path(site, "file"), "w").close()
    node = node_with(site, "".join(f'box "{name}@example.net" {{ maildir = "{path(site, name)}" }}\n'
                                   for name in ("link", "part", "file")))
    client = connect(site)
    for name in ("link", "part", "file"):
        code, words = send(client, name + "@example.net")
        check(code == 450 and "4.2.0" in words, f"{name}: {code} {words}")
        wait_for(lambda: path(site, name) in node.log(), 5, f"the log names {name}")
    check(not os.listdir(path(site, "elsewhere/new")), "delivered through a link")


def test_addresses(site):
    """Exact, detail, case, alias, catch-all, domain wildcard and postmaster lead where they should."""
    node_with(site, f"""
boxes {{ separators = "+-" }}
box "{USER}" {{ file = "{path(site, "user")}" }}
box "other-name@example.net" {{ file = "{path(site, "other")}" }}
box "@example.org" {{ file = "{path(site, "catch")}" }}
box "@*.example.com" {{ file = "{path(site, "wild")}" }}
alias "both@example.net" {{ to = {{"{USER}", "other-name@example.net"}} }}
alias "chain@example.net" {{ to = {{"both@example.net"}} }}
""")
    table = [
        (USER, ["user"]), ("USER@Example.NET", ["user"]), ("user+list@example.net", ["user"]),
        ("user-list+x@example.net", ["user"]), ("other-name@example.net", ["other"]),
        ("other@example.net", []), ("nobody@example.net", []), ("@example.net", None),
        ("whoever@example.org", ["catch"]), ("x@a.b.example.com", ["wild"]),
        ("x@example.com", []), ("both@example.net", ["user", "other"]),
        ("chain+detail@example.net", ["user", "other"]), ("postmaster@example.net", ["user"]),
        ("PostMaster", ["user"]), ("postmaster@elsewhere.example", []),
    ]
    client = connect(site)
    wanted = {name: [] for name in ("user", "other", "catch", "wild")}
    for address, boxes in table:
        code, words = send(client, f"<{address}>")
        if not boxes:
            check(code in (550, 501), f"{address}: {code} {words}")
            continue
        check(code == 250, f"{address}: {code} {words}")
        for name in boxes:
            wanted[name].append(f"<{address}>")
    for name, addresses in wanted.items():
        found = subjects(site, name) if os.path.exists(path(site, name)) else []
        check(found == addresses, f"{name} has {found}, not {addresses}")


def test_alias_loop_is_a_mistake(site):
    """A circle of aliases is told with file and line, and a reload with one changes nothing."""
    good = f'box "{USER}" {{ file = "{path(site, "user")}" }}\n'
    node = node_with(site, good)
    circle = ('alias "a@example.net" { to = {"b@example.net"} }\n'
              'alias "b@example.net" { to = {"a@example.net"} }\n')
    text = open(node.config_path).read()
    node.configure(text + circle)
    node.reload()
    wait_for(lambda: "reload refused" in node.log(), 10, "the reload is refused")
    check(re.search(r"box\.conf:\d+: .*leads back to itself", node.log()), node.log()[-800:])
    check(send(connect(site), USER)[0] == 250, "the box is gone after a refused reload")
    node.configure(text + f'box "new@example.net" {{ file = "{path(site, "new")}" }}\n')
    node.reload()
    wait_for(lambda: "reloaded" in node.log(), 10, "the reload is done")
    check(send(connect(site), "new@example.net")[0] == 250, "the new box is not there")


def test_quota_of_an_mbox(site):
    """A full mbox is 452 4.2.2, takes mail again when there is room, and is 552 after a time."""
    node = node_with(site, f"""
box "{USER}" {{ file = "{path(site, "user")}"  quota = 20000  quota_patience = "2s" }}
box "few@example.net" {{ file = "{path(site, "few")}"  quota_messages = 3 }}
""")
    client = connect(site)
    text = "x" * 70 + "\r\n"
    check(send(client, USER, text * 200)[0] == 250, "the first does not fit")
    code, words = send(client, USER, text * 200)
    check(code == 452 and "4.2.2" in words, f"{code} {words}")
    check(send(client, USER, "small")[0] == 250, "a small one does not fit")
    open(path(site, "user"), "w").close()
    check(send(client, USER, text * 200)[0] == 250, "does not take mail when it is empty again")
    check(send(client, USER, text * 200)[0] == 452, "is not full again")
    time.sleep(2.2)
    code, words = send(client, USER, text * 200)
    check(code == 552 and "5.2.2" in words, f"{code} {words}")
    codes = [send(client, "few@example.net", f"From number {n}\r\n\r\nFrom me")[0] for n in range(5)]
    check(codes == [250, 250, 250, 452, 452], f"few: {codes}")
    status = node.ctl_json("status")[0]
    check(status["over_quota"] == 5, f"over_quota: {status['over_quota']}")


def test_quota_of_a_maildir(site):
    """The quota of the configuration is written to maildirsize; one that is there is respected."""
    for part in ("new", "cur", "tmp"):
        os.makedirs(path(site, "theirs/" + part))
    with open(path(site, "theirs/maildirsize"), "w") as file:
        file.write("5000S,2C\n0 0\n")
    node_with(site, f"""
box "{USER}" {{ maildir = "{path(site, "ours")}"  quota_messages = 2 }}
box "theirs@example.net" {{ maildir = "{path(site, "theirs")}" }}
""")
    client = connect(site)
    for user, folder in ((USER, "ours"), ("theirs@example.net", "theirs")):
        codes = [send(client, user)[0] for _ in range(3)]
        check(codes == [250, 250, 452], f"{folder}: {codes}")
        lines = open(path(site, folder + "/maildirsize")).read().splitlines()
        size = sum(os.path.getsize(path(site, folder + "/new/" + name))
                   for name in os.listdir(path(site, folder + "/new")))
        counted = [sum(int(line.split()[at]) for line in lines[1:]) for at in (0, 1)]
        check(counted == [size, 2], f"{folder}: {lines}, and {size} octets are there")
        name = os.listdir(path(site, folder + "/new"))[0]
        os.rename(path(site, f"{folder}/new/{name}"), path(site, f"{folder}/cur/{name}:2,ST"))
        check(send(client, user)[0] == 250, f"{folder}: what was thrown away still counts")


def resident_peak(daemon):
    with open(f"/proc/{daemon.process.pid}/status") as file:
        return int(re.search(r"VmHWM:\s+(\d+) kB", file.read()).group(1)) * 1024


def test_large_boxes(site):
    """A box of 100 GB takes mail at its end, at once, and is repaired after kill -9 at once."""
    huge = 100 * 10**9
    os.makedirs(path(site, ""), exist_ok=True)
    with open(path(site, "huge"), "wb") as file:
        file.write(b"From old@example.org Tue Nov 24 00:00:00 2026\n\nold\n")
        try:
            file.truncate(huge)
        except OSError as error:
            raise Skip(f"no sparse file of 100 GB here: {error}")
    node = node_with(site, f'box "{USER}" {{ file = "{path(site, "huge")}" }}\n')
    begun = time.monotonic()
    client = connect(site)
    for _ in range(3):
        check(send(client, USER)[0] == 250, "not delivered")
    node.kill()
    node.start()
    wait_for(lambda: node.ctl_json("status")[0]["repairs_pending"] == 0, 20, "no repair is due")
    check(send(connect(site), USER)[0] == 250, "not delivered after the restart")
    took = time.monotonic() - begun
    check(took < 20, f"it took {took:.1f} s")
    with open(path(site, "huge"), "rb") as file:
        file.seek(huge)
        tail = file.read()
    check(tail.startswith(b"\n\nFrom sender@example.org ") and tail.count(b"\nFrom ") == 4, tail[:300])


def test_large_messages(site):
    """More than SIZE is refused, announced or not; memory is bounded whatever the size."""
    node = site.mailbox("box", 3, [USER], extra='limits { message_size = "64M" }\n')
    node.start(env={"ASAN_OPTIONS": site.env["ASAN_OPTIONS"] + ":quarantine_size_mb=8"})
    client = connect(site)
    check(client.esmtp_features["size"] == str(64 << 20), f"SIZE {client.esmtp_features['size']}")
    for size in (4 << 30, (64 << 20) + 1, 2**63 - 1, 2**64, 10**30):
        code, words = client.mail("sender@example.org", [f"SIZE={size}"])
        check(code in (552, 501), f"SIZE={size}: {code} {words}")
    before = resident_peak(node)
    line = b"x" * 76 + b"\r\n"
    block = line * 10000
    for blocks, wanted in ((85, 250), (95, 552)):
        client.mail("sender@example.org")
        client.rcpt(USER)
        client.putcmd("data")
        check(client.getreply()[0] == 354, "DATA")
        for _ in range(blocks):
            client.sock.sendall(block)
        client.sock.sendall(b".\r\n")
        code, words = client.getreply()
        check(code == wanted, f"{blocks * len(block)} octets: {code} {words}")
    grown = resident_peak(node) - before
    print(f"  {grown >> 20} MB more memory for a message of 66 MB")
    check(grown < 40 << 20, f"grew by {grown >> 20} MB for a message of 66 MB")
    check(len(subjects(site, "user_at_example.net")) == 1, "what was refused is in the box")


def test_forward(site):
    """An alias leads to an address elsewhere: answered when the relay has it, and its words when not."""
    far = site.mailbox("far", 5, ["me@elsewhere.example"]).start()
    relay = site.relay("relay1", 1, lmtp_route([site.address(5) + ":2424"],
                                               domains='"elsewhere.example"')).start()
    relay_name = "relay1.chapar.test"
    node = node_with(site, f"""
box "{USER}" {{ file = "{path(site, "user")}" }}
alias "away@example.net" {{ to = {{"me@elsewhere.example"}} }}
alias "both@example.net" {{ to = {{"{USER}", "me@elsewhere.example"}} }}
forward {{ to = {{"{site.address(1)}:2525"}}  host = "{relay_name}"  tls = verify }}
""")
    client = connect(site)
    check(send(client, "away@example.net")[0] == 250, "not forwarded")
    check(send(client, "both@example.net", "x" * 70 + "\r\n.dot\r\n")[0] == 250, "not forwarded to both")
    big = "\r\n".join(["y" * 76] * 60000)
    check(send(client, "away@example.net", big)[0] == 250, "a letter of 4.6 MB is not forwarded")
    wait_for(lambda: len(site.box("far", "me@elsewhere.example")) == 3, 30, "three letters elsewhere")
    found = site.box("far", "me@elsewhere.example")
    check(big.replace("\r\n", "\n").encode() in found[2], "the large letter was changed")
    check(b"\n.dot\n" in found[1] and b"\nDelivered-To: away@example.net\n" in found[0], found[0][:900])
    check(len(subjects(site, "user")) == 1, "the local copy is missing")
    relay.stop()
    code, words = send(client, "both@example.net")
    check(400 <= code < 500, f"while the relay is away: {code} {words}")
    code, words = send(client, "away@example.net")
    check(400 <= code < 500, f"while the relay is away: {code} {words}")
    relay.start()
    check(send(client, "away@example.net")[0] == 250, "not forwarded when the relay is back")
    wait_for(lambda: len(site.box("far", "me@elsewhere.example")) == 4, 30, "the fourth elsewhere")
    check(node.stop() == 0 and far.stop() == 0, "did not end well")


def test_forward_must_be_configured(site):
    """Without a section forward an alias may lead nowhere else; and not to a missing box of ours."""
    for extra in ("", 'forward { to = {"127.0.0.1:25"}  host = "r.example"  tls = none }\n'):
        target = "gone@example.net" if extra else "me@elsewhere.example"
        node = site.mailbox("box", 3, [], extra=f"""
box "{USER}" {{ file = "{path(site, "user")}" }}
alias "a@example.net" {{ to = {{"{target}"}} }}
{extra}""")
        said = run([site.mailboxd, "-f", node.config_path, "-n"], good=(78,))
        check(re.search(r"box\.conf:\d+: ", said) and target in said, said)


def test_forward_is_refused(site):
    """What the next node refuses is refused with its words; a certificate of another name is no relay."""
    site.mailbox("far", 5, ["me@elsewhere.example"]).start()
    text = f"""
box "{USER}" {{ file = "{path(site, "user")}" }}
alias "wrong@example.net" {{ to = {{"nobody@elsewhere.example"}} }}
alias "right@example.net" {{ to = {{"me@elsewhere.example"}} }}
forward {{ to = {{"{site.address(5)}:2526"}}  host = "far.chapar.test" }}
"""
    node = node_with(site, text)
    client = connect(site)
    code, words = send(client, "wrong@example.net")
    check(code == 550 and "5.1.1" in words, f"{code} {words}")
    check(send(client, "right@example.net")[0] == 250, "not forwarded")
    node.configure(open(node.config_path).read().replace('"far.chapar.test"', '"other.chapar.test"'))
    node.reload()
    wait_for(lambda: "reloaded" in node.log(), 10, "the reload is done")
    code, words = send(connect(site), "right@example.net")
    check(400 <= code < 500, f"to a host of another name: {code} {words}")
    check(len(site.box("far", "me@elsewhere.example")) == 1, "more than one was forwarded")
