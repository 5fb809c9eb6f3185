"""Sockets that the service manager opened before the daemon was there."""
import fcntl
import os
import socket
import subprocess
import sys

from chapar import check, lmtp_route, swaks, wait_for

USER = "user@example.net"
# Descriptors 3 and onwards are the sockets, and they are meant for this process.
START = """
import os, sys
fds = list(map(int, sys.argv[3].split()))
for number, fd in enumerate(fds, 3):
    os.dup2(fd, number)
    os.close(fd)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)))
os.execv(sys.argv[1], [sys.argv[1], "-f", sys.argv[2]])
"""


def listen(ip, port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((ip, port))
    listener.listen(20)
    return listener


def start(daemon, listeners):
    """As the service manager does it; the daemon is ready when it greets."""
    fds = [fcntl.fcntl(listener.fileno(), fcntl.F_DUPFD, 50) for listener in listeners]
    with open(daemon.log_path, "ab") as log:
        daemon.process = subprocess.Popen([sys.executable, "-c", START, daemon.program, daemon.config_path,
                                           " ".join(map(str, fds))], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                          pass_fds=fds, start_new_session=True, env={**os.environ, **daemon.site.env})
    for fd in fds:
        os.close(fd)
    wait_for(lambda: daemon.process.poll() is not None or "event=ready" in daemon.log(), 20, "ready")
    check(daemon.alive(), "it ended:\n" + daemon.log()[-1500:])


def test_relay_and_mailbox(site):
    """Both daemons take the sockets they are given, serve who waited in them, and keep them over a reload."""
    node = site.mailbox("box", 3, [USER])
    relay = site.relay("relay1", 1, lmtp_route([site.address(3) + ":2424"]))
    boxes = [listen(site.address(3), 2424)]
    relays = [listen(site.address(1), 2525), listen(site.address(1), 2465)]
    early = socket.create_connection((site.address(1), 2525), 30)
    start(node, boxes)
    start(relay, relays)
    for listener in boxes + relays:
        listener.close()
    check(early.recv(100).startswith(b"220 "), "who came early is not greeted")
    early.close()
    swaks(site.address(1) + ":2525", "--tls")
    swaks(site.address(1) + ":2465", "--tls-on-connect")
    wait_for(lambda: len(site.box("box", USER)) == 2, 20, "two letters\n" + relay.log()[-1500:])
    for daemon in (relay, node):
        daemon.reload()
        wait_for(lambda: "reloaded" in daemon.log(), 20, "reloaded")
    swaks(site.address(1) + ":2525", "--tls")
    wait_for(lambda: len(site.box("box", USER)) == 3, 20, "the third letter\n" + relay.log()[-1500:])
    check(relay.stop() == 0 and node.stop() == 0, "they did not end well")
