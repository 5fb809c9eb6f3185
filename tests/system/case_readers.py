"""Programs that people read their mail with agree on what is in an mbox, letter by letter."""
import hashlib
import mailbox
import os
import pty
import re
import select
import subprocess
import time

import letters
from chapar import check, need, run

USER = "user@example.net"
COUNT = 40
IDENTITY = re.compile(rb"^X-Test-Id: (\S+)", re.M)


def filled(site, count=COUNT):
    """A mailbox node that was sent letters with every odd line there is; its box."""
    node = site.mailbox("box", 3, [USER])
    node.start()
    journal = letters.Journal()
    letters.send_all((site.address(3), 2526), range(count), journal, site.ca + "/ca.pem", 4, 60)
    check(len(journal.accepted) == count, f"{len(journal.accepted)} of {count} accepted")
    path = site.box_path("box", USER)
    verdict = letters.judge([path])
    check(len(verdict.copies) == count and not verdict.wrong and not verdict.doubles,
          f"{len(verdict.copies)} letters, wrong {verdict.wrong}, {verdict.doubles} too many")
    return node, path


def fingerprint(text):
    """Identity and body of a message, whatever a reader does to its header and its last blank line."""
    found = IDENTITY.search(text)
    check(found, f"no test id in {text[:400]!r}")
    body = text.split(b"\n\n", 1)[1].rstrip(b"\n")
    return found.group(1).decode(), hashlib.sha256(body).hexdigest()


def reference(path):
    """What is in the file, by its From_ lines alone; quoting is left as it is."""
    with open(path, "rb") as file:
        data = file.read()
    texts = re.split(rb"(?:\A|(?<=\n\n))From [^\n]*\n", data)[1:]
    return sorted(fingerprint(text) for text in texts)


def compare(path, name, texts):
    found = sorted(fingerprint(text) for text in texts)
    wanted = reference(path)
    check(len(found) == len(wanted), f"{name} sees {len(found)} messages, there are {len(wanted)}")
    check(found == wanted, f"{name} sees other bodies: "
          f"{[pair[0] for pair in set(found) ^ set(wanted)][:10]}")


def on_terminal(command, env, seconds=60, good=(0,), patience=5):
    """Run a full-screen program on a terminal of its own; its screen as bytes.

    One that is not done after SECONDS is asked to end, and killed after PATIENCE.  When mutt asks
    whether to remove another's dot lock, while it holds the other lock and hears no signals, it is
    told no, and to exit: the keys that it was given went to that question.  A return among them
    says yes, which is why what asks_no_force() makes stands between mutt and the lock.
    """
    master, slave = pty.openpty()
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=env,
                               start_new_session=True)
    os.close(slave)
    screen, asked, end = b"", 0, time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([master], [], [], 0.1)[0]:
            try:
                screen += os.read(master, 65536)
            except OSError:
                break
            if screen.count(b"remove lock") > asked:
                asked += 1
                os.write(master, b"nx")
        elif process.poll() is not None:
            break
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        # Politely, so that it gives back its locks.
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
    os.close(master)
    check(process.wait(5) in good, f"{command[0]} ended with {process.returncode}:\n"
          + screen.decode(errors="replace")[-1500:])
    return screen


def asks_no_force(home):
    """A program for mutt's dot locks that does all but take away another's: there is one, it says (3)."""
    path = os.path.join(home, "dotlock")
    if not os.path.exists(path):
        with open(path, "w") as file:
            file.write('#!/bin/sh\nfor word; do [ "$word" != -f ] || exit 3; done\nexec mutt_dotlock "$@"\n')
        os.chmod(path, 0o755)
    return path


def mutt(site, path, keys, settings="", read_only=True, good=(0,), **bounds):
    """mutt on the box, typing KEYS."""
    home = os.path.join(site.path, "home")
    os.makedirs(os.path.join(home, "Mail"), exist_ok=True)  # or mutt asks for it
    settings += f"set dotlock_program={asks_no_force(home)}\n"
    rc = os.path.join(home, "muttrc")
    with open(rc, "w") as file:
        file.write("set wait_key=no\nset pipe_split=yes\nset pipe_decode=no\nset quit=yes\n"
                   "set weed=no\nset confirmappend=no\nset delete=yes\nset move=no\n"
                   "set mark_old=no\nset sleep_time=0\nset beep=no\n" + settings)
    env = {**os.environ, "HOME": home, "TERM": "xterm", "LC_ALL": "C.UTF-8", "OUT": site.path}
    words = ["mutt", "-n", "-F", rc, "-f", path, "-e", f"push '{keys}'"]
    return on_terminal(words + (["-R"] if read_only else []), env, good=good,
                       **bounds)


