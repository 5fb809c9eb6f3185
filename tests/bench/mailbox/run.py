"""Deliveries a second into mailboxes: mailboxd beside Dovecot's LMTP and Postfix's virtual(8) and local(8).

    run.py --build DIR [--messages N] [--sessions N] [--rounds N] [--only NAME,...]

10 kB letters to 100 boxes and to one box, the same concurrency, everything durable (mail_fsync =
always; Postfix syncs by itself).  The time runs until the last letter is in its box: for mailboxd and
Dovecot that is the last reply, Postfix is watched until its boxes have all octets.  In each round
the servers follow each other, so that what disturbs the machine disturbs all; medians are printed.
Each is compared with mailboxd's boxes of the same format.
Without the packages, or without root, those that are missing are named and left out.
"""
import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "system"))
import chapar  # noqa: E402
import foreign  # noqa: E402

OCTETS = 10240
PORT = 24240


class Server:
    """One that is measured.  HOST, PORT and PROTOCOL are where letters go."""
    protocol, format = "lmtp", "mbox"
    host = "127.0.0.1"
    one_box_share = 1               # of the letters, where one box would take for ever

    def __init__(self, path, build):
        self.path, self.build, self.port = path, build, PORT
        self.boxes = os.path.join(path, "boxes")

    def clean(self):
        shutil.rmtree(self.boxes, ignore_errors=True)
        os.makedirs(self.boxes)
        os.chmod(self.boxes, 0o777)

    def is_done(self, octets):
        return True

    def note(self):
        return ""


class Mailboxd(Server):
    name = "mailboxd"

    def start(self):
        os.makedirs(os.path.join(self.path, "spool"), 0o700, exist_ok=True)
        kind = "maildir" if self.format == "maildir" else "file"
        config = os.path.join(self.path, "mailboxd.conf")
        with open(config, "w") as file:
            file.write(f'node {{ hostname = "box.test"  spool = "{self.path}/spool"  '
                       f'control = "{self.path}/sock"  allow_volatile_spool = yes  box_threads = 32 }}\n'
                       f'listener "l" {{ address = {{"{self.host}:{self.port}"}}  protocol = lmtp  '
                       f'tls = none }}\nlog {{ level = warn }}\n')
            for n in range(100):
                file.write(f'box "user{n}@box.test" {{ {kind} = "{self.boxes}/user{n}" }}\n')
        self.process = subprocess.Popen([os.path.join(self.build, "mailbox", "mailboxd"), "-f", config],
                                        stdin=subprocess.DEVNULL)
        chapar.wait_for(self.answers, 30, "mailboxd is there")

    def answers(self):
        try:
            socket.create_connection((self.host, self.port), 5).close()
        except OSError:
            return False
        return True

    def note(self):
        text = subprocess.run([os.path.join(self.build, "relay", "relayctl"), "-s", self.path + "/sock",
                               "-j", "status"], stdout=subprocess.PIPE).stdout.decode()
        status = chapar.json.loads(text.splitlines()[0])
        stored = max(1, status["stored"])
        # A Maildir has a sync for each letter's file, and one for the directory.
        own = status["stored"] if self.format == "maildir" else 0
        syncs = status["journal_syncs"] + status["appends"] + own
        return (f"{status['stored'] / max(1, status['appends']):.1f} letters an append, syncs a letter: "
                f"journal {status['journal_syncs'] / stored:.3f}, all {syncs / stored:.3f}")

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


class MailboxdMaildir(Mailboxd):
    name, format = "mailboxd-maildir", "maildir"


