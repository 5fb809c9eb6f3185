"""relayctl bounce: waiting mail is given up by hand, and its senders are told."""
import letters
from case_spool import box, two_ways
from chapar import check, swaks, wait_for
from flood import Flood

USER = "user@example.net"


def relay_with_waiting(site):
    """A relay that reaches the sender's box and nothing else."""
    node, relay = box(site), two_ways(site)
    with open(relay.config_path) as file:
        relay.configure(file.read() + "\ndelivery { notices_a_minute = 100000 }\n")
    node.start(), relay.start()
    return relay, site.address(1) + ":2525"


def notices(site):
    return [text for text in site.box("box", USER) if b"multipart/report" in text]


def test_bounce(site):
    """What waits and what is held goes back with a reason; what was not named stays."""
    relay, address = relay_with_waiting(site)
    swaks(address, sender=USER, to="waits@dead.example")
    swaks(address, sender=USER, to="held@dead.example")
    swaks(address, sender=USER, to="stays@dead.example")
    wait_for(lambda: relay.queue_length() == 3, 20, "three wait")
    relay.ctl("hold", "to=held@dead.example")
    relay.ctl("bounce", "-n", "to=waits@dead.example")
    check(relay.queue_length() == 3, "a dry run gave one up")
    relay.ctl("bounce", good=(64,))
    relay.ctl("bounce", "to=nobody@nowhere.example", good=(1,))
    relay.ctl("bounce", "to=waits@dead.example")
    relay.ctl("bounce", "to=held@dead.example")
    wait_for(lambda: relay.queue_length() == 1, 20, "only one is left")
    wait_for(lambda: len(notices(site)) == 2, 20, "two notifications")
    for name in (b"waits@dead.example", b"held@dead.example"):
        told, = [text for text in notices(site) if b"Final-Recipient: rfc822; " + name in text
                 or b"Final-Recipient: rfc822;" + name in text]
        check(b"Action: failed" in told and b"Status: 5.3.0" in told
              and b"given up by the operator" in told, told.decode(errors="replace"))
    item, = relay.ctl_json("list")
    check(item["recipients"][0]["address"] == "stays@dead.example", str(item))
    relay.stop()
    relay.start()
    check(relay.queue_length() == 1, "what was given up is back after a restart")


def test_bounce_of_a_large_set(site):
    """Two thousand letters are given up in the background while new mail is delivered."""
    relay, address = relay_with_waiting(site)
    texts = [letters.stuffed(letters.letter(number, 1500)) + b".\r\n" for number in range(2000)]
    flood = Flood((site.address(1), 2525), texts, 20, sender="", recipient="a@dead.example")
    flood.run(120)
    wait_for(lambda: relay.ctl_json("count")[-1].get("matched", 2000) == 2000, 20, "all wait")
    relay.ctl("bounce", "to=a@dead.example", seconds=60)
    swaks(address, sender="other@example.org", to=USER)
    wait_for(lambda: len(site.box("box", USER)) == 1, 20, "a letter meanwhile")
    wait_for(lambda: relay.queue_length() == 0, 60, "all are gone")
    check(not notices(site), "the null sender was told")
    discarded = relay.log().count("event=discarded")
    check(discarded == 2000, f"{discarded} letters of the null sender are logged as discarded")
