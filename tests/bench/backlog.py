#!/usr/bin/env python3
"""A backlog for a dead host beside mail for a healthy one, and the return of the dead.

    backlog.py --build DIR --tools DIR [--backlog N] [--letters N] [--pairs N] [--json FILE]

Two relays with the same configuration run, one with BACKLOG letters waiting for a host that is
not there.  LETTERS go through one and the other in turn (ABBA) to a healthy sink; the median of
the ratios of rates is to be 0.95 or more, or that of CPU seconds a letter 1.05 or less.  Then a
sink begins to listen where the dead host was.  TOOLS has smtpload and smtpsink of the shared
harness.  Exit status 1 when a claim does not hold.
"""
import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def busy_ticks():
    with open("/proc/stat") as file:
        fields = [int(word) for word in file.readline().split()[1:9]]
    return sum(fields) - fields[3] - fields[4]


def cpu_s(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Sink:
    def __init__(self, tools, port, *words):
        self.out = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([f"{tools}/smtpsink", "-p", str(port), "--max-time", "3000", *words],
                                        stdout=self.out, stderr=subprocess.DEVNULL)
        for _ in range(400):        # a signal before it has its handlers would end it
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.005)
        self.begun = time.time()

    def stat(self):
        self.out.seek(0)
        before = len(self.out.readlines())
        self.process.send_signal(signal.SIGUSR1)
        for _ in range(2500):                   # ten seconds: the machine may be busy
            self.out.seek(0)
            lines = self.out.readlines()
            if len(lines) > before and lines[-1].endswith("}\n"):
                return json.loads(lines[-1])
            time.sleep(0.004)
        raise SystemExit("backlog: the sink does not answer")

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


