"""A spool with its daemon off: checked, listed, carried to another machine, adopted."""
import hashlib
import json
import os
import re
import socket
import subprocess
import tempfile
import threading
import time

import letters
from chapar import Skip, check, lmtp_route, run, wait_for

USER = "user@example.net"


def two_ways(site, name="relay1", number=1):
    """A relay that reaches the mailbox node and knows of another that does not exist."""
    ip = site.address(number)
    routes = (lmtp_route([site.address(3) + ":2424"], tls="none")
              + lmtp_route([site.address(9) + ":2424"], name="dead", domains='"*"', tls="none"))
    return site.relay(name, number, routes,
                      listeners=f'listener "mx" {{ address = {{"{ip}:2525"}} }}\n')


def box(site):
    ip = site.address(3)
    return site.mailbox("box", 3, [USER], listeners=f'listener "lmtp" {{ address = '
                        f'{{"{ip}:2424"}}  protocol = lmtp }}\n')


def send(address, sender, recipients, text, words="", timeout=20):
    with socket.create_connection(address, timeout=timeout) as client:
        replies = client.makefile("rb")

        def say(octets, code):
            if octets:
                client.sendall(octets)
            while True:
                line = replies.readline(4096).decode()
                check(line.startswith(str(code)), f"{octets[:60]!r}: {line!r}, not {code}")
                if line[3:4] == " ":
                    return line
        say(b"", 220)
        say(b"EHLO client.example.org\r\n", 250)
        say(f"MAIL FROM:<{sender}> BODY=8BITMIME{words}\r\n".encode(), 250)
        for recipient in recipients:
            say(f"RCPT TO:<{recipient}>\r\n".encode(), 250)
        say(b"DATA\r\n", 354)
        return say(letters.stuffed(text) + b".\r\n", 250).split()[2]


def fill(site, relay):
    """Letters that wait, of many kinds, and one of which half is delivered already."""
    address = (site.address(1), 2525)
    ids = [send(address, "sender@example.org", ["a@dead.example"], letters.letter(n, size))
           for n, size in enumerate((300, 10240, 300000))]
    ids.append(send(address, "s\u00e9nder@ex\u00e4mple.org", ["\u4fe1@dead.example"],
                    "Subject: \u4fe1\r\n\r\n8 bits \u00e9\r\n".encode(), " SMTPUTF8"))
    ids.append(send(address, "", ["a@dead.example", "b@dead.example"],
                    b"Subject: long\r\n\r\n" + b"x" * 998 + b"\r\n.\r\n..\r\nFrom here\r\n"))
    ids.append(send(address, "sender@example.org", [USER, "b@dead.example"],
                    letters.letter(99, 5000)))
    wait_for(lambda: len(site.box("box", USER)) == 1, 20, "the half of the last letter is there")
    wait_for(lambda: relay.queue_length() == len(ids), 20, "all wait")
    wait_for(lambda: [r["state"] for i in relay.ctl_json("show", ids[-1])
                      for r in i.get("item", i).get("recipients", [])].count("delivered") == 1,
             20, "one recipient of the last is delivered")
    relay.ctl("hold", "id=" + ids[0])
    return ids


def state_of(directory):
    """Every octet of every file: nothing may change them."""
    found = {}
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        with open(path, "rb") as file:
            found[name] = (hashlib.sha256(file.read()).hexdigest(), os.stat(path).st_mtime_ns)
    return found


def exported(directory):
    """Bodies, and envelopes as values."""
    found = {}
    for name in sorted(os.listdir(directory)):
        with open(os.path.join(directory, name), "rb") as file:
            found[name] = file.read()
        if name.endswith(".json"):
            found[name] = json.loads(found[name])
            for recipient in found[name]["recipients"]:
                # Where it was imported, it counts anew.
                recipient["attempts"] = min(recipient["attempts"], 1)
    return found


