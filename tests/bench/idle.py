"""What idle connections cost a relay, and what a newcomer feels of them.

    idle.py --build DIR [--tls N] [--plain N]

Opens so many connections from many loopback addresses, each greeted with EHLO and then silent,
and looks at the resident memory of relayd before and after; then newcomers send letters.  Ends
with 1 when a connection costs more than it may (40 kB with TLS, 4 kB in clear), is lost, or a
newcomer's letter takes more than 100 ms from connect to 250.
"""
import argparse
import os
import re
import resource
import select
import socket
import ssl
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
import chapar  # noqa: E402

TLS_BYTES_MAX, PLAIN_BYTES_MAX, NEWCOMER_MS_MAX = 40_000, 4_000, 100
NEWCOMERS = 20
OWN_DESCRIPTORS = 100           # of relayd itself, and of this program


def raise_descriptors(count):
    """Descriptors for so many connections, in this process and in relayd; how many fit in one.

    Only root may have more than the machine's habit is, and must, for the count to be whole.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = max(hard, count + OWN_DESCRIPTORS)
    for limit in (enough, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return limit - OWN_DESCRIPTORS
        except (OSError, ValueError):
            pass
    return soft - OWN_DESCRIPTORS


def resident(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return int(re.search(r"^Rss:\s+(\d+) kB", file.read(), re.M).group(1)) * 1024


def read_reply(sock):
    text = b""
    while not re.search(rb"(?m)^\d{3} [^\n]*\n\Z", text):
        piece = sock.recv(4096)
        chapar.check(piece, f"the relay closed an idle connection: {text[-200:]}")
        text += piece
    return text


def connect(server, port, number, tls):
    """From 127.100.x.y, so that no network has many."""
    source = f"127.{100 + number // 60000}.{number // 240 % 250}.{number % 240 + 1}"
    sock = socket.create_connection((server, port), 20, (source, 0))
    if tls:
        sock = tls.wrap_socket(sock, server_hostname="relay1.chapar.test")
    read_reply(sock)
    sock.sendall(b"EHLO idle.example\r\n")
    read_reply(sock)
    return sock


def newcomer_ms(server, tls):
    """A letter over a connection of its own."""
    begun = time.monotonic()
    sock = socket.create_connection((server, 2465 if tls else 2525), 20, ("127.99.0.1", 0))
    if tls:
        sock = tls.wrap_socket(sock, server_hostname="relay1.chapar.test")
    read_reply(sock)
    for words in (b"EHLO new.example", b"MAIL FROM:<a@example.org>", b"RCPT TO:<user@example.net>",
                  b"DATA", b"Subject: new\r\n\r\nhello\r\n."):
        sock.sendall(words + b"\r\n")
        said = read_reply(sock)
        chapar.check(said[:1] in b"23", f"the newcomer hears {said}")
    took = (time.monotonic() - begun) * 1000
    sock.close()
    return took


def alive(connections):
    """None has been closed, nor told anything."""
    poll = select.poll()
    for sock in connections:
        poll.register(sock, select.POLLIN)
    return not poll.poll(0)


def measure(site, count, with_tls):
    """Octets a connection, and the milliseconds of newcomers."""
    fits = raise_descriptors(count)
    wanted, count = count, min(count, fits)
    relay = site.relay("relay1", 1, chapar.lmtp_route([site.address(9) + ":2424"]), extra="""
limits { connections = 100000 }
fairness { amber = 99  red = 100 }
""")
    relay.start()
    server = site.address(1)
    tls = None
    if with_tls:
        tls = ssl.create_default_context(cafile=site.ca + "/ca.pem")
    for _ in range(NEWCOMERS):
        newcomer_ms(server, tls)                # what is made once is made before
    before = resident(relay.process.pid)
    begun = time.monotonic()
    connections = [connect(server, 2465 if with_tls else 2525, i, tls) for i in range(count)]
    took = time.monotonic() - begun
    time.sleep(1)
    cost = (resident(relay.process.pid) - before) / count
    news = sorted(newcomer_ms(server, tls) for _ in range(NEWCOMERS))
    chapar.check(alive(connections), "an idle connection was ended")
    cpu = sum(os.times()[:2])
    for sock in connections:
        sock.close()
    relay.stop()
    return {"wanted": wanted, "count": count, "bytes": cost, "before": before, "seconds": took,
            "newcomer_median_ms": news[len(news) // 2], "newcomer_max_ms": news[-1], "cpu": cpu}


def report(name, found, bytes_max):
    good = found["bytes"] <= bytes_max and found["newcomer_max_ms"] <= NEWCOMER_MS_MAX
    few = "" if found["count"] == found["wanted"] else \
        f" ({found['wanted']} wanted, more descriptors are not allowed here)"
    print(f"{'ok' if good else 'not ok'} {name}: {found['count']} connections{few}, "
          f"{found['bytes'] / 1000:.2f} kB each over {found['before'] / 1e6:.1f} MB (at most "
          f"{bytes_max / 1000:.0f}), opened in {found['seconds']:.0f} s; a newcomer's letter "
          f"{found['newcomer_median_ms']:.0f} ms, at most {found['newcomer_max_ms']:.0f} ms")
    sys.stdout.flush()
    return good


def main():
    parser = argparse.ArgumentParser(description="idle connections of a relay")
    parser.add_argument("--build", required=True)
    parser.add_argument("--tls", type=int, default=10000)
    parser.add_argument("--plain", type=int, default=20000)
    options = parser.parse_args()
    good = True
    for name, count, bytes_max in (("tls", options.tls, TLS_BYTES_MAX),
                                   ("plain", options.plain, PLAIN_BYTES_MAX)):
        if count:
            with chapar.Site(os.path.abspath(options.build)) as site:
                good = report(name, measure(site, count, name == "tls"), bytes_max) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
