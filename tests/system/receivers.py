"""Mail servers of other projects that take what relayd brings, each with one box, TLS and AUTH.

A receiver refuses by the sender's local part where it can: "4-rcpt" is deferred at RCPT, "5-data" refused at
DATA, "cut-mail" loses its connection at MAIL; see `refuses`, which says at which stages it can do that.
"""
import glob
import os
import shutil
import signal
import subprocess
import time

import foreign
from chapar import Skip, check, need

NOBODY = 65534
PORT = 2625
USER, PASSWORD = "relay", "geheim"
STAGES = ("mail", "rcpt", "data", "end")
# What the words are in which each kind of refusal is said; {} is the stage.
WORDS = {"4": "451 4.7.1 later at {}", "5": "550 5.7.1 never at {}", "cut": "421 4.3.2 closing at {}"}


def sender(kind, stage):
    return f"{kind}-{stage}@example.org"


class Receiver(foreign.Foreign):
    """A server with its files below the site, on PORT of an address of the site's."""

    name = ""
    packages = ()
    protocol = "smtp"
    tls = "verify"
    auth = True
    refuses = ()                    # (kind, stage)
    keeps_missing_end = False       # a last line without its end stays so

    def __init__(self, site):
        self.place = os.path.join(site.path, self.name)
        os.makedirs(self.place)
        os.chmod(site.path, 0o755)              # its processes are not root
        self.prepare()
        self.ip = site.address(5)
        self.host = f"{self.name}.example.net"
        site.certificate(self.host, self.ip)
        for end in ("pem", "key"):
            shutil.copy(os.path.join(site.ca, f"{self.host}.{end}"), f"{self.place}/own.{end}")
            os.chmod(f"{self.place}/own.{end}", 0o600 if end == "key" else 0o644)
        self.boxes = os.path.join(self.place, "boxes")
        os.mkdir(self.boxes)
        os.chown(self.boxes, NOBODY, NOBODY)
        self.configure(False)

    def prepare(self):
        super().__init__(self.place, *self.packages)

    def configure(self, refusing):
        """Write its settings, with the refusals or without; called again while it is down."""

    def begin(self):
        raise NotImplementedError

    def write(self, path, text, mode=0o644):
        """A file of its /etc."""
        path = os.path.join(self.etc, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def own_directory(self, name, owner):
        path = os.path.join(self.place, name)
        os.makedirs(path, exist_ok=True)
        os.chown(path, owner, owner)
        return path

    def kill(self):
        """kill -9 of all that belongs to it: what start() began and what calls itself by its place."""
        for process in self.processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait(10)
        self.processes = []
        end, clean = time.monotonic() + 10, 0
        # Who was just being made while the others were looked through is seen the next time.
        while clean < 2:
            pids = list(self.strays())
            clean = 0 if pids else clean + 1
            check(time.monotonic() < end, f"it lives on: {pids}")
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)

    def strays(self):
        """Processes that left the group, known by the mount of /etc that only this server has."""
        mark = f"lowerdir={self.etc}:"
        for entry in glob.glob("/proc/[0-9]*/mounts"):
            try:
                with open(entry) as file:
                    if mark in file.read():
                        yield int(entry.split("/")[2])
            except OSError:
                pass

    def stop(self):
        super().stop()
        self.kill()

    def files(self):
        return glob.glob(self.boxes + "/**/new/*", recursive=True)

    def letters(self):
        """The octets of each letter in the box, lines ended by LF."""
        found = []
        for path in self.files():
            with open(path, "rb") as file:
                found.append(file.read().replace(b"\r\n", b"\n"))
        return found