class Dovecot(Server):
    name = "dovecot"
    one_box_share = 10              # its processes wait for each other's locks

    def start(self):
        self.foreign = foreign.Foreign(self.path, "dovecot-core", "dovecot-lmtpd", "dovecot-imapd")
        config = os.path.join(self.path, "dovecot.conf")
        location = (f"maildir:{self.boxes}/%n" if self.format == "maildir" else
                    f"mbox:{self.boxes}/%n.d:INBOX={self.boxes}/%n")
        with open(config, "w") as file:
            file.write(f"""
protocols = lmtp
listen = {self.host}
base_dir = {self.path}/run
state_dir = {self.path}/run
log_path = {self.path}/dovecot.log
ssl = no
mail_fsync = always
mail_location = {location}
mbox_write_locks = fcntl dotlock
mail_uid = 65534
mail_gid = 65534
first_valid_uid = 1
mail_privileged_group =
default_process_limit = 400
default_client_limit = 2000
auth_username_format = %n
lmtp_save_to_detail_mailbox = no
recipient_delimiter =
service lmtp {{
  process_limit = 200
  process_min_avail = 20
  inet_listener lmtp {{
    address = {self.host}
    port = {self.port}
  }}
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home={self.boxes}/%n.home allow_all_users=yes
}}
passdb {{
  driver = static
  args = nopassword=y
}}
""")
        self.foreign.start("dovecot", "-F", "-c", config, ready=(self.host, self.port))

    def stop(self):
        self.foreign.stop()


class DovecotMaildir(Dovecot):
    name, format, one_box_share = "dovecot-maildir", "maildir", 1


class Postfix(Server):
    name, protocol = "postfix-virtual", "smtp"
    delivery = """
virtual_mailbox_domains = box.test
virtual_mailbox_base = {boxes}
virtual_mailbox_maps = static:all
virtual_mailbox_limit = 0
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_mailbox_lock = fcntl, dotlock
mydestination =
"""

    def settings(self):
        # The box is named by the address; a map that costs nothing.
        maps = ", ".join(f"{{ user{n}@box.test = user{n} }}" for n in range(100))
        return self.delivery.format(boxes=self.boxes).replace("static:all", f"inline:{{ {maps} }}")

    def start(self):
        self.foreign = foreign.Foreign(self.path, "postfix")
        etc = os.path.join(self.foreign.etc, "postfix")
        queue, data = os.path.join(self.path, "queue"), os.path.join(self.path, "data")
        for directory in (etc, queue, data):
            os.makedirs(directory, exist_ok=True)
        shutil.chown(data, 990, 990)
        os.chmod(self.path, 0o755)
        with open(etc + "/main.cf", "w") as file:
            file.write(f"""compatibility_level = 3.6
maillog_file_prefixes = {self.path}
maillog_file = {self.path}/postfix.log
queue_directory = {queue}
data_directory = {data}
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
myhostname = box.test
mynetworks = 127.0.0.0/8
inet_interfaces = {self.host}
inet_protocols = ipv4
alias_maps =
alias_database =
smtpd_peername_lookup = no
default_process_limit = 250
smtpd_client_connection_count_limit = 0
smtpd_recipient_restrictions = permit_mynetworks, reject
local_destination_concurrency_limit = 50
virtual_destination_concurrency_limit = 50
initial_destination_concurrency = 20
qmgr_message_active_limit = 50000
qmgr_message_recipient_limit = 50000
in_flow_delay = 0
mailbox_size_limit = 0
{self.settings()}""")
        with open(etc + "/master.cf", "w") as file:
            file.write(f"""{self.host}:{self.port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
tlsmgr unix - - n 1000? 1 tlsmgr
""")
        said = self.foreign.run("postfix", "check")
        try:
            self.foreign.start("postfix", "start-fg", ready=(self.host, self.port))
        except chapar.Failure as failure:
            raise chapar.Failure(f"{failure}\n{said}\n{self.log()[-1500:]}")

    def log(self):
        try:
            return open(self.path + "/postfix.log", errors="replace").read()
        except FileNotFoundError:
            return ""

    def is_done(self, octets):
        found = sum(entry.stat().st_size for entry in os.scandir(self.boxes)
                    if not entry.name.endswith(".lock"))
        return found >= octets

    def stop(self):
        self.foreign.run("postfix", "stop")
        self.foreign.stop()


