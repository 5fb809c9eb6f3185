"""Other mail servers send everything through a relay: Postfix, Exim and OpenSMTPD with a relay host.

Each is unpacked from its package and the libraries it needs (foreign.py), takes four letters, and hands each to another port of relayd: in
clear, by STARTTLS, by STARTTLS with AUTH, by implicit TLS with AUTH.  The certificate is verified where the client
can.
"""
import email
import os
import shutil
import smtplib

import foreign
from case_submission import CLEAR, HOST, PROTOCOL, SMTPS, STARTTLS, SUBMISSION, needs_auth, network
from chapar import check, wait_for

PORTS = {"clear": CLEAR, "starttls": STARTTLS, "submission": SUBMISSION, "smtps": SMTPS}
BOXES = [f"{name}@example.net" for name in PORTS]
LETTER = "From: ann@example.org\r\nTo: {0}\r\nSubject: to {0}\r\n\r\n..first\r\nTo be relayed.\r\n"


class Server(foreign.Foreign):
    """A foreign server with its files below the site, and a name for the relay that only it knows."""

    def __init__(self, site, name, *packages):
        self.place = os.path.join(site.path, name)
        os.makedirs(self.place)
        os.chmod(site.path, 0o755)              # its processes are not root
        super().__init__(self.place, *packages)
        self.write("hosts", f"127.0.0.1 localhost\n{site.address(1)} {HOST}\n")
        shutil.copy(os.path.join(site.ca, "ca.pem"), self.place)

    def write(self, path, text, mode=0o644):
        """A file of its /etc."""
        path = os.path.join(self.etc, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)
        return path


def all_arrive(site, relay, server):
    """Each letter came once, by the port that it was meant for, and as it was sent."""
    wait_for(lambda: all(site.box("box", box) for box in BOXES), 20,
             f"the four letters\n{relay.log()[-1500:]}\n{server.log()[-1500:]}")
    for name, port in PORTS.items():
        found = site.box("box", f"{name}@example.net")
        check(len(found) == 1, f"{name}: {len(found)} letters")
        letter = email.message_from_bytes(found[0])
        check(letter["Subject"] == f"to {name}@example.net", letter.as_string())
        check(letter.get_payload() == "..first\nTo be relayed.\n", letter.as_string())
        received = [" ".join(text.split()) for text in letter.get_all("Received") if HOST in text]
        check(any(f"by {HOST} " in text and f" with {PROTOCOL[port]} " in text for text in received),
              f"{name}: {received}")
    users = relay.log().count("user=ann")
    check(users >= sum(needs_auth(port) for port in PORTS.values()), f"{users} times ann\n" + relay.log()[-1500:])


def send_by_smtp(address, port):
    with smtplib.SMTP(address, port, "client.example.org", 20) as client:
        for box in BOXES:
            client.sendmail("ann@example.org", [box], LETTER.format(box))


POSTFIX = """
compatibility_level = 3.6
queue_directory = {place}/queue
data_directory = {place}/data
maillog_file = {place}/foreign.log
maillog_file_prefixes = {place}
myhostname = postfix.example.org
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
alias_maps =
smtp_host_lookup = native
smtp_tls_CAfile = {place}/ca.pem
smtp_tls_secure_cert_match = hostname
smtp_sasl_password_maps = inline:{{ {{{host} = ann:geheim}} }}
smtp_sasl_security_options = noanonymous
transport_maps = inline:{{ {maps} }}
"""
POSTFIX_SERVICES = """
{ip}:2625 inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
clear unix - - n - - smtp -o smtp_tls_security_level=none
starttls unix - - n - - smtp -o smtp_tls_security_level=secure
submission unix - - n - - smtp -o smtp_tls_security_level=secure -o smtp_sasl_auth_enable=yes
smtps unix - - n - - smtp -o smtp_tls_security_level=secure -o smtp_sasl_auth_enable=yes
  -o smtp_tls_wrappermode=yes
"""


def test_postfix(site):
    """Postfix sends through a relay host: in clear, STARTTLS, AUTH, implicit TLS; certificates verified."""
    server = Server(site, "postfix", "postfix", "libdb5.3", "libicu72", "libnsl2")
    relay, _, _ = network(site, BOXES)
    ip = site.address(5)
    maps = " ".join(f"{{{name}@example.net = {name}:[{HOST}]:{port}}}" for name, port in PORTS.items())
    server.write("postfix/main.cf", POSTFIX.format(place=server.place, host=HOST, maps=maps))
    server.write("postfix/master.cf", POSTFIX_SERVICES.format(ip=ip))
    for name in ("queue", "data"):
        os.mkdir(os.path.join(server.place, name))
    os.chown(os.path.join(server.place, "data"), 990, 990)
    try:
        server.start("postfix", "start-fg", ready=(ip, 2625))
        send_by_smtp(ip, 2625)
        all_arrive(site, relay, server)
    finally:
        server.stop()