class Postfix(Receiver):
    name = "postfix"
    packages = ("postfix", "sasl2-bin", "libsasl2-modules", "libsasl2-modules-db", "libdb5.3", "libicu72", "libnsl2")
    refuses = [(kind, stage) for kind in WORDS for stage in STAGES]

    MAIN = """
compatibility_level = 3.6
queue_directory = {place}/queue
data_directory = {place}/data
maillog_file = {place}/foreign.log
maillog_file_prefixes = {place}
myhostname = postfix.example.net
mydestination =
inet_interfaces = loopback-only
inet_protocols = ipv4
alias_maps =
virtual_mailbox_domains = example.net
virtual_mailbox_base = {place}/boxes
virtual_mailbox_maps = static:box/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
smtpd_tls_security_level = may
smtpd_tls_cert_file = {place}/own.pem
smtpd_tls_key_file = {place}/own.key
smtpd_sasl_auth_enable = yes
smtpd_tls_auth_only = yes
smtpd_delay_reject = no
smtpd_relay_restrictions = permit_auth_destination, reject
"""
    MASTER = """
{ip}:2625 inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
proxymap unix - - n - - proxymap
virtual unix - n n - - virtual
postlog unix-dgram n - n - 1 postlogd
"""
    RESTRICTIONS = {"mail": "sender", "rcpt": "recipient", "data": "data", "end": "end_of_data"}

    def configure(self, refusing):
        main = self.MAIN.format(place=self.place, ip=self.ip)
        for stage, word in self.RESTRICTIONS.items():
            table = "".join(f"{sender(kind, stage)} {text.format(stage)}\n" for kind, text in WORDS.items())
            path = self.write(f"postfix/{stage}", table if refusing else "")
            main += f"smtpd_{word}_restrictions = check_sender_access texthash:{path}\n"
        self.write("postfix/main.cf", main)
        self.write("postfix/master.cf", self.MASTER.format(ip=self.ip))
        self.write("postfix/sasl/smtpd.conf", "pwcheck_method: auxprop\nauxprop_plugin: sasldb\n"
                   f"sasldb_path: {self.place}/sasldb\nmech_list: SCRAM-SHA-256 PLAIN\n")

    def begin(self):
        os.makedirs(os.path.join(self.place, "queue"), exist_ok=True)
        self.own_directory("data", 990)
        if not os.path.exists(self.place + "/sasldb"):
            self.run("sh", "-c", f"echo {PASSWORD} | saslpasswd2 -p -c -u postfix.example.net "
                     f"-f {self.place}/sasldb {USER}")
            shutil.chown(self.place + "/sasldb", 990, 990)
        shutil.rmtree(self.place + "/queue/pid", ignore_errors=True)
        self.start("postfix", "start-fg", ready=(self.ip, PORT))


class Exim(Receiver):
    name = "exim"
    packages = ("exim4-daemon-light", "exim4-base", "libdb5.3", "libgnutls-dane0", "libidn12", "libnsl2")
    # "drop" of an ACL is 5yz and the end of the connection: there is no "cut".
    refuses = [(kind, stage) for kind in ("4", "5") for stage in STAGES]
    keeps_missing_end = False

    CONFIG = """
primary_hostname = exim.example.net
local_interfaces = {ip}
daemon_smtp_ports = 2625
spool_directory = {place}/spool
log_file_path = {place}/%slog
pid_file_path = {place}/pid
exim_user = Debian-exim
exim_group = Debian-exim
never_users =
keep_environment =
host_lookup =
rfc1413_hosts =
smtp_accept_max = 100
queue_run_max = 5
tls_advertise_hosts = *
tls_certificate = {place}/own.pem
tls_privatekey = {place}/own.key
auth_advertise_hosts = ${{if def:tls_in_cipher {{*}}{{}}}}
chunking_advertise_hosts = {chunking}
acl_smtp_connect = acl_connect
acl_smtp_helo = acl_helo
acl_smtp_mail = acl_mail
acl_smtp_rcpt = acl_rcpt
acl_smtp_predata = acl_data
acl_smtp_data = acl_end
begin acl
{acls}
begin routers
box:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  directory = {place}/boxes/box
  maildir_format
  user = nobody
  group = nogroup
begin retry
* * F,1h,1s
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{{user}}}}}{{eq{{$auth3}}{{{password}}}}}}}}}
  server_set_id = $auth2
"""

    @staticmethod
    def acl(stage, verb, word, condition):
        return f"  {verb} condition = {condition}\n       message = {word.format(stage)}\n"

    def configure(self, refusing):
        acls = ""                       # BDAT would pass by the one at DATA
        for stage in ("connect", "helo"):               # nobody is known yet: a file says so
            acls += f"acl_{stage}:\n"
            for kind, verb in (("4", "defer"), ("5", "deny")):
                acls += self.acl(stage, verb, WORDS[kind], f"${{if exists{{{self.place}/{kind}-{stage}}}}}")
            acls += "  accept\n"
        for stage in STAGES:
            acls += f"acl_{stage}:\n"
            for kind, verb in (("4", "defer"), ("5", "deny")) if refusing else ():
                local = "${local_part:$sender_address}"
                acls += self.acl(stage, verb, WORDS[kind], f"${{if eq{{{local}}}{{{kind}-{stage}}}}}")
            acls += "  accept\n"
        self.write("exim4/exim4.conf", self.CONFIG.format(place=self.place, ip=self.ip, acls=acls, user=USER,
                                                          password=PASSWORD, chunking="" if refusing else "*"))

    def begin(self):
        self.own_directory("", 994)
        self.own_directory("spool", 994)
        for end in ("pem", "key"):
            shutil.chown(f"{self.place}/own.{end}", 994, 994)
        self.start("exim4", "-bdf", "-q1s", ready=(self.ip, PORT))


