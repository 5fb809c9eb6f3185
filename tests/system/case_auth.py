"""Clients that prove who they are: PLAIN, LOGIN, SCRAM-SHA-256, EXTERNAL; and those who do not."""
import base64
import os
import re
import smtplib
import socket
import ssl
import time

from chapar import Failure, check, lmtp_route, need, run, swaks, wait_for

USER = "user@example.net"
AUTH = 'auth { credentials = "users"  delay = 100ms  show_user = yes }\n'


def entry(site, user, password, *words):
    return run([site.relayctl, "passwd", *words, user], data=password.encode() + b"\n")


def network(site, more="", auth=AUTH):
    """A relay that takes mail of authenticated users only, and a mailbox node behind it."""
    node = site.mailbox("box", 3, [USER])
    ip = site.address(1)
    users = os.path.join(site.path, "users")
    with open(users, "w") as file:
        file.write("# who may send\n" + entry(site, "ann", "geheim")
                   + entry(site, "bob@example.net", "two words", "--scram"))
    os.chmod(users, 0o600)
    listeners = f"""
listener "mx" {{ address = {{"{ip}:2525"}}  tls = starttls  auth = offered }}
listener "submission" {{ address = {{"{ip}:2465"}}  tls = implicit  auth = required }}
listener "starttls" {{ address = {{"{ip}:2587"}}  tls = starttls  auth = required }}
listener "clear" {{ address = {{"{ip}:2588"}}  auth = offered  auth_in_clear = yes }}
"""
    relay = site.relay("relay1", 1, lmtp_route([site.address(3) + ":2424"], extra="accept = no"),
                       listeners=listeners, accept="accept { }\n", extra=auth + more)
    node.start()
    relay.start()
    return relay, ip


def arrived(site, count):
    return wait_for(lambda: len(site.box("box", USER)) >= count and site.box("box", USER), 20,
                    f"{count} letters in the box")


def test_swaks(site):
    """swaks by PLAIN and LOGIN over STARTTLS and implicit TLS; Received says ESMTPSA and who; the log too."""
    relay, ip = network(site)
    for number, (port, tls, how, user, password) in enumerate((
            (2525, "--tls", "PLAIN", "ann", "geheim"), (2587, "--tls", "LOGIN", "ann", "geheim"),
            (2465, "--tls-on-connect", "PLAIN", "bob@example.net", "two words"),
            (2465, "--tls-on-connect", "LOGIN", "bob@example.net", "two words"),
            (2588, "-n", "PLAIN", "ann", "geheim")), 1):
        swaks(f"{ip}:{port}", tls, "--auth", how, "--auth-user", user, "--auth-password", password)
        letter = arrived(site, number)[-1].decode()
        check(" with ESMTPSA" in letter or port == 2588 and " with ESMTPA" in letter, letter)
        check(f"(authenticated as {user})" in " ".join(letter.split()), letter)
        check(f"user={user} mechanism={how}" in relay.log(), relay.log()[-1500:])
        check(f"auth={user}" in relay.log(), relay.log()[-1500:])


def test_refusals(site):
    """Wrong passwords, unknown users, nobody at all, passwords in clear: none of them sends; no password is logged."""
    relay, ip = network(site)
    refused = (24, 28)
    for how in "PLAIN", "LOGIN":
        for user, password in (("ann", "Geheim"), ("ann", "x"), ("eve", "geheim"), ("bob@example.net", "geheim")):
            said = swaks(f"{ip}:2465", "--tls-on-connect", "--auth", how, "--auth-user", user,
                         "--auth-password", password, good=refused)
            check("535 5.7.8" in said, said)
    said = swaks(f"{ip}:2465", "--tls-on-connect", good=(23,))
    check("530 5.7.0 authentication required" in said, said)
    said = swaks(f"{ip}:2587", good=(23,))
    check("530 5.7.0 must issue a STARTTLS" in said, said)
    check("AUTH" not in said.split("<-")[3:8], said)
    said = swaks(f"{ip}:2525", good=(24,))
    check("550 5.7.1" in said, said)
    with socket.create_connection((ip, 2587), 10) as raw:
        file = raw.makefile("rwb")
        file.readline()
        for line, answer in ((b"EHLO x", b"250"), (b"AUTH PLAIN AGFubgBnZWhlaW0=", b"503"),
                             (b"AUTH LOGIN", b"503"), (b"MAIL FROM:<a@b.example>", b"530")):
            file.write(line + b"\r\n")
            file.flush()
            said = [file.readline()]
            while said[-1][3:4] == b"-":
                said.append(file.readline())
            check(said[-1].startswith(answer), repr((line, said)))
            check(not any(b"AUTH" in reply for reply in said if line == b"EHLO x"), repr(said))
    check("geheim" not in relay.log().lower() and "two words" not in relay.log(), "a password in the log")
    check("stage=auth" in relay.log(), relay.log()[-1000:])
    check(site.box("box", USER) == [], "somebody got through")


