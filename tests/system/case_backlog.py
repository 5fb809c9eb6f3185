"""Letters that wait for a host that is away, beside others, and the host's return."""
import smtplib
import socket
import threading
import time

from chapar import check, free_port, smtp_route, wait_for


class CountingSink:
    """Takes mail slowly and counts connections: those open, and those that took a letter while open."""

    def __init__(self, address, port, delay):
        self.delay = delay
        self.lock = threading.Lock()
        self.open, self.working, self.proven = 0, 0, 1
        self.letters = []
        self.first = None
        self.over = []
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.listener.listen(200)
        self.begun = time.monotonic()
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        self.listener.close()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.open += 1
                if self.open > 2 * self.proven:
                    self.over.append((self.open, self.proven, len(self.letters)))
            threading.Thread(target=self.session, args=(connection,), daemon=True).start()

    def session(self, connection):
        works = False
        try:
            with connection, connection.makefile("rwb") as file:
                works = yield_letters(self, file)
        except OSError:
            pass
        with self.lock:
            self.open -= 1

    def took(self, letter, works):
        with self.lock:
            self.first = self.first or time.monotonic()
            self.letters.append(letter)
            if not works:
                self.working += 1
                self.proven = max(self.proven, self.working)


def yield_letters(sink, file):
    works = False

    def say(text):
        file.write(text.encode() + b"\r\n")
        file.flush()
    say("220 sink ESMTP")
    rcpt = None
    try:
        for line in file:
            verb = line[:4].upper()
            if verb in (b"EHLO", b"HELO"):
                say("250-sink\r\n250 PIPELINING")
            elif verb == b"DATA":
                say("354 go on")
                for line in file:
                    if line == b".\r\n":
                        break
                time.sleep(sink.delay)
                sink.took(rcpt, works)
                works = True
                say("250 2.0.0 taken")
            elif verb == b"QUIT":
                say("221 bye")
                break
            else:
                if verb == b"RCPT":
                    rcpt = line.split(b"<")[1].split(b">")[0].decode()
                say("250 2.1.0 ok")
    finally:
        if works:
            with sink.lock:
                sink.working -= 1
    return works


def send(relay, count, domain, sender="sender@example.org"):
    client = smtplib.SMTP(relay, 2525, "client.example.org", timeout=30)
    for number in range(count):
        client.sendmail(sender, [f"u{number}@{domain}"], "Subject: x\r\n\r\nhello\r\n")
    client.quit()


def test_the_return_of_a_host(site):
    """A host back from the dead gets its mail at the next probe, gently at first, and all of it once."""
    port = free_port(site.address(9))
    relay = site.relay("relay", 1, smtp_route([f"{site.address(9)}:{port}"], tls="none",
                                              extra="connections = 16"),
                       extra='delivery { probe_own = 3s }\n').start()
    send(site.address(1), 600, "example.com")
    wait_for(lambda: "event=breaker-open" in relay.log(), 20, "the breaker opens")
    time.sleep(4)
    sink = CountingSink(site.address(9), port, 0.01)
    wait_for(lambda: len(sink.letters) >= 600, 60, "all letters arrive")
    check(sink.first - sink.begun < 5, f"the first came after {sink.first - sink.begun:.1f} s, probes are 3 s apart")
    check(not sink.over, "more than twice the connections that had worked, (open, proven, letters): "
          f"{sink.over[:10]}")
    check(sink.proven >= 8, f"only {sink.proven} connections in the end: the window does not grow")
    wait_for(lambda: relay.queue_length() == 0, 10, "the queue is empty")
    check(sorted(sink.letters) == sorted(f"u{i}@example.com" for i in range(600)), "lost or doubled")
    sink.close()
