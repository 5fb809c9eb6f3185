"""Dovecot serves the same boxes by IMAP while mailboxd delivers into them."""
import imaplib
import os
import re
import shutil
import threading
import time

import case_readers
import foreign
import letters
from chapar import ROOT, check, need, run, wait_for

NOBODY = 65534
KINDS = {"user0": "mbox", "user1": "maildir"}


def start_mailboxd(site):
    """As nobody: Dovecot serves no mail of root's."""
    boxes = os.path.join(site.path, "box.boxes")
    node = site.mailbox("box", 3, [], node='  user = "nobody"\n  group = "nogroup"\n', extra=f"""
box "user0@example.net" {{ file = "{boxes}/user0" }}
box "user1@example.net" {{ maildir = "{boxes}/user1" }}
""")
    os.makedirs(os.path.join(site.path, "box.spool"))
    for path in (site.path, boxes, site.ca):
        os.chmod(path, 0o755)
    for path in (boxes, os.path.join(site.path, "box.spool")):
        shutil.chown(path, NOBODY, NOBODY)
    os.chmod(os.path.join(site.path, "box.spool"), 0o700)
    for name in os.listdir(site.ca):
        if name.endswith((".key", ".pem")):
            shutil.chown(os.path.join(site.ca, name), NOBODY, NOBODY)
    return node.start()


def start_dovecot(site):
    """Its configuration is etc/dovecot/chapar.conf, with the places of this test behind it."""
    place = os.path.join(site.path, "dovecot")
    os.makedirs(place)
    server = foreign.Foreign(place, "dovecot-core", "dovecot-lmtpd", "dovecot-imapd")
    ip, boxes = site.address(4), os.path.join(site.path, "box.boxes")
    with open(place + "/users", "w") as file:
        for name, kind in KINDS.items():
            location = (f"maildir:{boxes}/{name}" if kind == "maildir" else
                        f"mbox:{boxes}/{name}.folders:INBOX={boxes}/{name}")
            file.write(f"{name}:{{PLAIN}}secret:{NOBODY}:{NOBODY}::{boxes}/{name}.home::"
                       f"userdb_mail={location}\n")
    with open(os.path.join(ROOT, "etc/dovecot/chapar.conf")) as file:
        ours = file.read()
    with open(place + "/dovecot.conf", "w") as file:
        file.write(ours + f"""
listen = {ip}
base_dir = {place}/run
state_dir = {place}/run
log_path = {place}/log
ssl = no
disable_plaintext_auth = no
mail_uid = {NOBODY}
mail_gid = {NOBODY}
service imap-login {{
  inet_listener imap {{
    address = {ip}
    port = 1143
  }}
}}
passdb {{
  driver = passwd-file
  args = {place}/users
}}
userdb {{
  driver = passwd-file
  args = {place}/users
}}
""")
    server.start("dovecot", "-F", "-c", place + "/dovecot.conf", ready=(ip, 1143))
    return server, ip


def login(ip, user):
    client = imaplib.IMAP4(ip, 1143)
    client.login(user, "secret")
    return client


def deliver(site, user, numbers):
    journal = letters.Journal()
    letters.send_all((site.address(3), 2526), numbers, journal, site.ca + "/ca.pem", 3, 60,
                     recipient=user + "@example.net")
    check(len(journal.accepted) == len(numbers), f"{len(journal.accepted)} of {len(numbers)} accepted")


def fetch(client):
    """Every message as IMAP gives it, LF line ends."""
    client.select("INBOX")
    _, found = client.fetch("1:*", "(BODY.PEEK[])")
    return [part[1].replace(b"\r\n", b"\n") for part in found if isinstance(part, tuple)]


def whole(texts, numbers, user):
    """Are they the letters of these numbers, every octet but what a reader may add?"""
    found = {}
    for text in texts:
        number = int(re.search(rb"^X-Test-Id: 0-(\d+)$", text, re.M).group(1))
        found[number] = found.get(number, 0) + 1
        sent = letters.letter(number).replace(b"\r\n", b"\n").split(b"\n\n", 1)[1]
        body = text.split(b"\n\n", 1)[1]
        if KINDS[user] == "mbox":
            body = re.sub(rb"(?m)^>(>*From )", rb"\1", body)
            sent, body = sent.rstrip(b"\n"), body.rstrip(b"\n")
        check(body == sent, f"{user}: letter {number} is not what was sent")
    check(found == {number: 1 for number in numbers},
          f"{user}: IMAP has {sorted(set(found) ^ set(numbers))[:10]} too many or too few")


def with_dovecot(site, work):
    need("curl")
    server, ip = start_dovecot(site)
    try:
        work(server, ip)
    except Exception:
        print(open(server.path + "/log").read()[-1500:])
        raise
    finally:
        server.stop()


def test_imap_reads(site):
    """imaplib and curl read an mbox and a Maildir, whole, while more arrives."""
    node = start_mailboxd(site)

    def work(server, ip):
        for user in KINDS:
            deliver(site, user, range(20))
            client = login(ip, user)
            whole(fetch(client), range(20), user)
            deliver(site, user, range(20, 30))
            client.noop()
            whole(fetch(client), range(30), user)
            client.logout()
            for index in (1, 30):
                text = run(["curl", "-sS", f"imap://{ip}:1143/INBOX;MAILINDEX={index}", "-u",
                            user + ":secret"])
                check("X-Test-Id: 0-" in text, "curl sees:\n" + text[:500])
        case_readers.reference(os.path.join(site.path, "box.boxes/user0"))
        check(node.stop() == 0, "mailboxd did not end well")
    with_dovecot(site, work)


def expunge_some(client):
    """Mark every third letter and expunge; the numbers of those that the server says are gone.

    When the mbox changed under it, Dovecot may leave a marked one for the next time.
    """
    _, (count,) = client.select("INBOX")
    if int(count) == 0:
        return []
    _, parts = client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (X-TEST-ID)])")
    there = [int(re.search(rb"0-(\d+)", part[1]).group(1)) for part in parts if isinstance(part, tuple)]
    for index in range(1, len(there) + 1, 3):
        client.store(str(index), "+FLAGS", r"(\Deleted)")
    _, gone = client.expunge()
    # Each number counts without those that were named before it.
    return [there.pop(int(index) - 1) for index in gone if index]


def test_imap_expunges_while_mail_arrives(site):
    """An IMAP client marks and expunges again and again while letters arrive: each is there once."""
    start_mailboxd(site)

    def work(server, ip):
        for user in KINDS:
            total, taken, stop = 200, [], threading.Event()

            def reader():
                client = login(ip, user)
                while not stop.is_set():
                    taken.extend(expunge_some(client))
                    time.sleep(0.05)
                client.logout()
            thread = threading.Thread(target=reader, daemon=True)
            thread.start()
            deliver(site, user, range(total))
            stop.set()
            thread.join(60)
            check(not thread.is_alive(), "the reader did not end")
            client = login(ip, user)
            left = fetch(client)
            client.logout()
            check(len(taken) == len(set(taken)), "a letter was there again after its expunge")
            whole(left, set(range(total)) - set(taken), user)
            check(len(taken) > 10, f"only {len(taken)} were expunged meanwhile")
    with_dovecot(site, work)