EXIM = """
primary_hostname = exim.example.org
spool_directory = {place}/spool
log_file_path = {place}/%slog
exim_user = Debian-exim
exim_group = Debian-exim
never_users =
keep_environment =
trusted_users = root
tls_advertise_hosts =
qualify_domain = example.org
begin routers
{routers}
begin transports
{transports}
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  client_send = ^ann^geheim
"""


def exim_router(name):
    words = [f"{name}:", "driver = manualroute", f"local_parts = {name}", f"transport = {name}",
             f"route_list = * {HOST} byname", "self = send"]
    return "\n  ".join(words) + "\n"


def exim_transport(name, port, place):
    words = [f"{name}:", "driver = smtp", f"port = {port}", "allow_localhost"]
    if port == CLEAR:
        words += ["hosts_avoid_tls = *"]
    else:
        words += ["hosts_require_tls = *", f"tls_verify_certificates = {place}/ca.pem", "tls_verify_hosts = *"]
    words += ["hosts_require_auth = *"] if needs_auth(port) else ["hosts_try_auth ="]
    words += ["protocol = smtps"] if port == SMTPS else []
    return "\n  ".join(words) + "\n"


def test_exim(site):
    """Exim sends through a relay host: in clear, STARTTLS, AUTH, implicit TLS; certificates verified."""
    server = Server(site, "exim", "exim4-daemon-light", "exim4-base", "libdb5.3", "libgnutls-dane0", "libidn12",
                    "libnsl2")
    relay, _, _ = network(site, BOXES)
    server.write("exim4/exim4.conf", EXIM.format(
        place=server.place, routers="".join(map(exim_router, PORTS)),
        transports="".join(exim_transport(name, port, server.place) for name, port in PORTS.items())))
    os.mkdir(os.path.join(server.place, "spool"))
    for name in ("", "spool"):
        os.chown(os.path.join(server.place, name), 994, 994)
    for box in BOXES:
        said = server.run("sh", "-c", 'printf "%s" "$2" | exim4 -odf -i -f ann@example.org "$1"', "sh", box,
                          LETTER.format(box).replace("\r\n", "\n"))
        check(not said.strip(), said)
    all_arrive(site, relay, server)


OPENSMTPD = """
queue ttl 1h
mta limit conn-delay-route 0
listen on {ip} port 2625
table secrets file:/etc/smtpd.secrets
{actions}
"""
# The places of its queue, socket and cell are built in.
OPENSMTPD_START = """
for place in /var/spool /var/lib /run; do
	mkdir -p "$0$place" && mount --bind "$0$place" "$place" || exit 1
done
mkdir -p /var/lib/opensmtpd/empty && mkdir -m 711 /var/spool/smtpd && exec smtpd -d
"""


def test_opensmtpd(site):
    """OpenSMTPD sends through a relay host: in clear, STARTTLS, AUTH, implicit TLS; certificates verified."""
    server = Server(site, "opensmtpd", "opensmtpd", "libdb5.3", "libevent-2.1-7")
    relay, _, _ = network(site, BOXES)
    ip = site.address(5)
    schemes = {"clear": "smtp+notls", "starttls": "smtp+tls", "submission": "smtp+tls", "smtps": "smtps"}
    actions = []
    for name, port in PORTS.items():
        label, words = ("ann@", " auth <secrets>") if needs_auth(port) else ("", "")
        actions += [f'action "{name}" relay host "{schemes[name]}://{label}{HOST}:{port}"{words} '
                    "helo opensmtpd.example.org",
                    f'match from any for rcpt-to "{name}@example.net" action "{name}"']
    server.write("smtpd.conf", OPENSMTPD.format(ip=ip, actions="\n".join(actions)))
    server.write("smtpd.secrets", "ann ann:geheim\n")
    server.write("mailname", "opensmtpd.example.org\n")
    os.makedirs(os.path.join(server.etc, "ssl/certs"))
    shutil.copy(os.path.join(site.ca, "ca.pem"), os.path.join(server.etc, "ssl/certs/ca-certificates.crt"))
    try:
        server.start("sh", "-c", OPENSMTPD_START, server.place, ready=(ip, 2625))
        send_by_smtp(ip, 2625)
        all_arrive(site, relay, server)
    finally:
        server.stop()


# What is watched is how others speak to us; under a sanitizer it is only slower.
test_postfix.races = test_exim.races = test_opensmtpd.races = False