def test_mutt(site):
    """mutt shows every letter of the mbox, and none twice."""
    need("mutt")
    _, path = filled(site)
    before = open(path, "rb").read()
    out = os.path.join(site.path, "mutt")
    os.makedirs(out)
    save = os.path.join(site.path, "save")
    with open(save, "w") as file:
        file.write(f"cat > $(mktemp {out}/XXXXXX)\n")
    mutt(site, path, f"T~A<enter>;|sh {save}<enter>x")
    texts = [open(os.path.join(out, name), "rb").read() for name in os.listdir(out)]
    compare(path, "mutt", [re.sub(rb"\AFrom [^\n]*\n", b"", text) for text in texts])
    check(open(path, "rb").read() == before, "mutt changed a mailbox that it had opened to read")


def test_mutt_expunges_between_deliveries(site):
    """mutt deletes every second letter; what it kept and what came before and after is there."""
    need("mutt")
    node, path = filled(site)
    journal = letters.Journal()
    letters.send_all((site.address(3), 2526), range(COUNT, COUNT + 10, 2), journal,
                     site.ca + "/ca.pem", 2, 60)
    mutt(site, path, "D~s [13579]$<enter>$x", read_only=False)
    letters.send_all((site.address(3), 2526), range(COUNT + 1, COUNT + 11, 2), journal,
                     site.ca + "/ca.pem", 2, 60)
    left = {identity for identity, _ in reference(path)}
    wanted = {f"0-{n}" for n in range(COUNT + 10) if n >= COUNT or n % 2 == 0}
    check(left == wanted, f"in the box and not wanted, or wanted and not there: {left ^ wanted}")
    check(node.stop() == 0, "mailboxd did not end well")


def test_s_nail(site):
    """s-nail counts the letters and copies them whole."""
    need("s-nail")
    _, path = filled(site)
    before = open(path, "rb").read()
    copy = os.path.join(site.path, "copied")
    env = {**os.environ, "HOME": site.path, "LC_ALL": "C.UTF-8"}
    said = run(["s-nail", "-:/", "-Sv15-compat", "-Smbox-rfc4155", "-R", "-f", path],
               data=f"copy * {copy}\nexit\n".encode(), env=env)
    check(os.path.exists(copy), said)
    with open(copy, "rb") as file:
        texts = re.split(rb"(?:\A|(?<=\n\n))From [^\n]*\n", file.read())[1:]
    compare(path, "s-nail", texts)
    check(open(path, "rb").read() == before, "s-nail changed the mailbox")


def test_formail(site):
    """formail splits the box where we meant it."""
    need("formail")
    _, path = filled(site)
    out = os.path.join(site.path, "formail")
    os.makedirs(out)
    with open(path, "rb") as file:
        run(["formail", "-s", "sh", "-c", f"cat > {out}/$FILENO"], data=file.read())
    texts = [open(os.path.join(out, name), "rb").read() for name in os.listdir(out)]
    compare(path, "formail", [re.sub(rb"\AFrom [^\n]*\n", b"", text) for text in texts])


def test_git_mailsplit(site):
    """git mailsplit takes the box apart, and with --mboxrd gives the letters as they were sent."""
    need("git")
    _, path = filled(site)
    for option, judge in ((), None), (("--mboxrd",), "sent"):
        out = os.path.join(site.path, "git" + "".join(option))
        os.makedirs(out)
        run(["git", "mailsplit", *option, "--keep-cr", "-d4", "-o" + out, path])
        texts = [re.sub(rb"\AFrom [^\n]*\n", b"", open(os.path.join(out, name), "rb").read())
                 for name in os.listdir(out)]
        if judge is None:
            compare(path, "git mailsplit", texts)
            continue
        sent = sorted(fingerprint(letters.letter(n).replace(b"\r\n", b"\n")) for n in range(COUNT))
        check(sorted(fingerprint(text) for text in texts) == sent,
              "git mailsplit --mboxrd does not give back what was sent")


def test_python_and_frm(site):
    """Python's mailbox and frm count the same letters; Python sees the same bodies."""
    need("frm")
    _, path = filled(site)
    box = mailbox.mbox(path, create=False)
    compare(path, "Python", [box.get_bytes(key) for key in box.keys()])
    box.close()
    said = run(["frm", path], env={**os.environ, "LC_ALL": "C.UTF-8"}, good=(0, 1))
    count = len([line for line in said.splitlines() if "letter" in line])
    check(count == COUNT, f"frm sees {count} messages of {COUNT}:\n{said[:2000]}")
