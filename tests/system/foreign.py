"""Servers of other projects, from their Debian packages, without installing them.

The packages are unpacked into a directory (kept for the next time) and laid over /usr and /etc in
a mount namespace that only the server sees.  Whatever is missing for that is a Skip.
"""
import fcntl
import glob
import os
import shutil
import signal
import socket
import subprocess
import time

from chapar import Skip, need, wait_for

CACHE = os.environ.get("CHAPAR_FOREIGN", "/var/tmp/chapar-foreign")
OVERLAY = ('mount -t overlay overlay -o lowerdir="$1":/usr /usr && '
           'mount -t overlay overlay -o lowerdir="$2":"$3":/etc /etc && shift 3 && exec "$@"')
USERS = "".join(f"user{n}:x:65534:65534::/nonexistent:/usr/sbin/nologin\n" for n in range(100))


class Foreign:
    """The packages, and a directory of configuration that stands before the machine's /etc."""

    def __init__(self, path, *packages):
        need("apt-get", "dpkg-deb", "unshare")
        if os.geteuid() != 0:
            raise Skip("only root may lay packages over /usr")
        self.path = path
        self.root = self.unpack(packages)
        self.etc = os.path.join(path, "etc")
        os.makedirs(self.etc, exist_ok=True)
        self.accounts()
        self.processes = []
        if subprocess.run(self.wrap("true"), stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode:
            raise Skip("this machine does not allow an overlay in a mount namespace")

    @staticmethod
    def unpack(packages):
        root = os.path.join(CACHE, "-".join(sorted(packages)))
        os.makedirs(CACHE, exist_ok=True)
        with open(root + ".lock", "w") as lock:         # for cases that run beside each other
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.isdir(root):
                Foreign.fetch(root, packages)
        return root

    @staticmethod
    def fetch(root, packages):
        debs, draft = root + ".debs", root + ".new"
        for directory in (debs, draft):
            shutil.rmtree(directory, ignore_errors=True)
            os.makedirs(directory)
        if os.path.exists("/proc/self/ns/user"):
            os.chmod(debs, 0o777)
        done = subprocess.run(["apt-get", "-q", "download", *packages], cwd=debs,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise Skip(f"cannot fetch {' '.join(packages)}: {done.stdout.decode()[-200:]}")
        for deb in glob.glob(debs + "/*.deb"):
            subprocess.run(["dpkg-deb", "-x", deb, draft], check=True)
        os.rename(draft, root)

    def accounts(self):
        ids = {"postfix": 990, "dovecot": 991, "dovenull": 992, "postdrop": 993, "Debian-exim": 994,
               "opensmtpd": 995, "opensmtpq": 996}
        for name, extra in (("passwd", "".join(f"{who}:x:{number}:{number}::/:/usr/sbin/nologin\n"
                                               for who, number in ids.items()) + USERS),
                            ("group", "".join(f"{who}:x:{number}:\n" for who, number in ids.items()))):
            with open("/etc/" + name) as file:
                text = file.read()
            with open(os.path.join(self.etc, name), "w") as file:
                file.write(text + extra)

    def wrap(self, *command):
        return ["unshare", "-m", "--propagation", "private", "sh", "-c", OVERLAY, "sh",
                self.root + "/usr", self.etc, self.root + "/etc", *command]

    def start(self, *command, ready, seconds=20):
        """Run it until stop(); READY is an (address, port) that it answers on."""
        log = open(os.path.join(self.path, "foreign.log"), "ab")
        process = subprocess.Popen(self.wrap(*command), stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=log, start_new_session=True)
        log.close()
        self.processes.append(process)

        def answers():
            try:
                socket.create_connection(ready, 1).close()
            except OSError:
                return False
            return True
        wait_for(answers, seconds, f"{command[0]} answers on {ready}: {self.log()[-1500:]}")
        return process

    def run(self, *command):
        return subprocess.run(self.wrap(*command), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT).stdout.decode(errors="replace")

    def log(self):
        try:
            with open(os.path.join(self.path, "foreign.log"), errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def stop(self):
        for process in self.processes:
            try:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
            except ProcessLookupError:
                process.wait(10)
        self.processes = []
        time.sleep(0.2)