class PostfixLocal(Postfix):
    name = "postfix-local"
    delivery = """
mydestination = box.test
mail_spool_directory = {boxes}/
local_recipient_maps =
mailbox_delivery_lock = fcntl, dotlock
"""

    def settings(self):
        # A name with a slash behind it would be a Maildir.
        return self.delivery.format(boxes=self.boxes).replace(self.boxes + "/", self.boxes)


SERVERS = (Mailboxd, Dovecot, Postfix, PostfixLocal, MailboxdMaildir, DovecotMaildir)


def busy_cpus(before, after, seconds):
    """CPUs that were busy with anything at all."""
    busy = [sum(line[:3]) + sum(line[5:8]) for line in (before, after)]
    return (busy[1] - busy[0]) / os.sysconf("SC_CLK_TCK") / seconds


def cpu_line():
    with open("/proc/stat") as file:
        return [int(word) for word in file.readline().split()[1:]]


def measure(server, tool, boxes, options):
    server.clean()
    server.start()
    try:
        messages = options.messages // (server.one_box_share if boxes == 1 else 1)
        before, begun = cpu_line(), time.monotonic()
        done = subprocess.run([tool, server.host, str(server.port), server.protocol,
                               str(options.sessions), str(messages), str(boxes), str(OCTETS)],
                              stdout=subprocess.PIPE, timeout=300)
        chapar.check(done.returncode == 0, f"{server.name}: deliver ended with {done.returncode}")
        chapar.wait_for(lambda: server.is_done(messages * OCTETS), 300, f"{server.name} delivered all")
        seconds = time.monotonic() - begun
        note = server.note()
        return messages / seconds, busy_cpus(before, cpu_line(), seconds), note
    finally:
        server.stop()


def main():
    parser = argparse.ArgumentParser(description="deliveries a second into mailboxes")
    parser.add_argument("--build", required=True)
    parser.add_argument("--messages", type=int, default=10000)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    path = tempfile.mkdtemp(prefix="chapar-bench-mailbox-", dir=os.environ.get("TMPDIR", "/var/tmp"))
    os.chmod(path, 0o755)
    tool = os.path.join(path, "deliver")
    subprocess.run(["cc", "-O2", "-std=gnu17", "-o", tool, os.path.join(HERE, "deliver.c")], check=True)
    servers = [kind for kind in SERVERS if not options.only or kind.name in options.only.split(",")]
    rates, notes, missing = {}, {}, set()
    for boxes in (100, 1):
        for _ in range(options.rounds):
            for kind in servers:
                if kind.name in missing:
                    continue
                place = os.path.join(path, kind.name)
                shutil.rmtree(place, ignore_errors=True)
                os.makedirs(place)
                os.chmod(place, 0o755)
                try:
                    rate, cpu, note = measure(kind(place, os.path.abspath(options.build)), tool, boxes,
                                              options)
                except chapar.Skip as reason:
                    print(f"skip {kind.name}: {reason}")
                    missing.add(kind.name)
                    continue
                rates.setdefault((kind.name, boxes), []).append(rate)
                notes[kind.name, boxes] = note
                print(f"{kind.name:18} {boxes:3} boxes {rate:8.0f} letters/s, {cpu:.2f} CPUs busy; {note}",
                      flush=True)
    print(f"\nmedians of {options.rounds}, {options.messages} letters of {OCTETS} octets, "
          f"{options.sessions} sessions:")
    for boxes in (100, 1):
        for kind in servers:
            like = "mailboxd-maildir" if kind.format == "maildir" else "mailboxd"
            ours = statistics.median(rates.get((like, boxes), [0]))
            found = rates.get((kind.name, boxes))
            if found:
                median = statistics.median(found)
                print(f"{kind.name:18} {boxes:3} boxes {median:8.0f} letters/s   {like} is "
                      f"{ours / median:5.2f} times as fast   {notes[kind.name, boxes]}")
    shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    main()