def test_guessing(site):
    """Each failure takes longer than the one before, the third ends the session."""
    _, ip = network(site, auth=AUTH.replace("100ms", "300ms"))
    client = smtplib.SMTP_SSL(ip, 2465, timeout=20, context=unverified())
    client.ehlo()
    times = []
    for code in 535, 535, 421:
        begun = time.monotonic()
        said, _ = client.docmd("AUTH", "PLAIN " + base64.b64encode(b"\0ann\0guess").decode())
        times.append(time.monotonic() - begun)
        check(said == code, f"{said} after {len(times)} failures")
    check(times[0] >= 0.3 and times[1] >= 0.6 and times[2] >= 1.2, str(times))
    try:
        client.docmd("NOOP")
        raise Failure("the session goes on after the third failure")
    except smtplib.SMTPServerDisconnected:
        pass


def unverified():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_smtplib(site):
    """Python's smtplib by its own choice, by PLAIN and by LOGIN."""
    relay, ip = network(site)
    context = ssl.create_default_context(cafile=site.ca + "/ca.pem")
    for number, method in enumerate((None, "auth_plain", "auth_login"), 1):
        client = smtplib.SMTP(ip, 2525, timeout=20)
        client.starttls(context=context)
        client.ehlo()
        if method is None:
            client.login("ann", "geheim")
        else:
            client.user, client.password = "ann", "geheim"
            client.auth(method[5:], getattr(client, method))
        client.sendmail("ann@example.org", [USER], b"Subject: by smtplib\r\n\r\nhello\r\n")
        client.quit()
        arrived(site, number)
    client = smtplib.SMTP(ip, 2525, timeout=20)
    client.starttls(context=context)
    try:
        client.login("ann", "wrong")
        raise Failure("a wrong password was taken")
    except smtplib.SMTPAuthenticationError:
        pass
    client.close()


def test_curl(site):
    """curl by PLAIN and LOGIN."""
    need("curl")
    _, ip = network(site)
    letter = os.path.join(site.path, "letter")
    with open(letter, "w") as file:
        file.write("Subject: by curl\r\n\r\nhello\r\n")
    for number, how in enumerate(("PLAIN", "LOGIN"), 1):
        run(["curl", "-sS", "--url", f"smtps://{ip}:2465", "--cacert", site.ca + "/ca.pem", "--mail-from",
             "ann@example.org", "--mail-rcpt", USER, "--upload-file", letter, "--login-options",
             f"AUTH={how}", "--user", "ann:geheim"])
        arrived(site, number)
    run(["curl", "-sS", "--url", f"smtps://{ip}:2465", "--cacert", site.ca + "/ca.pem", "--mail-from",
         "ann@example.org", "--mail-rcpt", USER, "--upload-file", letter, "--user", "ann:wrong"], good=(67,))


def msmtp(site, ip, how, user, password, *words, port=2465, good=(0,)):
    need("msmtp")
    return run(["msmtp", "--host", ip, f"--port={port}", "--tls=on", "--tls-starttls=off",
                "--tls-trust-file=" + site.ca + "/ca.pem", "--from=me@example.org", f"--auth={how}",
                f"--user={user}", f"--passwordeval=echo '{password}'", *words, USER],
               data=b"Subject: by msmtp\n\nhello\n", env={**os.environ, "HOME": site.path}, good=good)


def test_msmtp(site):
    """msmtp by SCRAM-SHA-256, PLAIN and LOGIN; SCRAM needs keys, and a wrong password fails."""
    relay, ip = network(site)
    for number, (how, user, password) in enumerate((
            ("scram-sha-256", "bob@example.net", "two words"), ("plain", "ann", "geheim"),
            ("login", "ann", "geheim")), 1):
        msmtp(site, ip, how, user, password)
        arrived(site, number)
    check("mechanism=SCRAM-SHA-256" in relay.log(), relay.log()[-1000:])
    for user, password in (("bob@example.net", "three words"), ("ann", "geheim"), ("eve", "geheim")):
        msmtp(site, ip, "scram-sha-256", user, password, good=(77,))


