"""A host that takes a letter and is gone before it says so: the letter stays with it for a time."""
import re
import socket
import threading
import time

from chapar import check, smtp_route, swaks, wait_for


class LosingSink:
    """Takes letters; while `loses` it hangs up in place of the last 250."""

    def __init__(self, address, loses):
        self.loses = loses
        self.times = []                 # of letters, also of those not answered
        self.taken = 0
        self.listener = socket.socket()
        self.listener.bind((address, 0))
        self.listener.listen(16)
        self.at = f"{address}:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.session, args=(connection,), daemon=True).start()

    def session(self, connection):
        with connection, connection.makefile("rwb") as file:
            def say(text):
                file.write(text.encode() + b"\r\n")
                file.flush()
            try:
                say("220 sink ESMTP")
                for line in file:
                    verb = line[:4].upper()
                    if verb == b"DATA":
                        say("354 go on")
                        for line in file:
                            if line == b".\r\n":
                                break
                        self.times.append(time.monotonic())
                        if self.loses:
                            return
                        self.taken += 1
                        say("250 2.0.0 taken")
                    elif verb == b"QUIT":
                        say("221 bye")
                        return
                    else:
                        say("250 ok")
            except OSError:
                pass


def two_hosts(site, hold):
    first, second = LosingSink(site.address(8), True), LosingSink(site.address(9), False)
    relay = site.relay("relay", 1, smtp_route([first.at, second.at + " fallback"], tls="none",
                                              extra='retry = "soon"'),
                       extra=f"""
retry "soon" {{ schedule = {{"1s"}} }}
delivery {{ uncertain_hold = {hold}  probe_own = 1s }}
""").start()
    return relay, first, second


def test_stays_and_goes_elsewhere(site):
    """For the time of uncertain_hold nobody else gets it, over kill -9 too; then another, with an event."""
    relay, first, second = two_hosts(site, "6s")
    swaks(site.address(1) + ":2525")
    wait_for(lambda: "event=uncertain" in relay.log(), 10, "an uncertain outcome:\n" + relay.log()[-800:])
    uncertain = time.monotonic()
    item, = relay.ctl_json("list")
    check(item["reason"] == "uncertain", str(item))
    relay.kill()
    first.listener.close()
    relay.start()
    time.sleep(3)
    check(second.taken == 0, "it went elsewhere after a restart")
    relay.kill()
    relay.start()
    wait_for(lambda: second.taken, 30, "it goes elsewhere in the end:\n" + relay.log()[-1500:])
    check(second.times[0] - uncertain > 4, f"after {second.times[0] - uncertain:.1f} s already")
    check(re.search(r"event=rebound id=\w+ origin=\S+ to=<user@example\.net> was=\S+ dest=", relay.log()),
          "no event:\n" + relay.log()[-1500:])
    wait_for(lambda: relay.queue_length() == 0, 5, "the queue is empty")
    check(second.taken == 1, f"{second.taken} copies")


def test_the_same_host_says_it_has_it(site):
    """Asked again the host takes it: one more copy there, which is its affair, and none elsewhere."""
    relay, first, second = two_hosts(site, "1h")
    swaks(site.address(1) + ":2525")
    wait_for(lambda: "event=uncertain" in relay.log(), 10, "an uncertain outcome")
    first.loses = False
    wait_for(lambda: relay.queue_length() == 0, 15, "the queue is empty")
    check((first.taken, second.taken) == (1, 0), f"{first.taken} and {second.taken}")
    check("event=rebound" not in relay.log(), "let go too early")


def held(site, lifetime, sender="ann@example.org"):
    sink = LosingSink(site.address(8), True)
    relay = site.relay("relay", 1, smtp_route([sink.at], tls="none", extra='retry = "once"'), extra=f"""
retry "once" {{ schedule = {{"1s"}}  hold_uncertain = yes  lifetime = {lifetime} }}
""").start()
    swaks(site.address(1) + ":2525", sender=sender)
    wait_for(lambda: "event=uncertain" in relay.log(), 10, "an uncertain outcome:\n" + relay.log()[-800:])
    return relay, sink


def test_held_by_policy(site):
    """Who rather loses an answer than has two copies: nobody asks again, over kill -9 too, but an operator."""
    relay, sink = held(site, "1h")
    time.sleep(2)
    relay.kill()
    relay.start()
    time.sleep(3)
    check(len(sink.times) == 1, f"sent {len(sink.times)} times")
    item, = relay.ctl_json("list")
    check(item["reason"] == "uncertain", str(item))
    sink.loses = False
    relay.ctl("retry", "--all")
    wait_for(lambda: relay.queue_length() == 0, 10, "it goes when somebody says so")
    check(sink.taken == 1, f"{sink.taken} copies")


def test_held_until_its_time_is_over(site):
    """Nobody came: it has failed at the end of its time, and no second copy was sent."""
    relay, sink = held(site, "6s", sender="<>")         # nobody is told, which would be a letter to the sink
    wait_for(lambda: "event=expired" in relay.log(), 12, "it expires")
    wait_for(lambda: relay.queue_length() == 0, 5, "the queue is empty")
    check(len(sink.times) == 1, f"sent {len(sink.times)} times")