class OpenSmtpd(Receiver):
    name = "opensmtpd"
    packages = ("opensmtpd", "libdb5.3", "libevent-2.1-7")
    # Debian's build fails every handshake, so this is also the peer whose TLS is broken.
    tls = "may"
    auth = False
    refuses = [(kind, stage) for kind in WORDS for stage in STAGES]

    PHASES = {"mail": "mail-from", "rcpt": "rcpt-to", "data": "data", "end": "commit"}
    START = """
for place in /var/spool /var/lib /run; do
	mkdir -p "$0$place" && mount --bind "$0$place" "$place" || exit 1
done
rm -f /run/smtpd.sock
mkdir -p /var/lib/opensmtpd/empty /var/spool/smtpd && chmod 711 /var/spool/smtpd && exec smtpd -d
"""

    def configure(self, refusing):
        lines = [f'pki own cert "{self.place}/own.pem"', f'pki own key "{self.place}/own.key"',
                 'table users file:/etc/smtpd.users']
        chain = []
        for kind, stage in self.refuses if refusing else ():
            filter_name = f"{kind}-{stage}"
            verb = "disconnect" if kind == "cut" else "reject"
            lines += [f'table "{filter_name}" {{ "{sender(kind, stage)}" }}',
                      f'filter "{filter_name}" phase {self.PHASES[stage]} match mail-from <{filter_name}> '
                      f'{verb} "{WORDS[kind].format(stage)}"']
            chain.append(f'"{filter_name}"')
        if chain:
            lines.append(f'filter "all" chain {{ {", ".join(chain)} }}')
        lines += [f"listen on {self.ip} port 2625 tls pki own hostname {self.host}" + (' filter "all"' if chain else ""),
                  f'action "box" maildir "{self.boxes}/box" virtual <users>',
                  'match from any for domain "example.net" action "box"']
        self.write("smtpd.conf", "\n".join(lines) + "\n")
        self.write("smtpd.users", "@example.net user0\n")
        self.write("mailname", self.host + "\n")

    def begin(self):
        self.start("sh", "-c", self.START, self.place, ready=(self.ip, PORT))


class Dovecot(Receiver):
    name = "dovecot"
    packages = ("dovecot-core", "dovecot-lmtpd", "dovecot-imapd")
    protocol = "lmtp"
    auth = False                    # LMTP of Dovecot asks nobody who he is
    keeps_missing_end = True

    CONFIG = """
protocols = lmtp
listen = {ip}
base_dir = {place}/run
state_dir = {place}/run
log_path = {place}/foreign.log
ssl = yes
ssl_cert = <{place}/own.pem
ssl_key = <{place}/own.key
mail_uid = 65534
mail_gid = 65534
first_valid_uid = 1
mail_fsync = always
mail_location = maildir:{place}/boxes/%n
service lmtp {{
  inet_listener lmtp {{
    address = {ip}
    port = 2625
  }}
}}
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = passwd-file
  args = {place}/users
}}
"""

    def configure(self, refusing):
        self.write("dovecot/dovecot.conf", self.CONFIG.format(place=self.place, ip=self.ip))
        with open(self.place + "/users", "w") as file:
            file.write(f"box@example.net::65534:65534::{self.boxes}/box.home::\n")

    def begin(self):
        self.start("dovecot", "-F", "-c", "/etc/dovecot/dovecot.conf", ready=(self.ip, PORT))