class Relay:
    def __init__(self, options, directory, name, healthy, dead):
        self.options, self.port = options, free_port()
        self.socket = f"{directory}/{name}.sock"
        config = f"{directory}/{name}.conf"
        with open(config, "w") as file:
            file.write(f"""
node {{ hostname = "{name}.test"  spool = "{directory}/{name}.spool"  control = "{self.socket}"
  allow_volatile_spool = yes }}
listener "mx" {{ address = {{"127.0.0.1:{self.port}"}} }}
accept {{ relay_from = {{"127.0.0.0/8"}} }}
route "dead" {{ for = {{"dead.test"}}  to = {{"127.0.0.1:{dead}"}}  tls = none }}
route "healthy" {{ for = {{"*"}}  to = {{"127.0.0.1:{healthy}"}}  tls = none }}
""")
        self.log = open(f"{directory}/{name}.log", "w")
        self.process = subprocess.Popen([f"{options.build}/relay/relayd", "-f", config],
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        for _ in range(400):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.025)
        raise SystemExit(f"backlog: {name} does not serve; see {directory}")

    def load(self, count, size, domain):
        done = subprocess.run([f"{self.options.tools}/smtpload", "-p", str(self.port), "--json", "-c", "20",
                               "-n", str(count), "-s", str(size), "-m", "100", "--timeout", "60",
                               "--max-time", "600", "--to", f"user%d@{domain}"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        return json.loads(done.stdout)

    def status(self):
        text = subprocess.run([f"{self.options.build}/relay/relayctl", "-s", self.socket, "-j", "status"],
                              stdout=subprocess.PIPE, check=True).stdout
        return json.loads(text.splitlines()[0])

    def waiting(self):
        return self.status()["queue"]["messages"]

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


def one_run(relay, sink, count):
    """Letters a second from the first octet to the last copy, CPU a letter, CPUs of strangers."""
    before, cpu = sink.stat()["messages"], cpu_s(relay.process.pid)
    busy, begun = busy_ticks(), time.time()
    said = relay.load(count, 10240, "dest.test")
    end = time.time() + 120
    while sink.stat()["messages"] - before < said["accepted"]:
        if time.time() > end:
            raise SystemExit("backlog: letters are missing at the healthy sink")
        time.sleep(0.01)
    last = sink.stat()["last_epoch"]
    used = cpu_s(relay.process.pid) - cpu
    spent = time.time() - begun
    foreign = (busy_ticks() - busy) / TICKS / spent
    return {"rate": said["accepted"] / (last - said["start_epoch"]), "cpu_ms": 1000 * used / said["accepted"],
            "busy_cpus": foreign}


def beside(options, empty, full, sink):
    pairs = []
    for number in range(options.pairs):
        order = (empty, full) if number % 2 == 0 else (full, empty)
        runs = {relay: one_run(relay, sink, options.letters) for relay in order}
        without, with_it = runs[empty], runs[full]
        pairs.append({"rate_ratio": with_it["rate"] / without["rate"],
                      "cpu_ratio": with_it["cpu_ms"] / without["cpu_ms"],
                      "without": without, "with": with_it})
        print(f"pair {number + 1}: {without['rate']:.0f} letters/s without, {with_it['rate']:.0f} with, "
              f"ratio {pairs[-1]['rate_ratio']:.3f}; cpu {without['cpu_ms']:.3f} and "
              f"{with_it['cpu_ms']:.3f} ms a letter, ratio {pairs[-1]['cpu_ratio']:.3f}", flush=True)
    return pairs


def comes_back(options, relay, port):
    waiting = relay.waiting()
    sink = Sink(options.tools, port)
    while sink.stat()["messages"] == 0 and time.time() - sink.begun < 60:
        time.sleep(0.02)
    first = sink.stat()["first_epoch"] - sink.begun
    steps, end, last = [], time.time() + 600, 0
    while last < waiting and time.time() < end:
        time.sleep(1)
        stat = sink.stat()
        steps.append({"s": round(time.time() - sink.begun, 2), "messages": stat["messages"], "open": stat["open"]})
        last = stat["messages"]
    stat = sink.stat()
    sink.stop()
    spent = stat["last_epoch"] - stat["first_epoch"]
    return {"waiting": waiting, "first_s": first, "arrived": stat["messages"], "drain_s": spent,
            "rate": stat["messages"] / max(spent, 0.001), "peak_connections": stat["peak"],
            "refused": stat["refused"], "steps": steps, "left": relay.waiting()}


def main():
    parser = argparse.ArgumentParser(description="a backlog beside healthy mail")
    parser.add_argument("--build", required=True)
    parser.add_argument("--tools", required=True)
    parser.add_argument("--backlog", type=int, default=100000)
    parser.add_argument("--letters", type=int, default=20000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--json")
    options = parser.parse_args()
    options.build, options.tools = os.path.abspath(options.build), os.path.abspath(options.tools)
    directory = tempfile.mkdtemp(prefix="chapar-backlog-", dir=os.environ.get("TMPDIR", "/var/tmp"))
    healthy, dead = free_port(), free_port()
    sink = Sink(options.tools, healthy)
    relays = []
    try:
        relays = [Relay(options, directory, name, healthy, dead) for name in ("empty", "full")]
        empty, full = relays
        said = full.load(options.backlog, 2048, "dead.test")
        print(f"{said['accepted']} letters for the dead host, {said['msg_s']:.0f} a second", flush=True)
        pairs = beside(options, empty, full, sink)
        result = {"backlog": full.waiting(), "pairs": pairs,
                  "rate_ratio": statistics.median(pair["rate_ratio"] for pair in pairs),
                  "cpu_ratio": statistics.median(pair["cpu_ratio"] for pair in pairs)}
        result["return"] = back = comes_back(options, full, dead)
    finally:
        sink.stop()
        for relay in relays:
            relay.stop()
    claims = {
        "the healthy host has 95 % of its rate, or 105 % of the CPU a letter":
            result["rate_ratio"] >= 0.95 or result["cpu_ratio"] <= 1.05,
        "nothing of the backlog was lost or is doubled": back["arrived"] == back["waiting"] == said["accepted"],
        "the first letter comes within 30 s": back["first_s"] <= 30,
        "the queue is empty in the end": back["left"] == 0,
    }
    print(f"median ratios: rate {result['rate_ratio']:.3f}, cpu {result['cpu_ratio']:.3f}")
    print(f"return: first letter after {back['first_s']:.2f} s, {back['arrived']} in {back['drain_s']:.1f} s "
          f"({back['rate']:.0f} a second), at most {back['peak_connections']} connections")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(result, file, indent=1)
    for claim, holds in claims.items():
        print(("ok " if holds else "not ok ") + claim)
    shutil.rmtree(directory, ignore_errors=True)
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
