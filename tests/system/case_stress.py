"""Relays deliver while readers lock, expunge and rewrite the boxes; and while mailboxd is killed."""
import collections
import glob
import os
import random
import re
import subprocess
import sys
import threading
import time

import case_readers
import letters
import lockers
from chapar import Failure, check, lmtp_route, wait_for

BOXES = 20
RELAYS = 8
HERE = os.path.dirname(os.path.abspath(__file__))


def box_of(number):
    return f"user{number % BOXES}@example.net"


class Sender(letters.Session):
    """Each letter to the box of its number."""

    def send(self, number, journal):
        self.recipient = box_of(number)
        return super().send(number, journal)


def load(site, relay_number, numbers, journal, size, seconds):
    """All of NUMBERS to one relay, over connections that are made anew when lost."""
    todo, end, session = list(numbers), time.monotonic() + seconds, None
    while todo and time.monotonic() < end:
        try:
            session = session or Sender((site.address(relay_number), 2525), site.ca + "/ca.pem", size=size)
            while todo:
                session.send(todo[-1], journal)
                if todo[-1] in journal.refused and todo[-1] not in journal.accepted:
                    time.sleep(0.05)
                    continue
                todo.pop()
        except (OSError, ConnectionError, ValueError):
            if todo and todo[-1] in journal.unknown:
                todo.pop()
            session = None
            time.sleep(0.1)


def for_mutt(paths):
    """Every fifth box is the real mutt's, and of the others only those that append go there.

    mutt reads what it saves without a lock, from the places where it found it, and when another
    program rewrote the file meanwhile, it saves something else and expunges the letter all the same.
    And it opens the file, waits for the locks, and takes size and time from the name: when a new file
    was renamed into its place meanwhile, it believes that nothing has changed, and writes at the old
    places.  What appends under both locks moves nothing, and that is what mailboxd does.
    """
    return paths[::5]


def start_lockers(site, paths, count):
    processes = []
    for index in range(count):
        style = lockers.STYLES[index % len(lockers.STYLES)]
        where = [path for path in paths if style == "appender" or path not in for_mutt(paths)]
        processes.append(subprocess.Popen(
            [sys.executable, os.path.join(HERE, "lockers.py"), style, site.path, str(index), *where],
            stdout=subprocess.PIPE))
    return processes


def stop_lockers(site, processes):
    with open(os.path.join(site.path, "stop"), "w"):
        pass
    visits = 0
    for process in processes:
        try:
            said, _ = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        check(process.returncode == 0, f"a locker ended with {process.returncode}")
        visits += int(said.split()[0])
    return visits


def run_mutt(site, paths, saved, stop):
    """The real mutt moves messages out of boxes, again and again.

    It may not come to an end of its keys while mail keeps arriving.  Then it is ended, and what it had
    not expunged by then is still in the box.  It blocks signals while it writes, and is given the time
    to finish.
    """
    chance, stop.runs, stop.ended = random.Random(1), 0, 0
    while not stop.is_set():
        path = chance.choice(paths)
        if os.path.exists(path):
            target = os.path.join(saved, str(stop.runs))
            try:
                case_readers.mutt(site, path, f"T~s [05]$<enter>;s{target}<enter>$x",
                                  read_only=False, settings="set confirmcreate=no\n", good=(0, 1),
                              seconds=20, patience=60)
            except Failure:
                stop.ended += 1
            stop.runs += 1
        stop.wait(0.5)


class Tally:
    """Every copy of every letter: in the boxes, in the lockers' records, and in what mutt saved.

    What mutt saves stays in the box when another program was at the box before mutt came to
    expunge, so a letter that is saved may be there once more; no other may.
    """

    def __init__(self, paths, site, saved):
        self.copies, self.wrong = collections.Counter(), []
        self.saved, self.foreign = collections.Counter(), set()
        for path in paths:
            self.look(path, self.copies)
        for path in glob.glob(os.path.join(saved, "*")):
            self.look(path, self.saved, whole_only=True)
        for path in glob.glob(os.path.join(site.path, "record-*")):
            if path.endswith(".count"):
                seed = re.search(r"-(\d+)\.count", path).group(1)
                self.foreign.update(f"by{seed}-{n}" for n in range(int(open(path).read())))
            else:
                self.copies.update(line.split()[0] for line in open(path))

    def look(self, path, counter, whole_only=False):
        """WHOLE_ONLY for what a mutt saved that may have been ended in the midst of it."""
        with open(path, "rb") if os.path.exists(path) else open(os.devnull, "rb") as file:
            for text in lockers.split(file.read()):
                text = re.sub(rb"(?m)^>(>*From )", rb"\1", text.split(b"\n", 1)[1])
                identity = lockers.IDENTITY.search(text)
                if not identity:
                    check(whole_only, f"{path} has a message that nobody sent: {text[:200]!r}")
                    continue
                identity = identity.group(1).decode()
                if identity.startswith("0-") and not same(text, int(identity[2:])):
                    if not whole_only:
                        self.wrong.append(identity)
                    continue
                counter[identity] += 1

    def judge(self, journal):
        there = set(self.copies) | set(self.saved)
        lost = [n for n in journal.accepted if f"0-{n}" not in there]
        check(not lost, f"{len(lost)} letters are lost: {sorted(lost)[:10]}")
        missing = self.foreign - there
        check(not missing, f"{len(missing)} messages of other programs are lost: {sorted(missing)[:10]}")
        doubled = [key for key, found in self.copies.items() if found > 1]
        check(not doubled, f"{len(doubled)} letters are there twice: {doubled[:10]}")
        check(not self.wrong, f"{len(self.wrong)} letters were changed: {self.wrong[:10]}")


