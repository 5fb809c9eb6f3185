"""Programs that share mailboxes with mailboxd: they lock, read, expunge, rewrite and append.

Each is a process of its own that goes from box to box until a file named "stop" is there.  What
it takes out of a box it first writes down in a record of its own, so that a checker can add it to
what is left.  The locks are those of mutt, Dovecot and procmail on Debian, in their orders.

    lockers.py STYLE DIRECTORY SEED BOX...
"""
import fcntl
import os
import random
import re
import socket
import sys
import time

FROM = re.compile(rb"(?:\A|(?<=\n\n))From [^\n]*\n")
IDENTITY = re.compile(rb"^X-Test-Id: (\S+)", re.M)
STYLES = ("mutt", "dovecot", "procmail", "appender")


class Busy(Exception):
    """Somebody else has the lock for too long."""


def patiently(attempt, seconds=20):
    end = time.monotonic() + seconds
    while not attempt():
        if time.monotonic() > end:
            raise Busy()
        time.sleep(0.002 + random.random() * 0.01)


class Locked:
    """The box open for reading and writing, with the dot lock and the fcntl lock, in an ORDER."""

    def __init__(self, path, order):
        self.path, self.order, self.file = path, order, None
        self.has_dot = False

    def dot(self):
        draft = f"{self.path}.{socket.gethostname()}.{os.getpid()}"
        fd = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        os.write(fd, str(os.getpid()).encode())
        os.close(fd)
        try:
            os.link(draft, self.path + ".lock")
            self.has_dot = True
        except FileExistsError:
            pass
        os.unlink(draft)
        return self.has_dot

    def undot(self):
        if self.has_dot:
            os.unlink(self.path + ".lock")
            self.has_dot = False

    def fcntl(self):
        try:
            fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def both(self):
        """fcntl first, then the dot lock; the first is given back when the second is not to be had."""
        if not self.fcntl():
            return False
        if self.dot():
            return True
        fcntl.lockf(self.file, fcntl.LOCK_UN)
        return False

    def same(self):
        try:
            return os.stat(self.path).st_ino == os.fstat(self.file.fileno()).st_ino
        except FileNotFoundError:
            return False

    def __enter__(self):
        while True:
            self.file = open(self.path, "r+b")
            try:
                if self.order == "fcntl-dot":
                    patiently(self.both)
                else:
                    patiently(self.dot)
                    patiently(self.fcntl)
            except Busy:
                self.undot()
                self.file.close()
                raise
            if self.same():
                return self
            self.undot()
            self.file.close()

    def __exit__(self, *_):
        # As mutt and Dovecot do it: the dot lock goes first, closing the file gives back the other.
        self.undot()
        self.file.close()


def split(data):
    """Messages with their From_ lines."""
    starts = [found.start() for found in FROM.finditer(data)] + [len(data)]
    return [data[begin:end] for begin, end in zip(starts, starts[1:])]


class Locker:
    def __init__(self, style, directory, seed):
        self.style, self.chance = style, random.Random(seed)
        self.record = open(os.path.join(directory, f"record-{style}-{seed}"), "ab", 0)
        self.appended, self.seed = 0, seed

    def take(self, message):
        """Expunge: known to the record, durably for our purpose, before it is gone from the box."""
        found = IDENTITY.search(message)
        body = message.split(b"\n\n", 1)[1]
        self.record.write(b"%s %d\n" % (found.group(1) if found else b"?", len(body)))

    def choose(self, messages):
        """What stays.  Messages of whose identity nothing is known stay always."""
        kept = []
        for message in messages:
            if self.chance.random() < 0.15 and IDENTITY.search(message):
                self.take(message)
            else:
                kept.append(message)
        return kept

    def marked(self, message):
        """With a field more, as readers put it at the end of a header that has none yet."""
        if b"\nStatus: " in message.split(b"\n\n", 1)[0] or self.chance.random() < 0.5:
            return message
        return message.replace(b"\n\n", b"\nStatus: RO\nX-UID: %d\n\n" % self.chance.randrange(9999), 1)

    def rewrite(self, file, data):
        """In place, from the first octet that changes, then cut to its length: mutt, Dovecot."""
        file.seek(0)
        old = file.read()
        same = len(os.path.commonprefix([old, data]))
        file.seek(same)
        file.write(data[same:])
        file.flush()
        file.truncate(len(data))
        os.fsync(file.fileno())

    def visit_reader(self, path, order):
        with Locked(path, order) as box:
            messages = split(box.file.read())
            self.rewrite(box.file, b"".join(map(self.marked, self.choose(messages))))

    def visit_procmail(self, path):
        """formail's way: written anew beside it, and renamed into its place under both locks."""
        with Locked(path, "dot-fcntl") as box:
            data = b"".join(self.choose(split(box.file.read())))
            draft = path + ".formail"
            with open(draft, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.rename(draft, path)

    def visit_appender(self, path):
        """procmail's delivery: the dot lock, the kernel's lock, and a message at the end."""
        with Locked(path, "dot-fcntl") as box:
            box.file.seek(0, 2)
            box.file.write(b"From procmail@example.org Tue Nov 24 00:24:12 2026\n"
                           b"X-Test-Id: by%d-%d\n\nby another program\n%s\n"
                           % (self.seed, self.appended, b"" if self.appended % 3 else b"\n"))
            box.file.flush()
            os.fsync(box.file.fileno())
        self.appended += 1
        with open(f"{self.record.name}.count", "w") as file:
            file.write(str(self.appended))

    def visit(self, path):
        if self.style == "mutt":
            self.visit_reader(path, "fcntl-dot")
        elif self.style == "dovecot":
            self.visit_reader(path, "dot-fcntl")
        elif self.style == "procmail":
            self.visit_procmail(path)
        else:
            self.visit_appender(path)


def main():
    style, directory, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
    boxes = sys.argv[4:]
    locker = Locker(style, directory, seed)
    visits = busy = 0
    parent = os.getppid()
    while not os.path.exists(os.path.join(directory, "stop")) and os.getppid() == parent:
        path = locker.chance.choice(boxes)
        try:
            locker.visit(path)
            visits += 1
        except FileNotFoundError:
            pass
        except Busy:
            busy += 1
        time.sleep(locker.chance.random() * 0.05)
    print(visits, busy)


if __name__ == "__main__":
    main()