def test_to_another_machine(site):
    """Export and import give every octet and outcome again; looking writes nothing; twice is once."""
    node, relay = box(site), two_ways(site)
    node.start(), relay.start()
    ids = fill(site, relay)
    spool, other = site.path + "/relay1.spool", site.path + "/relay2.spool"
    busy = run([site.relayctl, "spool", "check", spool], good=(75,))
    check("another process" in busy, busy)
    relay.kill()

    before = state_of(spool)
    said = run([site.relayctl, "spool", "check", spool])
    check(f"{len(ids)} messages" in said and " 0 bad" in said, said)
    listed = [json.loads(line) for line in
              run([site.relayctl, "spool", "dump", "-j", spool]).splitlines() if line[0] == "{"]
    check([item["id"] for item in listed] == sorted(ids), f"{listed} instead of {ids}")
    check("<user@example.net>" in run([site.relayctl, "spool", "dump", spool]), "no recipient")
    run([site.relayctl, "spool", "export", spool, site.path + "/out1"])
    check(state_of(spool) == before, "check, dump or export changed the spool")

    run([site.relayctl, "spool", "import", other, site.path + "/out1"])
    again = run([site.relayctl, "spool", "import", other, site.path + "/out1"])
    check(f"{len(ids)} were there already" in again, again)
    run([site.relayctl, "spool", "export", other, site.path + "/out2"])
    first, second = exported(site.path + "/out1"), exported(site.path + "/out2")
    check(len(first) == 2 * len(ids), str(sorted(first)))
    for name in first:
        check(first[name] == second.get(name), f"{name} differs:\n{first[name]!r:.600}\n"
              f"{second.get(name)!r:.600}")
    check(first[ids[1] + ".eml"].endswith(letters.letter(1, 10240)), "not what was sent")
    check(first[ids[0] + ".json"]["held"], "the hold is lost")
    states = {r["address"]: r["state"] for r in first[ids[-1] + ".json"]["recipients"]}
    check(states == {USER: "delivered", "b@dead.example": "waiting"}, str(states))

    # The other machine goes on with it, and delivers nothing twice.
    relay2 = two_ways(site, "relay2", 2)
    relay2.start()
    check(relay2.queue_length() == len(ids), "not all were found by the other relay")
    relay2.ctl("retry", "state=waiting", good=(0, 1))
    check(len(site.box("box", USER)) == 1, "a recipient that was settled got it again")


def test_damage_is_found(site):
    """One octet of a body changed: check names the message, the others are exported."""
    node, relay = box(site), two_ways(site)
    node.start(), relay.start()
    ids = fill(site, relay)
    relay.stop()
    spool = site.path + "/relay1.spool"
    damage(spool, b"X-Test-Id: 0-1\r\n")
    said = run([site.relayctl, "spool", "check", spool], good=(65,))
    check(ids[1] in said, said)
    said = run([site.relayctl, "spool", "export", spool, site.path + "/out"], good=(65,))
    names = set(os.listdir(site.path + "/out"))
    check(ids[1] + ".json" not in names and ids[1] + ".eml" not in names, str(names))
    check(len(names) >= 2 * (len(ids) - 1), f"{names}\n{said}")


def damage(spool, mark):
    """One bit in the midst of the body that has this mark."""
    for name in os.listdir(spool):
        with open(os.path.join(spool, name), "rb+") as file:
            at = file.read().find(mark)
            if at >= 0:
                file.seek(at + len(mark) + 200)
                octet = file.read(1)
                file.seek(-1, 1)
                file.write(bytes([octet[0] ^ 4]))


