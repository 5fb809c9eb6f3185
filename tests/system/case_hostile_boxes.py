"""Hostile paths, recipients and contents: refused, or delivered exactly, and never elsewhere."""
import os
import socket
import stat

from case_mailbox import USER, connect, node_with, path, send
from chapar import Skip, check, wait_for

VICTIM = "From x@example.org Tue Nov 24 00:00:00 2026\n\nnot to be touched\n\n"


def make_fifo(at, _):
    os.mkfifo(at)


def make_device(at, _):
    os.mknod(at, stat.S_IFCHR | 0o666, os.makedev(1, 3))


def make_socket(at, _):
    socket.socket(socket.AF_UNIX).bind(at)


def make_foreign(at, _):
    with open(at, "w") as file:
        file.write(VICTIM)
    os.chown(at, 4711, 4711)


def make_under_a_file(at, victim):
    os.symlink(victim, os.path.dirname(at))


# What stands where the box should be; the names are those of the boxes.
PATHS = {
    "link": lambda at, victim: os.symlink(victim, at),
    "link-to-nothing": lambda at, victim: os.symlink(victim + ".new", at),
    "link-to-password": lambda at, victim: os.symlink("/etc/passwd", at),
    "link-to-itself": lambda at, victim: os.symlink(at, at),
    "hard-link": lambda at, victim: os.link(victim, at),
    "fifo": make_fifo,
    "device": make_device,
    "socket": make_socket,
    "directory": lambda at, victim: os.mkdir(at),
    "foreign": make_foreign,
    "below-a-file/box": make_under_a_file,
    "not-there/box": lambda at, victim: None,
}


def snapshot(top):
    """Every name below TOP, with its kind and, for files, its content."""
    found = {}
    for place, directories, files in os.walk(top):
        for name in directories + files:
            full = os.path.join(place, name)
            mode = os.lstat(full).st_mode
            content = open(full, "rb").read() if stat.S_ISREG(mode) else None
            found[full] = (stat.S_IFMT(mode), content)
    return found


def test_paths(site):
    """Links, hard links, FIFOs, devices, sockets, directories, foreign files: 450, and nothing is touched."""
    if os.getuid() != 0:
        raise Skip("only root makes devices and files of others")
    os.makedirs(path(site, ""))
    victim = path(site, "victim")
    with open(victim, "w") as file:
        file.write(VICTIM)
    for name, make in PATHS.items():
        make(path(site, name), victim)
    passwords = open("/etc/passwd", "rb").read()
    before = snapshot(path(site, ""))
    node = node_with(site, "".join(
        f'box "{name.replace("/", "-")}@example.net" {{ file = "{path(site, name)}" }}\n' for name in PATHS)
        + f'box "{USER}" {{ file = "{path(site, "good")}" }}\n')
    client = connect(site)
    for name in PATHS:
        code, words = send(client, name.replace("/", "-") + "@example.net")
        check(400 <= code < 500, f"{name}: {code} {words}")
        wait_for(lambda: path(site, name) in node.log(), 5, f"the log names {name}")
    check(send(client, USER)[0] == 250, "the others keep a good box from its mail")
    after = snapshot(path(site, ""))
    check(after.pop(path(site, "good"), None) is not None, "the good box is not there")
    check(after == before, f"changed: {sorted(set(after.items()) ^ set(before.items()))[:4]}")
    check(open("/etc/passwd", "rb").read() == passwords, "written through a link")


RECIPIENTS = ["../victim", "a/../../victim", "/etc/passwd", "user/../victim", "..", ".", "victim.lock",
              "user%00", "~root", "|/bin/sh", "$(id)", "${run{id}}", "`id`", ":include:/etc/passwd",
              "file:///etc/passwd", "u" * 64, "user\\victim", "%2e%2e%2fvictim", "-f", "#user"]


