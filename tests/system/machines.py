"""Machines of their own for a test: network namespaces on one switch, a root directory each.

A machine has what `make install` gives it, the users and directories that the installed sysusers
and tmpfiles entries name, and its own /etc.  A daemon runs as its installed unit says: as that
user, with that one capability.  Everything lies below the site's directory and ends with it.
"""
import os
import re
import shlex
import shutil
import subprocess

from chapar import Failure, Skip, check, run, wait_for

SHARED = ("usr/bin", "usr/sbin", "usr/lib", "usr/lib32", "usr/lib64", "usr/libx32", "usr/share",
          "proc", "dev")
LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


class Network:
    """A switch and the machines at it; `with` takes it all away again."""

    def __init__(self, site):
        self.site, self.machines, self.names = site, {}, {}
        self.switch = f"chapar-{os.getpid()}-switch"
        if os.geteuid() != 0:
            raise Skip("network namespaces need root")
        for program in ("ip", "unshare", "setpriv", "chroot"):
            if not shutil.which(program):
                raise Skip(f"{program} is not installed")
        kind = run(["stat", "-f", "-c", "%T", site.path]).strip()
        if kind in ("tmpfs", "overlayfs"):
            raise Skip(f"the examples want a spool that lasts, and {site.path} is on {kind}")
        try:
            run(["ip", "netns", "add", self.switch])
            run(["unshare", "-m", "true"])
        except Failure as refused:
            raise Skip(f"no namespaces here: {refused}") from None
        self.inside(self.switch, "ip", "link", "add", "switch", "type", "bridge")
        self.inside(self.switch, "ip", "link", "set", "switch", "up")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for machine in self.machines.values():
            machine.off()
            if kind is not None:
                print(f"--- {machine.name}\n" + machine.log()[-2500:])
        for name in [machine.namespace for machine in self.machines.values()] + [self.switch]:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)
        for machine in self.machines.values() if kind is None else ():
            check("Sanitizer" not in machine.log(), f"{machine.name}: a sanitizer reports:\n"
                  + machine.log()[:6000])

    def inside(self, namespace, *command, **how):
        return run(["ip", "netns", "exec", namespace, *command], **how)

    def machine(self, name, *addresses):
        machine = Machine(self, name, addresses)
        self.machines[name] = machine
        return machine

    def name(self, host, address):
        """HOST is in the /etc/hosts of every machine."""
        self.names[host] = address
        for machine in self.machines.values():
            machine.write("etc/hosts", "".join(f"{a} {h}\n" for h, a in self.names.items()))