def same(text, number, size=10240):
    """Readers add fields to the header; the body and the letter's own fields are as they were sent."""
    text = re.sub(rb"(?m)^(Status|X-Status|X-UID|X-Keywords|Content-Length|Lines): .*\n", b"",
                  text.split(b"\n\n", 1)[0] + b"\n") + b"\n" + text.split(b"\n\n", 1)[1]
    sent = letters.letter(number, size).replace(b"\r\n", b"\n")
    return letters.untraced(text).rstrip(b"\n") == sent.rstrip(b"\n")


def deliver(site, relays, journal, count, seconds):
    senders = [threading.Thread(target=load, daemon=True,
                                args=(site, 10 + n, range(n, count, RELAYS), journal, 10240, seconds))
               for n in range(RELAYS)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(seconds)
    check(not any(sender.is_alive() for sender in senders), "the senders did not end in time")
    wait_for(lambda: sum(relay.queue_length() for relay in relays) == 0, seconds,
             "the queues of the relays are empty")


def test_lockers(site):
    """Eight relays, twenty boxes, mutt, Dovecot's and procmail's ways with locks: nothing lost or doubled."""
    count = int(os.environ.get("CHAPAR_STRESS_LETTERS", "1500"))
    seconds = 120 + count // 20
    # A box may be locked for longer than mailboxd waits; that is a 450, and no reason to wait minutes.
    soon = 'retry "soon" { other = {"2s"} }\n'
    node = site.mailbox("box", 3, [f"user{n}@example.net" for n in range(BOXES)],
                        node="  workers = 1\n")
    route = lmtp_route([site.address(3) + ":2424"], extra='retry = "soon"')
    relays = [site.relay(f"relay{n}", 10 + n, route, extra=soon) for n in range(RELAYS)]
    node.start()
    for relay in relays:
        relay.start()
    paths = [site.box_path("box", f"user{n}@example.net") for n in range(BOXES)]
    saved = os.path.join(site.path, "saved")
    os.makedirs(saved)
    journal = letters.Journal()
    processes = start_lockers(site, paths, 8)
    stop = threading.Event()
    mutt = threading.Thread(target=run_mutt, args=(site, for_mutt(paths), saved, stop),
                            daemon=True)
    mutt.start()
    begun = time.monotonic()
    try:
        deliver(site, relays, journal, count, seconds)
    finally:
        stop.set()
        mutt.join(90)
        visits = stop_lockers(site, processes)
    took = time.monotonic() - begun
    tally = Tally(paths, site, saved)
    tally.judge(journal)
    status = node.ctl_json("status")[0]
    print(f"  {count} letters in {took:.0f} s, {visits} visits of lockers, {stop.runs} of mutt "
          f"({stop.ended} ended), "
          f"{len(tally.foreign)} messages of another program, {len(tally.saved)} saved by mutt, "
          f"{status['lock_waits']} waits for locks, "
          f"{sum(relay.log().count('event=deferred') for relay in relays)} deferrals")
    for path in paths:
        if os.path.exists(path):
            box = case_readers.mailbox.mbox(path, create=False)
            case_readers.compare(path, "Python", [box.get_bytes(key) for key in box.keys()])
            box.close()


def test_killed_in_the_midst_of_appends(site):
    """kill -9 again and again while a thousand letters are appended: each start leaves whole ones only."""
    total = int(os.environ.get("CHAPAR_KILLED_APPENDS", "1000"))
    size = 200 * 1024
    node = site.mailbox("box", 3, ["user@example.net"]).start()
    path = site.box_path("box", "user@example.net")
    journal = letters.Journal()
    sender = threading.Thread(target=letters.send_all, daemon=True,
                              args=((site.address(3), 2526), range(total), journal,
                                    site.ca + "/ca.pem", 6, 300), kwargs={"size": size})
    sender.start()
    chance, kills, cut, whole = random.Random(7), 0, 0, 0
    while sender.is_alive() and kills < 200:
        time.sleep(0.05 + chance.random() * 0.4)
        node.kill()
        kills += 1
        node.start()
        status = node.ctl_json("status")[0]
        wait_for(lambda: node.ctl_json("status")[0]["repairs_pending"] == 0, 20, "no repair is due")
        status = node.ctl_json("status")[0]
        cut += status["repairs_cut"]
        whole += status["repairs_whole"]
        check(status["repairs_left"] == 0, f"something torn was left: {status}")
    sender.join(300)
    check(not sender.is_alive(), "the sender did not end")
    node.kill()
    node.start()
    wait_for(lambda: node.ctl_json("status")[0]["repairs_pending"] == 0, 20, "no repair is due")
    verdict = letters.settle(journal, [path], kills, size)
    print(f"  {total} letters, {kills} kills, {cut} torn appends cut off, {whole} found whole, "
          f"{len(journal.accepted)} acknowledged, {verdict.doubles} copies too many")


test_lockers.long = test_killed_in_the_midst_of_appends.long = True
