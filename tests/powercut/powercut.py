"""Real power cuts: the ext4 shutdown ioctl on a loop file system, under relayd with SMTP load.

    powercut.py --build DIR [--cuts N] [--seed S]

Each cycle starts relayd on a spool that is an ext4 file system of its own, sends letters over
several sessions and shuts the file system down in the midst: what was not synced is gone.  Then
relayd is killed, the file system unmounted and mounted again (its journal is replayed), the spool
exported, and every letter that was ever acknowledged must be there with every octet, and none that
was dropped.  Now and then the cut comes while relayd starts, and once more before anything is read.

The last case is the proof that the rig can see: with a library before libc that answers each sync
without one, letters must be lost.

Prints "ok NAME", "not ok NAME" or "skip NAME: reason", as tests/run counts them.
"""
import argparse
import fcntl
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
import chapar  # noqa: E402
import letters  # noqa: E402
from chapar import Failure, Skip, check, lmtp_route, need, run  # noqa: E402

EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
LOG_FLUSHED, LOG_LOST = 1, 2    # EXT4_GOING_FLAGS_LOGFLUSH, EXT4_GOING_FLAGS_NOLOGFLUSH
IMAGE_BYTES = 192 << 20
SESSIONS = 8
SIZES = (400, 3000, 10240, 20000)
LARGE_BYTES = 300000
CONTROL_CUTS_MAX = 10
ALONE = "CHAPAR_POWERCUT_ALONE"


class Disk:
    """A file with an ext4 file system in it, mounted where the spool is.

    What is cut off is the file system, not the file: so that may lie in memory, where it is fast.
    """

    def __init__(self, scratch, place):
        self.image, self.place, self.is_mounted = scratch + "/disk.img", place, False
        with open(self.image, "wb") as file:
            file.truncate(IMAGE_BYTES)
        run(["mkfs.ext4", "-q", "-F", "-m", "0", self.image])
        os.mkdir(place, 0o700)

    def mount(self):
        done = subprocess.run(["mount", "-o", "loop", self.image, self.place],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
        if done.returncode != 0:
            raise Skip("no loop mounts here: " + done.stdout.decode(errors="replace").strip())
        self.is_mounted = True

    def cut(self, how):
        """From here on nothing reaches the disk, and what was not synced never did."""
        top = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(top, EXT4_IOC_SHUTDOWN, struct.pack("I", how))
        except OSError as error:
            raise Skip(f"no shutdown ioctl here: {error}") from error
        finally:
            os.close(top)

    def unmount(self):
        for _ in range(100):
            if not self.is_mounted or subprocess.run(
                    ["umount", self.place], stderr=subprocess.DEVNULL).returncode == 0:
                self.is_mounted = False
                return
            time.sleep(0.05)
        raise Failure(f"{self.place} cannot be unmounted")


class Letters:
    """Letter N, every octet of it: few bodies, so that the load is on the relay and not on us."""

    def __init__(self):
        self.bodies = [letters.letter(n, size) for n in range(10) for size in SIZES]
        self.large = letters.letter(99, LARGE_BYTES)

    def __getitem__(self, number):
        body = self.large if number % 61 == 7 else self.bodies[number % len(self.bodies)]
        return f"X-Number: {number}\r\n".encode() + body


class Load:
    """Sessions that send new letters until they are told to end; what each was told is kept."""

    def __init__(self, address, texts, first):
        self.address, self.texts, self.next, self.lock = address, texts, first, threading.Lock()
        self.accepted, self.is_cut, self.is_over = {}, False, False
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(SESSIONS)]
        for thread in self.threads:
            thread.start()

    def take(self):
        with self.lock:
            self.next += 1
            return self.next - 1

    def send(self, session):
        number = self.take()
        session.command(b"MAIL FROM:<sender@example.org> BODY=8BITMIME\r\n", 250)
        session.command(b"RCPT TO:<user@example.net>\r\n", 250)
        session.command(b"DATA\r\n", 354)
        words = session.command(letters.stuffed(self.texts[number]) + b".\r\n", 250)[1]
        # A power cut takes the machine too.  Here it goes on, and a sync that the shutdown meets
        # half way is answered well by ext4 though its metadata is lost: so only what was said
        # before the cut counts.
        if not self.is_cut:
            self.accepted[number] = words.split()[2]

    def run(self):
        session = None
        while not self.is_over:
            try:
                session = session or letters.Session(self.address)
                self.send(session)
            except (OSError, ValueError):
                if session:
                    session.socket.close()
                session = None
                time.sleep(0.005)
        if session:
            session.socket.close()

    def end(self):
        self.is_over = True
        for thread in self.threads:
            thread.join(35)
            check(not thread.is_alive(), "a session of the load hangs")