class Machine:
    """A namespace with a cable to the switch, and a root directory."""

    def __init__(self, network, name, addresses):
        self.network, self.site, self.name = network, network.site, name
        self.namespace = f"chapar-{os.getpid()}-{name}"
        self.cable = f"port-{name}"[:15]
        self.root = os.path.join(self.site.path, name + ".root")
        self.processes, self.users = [], {}
        run(["ip", "netns", "add", self.namespace])
        run(["ip", "link", "add", "eth0", "netns", self.namespace, "type", "veth",
             "peer", "name", self.cable, "netns", network.switch])
        network.inside(network.switch, "ip", "link", "set", self.cable, "master", "switch", "up")
        for address in addresses:
            self.run("ip", "address", "add", address, "dev", "eth0")
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "link", "set", "eth0", "up")

    def run(self, *command, **how):
        """A command of this machine's network, with the test machine's files."""
        return self.network.inside(self.namespace, *command, **how)

    def pull_cable(self):
        self.network.inside(self.network.switch, "ip", "link", "set", self.cable, "down")

    def plug_cable(self):
        self.network.inside(self.network.switch, "ip", "link", "set", self.cable, "up")

    def write(self, path, text):
        path = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        return path

    def install(self):
        """What a user does: make install, and what systemd-sysusers and -tmpfiles would."""
        run(["make", "-C", self.site.build, "install", "DESTDIR=" + self.root], seconds=120)
        for path in SHARED:
            if os.path.isdir("/" + path):
                os.makedirs(os.path.join(self.root, path), exist_ok=True)
        for path in LINKS:
            if os.path.islink("/" + path):
                os.symlink(os.readlink("/" + path), os.path.join(self.root, path))
        for path in ("etc/ld.so.cache", "etc/ssl/openssl.cnf", "etc/nsswitch.conf"):
            if os.path.exists("/" + path):
                os.makedirs(os.path.dirname(os.path.join(self.root, path)), exist_ok=True)
                shutil.copy("/" + path, os.path.join(self.root, path))
        self.write("etc/resolv.conf", "")
        self.write("etc/hosts", "")
        self.users_of(self.installed("sysusers.d/chapar.conf"))
        self.directories_of(self.installed("tmpfiles.d/chapar.conf"))

    def installed(self, path):
        with open(os.path.join(self.root, "usr/local/lib", path)) as file:
            return file.read()

    def users_of(self, sysusers):
        groups = {}
        for words in map(shlex.split, sysusers.splitlines()):
            if words and words[0] == "u":
                self.users[words[1]] = 900 + len(self.users)
                groups[words[1]] = []
            elif words and words[0] == "m":
                groups[words[2]].append(words[1])
        check(self.users, "no users in the installed sysusers entry")
        self.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n" + "".join(
            f"{user}:x:{uid}:{uid}::/:/usr/sbin/nologin\n" for user, uid in self.users.items()))
        self.write("etc/group", "root:x:0:\n" + "".join(
            f"{user}:x:{uid}:{','.join(groups[user])}\n" for user, uid in self.users.items()))

    def directories_of(self, tmpfiles):
        for words in map(shlex.split, tmpfiles.splitlines()):
            if words and words[0] == "d":
                path = self.root + words[1]
                os.makedirs(path)
                os.chown(path, self.users.get(words[3], 0), self.users.get(words[4], 0))
                os.chmod(path, int(words[2], 8))

    def certify(self, host, user):
        """The certificate of HOST, as chapar-ca makes it, where the example looks for it."""
        self.site.chapar_ca("issue", host)
        directory = os.path.join(self.root, "etc/chapar")
        os.makedirs(directory, exist_ok=True)
        for file in (host + ".pem", host + ".key", "ca.pem"):
            shutil.copy(os.path.join(self.site.ca, file), directory)
        key = os.path.join(directory, host + ".key")
        os.chown(key, self.users[user], self.users[user])
        os.chmod(key, 0o600)

    def boot(self, unit, seconds=20):
        """What the installed unit says: its check, then the daemon, as its user."""
        text = self.installed(f"systemd/system/{unit}.service")
        user, = re.findall(r"^User=(.*)$", text, re.M)
        check("AmbientCapabilities=CAP_NET_BIND_SERVICE" in text, text)
        prepare, = re.findall(r"^ExecStartPre=(.*)$", text, re.M)
        start, = re.findall(r"^ExecStart=(.*)$", text, re.M)
        done = self.spawn(user, prepare)
        check(done.wait(20) == 0, f"{self.name}: {prepare}:\n{self.log()}")
        mark = len(self.log())
        self.processes.append(self.spawn(user, start))
        wait_for(lambda: re.search(r"\bready\b", self.log()[mark:]) or self.processes[-1].poll() is not None,
                 seconds, f"{self.name} is ready:\n{self.log()}")
        check(self.processes[-1].poll() is None, f"{self.name} ended:\n{self.log()}")

    def spawn(self, user, command):
        mounts = "".join(f"mount --rbind /{path} {shlex.quote(os.path.join(self.root, path))} && "
                         for path in SHARED if os.path.isdir("/" + path))
        script = (f"{mounts}exec chroot {shlex.quote(self.root)} setpriv --reuid {user} --regid {user} "
                  "--init-groups --no-new-privs --bounding-set -all,+net_bind_service "
                  f"--inh-caps -all,+net_bind_service --ambient-caps +net_bind_service {command}")
        with open(os.path.join(self.site.path, self.name + ".log"), "ab") as log:
            return subprocess.Popen(["ip", "netns", "exec", self.namespace, "unshare", "-m", "sh", "-c",
                                     script], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                    start_new_session=True)

    def off(self):
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(10)

    def log(self):
        try:
            with open(os.path.join(self.site.path, self.name + ".log"), errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def ctl(self, *words, socket="run/chapar/relayd.sock", good=(0, 1)):
        """What relayctl says; 1 is its exit code for an empty list."""
        return run([self.site.relayctl, "-s", os.path.join(self.root, socket), *words], good=good)
