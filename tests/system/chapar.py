"""A Chapar network on loopback, for tests: daemons, certificates, clients, mailboxes.

Each Site has a directory and a 127.x.y.0/24 of its own, so that sites of different runs never
meet.  Every wait is bounded; every process is ended by its pid.
"""
import json
import mailbox
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


class Skip(Exception):
    """The machine cannot run this case; the text says why."""


class Failure(Exception):
    """A check of the case does not hold."""


def check(condition, text):
    if not condition:
        raise Failure(text)


def patience():
    """By how much longer is waited when the machine has more to do than it has processors for."""
    return min(4.0, max(1.0, os.getloadavg()[0] / os.cpu_count()))


def wait_for(question, seconds, what):
    """Ask until the answer is true; fail after the time, which a busy machine stretches."""
    seconds *= patience()
    end = time.monotonic() + seconds
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise Failure(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Skip(f"{program} is not installed")


def run(command, seconds=60, data=None, env=None, good=(0,), cwd=None):
    """Run a program to its end; its output as text."""
    done = subprocess.run(command, input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=seconds * patience(), env=env, cwd=cwd)
    text = done.stdout.decode("utf-8", "replace")
    check(good is None or done.returncode in good,
          f"{' '.join(map(str, command[:4]))} ended with {done.returncode}:\n{text[-3000:]}")
    return text


class Daemon:
    """One relayd or mailboxd."""

    def __init__(self, site, name, program, config):
        self.site, self.name, self.program = site, name, program
        self.config_path = os.path.join(site.path, name + ".conf")
        self.log_path = os.path.join(site.path, name + ".log")
        self.socket = os.path.join(site.path, name + ".sock")
        self.process = None
        self.configure(config)

    def configure(self, config):
        with open(self.config_path, "w") as file:
            file.write(config)

    def start(self, wrapper=(), seconds=20, env=None):
        log = open(self.log_path, "ab")
        mark = log.tell()
        self.process = subprocess.Popen([*wrapper, self.program, "-f", self.config_path],
                                        stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                        env={**os.environ, **self.site.env, **(env or {})},
                                        start_new_session=True)
        log.close()

        def ready():
            check(self.process.poll() is None,
                  f"{self.name} ended with {self.process.returncode}:\n{self.log()[-3000:]}")
            return re.search(r"\bready\b", self.log()[mark:])
        wait_for(ready, seconds, f"{self.name} is ready:\n" + self.log()[-2000:])
        return self

    def log(self):
        try:
            with open(self.log_path, errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def kill(self):
        """kill -9, as a power cut for the process."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)

    def stop(self, seconds=15):
        """SIGTERM; returns the exit status."""
        if self.process is None or self.process.poll() is not None:
            return self.process.returncode if self.process else None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failure(f"{self.name} did not end within {seconds} s of SIGTERM:\n"
                          + self.log()[-2000:])

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def ctl(self, *words, good=(0,), seconds=30):
        return run([self.site.relayctl, "-s", self.socket, *words], seconds, good=good)

    def ctl_json(self, *words, good=(0, 1)):
        text = self.ctl("-j", *words, good=good)
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def queue_length(self):
        return len(self.ctl_json("list"))


class Site:
    """A directory, a CA, and the daemons in it."""

    def __init__(self, build):
        self.build = build
        self.relayd = os.path.join(build, "relay", "relayd")
        self.relayctl = os.path.join(build, "relay", "relayctl")
        self.mailboxd = os.path.join(build, "mailbox", "mailboxd")
        self.path = tempfile.mkdtemp(prefix="chapar-test-", dir=os.environ.get("TMPDIR", "/var/tmp"))
        self.net = f"127.{random.randrange(16, 240)}.{random.randrange(1, 250)}."
        self.daemons = []
        self.used = set()
        self.env = {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99",
                    "TSAN_OPTIONS": "halt_on_error=0:exitcode=66",
                    "UBSAN_OPTIONS": "print_stacktrace=1"}
        self.ca = os.path.join(self.path, "ca")
        self.chapar_ca("init")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for daemon in self.daemons:
            daemon.kill()
        if kind is None or kind is Skip:
            for daemon in self.daemons:
                check("Sanitizer" not in daemon.log(),
                      f"{daemon.name}: a sanitizer reports:\n" + daemon.log()[:6000])
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            for daemon in self.daemons:
                print(f"--- {daemon.log_path}\n{daemon.log()[-2500:]}")

    def chapar_ca(self, *words):
        return run([os.path.join(ROOT, "etc", "chapar-ca"), "-d", self.ca, *words])

    def address(self, number):
        return self.net + str(number)

    def certificate(self, name, *alternatives):
        if name not in self.used:
            self.chapar_ca("issue", name, *alternatives)
            self.used.add(name)
        return f"""
tls "{name}" {{
  certificate = "{self.ca}/{name}.pem"
  key = "{self.ca}/{name}.key"
  ca = "{self.ca}/ca.pem"
}}
"""

    def volatile(self):
        kind = run(["stat", "-f", "-c", "%T", self.path]).strip()
        return "  allow_volatile_spool = yes\n" if kind in ("tmpfs", "overlayfs", "overlay") else ""

    def relay(self, name, number, routes, listeners=None, accept=None, extra="", node=""):
        """A relay on 127.x.y.NUMBER: 2525 with STARTTLS, 2465 with implicit TLS, unless told."""
        ip = self.address(number)
        host = f"{name}.chapar.test"
        if listeners is None:
            listeners = f"""
listener "mx" {{ address = {{"{ip}:2525"}}  tls = starttls }}
listener "smtps" {{ address = {{"{ip}:2465"}}  tls = implicit }}
"""
        if accept is None:
            accept = 'accept { relay_from = {"127.0.0.0/8"} }\n'
        config = f"""
node {{
  hostname = "{host}"
  spool = "{self.path}/{name}.spool"
  control = "{self.path}/{name}.sock"
{self.volatile()}{node}}}
{self.certificate(host, ip, "localhost")}{listeners}{accept}{extra}{routes}"""
        daemon = Daemon(self, name, self.relayd, config)
        self.daemons.append(daemon)
        return daemon

    def mailbox(self, name, number, boxes, listeners=None, extra="", node=""):
        """A mailbox node: 2424 LMTP with STARTTLS, 2526 SMTP with STARTTLS; BOXES are addresses."""
        ip = self.address(number)
        host = f"{name}.chapar.test"
        directory = os.path.join(self.path, name + ".boxes")
        os.makedirs(directory, exist_ok=True)
        if listeners is None:
            listeners = f"""
listener "lmtp" {{ address = {{"{ip}:2424"}}  protocol = lmtp  tls = starttls }}
listener "smtp" {{ address = {{"{ip}:2526"}}  protocol = smtp  tls = starttls }}
"""
        table = "".join(f'box "{box}" {{ file = "{self.box_path(name, box)}" }}\n' for box in boxes)
        config = f"""
node {{
  hostname = "{host}"
  spool = "{self.path}/{name}.spool"
  control = "{self.path}/{name}.sock"
{self.volatile()}{node}}}
{self.certificate(host, ip, "localhost")}{listeners}{extra}{table}"""
        daemon = Daemon(self, name, self.mailboxd, config)
        self.daemons.append(daemon)
        return daemon

    def box_path(self, node, box):
        return os.path.join(self.path, node + ".boxes", box.replace("@", "_at_"))

    def box(self, node, box):
        """The messages of an mbox, as lists of (headers, body bytes)."""
        path = self.box_path(node, box)
        if not os.path.exists(path):
            return []
        box = mailbox.mbox(path, create=False)
        try:
            return [box.get_bytes(key) for key in box.keys()]
        finally:
            box.close()


def lmtp_route(to, name="site", domains='"example.net"', tls="verify", extra=""):
    hosts = ", ".join(f'"{host}"' for host in to)
    return (f'route "{name}" {{ for = {{{domains}}}  via = lmtp  to = {{{hosts}}}  '
            f'tls = {tls} {extra} }}\n')


def smtp_route(to, name="onward", domains='"*"', tls="verify", extra=""):
    hosts = ", ".join(f'"{host}"' for host in to)
    return (f'route "{name}" {{ for = {{{domains}}}  via = smtp  to = {{{hosts}}}  '
            f'tls = {tls} {extra} }}\n')


def chain(site, boxes=("user@example.net",), retry=""):
    """relay1 -> relay2 -> mailbox node, verified TLS on every hop; not started."""
    node = site.mailbox("box", 3, boxes)
    relay2 = site.relay("relay2", 2, lmtp_route([site.address(3) + ":2424"], extra=retry))
    relay1 = site.relay("relay1", 1, smtp_route([site.address(2) + ":2525"], extra=retry))
    return relay1, relay2, node


def swaks(server, *words, sender="sender@example.org", to="user@example.net", good=(0,)):
    need("swaks")
    return run(["swaks", "--server", server, "--helo", "client.example.org", "--from", sender,
                "--to", to, "--timeout", "20", *words], good=good)


def free_port(address="127.0.0.1"):
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]