def test_recipients(site):
    """Addresses that look like paths, programs and expansions are addresses: known or not, and no more."""
    os.makedirs(path(site, ""))
    with open(path(site, "victim"), "w") as file:
        file.write(VICTIM)
    node_with(site, f"""
boxes {{ separators = "+" }}
box "{USER}" {{ file = "{path(site, "user")}" }}
box "@catch.example" {{ file = "{path(site, "caught")}" }}
""")
    client, caught = connect(site), 0
    for local in RECIPIENTS:
        quoted = '"' + local.replace("\\", "\\\\") + '"'
        for domain, wanted in (("example.net", (550, 553, 501)), ("catch.example", (250, 501, 553))):
            code, words = send(client, f"<{quoted}@{domain}>")
            check(code in wanted, f"{local} at {domain}: {code} {words}")
            caught += code == 250
    check(caught > len(RECIPIENTS) // 2, f"only {caught} were caught")
    check(send(client, f"<user+../../victim@example.net>")[0] in (250, 501), "a detail that is a path")
    names = {os.path.relpath(name, path(site, "")) for name in snapshot(path(site, ""))}
    check(names <= {"victim", "user", "caught"}, f"there is {sorted(names)}")
    check(open(path(site, "victim")).read() == VICTIM, "written elsewhere")


# What a body holds, and what the mbox has of it.
CONTENTS = [
    ("from-lines", b"From a@b Tue Nov 24 00:00:00 2026\n>From x\n>>From y\nfrom z\n From z\n"),
    ("nothing", b""),
    ("an empty line", b"\n"),
    ("dots", b".\n..\n.x\n\n.\n"),
    ("8-bit", b"\xff\xfe\x80\n\x80\n\xc3\n"),
    ("control", bytes(range(1, 10)) + bytes(range(11, 13)) + bytes(range(14, 32)) + b"\n"),
    ("separators", b"\x01\x01\x01\x01\n\n\nFrom \n\x0c\n"),
    ("lock-file", b"0\nchapar 1 node=1 pid=1\n"),
    ("content-length", b"Content-Length: 99999\n\nbody\n"),
    ("line-of-998", b"x" * 998 + b"\n"),
    ("no-end", b"\nFrom x"),
]


def quoted(text):
    return b"".join(b">" + line if line.lstrip(b">").startswith(b"From ") else line
                    for line in text.splitlines(keepends=True) or [b""])


def refused(site, body):
    """The enhanced code with which this body is refused; None stands for one with a bare LF."""
    client = connect(site)
    client.mail("sender@example.org")
    client.rcpt(USER)
    client.putcmd("data")
    client.getreply()
    text = b"Subject: x\r\n\r\n" + (b"a\nFrom b\n\r\n" if body is None else body.replace(b"\n", b"\r\n"))
    client.sock.sendall(text + b".\r\n")
    code, words = client.getreply()
    return words.decode().split()[0] if code == 550 else f"{code} {words}"


def test_contents(site):
    """Bodies of every kind stand in the mbox as mboxrd has them, each once, and begin no other message."""
    node_with(site, f'box "{USER}" {{ file = "{path(site, "user")}" }}\n')
    client, wanted = connect(site), []
    for name, body, words in (("nul", b"a\0b\n", "5.6.11"), ("bare-lf", None, "5.6.11")):
        check(refused(site, body) == words, f"{name} is not refused")
    for name, body in CONTENTS:
        whole = b"Subject: " + name.encode() + b"\nContent-Length: 7\n\n" + body
        whole += b"" if whole.endswith(b"\n") else b"\n"
        client.mail("sender@example.org", ["BODY=8BITMIME"])
        client.rcpt(USER)
        client.putcmd("data")
        check(client.getreply()[0] == 354, "DATA")
        wire = whole.replace(b"\n", b"\r\n").replace(b"\r\n.", b"\r\n..")
        client.sock.sendall(wire + b".\r\n")
        code, words = client.getreply()
        check(code == 250, f"{name}: {code} {words}")
        wanted.append(whole)
    with open(path(site, "user"), "rb") as file:
        found = file.read()
    at = 0
    for (name, _), whole in zip(CONTENTS, wanted):
        check(found.startswith(b"From sender@example.org ", at), f"{name}: no From_ line at {at}")
        begin = found.index(b"\nSubject: ", at) + 1
        check(found.startswith(quoted(whole) + b"\n", begin), f"{name}: {found[begin:begin + 200]!r}")
        at = begin + len(quoted(whole)) + 1
    check(at == len(found), f"{len(found) - at} octets more")
