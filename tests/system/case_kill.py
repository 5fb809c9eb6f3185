"""kill -9 of every process under load: nothing acknowledged is lost, and copies are explained."""
import os
import random
import re
import threading
import time

import letters
from chapar import chain, check, wait_for

USER = "user@example.net"


def connections_to(address, port):
    """Established TCP connections whose far end is this listener, from the kernel's table."""
    wanted = "".join(f"{int(part):02X}" for part in reversed(address.split("."))) + f":{port:04X}"
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return sum(1 for row in rows if row[2] == wanted and row[3] == "01")


def torture(site, count, rounds, size=10240, sessions=10, seconds=600):
    """Load through three hops while each process is killed ROUNDS times; then settle."""
    relay1, relay2, node = chain(site, retry="retry = quick")
    quick = 'retry "quick" { schedule = {"1s"}  lifetime = "1h" }\n'
    for relay in (relay1, relay2):
        text = open(relay.config_path).read()
        relay.configure(text.replace("\nroute ", "\n" + quick + "route ", 1))
    for daemon in (node, relay2, relay1):
        daemon.start()
    journal = letters.Journal()
    port = {relay1: ("client", 1, 2525), relay2: (relay1, 2, 2525), node: (relay2, 3, 2424)}
    cut = 0
    sender = threading.Thread(target=lambda: failures.append(
        sending(site, journal, count, size, sessions, seconds)), daemon=True)
    failures = []
    sender.start()
    chance = random.Random(4711)
    victims = [relay1, relay2, node] * rounds
    chance.shuffle(victims)
    done_share = 0.0
    for index, victim in enumerate(victims):
        goal = (index + 1) / (len(victims) + 1) * count
        wait_for(lambda: len(journal.accepted) >= goal or not sender.is_alive(), seconds,
                 f"{goal:.0f} letters accepted; {len(journal.accepted)} are")
        time.sleep(chance.random() * 0.2)
        # What a kill can leave uncertain: each connection that it cuts, inbound and outbound.
        inbound = connections_to(site.address(port[victim][1]), port[victim][2])
        outbound = sum(connections_to(site.address(n), p) for owner, n, p in port.values()
                       if owner is victim)
        victim.kill()
        cut += inbound + outbound
        time.sleep(chance.random() * 0.5)
        victim.start(seconds=30)
    sender.join(seconds)
    check(not sender.is_alive(), "the sender did not end")
    check(failures == [None], f"the sender failed: {failures}")
    for relay in (relay1, relay2):
        wait_for(lambda: relay.queue_length() == 0, 120,
                 f"the queue of {relay.name} is empty")
    verdict = letters.settle(journal, [site.box_path("box", USER)], cut, size)
    check(len(journal.accepted) + len(journal.unknown) == count,
          f"{len(journal.accepted)} + {len(journal.unknown)} of {count}")
    uncertain = sum(len(re.findall(r"event=uncertain", relay.log())) for relay in (relay1, relay2))
    print(f"  {count} letters, {len(victims)} kills, {len(journal.accepted)} acknowledged, "
          f"{len(journal.unknown)} unknown to the client, {verdict.doubles} copies too many, "
          f"{cut} connections cut, {uncertain} uncertain events")
    return verdict


def sending(site, journal, count, size, sessions, seconds):
    try:
        letters.send_all((site.address(1), 2525), range(count), journal, site.ca + "/ca.pem",
                         sessions, seconds, size=size)
    except Exception as failure:
        return failure


def test_nothing_lost(site):
    """3,000 letters of 10 kB, each of three processes killed three times."""
    torture(site, int(os.environ.get("CHAPAR_KILL_LETTERS", "3000")), 3)


def test_idle_kill(site):
    """Killed while nothing happens: the start is clean and says that nothing is missing."""
    relay1, relay2, node = chain(site)
    node.start(), relay2.start(), relay1.start()
    journal = letters.Journal()
    letters.send_all((site.address(1), 2525), range(50), journal, site.ca + "/ca.pem", 5, 60)
    wait_for(lambda: relay1.queue_length() + relay2.queue_length() == 0, 30, "empty queues")
    for daemon in (relay1, relay2, node):
        daemon.kill()
        daemon.start()
    letters.send_all((site.address(1), 2525), range(50, 100), journal, site.ca + "/ca.pem", 5, 60)
    wait_for(lambda: relay1.queue_length() + relay2.queue_length() == 0, 30, "empty queues")
    letters.settle(journal, [site.box_path("box", USER)], 0)
