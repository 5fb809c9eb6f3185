"""How fast letters follow each other to one host."""
import statistics
import time

import letters
from case_notices import ScriptedSink
from chapar import check, smtp_route, wait_for

COUNT = 40


class Collector(ScriptedSink):
    """A server with CHUNKING whose kernel collects small writes (RFC 896), as Postfix's does.

    It answers the commands of a group, and a moment later the message behind them.
    """

    def __init__(self, address):
        self.arrived = []
        super().__init__(address)

    def session(self, connection):
        with connection, connection.makefile("rb") as file:
            connection.sendall(b"220 collector.test ESMTP\r\n")
            for line in iter(file.readline, b""):
                verb = line[:4].upper()
                if verb == b"EHLO":
                    connection.sendall(b"250-collector.test\r\n250-PIPELINING\r\n250 CHUNKING\r\n")
                elif verb == b"BDAT":
                    file.read(int(line.split()[1]))
                    time.sleep(0.001)
                    connection.sendall(b"250 2.0.0 taken\r\n")
                    self.arrived.append(time.monotonic())
                else:
                    connection.sendall(b"250 2.0.0 ok\r\n")


def test_peers_that_collect_small_writes(site):
    """No letter waits for an acknowledgement that the kernel holds back for 40 ms."""
    collector = Collector(site.address(4))
    relay = site.relay("relay", 1, smtp_route([collector.at], tls="none", extra="connections = 1  connections_at_first = 1"))
    relay.start()
    relay.ctl("suspend", "onward", "--reason", "letters are to wait")
    letters.send_all((site.address(1), 2525), range(COUNT), letters.Journal(), sessions=2, seconds=20)
    relay.ctl("resume", "onward")
    wait_for(lambda: len(collector.arrived) == COUNT, 20, "all letters")
    steps = [after - before for before, after in zip(collector.arrived, collector.arrived[1:])]
    middle = statistics.median(steps)
    print(f"  {1000 * middle:.1f} ms from letter to letter")
    check(middle < 0.02, f"{1000 * middle:.1f} ms from letter to letter")


test_peers_that_collect_small_writes.races, test_peers_that_collect_small_writes.alone = False, True