def test_damage_is_set_aside(site):
    """What the scrub finds damaged is listed, shown and not sent; the rest is served."""
    node, relay = box(site), two_ways(site)
    node.start(), relay.start()
    ids = fill(site, relay)
    relay.stop()
    damage(site.path + "/relay1.spool", b"X-Test-Id: 0-1\r\n")
    url = f"{site.address(1)}:9025"
    with open(relay.config_path) as file:
        relay.configure(file.read() + f'\nmetrics {{ address = "{url}" }}\n')
    relay.start()

    def queue():
        return [item.get("item", item) for item in relay.ctl_json("status")][0]["queue"]
    wait_for(lambda: queue()["scrub_damaged"] == 1, 20, "the scrub finds it")
    check(queue()["damaged"] == 1 and queue()["scrubbed_bytes"] > 300000, str(queue()))
    check(ids[1] in relay.ctl("damaged"), relay.ctl("damaged"))
    shown = [item.get("item", item) for item in relay.ctl_json("list", "reason=damaged")]
    check([item["queue_id"] for item in shown if "queue_id" in item] == [ids[1]], str(shown))
    get = ["curl", "-sS", "--max-time", "10", "http://" + url]
    check("damaged" in run(get[:-1] + [get[-1] + "/readyz"]), "readyz says nothing")
    numbers = run(get[:-1] + [get[-1] + "/metrics"])
    check("\nchapar_spool_damaged 1\n" in numbers and
          "\nchapar_spool_scrub_damaged_total 1\n" in numbers and
          "\nchapar_spool_scrubbed_bytes_total " in numbers, numbers)
    send((site.address(1), 2525), "sender@example.org", [USER], letters.letter(7, 5000))
    wait_for(lambda: len(site.box("box", USER)) == 2, 20, "a new letter is delivered")
    for queue_id in ids:
        good = (0,) if queue_id != ids[1] else (65, 69, 74, 75)
        relay.ctl("cat", queue_id, good=good)


def test_large_letters_are_streamed(site):
    """Two letters of 99 MB at a time go to the disk in bounded memory, small ones in between."""
    ip = site.address(1)
    relay = site.relay("relay1", 1, lmtp_route([site.address(9) + ":2424"], domains='"*"', tls="none"),
                       extra="limits { message_size = 100M }\n",
                       listeners=f'listener "mx" {{ address = {{"{ip}:2525"}} }}\n')
    relay.start()
    large = large_letter(99 << 20)
    threads = [threading.Thread(target=lambda: ids.append(send((ip, 2525), "a@example.org",
               [USER], large, timeout=240)), daemon=True) for _ in range(2)]
    ids, took = [], []
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) and len(took) < 5000:
        begun = time.monotonic()
        send((ip, 2525), "a@example.org", [USER], letters.letter(len(took), 3000))
        took.append(time.monotonic() - begun)
        time.sleep(0.05)
    for thread in threads:
        thread.join(240)
    check(len(ids) == 2, f"{len(ids)} of 2 large letters were taken:\n{relay.log()[-1500:]}")
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", open(f"/proc/{relay.process.pid}/status").read())[1])
    print(f"  peak {peak >> 10} MB; {len(took)} small letters meanwhile, the middle one in "
          f"{sorted(took)[len(took) // 2] * 1e3:.0f} ms")
    check(peak < 128 << 10, f"{peak} kB of memory for 198 MB of letters")
    check(len(took) > 3, f"only {len(took)} small letters came between")
    body = subprocess.run([site.relayctl, "-s", relay.socket, "cat", ids[0]],
                          stdout=subprocess.PIPE, timeout=120).stdout
    check(body.replace(b"\r\n", b"\n").endswith(large.replace(b"\r\n", b"\n")),
          f"the octets differ: {len(body)} of {len(large)}")


test_large_letters_are_streamed.races = False   # it measures memory


