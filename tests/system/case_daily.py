"""What an operator does while mail flows: reload, renew, stop, upgrade of the configuration."""
import re
import threading
import time

import letters
from chapar import chain, check, run, swaks, wait_for

USER = "user@example.net"


def load(site, journal, numbers, sessions=8):
    troubles = []
    thread = threading.Thread(target=lambda: troubles.extend(letters.send_all(
        (site.address(1), 2525), numbers, journal, site.ca + "/ca.pem", sessions, 120)), daemon=True)
    thread.start()
    return thread, troubles


def drained(*relays):
    for relay in relays:
        wait_for(lambda: relay.queue_length() == 0, 60, f"the queue of {relay.name} is empty")


def test_reload_under_load(site):
    """20 reloads while letters flow: no session is dropped, nothing is lost or doubled."""
    relay1, relay2, node = chain(site)
    node.start(), relay2.start(), relay1.start()
    journal = letters.Journal()
    thread, troubles = load(site, journal, range(1500))
    reloads = 0
    while thread.is_alive() and reloads < 20:
        for daemon in (relay1, relay2, node):
            daemon.reload()
        reloads += 1
        time.sleep(0.1)
    thread.join(120)
    check(reloads >= 3, f"only {reloads} reloads: the load was over")
    check(not troubles and journal.cut == 0, f"sessions were dropped: {troubles[:3]}")
    drained(relay1, relay2)
    check(len(journal.accepted) == 1500, f"{len(journal.accepted)} accepted")
    letters.settle(journal, [site.box_path("box", USER)], 0)


def test_reload_of_a_bad_configuration(site):
    """The old one stays, and the log says why with file and line."""
    relay1, relay2, node = chain(site)
    node.start(), relay2.start(), relay1.start()
    good = open(relay1.config_path).read()
    relay1.configure(good + 'route "broken" { for = {"x.example"}  via = pigeon }\n')
    line = len(good.splitlines()) + 1
    relay1.reload()
    wait_for(lambda: re.search(rf"relay1\.conf:{line}\b.*(pigeon|via)", relay1.log()), 10,
             "the log names the line:\n" + relay1.log()[-1500:])
    swaks(site.address(1) + ":2525", "--tls")
    wait_for(lambda: len(site.box("box", USER)) == 1, 15, "mail still flows")
    check(relay1.alive(), "relay1 ended")


def test_reload_of_a_new_route(site):
    """A letter that waits takes the new route of a reload."""
    relay1, relay2, node = chain(site)
    node.start(), relay1.start()
    swaks(site.address(1) + ":2525", "--tls")
    wait_for(lambda: relay1.queue_length() == 1, 10, "it waits")
    text = open(relay1.config_path).read()
    relay1.configure(text.replace("via = smtp", "via = lmtp")
                     .replace(site.address(2) + ":2525", site.address(3) + ":2424"))
    relay1.reload()
    wait_for(lambda: "reloaded" in relay1.log(), 10, "the reload is logged")
    relay1.ctl("retry", "--all", good=(0, 1))  # 1: it went at once
    wait_for(lambda: len(site.box("box", USER)) == 1, 15, "it took the new route")


def test_renewed_certificate(site):
    """chapar-ca renew and SIGHUP: the next handshake shows the new certificate."""
    relay1, relay2, node = chain(site)
    node.start(), relay2.start(), relay1.start()

    def serial():
        text = run(["openssl", "s_client", "-connect", site.address(1) + ":2465", "-CAfile",
                    site.ca + "/ca.pem", "-verify_return_error"], data=b"QUIT\r\n", good=None)
        pem = re.search(r"-----BEGIN.*?END CERTIFICATE-----", text, re.S)
        check(pem, text)
        return run(["openssl", "x509", "-noout", "-serial"], data=pem.group(0).encode())
    old = serial()
    site.chapar_ca("renew", "relay1.chapar.test")
    check(serial() == old, "it changed before the reload")
    relay1.reload()
    wait_for(lambda: serial() != old, 10, "the new certificate is shown")
    swaks(site.address(1) + ":2525", "--tls")
    wait_for(lambda: len(site.box("box", USER)) == 1, 15, "mail flows")


def test_stop_under_load(site):
    """SIGTERM ends each daemon within 10 s with status 0; nothing is lost, nothing doubled."""
    relay1, relay2, node = chain(site, retry="retry = quick")
    quick = 'retry "quick" { schedule = {"1s"}  lifetime = "1h" }\n'
    for relay in (relay1, relay2):
        text = open(relay.config_path).read()
        relay.configure(text.replace("\nroute ", "\n" + quick + "route ", 1))
    node.start(), relay2.start(), relay1.start()
    journal = letters.Journal()
    thread, _ = load(site, journal, range(1200))
    for daemon in (node, relay2, relay1):
        wait_for(lambda: len(journal.accepted) > 100, 60, "letters flow")
        begun = time.monotonic()
        check(daemon.stop(12) == 0, f"{daemon.name} ended with {daemon.process.returncode}")
        check(time.monotonic() - begun < 10.5, f"{daemon.name}: {time.monotonic() - begun:.1f} s")
        time.sleep(0.2)
        daemon.start()
    thread.join(120)
    drained(relay1, relay2)
    letters.settle(journal, [site.box_path("box", USER)], 0)


def test_idle_session_does_not_hold_a_stop(site):
    """A client that says nothing gets 421 and does not delay the end."""
    relay1, _, _ = chain(site)
    relay1.start()
    session = letters.Session((site.address(1), 2525))
    begun = time.monotonic()
    check(relay1.stop(12) == 0, "the end was not clean")
    check(time.monotonic() - begun < 5, f"{time.monotonic() - begun:.1f} s")
    check(session.reply()[0] == 421, "no 421")


def test_two_on_one_spool(site):
    """A second relayd on the same spool ends with a clear error and changes nothing."""
    relay1, _, _ = chain(site)
    relay1.start()
    second = open(relay1.config_path).read().replace(site.address(1), site.address(8))
    second = second.replace("relay1.sock", "second.sock")
    path = site.path + "/second.conf"
    with open(path, "w") as file:
        file.write(second)
    said = run([site.relayd, "-f", path], good=(69, 70, 74, 75, 78))
    check("relay1.spool" in said and ("lock" in said or "another" in said or "in use" in said), said)
    check(relay1.alive() and relay1.queue_length() == 0, "the first was disturbed")
