"""Clients of the world send through a relay: in clear, with STARTTLS, with implicit TLS, with AUTH and without.

swaks, curl, msmtp and smtplib with every mechanism are in case_auth; swaks, msmtp, s-nail and mutt through the
whole chain in case_delivery and case_clients.
"""
import email
import json
import os
import shutil
import smtplib
import subprocess

from case_auth import entry, unverified
from chapar import Skip, check, lmtp_route, need, run, wait_for

USER = "user@example.net"
CLEAR, STARTTLS, SUBMISSION, SMTPS = 2525, 2526, 2587, 2465
HOST = "relay1.chapar.test"


def network(site, boxes=(USER,)):
    """Four ports: in clear, STARTTLS for anybody here, STARTTLS and implicit TLS with AUTH."""
    node = site.mailbox("box", 3, boxes)
    ip = site.address(1)
    users = os.path.join(site.path, "users")
    with open(users, "w") as file:
        file.write(entry(site, "ann", "geheim"))
    os.chmod(users, 0o600)
    relay = site.relay("relay1", 1, lmtp_route([site.address(3) + ":2424"]), extra='auth { credentials = "users" }\n',
                       listeners=f"""
listener "clear" {{ address = {{"{ip}:{CLEAR}"}} }}
listener "mx" {{ address = {{"{ip}:{STARTTLS}"}}  tls = require }}
listener "submission" {{ address = {{"{ip}:{SUBMISSION}"}}  tls = require  auth = required }}
listener "smtps" {{ address = {{"{ip}:{SMTPS}"}}  tls = implicit  auth = required }}
""")
    node.start()
    relay.start()
    home = os.path.join(site.path, "home")
    os.makedirs(home)
    return relay, ip, {**os.environ, "HOME": home, "LC_ALL": "C.UTF-8", "EMAIL": "ann@example.org"}


PROTOCOL = {CLEAR: "ESMTP", STARTTLS: "ESMTPS", SUBMISSION: "ESMTPSA", SMTPS: "ESMTPSA"}


def arrived(site, relay, count, port, subject):
    """The newest letter: its subject, and how Received says that it came."""
    wait_for(lambda: len(site.box("box", USER)) >= count, 20,
             f"{subject}: {count} letters\n" + relay.log()[-1500:])
    letter = email.message_from_bytes(site.box("box", USER)[-1])
    check(subject in str(letter["Subject"]), letter.as_string())
    received = " ".join(letter.get_all("Received")[-1].split())
    said = [PROTOCOL[port]] + (["SMTP"] if not needs_auth(port) else [])  # some say HELO when that is enough
    check(any(f" with {word} " in received for word in said), received)


def by_ports(site, send, ports=(CLEAR, STARTTLS, SUBMISSION, SMTPS)):
    """send(ip, port, env) for each port, and the letter of each."""
    relay, ip, env = network(site)
    for count, port in enumerate(ports, 1):
        send(ip, port, env)
        arrived(site, relay, count, port, "by the client")


def needs_auth(port):
    return port in (SUBMISSION, SMTPS)


def test_curl(site):
    """curl: each port, certificates verified."""
    need("curl")
    letter = os.path.join(site.path, "letter")
    with open(letter, "w") as file:
        file.write("From: ann@example.org\r\nSubject: by the client\r\n\r\nhello\r\n")

    def send(ip, port, env):
        scheme = "smtps" if port == SMTPS else "smtp"
        words = ["--ssl-reqd"] if port != CLEAR else []
        words += ["--user", "ann:geheim"] if needs_auth(port) else []
        run(["curl", "-sS", "--url", f"{scheme}://{HOST}:{port}/client.example.org", "--resolve", f"{HOST}:{port}:{ip}",
             "--cacert", site.ca + "/ca.pem", "--mail-from", "ann@example.org", "--mail-rcpt", USER,
             "--upload-file", letter, *words], env=env)
    by_ports(site, send)


def test_msmtp(site):
    """msmtp: each port."""
    need("msmtp")

    def send(ip, port, env):
        words = [f"--tls={'off' if port == CLEAR else 'on'}", f"--tls-starttls={'off' if port == SMTPS else 'on'}",
                 "--tls-trust-file=" + site.ca + "/ca.pem"]
        words += ["--auth=plain", "--user=ann", "--passwordeval=echo geheim"] if needs_auth(port) else ["--auth=off"]
        run(["msmtp", "--host", ip, "--port", str(port), "--from=ann@example.org", *words, USER],
            data=b"Subject: by the client\n\nhello\n", env=env)
    by_ports(site, send)