def large_letter(size):
    line = bytes(range(33, 127)) * 8 + b"\r\n"
    return b"Subject: large\r\n\r\n" + line * ((size - 2048) // len(line))


def test_refusals(site):
    """No spool, no words, a body that is missing or has another length: each said clearly."""
    run([site.relayctl, "spool"], good=(64,))
    run([site.relayctl, "spool", "check"], good=(64,))
    run([site.relayctl, "spool", "look", "x"], good=(64,))
    said = run([site.relayctl, "spool", "check", site.path + "/nowhere"], good=(69,))
    check("there is no spool" in said and not os.path.exists(site.path + "/nowhere"), said)
    files = site.path + "/files"
    os.mkdir(files)
    for name, text in (("A.json", "{"), ("B.json", '{"version":1,"bytes":3}'),
                       ("C.json", '{"version":1,"bytes":3}'), ("C.eml", "four")):
        with open(os.path.join(files, name), "w") as file:
            file.write(text)
    said = run([site.relayctl, "spool", "import", site.path + "/new", files], good=(65,))
    check("A.json" in said and "B.json" in said and "has 4 octets" in said and "3 bad" in said, said)


def started(relay):
    """Exit status and words of a start that is to fail."""
    done = subprocess.run([relay.program, "-f", relay.config_path], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20)
    return done.returncode, done.stdout.decode(errors="replace")


def test_first_line(site):
    """Where the spool is and what was found is said; one that another process has is refused."""
    relay = two_ways(site)
    relay.start()
    send((site.address(1), 2525), "a@example.org", ["a@dead.example"], letters.letter(1, 3000))
    other = two_ways(site, "relay2", 2)
    with open(other.config_path) as file:
        other.configure(file.read().replace("relay2.spool", "relay1.spool"))
    status, said = started(other)
    check(status not in (0, -6, -11) and "another process has this spool" in said, f"{status} {said}")
    relay.kill()
    mark = len(relay.log())
    relay.start()
    line, = [line for line in relay.log()[mark:].splitlines() if "event=spool " in line]
    for word in (f"place={site.path}/relay1.spool", "messages=1 ", "damaged=0 ", "segments="):
        check(word in line + " ", line)


def test_volatile_spool(site):
    """A spool in memory is refused by name, unless the configuration says that it may be lost."""
    if not os.access("/dev/shm", os.W_OK) or \
            run(["stat", "-f", "-c", "%T", "/dev/shm"]).strip() != "tmpfs":
        raise Skip("no tmpfs here")
    with tempfile.TemporaryDirectory(prefix="chapar-test-", dir="/dev/shm") as memory:
        relay = two_ways(site)
        with open(relay.config_path) as file:
            text = file.read().replace("  allow_volatile_spool = yes\n", "")
        text = text.replace(f"{site.path}/relay1.spool", memory + "/spool")
        relay.configure(text)
        status, said = started(relay)
        check(status not in (0, -6, -11) and "tmpfs" in said and "allow_volatile_spool" in said,
              f"{status} {said}")
        relay.configure(text.replace("node {", "node {\n  allow_volatile_spool = yes", 1))
        relay.start()
        check("VOLATILE" in relay.log(), relay.log()[-1000:])
        relay.stop()


def test_adopt(site):
    """A spool that another machine made is held until it is adopted."""
    if not os.path.exists("/etc/machine-id") or not os.path.getsize("/etc/machine-id"):
        raise Skip("this machine has no /etc/machine-id")
    node, relay = box(site), two_ways(site)
    node.start(), relay.start()
    fill(site, relay)
    relay.stop()
    identity = site.path + "/relay1.spool/spool"
    with open(identity, "rb") as file:
        made = bytearray(file.read())
    made[24:40] = bytes(range(16))
    made[12:16] = bytes(4)
    made[12:16] = crc32c(bytes(made)).to_bytes(4, "little")
    with open(identity, "wb") as file:
        file.write(made)
    relay.start()
    check("another machine" in relay.log(), relay.log()[-800:])
    relay.stop()
    said = run([site.relayctl, "spool", "adopt", site.path + "/relay1.spool"])
    check("this machine's" in said, said)
    mark = len(relay.log())
    relay.start()
    check("another machine" not in relay.log()[mark:], relay.log()[mark:])


def crc32c(octets):
    value = 0xffffffff
    for octet in octets:
        value ^= octet
        for _ in range(8):
            value = value >> 1 ^ (0x82f63b78 if value & 1 else 0)
    return value ^ 0xffffffff