class Rig:
    """A relay whose next hop does not exist, so that what it takes it keeps."""

    def __init__(self, site):
        ip = site.address(1)
        self.site, self.address, self.preload = site, (ip, 2525), None
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else site.path
        self.scratch = tempfile.mkdtemp(prefix="chapar-powercut-", dir=memory)
        nowhere = lmtp_route([site.address(9) + ":2424"], domains='"*"', tls="none")
        small = "queue { segment = 1M  floor = 2M  reserve = 1M }\n"
        self.relay = site.relay("relay1", 1, nowhere, extra=small,
                                listeners=f'listener "mx" {{ address = {{"{ip}:2525"}} }}\n')
        self.spool = site.path + "/relay1.spool"
        self.disk = Disk(self.scratch, self.spool)
        self.texts = Letters()
        self.kept = {}          # queue id: number of what was acknowledged
        self.dropped = set()    # ids of what was, and is to be gone for good
        self.next, self.cuts = 0, 0

    def start(self, is_awaited=True):
        env = {"LD_PRELOAD": self.preload} if self.preload else {}
        if is_awaited:
            self.relay.start(env=env)
            return
        with open(self.relay.log_path, "ab") as log:
            self.relay.process = subprocess.Popen(
                [self.relay.program, "-f", self.relay.config_path], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env={**os.environ, **self.site.env, **env},
                start_new_session=True)

    def power_cut(self, chance):
        self.disk.cut(LOG_FLUSHED if chance.random() < 0.25 else LOG_LOST)
        self.cuts += 1

    def off(self):
        self.relay.kill()
        self.disk.unmount()

    def end(self):
        self.off()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def cut_under_load(self, chance):
        self.disk.mount()
        self.start()
        load = Load(self.address, self.texts, self.next)
        time.sleep(0.1 + 0.2 * chance.random())
        load.is_cut = True
        self.power_cut(chance)
        time.sleep(0.02 + 0.05 * chance.random())   # what is said now is said without a disk
        self.relay.kill()
        load.end()
        self.off()
        self.next = load.next
        self.kept.update((queue_id, number) for number, queue_id in load.accepted.items())
        return len(load.accepted)

    def cut_while_starting(self, chance):
        self.disk.mount()
        self.start(is_awaited=False)
        time.sleep(0.15 * chance.random())
        self.power_cut(chance)
        self.off()

    def drop_all(self, chance):
        """What a drop that has ended took away does not come back."""
        self.disk.mount()
        self.start()
        answers = [item.get("item", item) for item in self.relay.ctl_json("list", "--limit", "100000")]
        waiting = {item["queue_id"] for item in answers if "queue_id" in item}
        missing = set(self.kept) - waiting
        check(not missing, f"{len(missing)} letters are in the spool and not listed: {answers[-1]}")
        self.relay.ctl("drop", "from=*", good=(0, 1))
        self.dropped |= waiting
        self.kept.clear()
        self.power_cut(chance)
        self.off()

    def verify(self):
        """Everything that was acknowledged is in the spool, with every octet."""
        out = os.path.join(self.scratch, "out")
        shutil.rmtree(out, ignore_errors=True)
        self.disk.mount()
        run([self.site.relayctl, "spool", "export", self.spool, out])
        self.disk.unmount()
        found = {name[:-4] for name in os.listdir(out) if name.endswith(".eml")}
        lost = [number for queue_id, number in self.kept.items() if queue_id not in found]
        check(not lost, f"{len(lost)} of {len(self.kept)} acknowledged letters are lost after "
              f"{self.cuts} cuts: {sorted(lost)[:10]}")
        back = found & self.dropped
        check(not back, f"{len(back)} dropped letters are back: {sorted(back)[:10]}")
        for queue_id, number in self.kept.items():
            with open(os.path.join(out, queue_id + ".eml"), "rb") as file:
                check(file.read().endswith(self.texts[number]),
                      f"letter {number} ({queue_id}) differs")


