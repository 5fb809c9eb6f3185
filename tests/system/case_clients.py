"""Mail clients that people use send through a relay, and read the mbox."""
import email
import os
import re

from case_delivery import arrived, start
from chapar import chain, check, need, run, swaks, wait_for

USER = "user@example.net"


def network(site):
    relay1, relay2, node = chain(site)
    start(node, relay2, relay1)
    home = os.path.join(site.path, "home")
    os.makedirs(home)
    return site.address(1), {**os.environ, "HOME": home, "LC_ALL": "C.UTF-8", "EMAIL": "me@example.org"}


def test_msmtp(site):
    """msmtp with verified STARTTLS."""
    need("msmtp")
    ip, env = network(site)
    run(["msmtp", "--host", ip, "--port", "2525", "--tls=on", "--tls-starttls=on",
         "--tls-trust-file=" + site.ca + "/ca.pem", "--from=me@example.org",
         "--auth=off", USER], data=b"Subject: by msmtp\n\nhello\n", env=env)
    letter, = arrived(site, 1)
    check(letter["Subject"] == "by msmtp", letter.as_string())


def test_s_nail_sends(site):
    """s-nail with STARTTLS; it cannot verify an address in place of a name, so it only encrypts."""
    need("s-nail")
    ip, env = network(site)
    run(["s-nail", "-:/", "-Sv15-compat", f"-Smta=smtp://{ip}:2525", "-Ssmtp-use-starttls",
         "-Stls-verify=ignore", "-Ssmtp-auth=none",
         "-Sfrom=me@example.org", "-Shostname=client.example.org", "-s", "by s-nail", USER],
        data=b"hello\n", env=env)
    letter, = arrived(site, 1)
    check(letter["Subject"] == "by s-nail", letter.as_string())


def test_mutt_sends(site):
    """mutt over its own SMTP, in clear from this host."""
    need("mutt")
    ip, env = network(site)
    rc = os.path.join(site.path, "muttrc")
    with open(rc, "w") as file:
        file.write(f'set smtp_url="smtp://{ip}:2525"\nset from="me@example.org"\nset use_from=yes\n'
                   f'set ssl_starttls=yes\nset ssl_force_tls=yes\nset certificate_file="{site.ca}/ca.pem"\n'
                   'set ssl_verify_host=yes\nset copy=no\nset hostname="client.example.org"\n')
    run(["mutt", "-n", "-F", rc, "-s", "by mutt", USER], data=b"hello\n", env=env)
    letter, = arrived(site, 1)
    check(letter["Subject"] == "by mutt", letter.as_string())


def test_readers_agree(site):
    """s-nail, formail and Python see the same letters, with From lines in the bodies."""
    need("s-nail", "formail")
    ip, env = network(site)
    for number in range(7):
        swaks(ip + ":2525", "--tls", "--header", f"Subject: number {number}",
              "--body", "text\nFrom here\n\nFrom there on a line of its own\n>From\n")
    arrived(site, 7)
    path = site.box_path("box", USER)
    before = open(path, "rb").read()
    subjects = [f"number {number}" for number in range(7)]
    found = [email.message_from_bytes(text)["Subject"] for text in site.box("box", USER)]
    check(sorted(found) == subjects, f"Python: {found}")
    count = run(["formail", "-s", "formail", "-X", "Subject:"], data=before).count("Subject: number")
    check(count == 7, f"formail: {count}")
    said = run(["s-nail", "-:/", "-Sv15-compat", "-N", "-R", "-f", path], data=b"headers\nexit\n", env=env)
    check(len(re.findall(r"number \d", said)) >= 7, "s-nail:\n" + said)
    check(open(path, "rb").read() == before, "a reader changed the mbox")
