"""The attacks of RELIABILITY.md section 4 that concern a receiving server; tests/README.md has the table."""
import base64
import os
import re
import socket
import ssl
import stat
import subprocess
import time

from case_fairness import Client
from case_idle import is_sanitized
from chapar import Skip, check, lmtp_route, need, run, wait_for

USER = "user@example.net"
KNOWN = "127.1.0.1"


def victim(site, more="", listeners=None):
    """A relay that takes mail for its routes from anybody; nothing behind it."""
    relay = site.relay("relay1", 1, lmtp_route([site.address(9) + ":2424"]), listeners=listeners,
                       accept='accept { relay_from = {"127.1.0.0/16"} }\n', extra=more)
    relay.start()
    return relay


def delivers(site):
    """A relay with a mailbox node behind it."""
    node = site.mailbox("box", 3, [USER])
    relay = site.relay("relay1", 1, lmtp_route([site.address(3) + ":2424"]),
                       accept='accept { relay_from = {"127.1.0.0/16"} }\n')
    node.start()
    relay.start()
    return relay


def greeted(site, port=2525):
    client = Client(site.address(1), KNOWN, port)
    client.reply()
    client.say("EHLO attacker.example")
    return client


def at_data(site):
    client = greeted(site)
    client.say("MAIL FROM:<a@example.org>")
    client.say(f"RCPT TO:<{USER}>")
    check(client.say("DATA").startswith("354"), "no 354")
    return client


def still_serves(site, relay):
    """After an attack: it lives, and an honest letter is accepted."""
    check(relay.alive(), "relayd is dead:\n" + relay.log()[-3000:])
    client = at_data(site)
    said = client.say("Subject: honest\r\n\r\nhello\r\n.")
    check(said.startswith("250 2.0.0"), said)
    client.close()


def send_raw(client, octets):
    """Octets into a connection that may be closed meanwhile; what it said."""
    said = b""
    client.socket.settimeout(10)
    try:
        client.socket.sendall(octets)
        client.socket.shutdown(socket.SHUT_WR)
        while piece := client.socket.recv(65536):
            said += piece
    except (ConnectionError, BrokenPipeError):
        pass
    return said


def test_exim_2010_4344_headers_of_a_megabyte(site):
    """A megabyte of header in a letter that is refused: no crash, and a log of bounded lines."""
    relay = victim(site, "limits { message_size = 64k }\n")
    client = at_data(site)
    said = send_raw(client, b"".join(b"X-%d: %s\r\n" % (i, b"y" * 900) for i in range(1100)) + b"\r\n.\r\n")
    check(b"552 5.3.4" in said, said[-200:])
    check(max(map(len, relay.log().splitlines())) < 8192, "a line of the log is unbounded")
    still_serves(site, relay)


def test_exim_2016_9963_no_key_leaves(site):
    """No word of the private key is in what clients, operators and logs see."""
    relay = delivers(site)
    client = at_data(site)
    client.say("Subject: x\r\n\r\nhello\r\n.")
    wait_for(lambda: site.box("box", USER), 20, "the letter")
    seen = relay.log() + relay.ctl("status") + relay.ctl("dest") + site.box("box", USER)[0].decode()
    with open(f"{site.ca}/relay1.chapar.test.key") as file:
        words = [line for line in file.read().splitlines() if "-----" not in line]
    check(words and not any(word[:32] in seen for word in words), "a piece of the key leaked")


def test_exim_2017_16944_bdat_of_dots(site):
    """A chunk that looks like the end of DATA is text like any other, and arrives so."""
    delivers(site)
    body = b"Subject: dots\r\n\r\n.\r\n..\r\n\r\n.\r\nMAIL FROM:<evil@example.org>\r\n.\r\n"
    client = greeted(site)
    client.say("MAIL FROM:<a@example.org>")
    client.say(f"RCPT TO:<{USER}>")
    for octet in range(len(body)):
        client.socket.sendall(b"BDAT 1\r\n" + body[octet:octet + 1])
        check(client.reply().startswith("250"), "a chunk of one octet")
    check(client.say("BDAT 0 LAST").startswith("250 2.0.0"), "the end")
    letter, = wait_for(lambda: site.box("box", USER), 20, "the letter")
    check(letter.endswith(body.replace(b"\r\n", b"\n")), repr(letter[-200:]))


