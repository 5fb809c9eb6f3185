"""Destinations: suspended and resumed by hand, remembered over restarts."""
import datetime
import time

import case_notices
from chapar import check, free_port, smtp_route, swaks, wait_for
from case_backlog import CountingSink


def destination(relay, name="onward"):
    found = [item for item in relay.ctl_json("dest", name) if item.get("destination") == name]
    return found[0] if found else None


def test_suspended_over_a_restart(site):
    """Suspended before its first letter, with a reason, over kill -9; resumed, and that is remembered too."""
    port = free_port(site.address(9))
    sink = CountingSink(site.address(9), port, 0)
    relay = site.relay("relay", 1, smtp_route([f"{site.address(9)}:{port}"], tls="none")).start()
    relay.ctl("suspend", "onward", "--reason", "they move house")
    swaks(site.address(1) + ":2525", to="a@example.com")
    time.sleep(1)
    check(not sink.letters, "sent though suspended")
    relay.kill()
    relay.start()
    time.sleep(1)
    check(not sink.letters, "a restart forgets that it is suspended")
    item, = relay.ctl_json("list")
    check(item["reason"] == "suspended", str(item))
    check("they move house" in str(destination(relay)), str(destination(relay)))
    relay.ctl("resume", "onward")
    wait_for(lambda: sink.letters, 5, "the letter, resumed")
    time.sleep(0.6)
    relay.kill()
    relay.start()
    swaks(site.address(1) + ":2525", to="b@example.com")
    wait_for(lambda: len(sink.letters) == 2, 5, "a letter after another restart")


def test_suspended_for_a_time(site):
    """It ends by itself, though the relay was down meanwhile."""
    port = free_port(site.address(9))
    sink = CountingSink(site.address(9), port, 0)
    relay = site.relay("relay", 1, smtp_route([f"{site.address(9)}:{port}"], tls="none")).start()
    relay.ctl("suspend", "onward", "--reason", "lunch", "--for", "4s")
    begun = time.monotonic()
    swaks(site.address(1) + ":2525", to="a@example.com")
    check(relay.stop() == 0, "ends well")
    relay.start()
    wait_for(lambda: sink.letters, 10, "the letter")
    check(time.monotonic() - begun > 3, f"after {time.monotonic() - begun:.1f} s")


def test_down_over_a_restart(site):
    """A host that was down is probed after a restart, not stormed; what is known of it is still shown."""
    port = free_port(site.address(9))
    relay = site.relay("relay", 1, smtp_route([f"{site.address(9)}:{port}"], tls="none"),
                       extra="delivery { probe_own = 2s }\n").start()
    for number in range(20):
        swaks(site.address(1) + ":2525", to=f"u{number}@example.com")
    wait_for(lambda: "event=breaker-open" in relay.log(), 10, "the breaker opens")
    time.sleep(1)
    relay.kill()
    mark = len(relay.log())
    relay.start()
    time.sleep(3)
    later = relay.log()[mark:]
    check("event=breaker-open" not in later, "its breaker opened once more:\n" + later[-1500:])
    shown = destination(relay)
    check(shown["hosts"][0]["breaker"] != "closed" and shown["hosts"][0]["last_error"], str(shown))
    # Probes, whose number depends on how long all this takes; a storm would be all twenty.
    check(later.count("event=deferred") <= 8, "stormed:\n" + later[-3000:])
    sink = CountingSink(site.address(9), port, 0)
    wait_for(lambda: len(sink.letters) == 20, 15, "all arrive when it is back")


def moment(try_):
    return datetime.datetime.fromisoformat(try_["at"].replace("Z", "+00:00")).timestamp()


def test_attempts_over_a_restart(site):
    """When, where and with which words each attempt ended is known after kill -9 too."""
    world = case_notices.World(site)
    identity = world.send("me@example.org", [("later1@example.com", []), ("later2@example.com", []),
                                             ("good@example.com", [])])

    def tries():
        item, = world.relay.ctl_json("explain", identity)
        return [try_ for unit in item["units"] for try_ in unit["tries"]]
    wait_for(lambda: len(tries()) >= 3, 10, "three attempts")
    before = tries()
    world.relay.kill()
    world.relay.start()
    after = tries()
    check(len(after) >= len(before), f"{len(before)} attempts before, {len(after)} after")
    for one, other in zip(before, after):
        check((one["words"], one["host"]) == (other["words"], other["host"]), f"{one}, then {other}")
        check(abs(moment(one) - moment(other)) < 1, f"{one}, then {other}")
    check(all("come again" in try_["words"] for try_ in after), str(after))
    wait_for(lambda: len(tries()) > len(before), 5, "the next one stands behind them")