def test_s_nail(site):
    """s-nail: each port."""
    need("s-nail")

    def send(ip, port, env):
        scheme = "smtps" if port == SMTPS else "smtp"
        user = "ann:geheim@" if needs_auth(port) else ""
        words = ["-Ssmtp-use-starttls"] if port in (STARTTLS, SUBMISSION) else []
        words += ["-Ssmtp-auth=plain"] if needs_auth(port) else ["-Ssmtp-auth=none"]
        run(["s-nail", "-:/", "-Sv15-compat", f"-Smta={scheme}://{user}{ip}:{port}", "-Stls-verify=ignore", *words,
             "-Sfrom=ann@example.org", "-Shostname=client.example.org", "-s", "by the client", USER],
            data=b"hello\n", env=env)
    by_ports(site, send)


def test_mutt(site):
    """mutt by its own SMTP: each port."""
    need("mutt")
    rc = os.path.join(site.path, "muttrc")

    def send(ip, port, env):
        scheme = "smtps" if port == SMTPS else "smtp"
        user = "ann:geheim@" if needs_auth(port) else ""
        with open(rc, "w") as file:
            file.write(f'set smtp_url="{scheme}://{user}{ip}:{port}"\nset from="ann@example.org"\nset use_from=yes\n'
                       f'set ssl_starttls={"no" if port == CLEAR else "yes"}\n'
                       f'set ssl_force_tls={"no" if port == CLEAR else "yes"}\n'
                       f'set certificate_file="{site.ca}/ca.pem"\nset smtp_authenticators="plain"\n'
                       'set ssl_verify_host=yes\nset copy=no\nset hostname="client.example.org"\n')
        run(["mutt", "-n", "-F", rc, "-s", "by the client", USER], data=b"hello\n", env=env)
    by_ports(site, send)


def test_smtplib(site):
    """Python's smtplib: each port."""
    def send(ip, port, env):
        if port == SMTPS:
            client = smtplib.SMTP_SSL(ip, port, timeout=20, context=unverified())
        else:
            client = smtplib.SMTP(ip, port, timeout=20)
            if port != CLEAR:
                client.starttls(context=unverified())
        if needs_auth(port):
            client.login("ann", "geheim")
        client.sendmail("ann@example.org", [USER], b"Subject: by the client\r\n\r\nhello\r\n")
        client.quit()
    by_ports(site, send)


PERL = r"""
use strict; use warnings; use Net::SMTP;
my ($ip, $port, $tls, $auth, $ca, $name) = @ARGV;
my %tls = (SSL_ca_file => $ca, SSL_verifycn_name => $name, SSL_hostname => $name);
my $smtp = Net::SMTP->new($ip, Port => $port, Hello => 'client.example.org', Timeout => 20,
    SSL => $tls eq 'implicit', %tls) or die "no connection: $@";
if ($tls eq 'starttls') { $smtp->starttls(%tls) or die "STARTTLS: $@ " . $smtp->message; }
if ($auth) { $smtp->auth('ann', 'geheim') or die 'AUTH: ' . $smtp->message; }
$smtp->mail('ann@example.org') && $smtp->to('user@example.net') && $smtp->data("Subject: by the client\n\nhello\n")
    or die $smtp->message;
$smtp->quit;
"""


def test_net_smtp(site):
    """Perl's Net::SMTP: each port, certificates verified."""
    need("perl")
    script = os.path.join(site.path, "send.pl")
    with open(script, "w") as file:
        file.write(PERL)
    for module in ("Net::SMTP", "IO::Socket::SSL", "Authen::SASL"):
        if subprocess.run(["perl", f"-M{module}", "-e1"], stderr=subprocess.DEVNULL).returncode:
            raise Skip(f"perl has no {module}")

    def send(ip, port, env):
        run(["perl", script, ip, str(port), {CLEAR: "none", SMTPS: "implicit"}.get(port, "starttls"),
             "1" if needs_auth(port) else "", site.ca + "/ca.pem", HOST], env=env)
    by_ports(site, send)


NODE = """
const [ip, port, secure, tls, auth, ca] = process.argv.slice(2);
const transport = require('nodemailer').createTransport({
  host: ip, port: Number(port), secure: secure === '1', requireTLS: tls === '1', ignoreTLS: tls !== '1' && secure !== '1',
  name: 'client.example.org', auth: auth === '1' ? { user: 'ann', pass: 'geheim' } : undefined,
  tls: { ca: require('fs').readFileSync(ca), servername: 'relay1.chapar.test' } });
transport.sendMail({ from: 'ann@example.org', to: 'user@example.net', subject: 'by the client', text: 'hello' })
  .catch(error => { console.error(error); process.exit(1); });
"""