def able():
    if os.geteuid() != 0:
        raise Skip("only root can mount")
    need("mkfs.ext4", "mount", "umount", "unshare")
    if os.environ.get(ALONE) != "1":
        raise Skip("no mount namespace of our own here")


def alone():
    """In a mount namespace of our own: else one that is made meanwhile keeps what we unmount."""
    wrapper = ["unshare", "--mount", "--propagation", "private"]
    if os.environ.get(ALONE) or not shutil.which("unshare"):
        return
    if subprocess.run(wrapper + ["true"], stderr=subprocess.DEVNULL).returncode == 0:
        os.environ[ALONE] = "1"
        os.execvp(wrapper[0], wrapper + [sys.executable, *sys.argv])


def cut_often(rig, cuts, chance):
    """Until there were so many cuts; how many letters were acknowledged."""
    acknowledged, cycle = 0, 0
    while rig.cuts < cuts:
        cycle += 1
        acknowledged += rig.cut_under_load(chance)
        if cycle % 3 == 0:
            rig.cut_while_starting(chance)
        rig.verify()
        if cycle % 4 == 0:
            rig.drop_all(chance)
            rig.verify()
    return acknowledged


def nothing_acknowledged_is_lost(site, options):
    chance = random.Random(options.seed)
    rig = Rig(site)
    try:
        acknowledged = cut_often(rig, options.cuts, chance)
    finally:
        rig.end()
    check(acknowledged > 10 * options.cuts, f"only {acknowledged} letters were acknowledged")
    return f"{rig.cuts} cuts, {acknowledged} letters acknowledged, seed {options.seed}"


def turns_red_without_syncs(site, options):
    """The same rig, syncs answered by a library that makes none: letters must be lost."""
    shim = os.path.join(site.build, "tests", "powercut", "nosync.so")
    check(os.path.exists(shim), f"{shim} was not built")
    rig = Rig(site)
    chance = random.Random(options.seed)
    try:
        cut_often(rig, 1, chance)       # the spool is there, and durable
        rig.preload = shim
        cut_often(rig, CONTROL_CUTS_MAX, chance)
    except Failure as seen:
        return f"red after {rig.cuts} cuts: {str(seen).splitlines()[0]}"
    finally:
        rig.end()
    raise Failure(f"{rig.cuts} cuts without a sync, and nothing is missed: the rig is blind")


def main():
    parser = argparse.ArgumentParser(description="power cuts under relayd")
    parser.add_argument("--build", required=True)
    parser.add_argument("--cuts", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    alone()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bad = 0
    for case in (nothing_acknowledged_is_lost, turns_red_without_syncs):
        begun = time.monotonic()
        name = "powercut/" + case.__name__
        try:
            able()
            with chapar.Site(os.path.abspath(options.build)) as site:
                said = case(site, options)
            print(f"ok {name} ({time.monotonic() - begun:.1f} s): {said}")
        except Skip as reason:
            print(f"skip {name}: {reason}")
        except (Failure, OSError, subprocess.SubprocessError) as failure:
            bad += 1
            print(f"not ok {name} ({time.monotonic() - begun:.1f} s, seed {options.seed})")
            print("  " + str(failure).replace("\n", "\n  "))
        sys.stdout.flush()
    return 1 if bad else 0


if __name__ == "__main__":
    socket.setdefaulttimeout(30)
    sys.exit(main())