def test_exim_2018_6789_every_length_of_base64(site):
    """AUTH with 0 to 4096 characters of base64: each is answered 5yz, none does harm."""
    users = os.path.join(site.path, "users")
    with open(users, "w") as file:
        file.write(run([site.relayctl, "passwd", "ann"], data=b"geheim\n"))
    os.chmod(users, 0o600)
    relay = victim(site, 'auth { credentials = "users"  delay = 0s }\nlimits { errors = 100000 }\n',
                   f'listener "mx" {{ address = {{"{site.address(1)}:2525"}}  auth = offered  '
                   "auth_in_clear = yes }\n")
    client = greeted(site)
    for length in range(0, 4097):
        if length % 50 == 49:                   # a hundred commands without mail are enough
            client.close()
            client = greeted(site)
        # Bad padding at three of four lengths, and no NUL where PLAIN wants two.
        said = client.say("AUTH PLAIN " + "QUJD" * (length // 4) + "QUJ"[:length % 4])
        if length == 0:
            check(said.startswith("334"), said)
            said = client.say("*")
        check(said[:1] == "5", f"{length}: {said}")
    client.close()
    still_serves(site, relay)


def test_exim_2019_10149_addresses_are_no_programs(site):
    """Addresses that other servers ran as commands are text; nothing is started. OpenSMTPD 2020-7247 too."""
    mark = os.path.join(site.path, "pwned")
    relay = victim(site)
    for local in (f'"${{run{{/usr/bin/touch\\t{mark}}}}}"', f'"`touch {mark}`"', f'"|touch {mark}"',
                  f";touch${{IFS}}{mark.replace('/', '${PATH%%u*}')};", f'"$(touch {mark})"', "|/bin/sh"):
        client = greeted(site)
        said = client.say(f"MAIL FROM:<{local}@example.org>") + client.say(f"RCPT TO:<{local}@example.net>")
        if said.count("250") == 2:
            client.say("DATA")
            client.say("Subject: x\r\n\r\nx\r\n.")
        client.close()
    children = f"/proc/{relay.process.pid}/task/{relay.process.pid}/children"
    check(not os.path.exists(children) or not open(children).read().strip(), "it has children")
    check(not os.path.exists(mark), "a command was run")
    still_serves(site, relay)


def test_exim_2019_15846_server_names(site):
    """Odd names in SNI are names that we do not have, and no more."""
    need("openssl")
    relay = victim(site)
    for name in ("x\\", "\\", "x" * 255, "*", "relay1.chapar.test.", "a\\x00b", "${run}"):
        run(["openssl", "s_client", "-connect", site.address(1) + ":2465", "-servername", name,
             "-bind", KNOWN], data=b"QUIT\r\n", good=None)
    still_serves(site, relay)


def test_exim_2019_16928_lines_of_every_length(site):
    """Each command with an argument of 0 octets to a megabyte: refused or answered, never harmful."""
    relay = victim(site)
    for verb in (b"EHLO ", b"HELO ", b"MAIL FROM:<", b"RCPT TO:<", b"VRFY ", b"BDAT ", b"AUTH PLAIN ", b"NOOP ",
                 b"DATA", b"STARTTLS", b"HELP ", b"EXPN ", b""):
        for length in (0, 1, 255, 256, 510, 512, 1023, 2035, 2048, 2049, 4096, 12288, 65536, 1 << 20):
            client = greeted(site)
            client.say("MAIL FROM:<a@example.org>")
            said = send_raw(client, verb + b"x" * length + b"\r\nNOOP\r\n")
            check(length < 100000 or b"500" in said[:4] or said == b"", f"{verb} {length}: {said[:100]}")
            client.close()
    still_serves(site, relay)


def test_exim_21nails_links_in_the_spool(site):
    """A link where a file of the spool should be is not followed, whatever it leads to."""
    for name in ("00000000.seg", "spool", "lock"):
        path = os.path.join(site.path, "relay1.spool")
        os.makedirs(path, mode=0o700)
        goal = os.path.join(site.path, "precious")
        with open(goal, "w") as file:
            file.write("precious\n")
        os.symlink(goal, os.path.join(path, name))
        relay = site.relay("relay1", 1, lmtp_route([site.address(9) + ":2424"]))
        done = subprocess.run([relay.program, "-f", relay.config_path], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20)
        check(done.returncode not in (0, -6, -11), f"{name}: it started, or crashed: {done.stdout[-500:]}")
        check(open(goal).read() == "precious\n", f"{name}: the goal of the link was written")
        run(["rm", "-r", path])


def test_exim_2020_28021_lines_in_addresses(site):
    """CR, LF, NUL and other controls in addresses and names go nowhere."""
    relay = delivers(site)
    for octets in (b"\r", b"\n", b"\0", b"\n.\n", b"\x1b", b"\x7f"):
        for line in (b'MAIL FROM:<"a%sb"@example.org>', b"MAIL FROM:<a%sb@example.org>",
                     b"MAIL FROM:<a@example.org> ENVID=a%sb", b"EHLO a%sb", b"MAIL FROM:<a@exa%smple.org>"):
            client = greeted(site)
            said = send_raw(client, line % octets + b"\r\n")
            check(not said.startswith(b"250 2.1.0"), f"{line % octets}: {said}")
            client.close()
    still_serves(site, relay)
    letter, = wait_for(lambda: site.box("box", USER), 20, "the honest letter")
    check(len(re.findall(rb"(?m)^From ", letter)) <= 1, "a line was injected")


def test_starttls_injection(site):
    """CVE-2011-0411 and 40 more: commands behind STARTTLS end the connection, before and after the handshake."""
    relay = victim(site)
    client = greeted(site)
    said = send_raw(client, b"STARTTLS\r\nRSET\r\n")
    check(said.count(b"\r\n") <= 1 and b"250" not in said, said)
    client.close()
    client = greeted(site)
    client.say("MAIL FROM:<a@example.org>")
    said = client.say("STARTTLS")
    check(said.startswith("220") or said[:1] == "5", said)
    still_serves(site, relay)


def tls_client(site):
    """A session under TLS in memory, so that its records can be cut and forged."""
    context = ssl.create_default_context(cafile=site.ca + "/ca.pem")
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(into, out, server_hostname="relay1.chapar.test")
    raw = socket.create_connection((site.address(1), 2465), 10, (KNOWN, 0))
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            raw.sendall(out.read())
            into.write(raw.recv(65536))
    raw.sendall(out.read())
    return raw, tls, out


def test_dead_letter_close_notify_in_bdat(site):
    """CVE-2026-45185: TLS ends at any octet of a chunk, clear text follows; nothing is believed, nothing breaks."""
    relay = victim(site)
    text = (b"EHLO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<user@example.net>\r\nBDAT 20\r\n0123456789"
            b"0123456789BDAT 10 LAST\r\n0123456789")
    for cut in range(len(text)):
        for how in ("close_notify", "cut", "garbage"):
            raw, tls, out = tls_client(site)
            if cut:
                tls.write(text[:cut])
            if how == "close_notify":
                try:
                    tls.unwrap()
                except ssl.SSLError:
                    pass
            record = out.read()
            raw.sendall(record if how != "cut" else record[:-1] or b"\x17")
            try:
                raw.sendall(text[cut:] + b"\r\n" if how != "garbage" else b"\x17\x03\x03\x00\x20" + b"g" * 32)
                raw.shutdown(socket.SHUT_WR)
                raw.settimeout(5)
                while raw.recv(65536):
                    pass
            except OSError:
                pass
            raw.close()
    check(relay.queue_length() == 0, "a letter was believed that never ended under TLS")
    still_serves(site, relay)


def test_exim_2023_42115_unknown_mechanisms(site):
    """NTLM and others that we do not have: 504 or 5yz, and no exchange begins. Postfix 2011-1720: none is mixed."""
    users = os.path.join(site.path, "users")
    with open(users, "w") as file:
        file.write(run([site.relayctl, "passwd", "--scram", "ann"], data=b"geheim\n"))
    os.chmod(users, 0o600)
    relay = victim(site, 'auth { credentials = "users"  delay = 0s }\nlimits { errors = 1000 }\n',
                   f'listener "mx" {{ address = {{"{site.address(1)}:2525"}}  auth = offered  '
                   "auth_in_clear = yes }\n")
    client = greeted(site)
    for name in ("NTLM", "SPA", "CRAM-MD5", "DIGEST-MD5", "GSSAPI", "ANONYMOUS", "EXTERNAL", "X" * 100, "plain\\"):
        check(client.say(f"AUTH {name} AAAA")[:1] == "5", name)
    plain = base64.b64encode(b"\0ann\0geheim").decode()
    for _ in range(20):
        said = client.say("AUTH SCRAM-SHA-256 " + base64.b64encode(b"n,,n=ann,r=abcdefgh").decode())
        check(said.startswith("334"), said)
        check(client.say("*").startswith("501"), "the exchange goes on")
        check(client.say("AUTH LOGIN").startswith("334"), "no LOGIN")
        check(client.say("!!")[:1] == "5", "no base64")
    check(client.say("AUTH PLAIN " + plain).startswith("235"), "the right password")
    check(client.say("AUTH PLAIN " + plain).startswith("503"), "twice")
    still_serves(site, relay)


def test_exim_2025_26794_etrn(site):
    """Verbs that reach into other servers' databases are unknown here."""
    relay = victim(site)
    client = greeted(site)
    for line in ("ETRN example.net", "ETRN #'; DROP TABLE t; --", "TURN", "ATRN x", "SAML FROM:<a@b>", "DEBUG", "WIZ"):
        check(client.say(line).startswith(("500", "502")), line)
    check(client.say("EXPN staff").startswith("502"), "EXPN")
    check(client.say("VRFY user@example.net").startswith("252"), "VRFY tells who is there")
    still_serves(site, relay)


def test_opensmtpd_2025_62875_garbage_on_the_control_socket(site):
    """Garbage on the local socket costs the one who sent it."""
    relay = victim(site)
    for octets in (b"\0" * 100, os.urandom(5000), b"{" * 100000, b'{"verb":', b'{"verb":"list","args":[]}\n' * 50,
                   b'{"verb":"nothing"}\n', b'"\\ud800"\n', b'{"verb":"show","args":{"id":"\\u0000"}}\n', b"\n" * 1000):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(relay.socket)
            try:
                sock.sendall(octets)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass
            except OSError:
                pass
    check("relay1" in relay.ctl("status"), "relayctl is not answered")
    still_serves(site, relay)


def test_sendmail_2014_3956_descriptors(site):
    """No descriptor would be inherited by a program that we never start."""
    relay = victim(site)
    client = greeted(site)
    where = f"/proc/{relay.process.pid}/fdinfo"
    for name in os.listdir(where):
        if int(name) > 2:
            flags = int(re.search(r"flags:\s+(\d+)", open(f"{where}/{name}").read()).group(1), 8)
            link = os.readlink(f"/proc/{relay.process.pid}/fd/{name}")
            check(flags & os.O_CLOEXEC, f"descriptor {name} ({link}) is not close-on-exec")
    client.close()


def test_alpaca_other_protocols(site):
    """HTTP is ended at its first line, in clear and under TLS; ALPN of another protocol is refused."""
    relay = victim(site)
    for verb in (b"GET / HTTP/1.1", b"POST /x HTTP/1.1", b"HEAD / HTTP/1.0", b"OPTIONS * HTTP/1.1", b"PUT /x HTTP/1.1",
                 b"CONNECT a:25 HTTP/1.1", b"DELETE / HTTP/1.1"):
        client = Client(site.address(1), KNOWN)
        client.reply()
        said = send_raw(client, verb + b"\r\nHost: relay1\r\n\r\nEHLO x\r\nMAIL FROM:<a@example.org>\r\n")
        check(said.count(b"\r\n") <= 1 and b"250" not in said, f"{verb}: {said}")
        client.close()
    context = ssl.create_default_context(cafile=site.ca + "/ca.pem")
    context.set_alpn_protocols(["http/1.1"])
    try:
        raw = socket.create_connection((site.address(1), 2465), 10, (KNOWN, 0))
        context.wrap_socket(raw, server_hostname="relay1.chapar.test")
        check(False, "ALPN http/1.1 was accepted")
    except ssl.SSLError as error:
        check("no application protocol" in str(error).replace("_", " ").lower(), str(error))
    still_serves(site, relay)


def test_smuggling(site):
    """CVE-2023-51764 and its kin: no other end of data than CRLF.CRLF, in the message and to the next hop."""
    relay = victim(site)
    for end in (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n.\r", b"\0\r\n.\0\r\n"):
        client = at_data(site)
        said = send_raw(client, b"Subject: x\r\n\r\nx" + end + b"MAIL FROM:<evil@example.org>\r\n"
                        b"RCPT TO:<user@example.net>\r\nDATA\r\nSubject: smuggled\r\n\r\ny\r\n.\r\n")
        check(b"250 2.1.0" not in said and b"354" not in said, f"{end}: {said}")
        check(said.startswith(b"550 5.6.11") or said == b"", f"{end}: {said}")
        client.close()
    check(relay.queue_length() == 0, "a message was taken")
    still_serves(site, relay)


def test_qmail_2005_1513_sizes(site):
    """Sizes at the edges of every integer, in SIZE and BDAT."""
    relay = victim(site)
    client = greeted(site)
    for size in (2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**19, 10**20 - 1):
        said = client.say(f"MAIL FROM:<a@example.org> SIZE={size}")
        check(said.startswith(("552", "501")), f"SIZE={size}: {said}")
    check(client.say("MAIL FROM:<a@example.org> SIZE=-1").startswith("501"), "SIZE=-1")
    for size in (2**31, 2**32, 2**63 - 1, 2**63, 2**64):
        client = greeted(site)
        client.say("MAIL FROM:<a@example.org>")
        client.say(f"RCPT TO:<{USER}>")
        said = send_raw(client, b"BDAT %d LAST\r\nxxx" % size)
        check(b"250 2.0.0" not in said, f"BDAT {size}: {said}")
        client.close()
    check(relay.queue_length() == 0, "a message was taken")
    still_serves(site, relay)


def test_old_and_renegotiated_tls(site):
    """TLS below 1.2 is not spoken, TLS 1.2 is not renegotiated, nothing is compressed."""
    need("openssl")
    relay = victim(site)
    where = ["openssl", "s_client", "-connect", site.address(1) + ":2465", "-bind", KNOWN]
    for old in ("-tls1", "-tls1_1"):
        said = run([*where, old, "-cipher", "ALL:@SECLEVEL=0"], data=b"QUIT\r\n", good=None)
        check("Cipher is (NONE)" in said or "alert" in said, f"{old}:\n{said[-800:]}")
    for weak in ("NULL", "EXPORT", "RC4", "3DES", "aNULL", "kRSA"):
        said = run([*where, "-tls1_2", "-cipher", weak + ":@SECLEVEL=0"], data=b"QUIT\r\n", good=None)
        check("220" not in said, f"{weak} is spoken:\n{said[-800:]}")
    with subprocess.Popen([*where, "-tls1_2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as client:
        time.sleep(0.5)
        client.stdin.write(b"R\n")              # a command of s_client: renegotiate
        client.stdin.flush()
        time.sleep(0.5)
        said = client.communicate(b"QUIT\r\n", 10)[0].decode("utf-8", "replace")
    check("Compression: NONE" in said, said[-800:])
    check("RENEGOTIATING" in said and "no renegotiation" in said.lower().replace("_", " "), said[-800:])
    still_serves(site, relay)


def test_loops(site):
    """More than 50 Received fields are a loop: 554 5.4.6."""
    relay = victim(site)
    for count, code in ((49, "250 2.0.0"), (51, "554 5.4.6")):
        client = at_data(site)
        said = client.say("Received: from a by b; x\r\n" * count + "Subject: x\r\n\r\nx\r\n.")
        check(said.startswith(code), f"{count}: {said}")
        client.close()
    check(relay.alive(), "relayd is dead")


def test_too_many_recipients(site):
    """1,000 recipients are taken, the next hears 452, and the rest of the mail goes on."""
    relay = victim(site)
    client = greeted(site)
    client.say("MAIL FROM:<a@example.org>")
    for number in range(1000):
        said = client.say(f"RCPT TO:<u{number}@example.net>")
        check(said.startswith("250"), said)
    check(client.say("RCPT TO:<one-more@example.net>").startswith("452 4.5.3"), "the 1001st")
    client.say("DATA")
    check(client.say("Subject: x\r\n\r\nx\r\n.").startswith("250 2.0.0"), "the mail")
    check(relay.ctl_json("list")[0]["recipients"] is not None, "no recipients")


def resident(relay):
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{relay.process.pid}/status").read()).group(1))


def deaf(site):
    """A client with little room for replies, which it will not read."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.bind((KNOWN, 0))
    raw.connect((site.address(1), 2525))
    time.sleep(0.01)
    raw.sendall(b"EHLO deaf.example\r\n")
    time.sleep(0.01)
    raw.setblocking(False)
    return raw


def test_floods_are_bounded_in_memory(site):
    """Clients that never read, and chunks announced as endless, cost what they may and no more."""
    relay = victim(site, "queue { body_memory = 8M }\n")
    if is_sanitized(site):
        raise Skip("a sanitizer keeps memory of its own")
    still_serves(site, relay)
    hello = b"EHLO x\r\n" * 10000
    # Forty transactions of 900 good recipients: more than a megabyte of replies, and no limit in the way.
    envelope = b"MAIL FROM:<a@example.org>\r\n" + b"RCPT TO:<user@example.net>\r\n" * 900 + b"RSET\r\n"
    body = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<user@example.net>\r\nBDAT 40000000\r\n" + hello * 20
    for name, count, flood, kilobytes_max in (("commands", 20, hello, 20 * 60), ("recipients", 20, envelope * 40, 20 * 250),
                                              ("chunks", 40, body, 8192 + 40 * 100)):
        before = resident(relay)
        clients = [(deaf(site), bytearray(flood)) for _ in range(count)]
        end = time.monotonic() + 3
        while time.monotonic() < end:
            for raw, rest in clients:
                try:
                    del rest[:raw.send(rest[:65536])]
                except (BlockingIOError, ConnectionError):
                    pass
            time.sleep(0.01)
        grown = resident(relay) - before
        check(grown < kilobytes_max, f"{name}: {grown} kB for {count} clients, at most {kilobytes_max}")
        for raw, _ in clients:
            raw.close()
        still_serves(site, relay)


def test_disk_filling_is_refused_in_time(site):
    """Below the floor of free space MAIL hears 452 4.3.1, not the end of data, and never a 5yz."""
    free = os.statvfs(site.path).f_bavail * os.statvfs(site.path).f_frsize
    relay = victim(site, f"queue {{ floor = {free // 2**20 + 10240}M }}\n")
    client = greeted(site)
    said = wait_for(lambda: (lambda s: s if s.startswith("452 4.3.1") else client.say("RSET") and "")(
        client.say("MAIL FROM:<a@example.org>")), 10, "452 4.3.1 at MAIL")
    check(said.startswith("452 4.3.1"), said)
    check(relay.alive(), "relayd is dead")


def test_no_open_relay(site):
    """Strangers reach our recipients and nobody else, however they write it."""
    relay = victim(site)
    client = Client(site.address(1), "127.3.0.1")
    client.reply()
    client.say("EHLO spammer.example")
    client.say("MAIL FROM:<a@example.org>")
    for rcpt in ("a@far.example", "@example.net:a@far.example", "a%far.example@relay1.far.example", "far.example!a@x.y",
                 '"a@far.example"@far.example', "a@[192.0.2.1]", "a@far.example@example.net.far.example",
                 "a@example.net.far.example"):
        said = client.say(f"RCPT TO:<{rcpt}>")
        check(said[:1] == "5", f"{rcpt}: {said}")
    check(client.say(f"RCPT TO:<{USER}>").startswith("250"), "our own")
    check(relay.alive(), "relayd is dead")


def test_private_files(site):
    """The spool and what is in it are for the relay alone."""
    relay = victim(site)
    still_serves(site, relay)
    spool = os.path.join(site.path, "relay1.spool")
    check(stat.S_IMODE(os.stat(spool).st_mode) == 0o700, "the spool is open")
    for name in os.listdir(spool):
        mode = stat.S_IMODE(os.lstat(os.path.join(spool, name)).st_mode)
        check(mode & 0o077 == 0, f"{name} has mode {mode:o}")