def test_nodemailer(site):
    """nodemailer: each port, certificates verified."""
    need("node")
    where = {**os.environ, "NODE_PATH": "/usr/share/nodejs:" + os.path.join(site.path, "node_modules")}
    known = ["node", "-e", "require('nodemailer')"]
    if subprocess.run(known, env=where, stderr=subprocess.DEVNULL).returncode:
        need("npm")
        try:
            subprocess.run(["npm", "install", "--prefix", site.path, "--no-audit", "--no-fund", "nodemailer"],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            raise Skip("npm cannot fetch nodemailer")
    script = os.path.join(site.path, "send.js")
    with open(script, "w") as file:
        file.write(NODE)

    def send(ip, port, env):
        run(["node", script, ip, str(port), "1" if port == SMTPS else "0", "0" if port == CLEAR else "1",
             "1" if needs_auth(port) else "0", site.ca + "/ca.pem"], env={**env, "NODE_PATH": where["NODE_PATH"]})
    by_ports(site, send)


def test_git_send_email(site):
    """git send-email: each port."""
    need("git")
    if subprocess.run(["git", "send-email", "--dump-aliases"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                      cwd=site.path).returncode:
        raise Skip("git send-email is not installed")
    patch = os.path.join(site.path, "0001.patch")
    with open(patch, "w") as file:
        file.write("From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\n"
                   "From: Ann <ann@example.org>\nDate: Tue, 1 Sep 2026 00:00:00 +0000\n"
                   "Subject: [PATCH] by the client\n\nhello\n---\n file | 1 +\n")

    def send(ip, port, env):
        words = {CLEAR: [], SMTPS: ["--smtp-encryption=ssl"]}.get(port, ["--smtp-encryption=tls"])
        words += ["--smtp-user=ann", "--smtp-pass=geheim"] if needs_auth(port) else []
        # It knows no name for the certificate but the server's, which is an address that ours has.
        run(["git", "send-email", "--quiet", "--confirm=never", "--suppress-cc=all", f"--to={USER}",
             "--from=ann@example.org", f"--smtp-server={ip}", f"--smtp-server-port={port}",
             "--smtp-domain=client.example.org", f"--smtp-ssl-cert-path={site.ca}/ca.pem", *words, patch], env=env,
            cwd=site.path)
    by_ports(site, send)


def findings(path):
    """What testssl.sh found: severity, id and words."""
    with open(path) as file:
        return [(it["severity"], it["id"], it["finding"]) for it in json.load(file)]


# A private CA has no place in the trust stores, gives no revocation lists, and nobody asks DNS for it.
OF_A_PRIVATE_CA = ("cert_chain_of_trust", "cert_revocation", "DNS_CAArecord")


def test_sslscan(site):
    """sslscan sees TLS 1.2 and 1.3 and nothing that it calls weak."""
    need("sslscan")
    relay, ip, env = network(site)
    said = run(["sslscan", "--no-colour", f"{ip}:{SMTPS}"], seconds=120)
    for old in ("SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"):
        check(f"{old}     disabled" in said or f"{old}   disabled" in said, f"{old}:\n{said}")
    for bad in ("RC4", "3DES", "NULL", "EXP-", "vulnerable to heartbleed", "Compression enabled"):
        check(bad not in said.replace("not vulnerable to heartbleed", ""), f"{bad}:\n{said}")
    check("renegotiation not supported" in said or "Secure session renegotiation supported" in said, said)
    bits = [int(line.split()[2]) for line in said.splitlines() if line.startswith(("Accepted", "Preferred"))]
    check(bits and min(bits) >= 128, said)
    check(relay.alive(), "relayd is dead")


def test_testssl(site):
    """testssl.sh reports nothing of medium severity or worse, but for the private CA."""
    program = shutil.which("testssl") or shutil.which("testssl.sh")
    if not program:
        raise Skip("testssl.sh is not installed")
    if not os.environ.get("CHAPAR_TESTSSL"):
        raise Skip("it takes four minutes: make testssl")
    relay, ip, env = network(site)
    for words, port in (([], SMTPS), (["-t", "smtp"], STARTTLS)):
        report = os.path.join(site.path, f"testssl-{port}.json")
        run([program, "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--jsonfile",
             report, *words, f"{ip}:{port}"], seconds=1500, env=env, good=None)
        bad = [it for it in findings(report) if it[0] in ("MEDIUM", "HIGH", "CRITICAL", "FATAL")
               and not it[1].startswith(OF_A_PRIVATE_CA)]
        check(not bad, f"port {port}: {bad}")
    check(relay.alive(), "relayd is dead")


test_testssl.races = test_sslscan.races = False