class Haraka(Receiver):
    """From npm, kept like the packages."""

    name = "haraka"
    refuses = [(kind, stage) for kind in WORDS for stage in STAGES]

    PLUGIN = """
const fs = require('fs')
const words = %s
const refusing = %s
function answer (stage, next, connection, params) {
  const from = connection.transaction ? connection.transaction.mail_from.user : ''
  if (refusing && from === '4-' + stage) return next(DENYSOFT, DSN.sec_unauthorized('later at ' + stage, 450))
  if (refusing && from === '5-' + stage) return next(DENY, DSN.sec_unauthorized('never at ' + stage, 550))
  if (refusing && from === 'cut-' + stage) return connection.client.destroy()
  next(stage === 'rcpt' ? OK : undefined)
}
const DSN = require('haraka-dsn')
exports.hook_mail = (next, connection) => answer('mail', next, connection)
exports.hook_rcpt = (next, connection) => answer('rcpt', next, connection)
exports.hook_data = (next, connection) => answer('data', next, connection)
exports.hook_data_post = (next, connection) => answer('end', next, connection)
exports.hook_queue = (next, connection) => {
  const place = %s, name = connection.transaction.uuid
  const out = fs.createWriteStream(place + '/tmp/' + name, { flush: true })
  out.on('error', () => next(DENYSOFT, 'no disk'))
  out.on('close', () => fs.rename(place + '/tmp/' + name, place + '/new/' + name, error => next(error ? DENYSOFT : OK)))
  connection.transaction.message_stream.pipe(out, { line_endings: '\\r\\n' })
}
// Who has proven who he is may relay: that too ends here, and nothing is sent to anybody.
exports.hook_queue_outbound = exports.hook_queue
"""

    def prepare(self):
        need("node", "npm")
        self.processes = []
        self.etc = self.path = self.place
        self.root = os.path.join(foreign.CACHE, "haraka")
        if os.path.isdir(self.root + "/node_modules/Haraka"):
            return
        draft = f"{self.root}.{os.getpid()}"
        os.makedirs(draft, exist_ok=True)
        try:
            subprocess.run(["npm", "install", "--prefix", draft, "--no-audit", "--no-fund", "--ignore-scripts",
                            "Haraka"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=180, check=True)
            os.rename(draft, self.root)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            shutil.rmtree(draft, ignore_errors=True)
            raise Skip("npm cannot fetch Haraka")
        except OSError:                         # another run was first
            shutil.rmtree(draft, ignore_errors=True)

    def wrap(self, *command):
        return list(command)

    def configure(self, refusing):
        config = "inst/config/"
        for name, text in (("smtp.ini", f"listen={self.ip}:{PORT}\nnodes=0\n"), ("me", self.host + "\n"),
                           ("plugins", "tls\nauth/flat_file\nbox\n"), ("log.ini", "[main]\nlevel=NOTICE\n"),
                           ("auth_flat_file.ini", f"[core]\nmethods=PLAIN,LOGIN\n[users]\n{USER}={PASSWORD}\n"),
                           ("tls.ini", "key=tls_key.pem\ncert=tls_cert.pem\n"), ("databytes", "50000000\n")):
            self.write(config + name, text)
        with open(self.root + "/node_modules/Haraka/config/connection.ini") as file:
            theirs = file.read()                # it would fold lines above 992 octets
        self.write(config + "connection.ini", theirs.replace("data_line_length=992", "data_line_length=1000"))
        for ours, theirs in (("own.pem", "tls_cert.pem"), ("own.key", "tls_key.pem")):
            shutil.copy(f"{self.place}/{ours}", f"{self.place}/{config}{theirs}")
        for name in ("tmp", "new"):
            os.makedirs(f"{self.boxes}/box/{name}", exist_ok=True)
        self.write("inst/plugins/box.js", self.PLUGIN % ("{}", "true" if refusing else "false",
                                                         repr(self.boxes + "/box")))

    def begin(self):
        self.start("node", self.root + "/node_modules/Haraka/bin/haraka", "-c", self.place + "/inst",
                   ready=(self.ip, PORT))

    def strays(self):
        return []