def test_external(site):
    """A client certificate is an identity: EXTERNAL, offered to nobody else."""
    relay, ip = network(site)
    site.certificate("carol.chapar.test")
    words = (f"--tls-cert-file={site.ca}/carol.chapar.test.pem", f"--tls-key-file={site.ca}/carol.chapar.test.key")
    msmtp(site, ip, "external", "carol.chapar.test", "", *words)
    arrived(site, 1)
    check("user=carol.chapar.test mechanism=EXTERNAL" in relay.log(), relay.log()[-1000:])
    msmtp(site, ip, "external", "dave.chapar.test", "", *words, good=(77,))
    client = smtplib.SMTP_SSL(ip, 2465, timeout=20, context=unverified())
    client.ehlo()
    check("EXTERNAL" not in client.esmtp_features["auth"], client.esmtp_features["auth"])
    check("SCRAM-SHA-256 PLAIN LOGIN" in client.esmtp_features["auth"], client.esmtp_features["auth"])
    client.close()


def test_completion(site):
    """Missing Date and Message-ID are added to what a user submits, and to nothing else; own ids are a loop."""
    relay, ip = network(site, more="")
    relay.stop()
    relay.configure(open(relay.config_path).read().replace("accept = no", "accept = yes"))
    relay.start()
    for number, user in enumerate(("ann", None), 1):
        client = smtplib.SMTP_SSL(ip, 2465, timeout=20, context=unverified()) if user else \
            smtplib.SMTP(ip, 2525, timeout=20)
        if user:
            client.login(user, "geheim")
        client.sendmail("ann@example.org", [USER], b"Subject: bare\r\n\r\nhello\r\n")
        client.quit()
        letter = arrived(site, number)[-1].decode()
        for name in "\nDate: ", "\nMessage-ID: <":
            check((name in letter) == (user is not None), letter)
    check(re.search(r"msgid=<[0-9A-Z]{13}\.[0-9a-f]+@relay1", relay.log()), relay.log()[-1500:])
    ours = re.search(r"Received: from.*?by relay1.chapar.test.*?\n(?=\S)", letter, re.S).group(0)
    for head, code in ((ours, 554), (ours.replace("relay1", "relay2"), 250),
                       ("Received: by a.example; x\r\n" * 51, 554), ("Received: by a.example; x\r\n" * 50, 250)):
        client = smtplib.SMTP(ip, 2525, timeout=20)
        client.ehlo()
        client.mail("ann@example.org")
        client.rcpt(USER)
        said, words = client.data(head + "Subject: again\r\n\r\nhello\r\n")
        check(said == code and (code == 250 or b"5.4.6" in words), f"{said} {words} to {head[:200]}")
        client.close()


def test_reload(site):
    """A new user is known after a reload; a broken file is refused with file and line, and the old one holds."""
    relay, ip = network(site)
    users = os.path.join(site.path, "users")
    swaks(f"{ip}:2465", "--tls-on-connect", "--auth", "PLAIN", "--auth-user", "new", "--auth-password", "x",
          good=(28,))
    with open(users, "a") as file:
        file.write(entry(site, "new", "x"))
    relay.ctl("reload")
    swaks(f"{ip}:2465", "--tls-on-connect", "--auth", "PLAIN", "--auth-user", "new", "--auth-password", "x")
    with open(users, "a") as file:
        file.write("broken:secret\n")
    said = relay.ctl("reload", good=range(1, 100))
    check(f"{users}:5: expected a hash of crypt(3)" in said, said)
    swaks(f"{ip}:2465", "--tls-on-connect", "--auth", "PLAIN", "--auth-user", "new", "--auth-password", "x")
    os.chmod(users, 0o644)
    said = relay.ctl("reload", good=range(1, 100))
    check("everybody may touch this file" in said, said)
    relay.stop()


def test_configuration(site):
    """What cannot work is said with file and line before anything starts."""
    for listener, auth, says in (
            ("auth = required", "", "auth: needs tls, or auth_in_clear = yes"),
            ("tls = starttls  auth = required  client_certificate = none", "", "no client could"),
            ("auth_in_clear = yes", "", "has no meaning with auth = none"),
            ("tls = starttls  auth = maybe", "", "auth"),
            ("tls = starttls", 'auth { mechanisms = {"CRAM-MD5"} }\n', "expected PLAIN, LOGIN"),
            ("tls = starttls", 'auth { credentials = "nowhere" }\n', "nowhere")):
        relay = site.relay("relay1", 1, lmtp_route([site.address(3) + ":2424"]), extra=auth,
                           listeners=f'listener "x" {{ address = {{"127.0.0.1:0"}}  {listener} }}\n')
        said = run([site.relayd, "-f", relay.config_path, "-n"], good=(78,))
        check(says in said and relay.config_path in said or "nowhere" in said, said)
