"""Run the system tests: real daemons, real clients, loopback only.

    run.py --build DIR [--races] [--only WORD] [--jobs N]

A case is a function test_* in a case_*.py file; its first line of documentation is its claim.
All run also under the thread sanitizer (--races), but for those with `races = False` set on them:
cases that measure time.  As many run at a time as there are processors; those with `alone = True`,
which measure what the machine does, run by themselves at the end, and those with `long = True`
begin first.  Each is a process of its own, with a bound in time.  Prints "ok NAME", "not ok NAME"
or "skip NAME: reason"; exit status 1 when a case failed.
"""
import argparse
import glob
import importlib.util
import os
import signal
import sys
import tempfile
import time
import traceback

import chapar

HERE = os.path.dirname(os.path.abspath(__file__))
LIMIT_SECONDS = 1500            # the longest that a person asks for, with counts of their own
REASON_BYTES_MAX = 32768        # what fits into a pipe that nobody reads yet


def cases():
    for path in sorted(glob.glob(os.path.join(HERE, "case_*.py"))):
        name = os.path.basename(path)[5:-3]
        spec = importlib.util.spec_from_file_location("case_" + name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for key, function in list(vars(module).items()):
            if key.startswith("test_") and callable(function):
                yield f"{name}/{key[5:]}", function


def end_of_time(number, frame):
    raise chapar.Failure(f"not done within {LIMIT_SECONDS} s" if number == signal.SIGALRM else "ended")


def verdict(function, build):
    """Run the case here; what becomes of it, and why."""
    try:
        with chapar.Site(build) as site:
            function(site)
        return "ok", ""
    except chapar.Skip as reason:
        return "skip", str(reason)
    except chapar.Failure as failure:
        return "not ok", str(failure)
    except BaseException:
        return "not ok", traceback.format_exc()


class Case:
    """A case that runs as a process: what it prints goes to a file, its verdict into a pipe."""

    def __init__(self, name, function, build):
        self.name, self.begun = name, time.monotonic()
        self.said = tempfile.TemporaryFile()
        self.answer, answer = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            signal.signal(signal.SIGALRM, end_of_time)
            signal.signal(signal.SIGTERM, end_of_time)
            signal.alarm(LIMIT_SECONDS)
            os.dup2(self.said.fileno(), 1)
            os.dup2(self.said.fileno(), 2)
            word, reason = verdict(function, build)
            sys.stdout.flush()
            os.write(answer, f"{word}\n{reason}".encode()[:REASON_BYTES_MAX])
            os._exit(0)         # without the ends of the parent
        os.close(answer)

    def end(self):
        """The process has ended: tell of it.  True when the case failed."""
        with os.fdopen(self.answer, "rb") as answer:
            word, _, reason = answer.read().decode(errors="replace").partition("\n")
        self.said.seek(0)
        said = self.said.read().decode(errors="replace")
        self.said.close()
        took = f"({time.monotonic() - self.begun:.1f} s)"
        if word == "ok":
            print(f"{said}ok {self.name} {took}")
        elif word == "skip":
            print(f"skip {self.name}: {reason}")
        else:
            reason = (reason or "its process ended without a verdict").replace("\n", "\n  ")
            print(f"not ok {self.name} {took}\n  {reason}\n{said}")
        sys.stdout.flush()
        return word not in ("ok", "skip")


def run_all(todo, jobs, build):
    """Run them, so many at a time; the number of those that failed."""
    running, bad = {}, 0
    todo = list(reversed(todo))
    try:
        while todo or running:
            while todo and len(running) < jobs:
                case = Case(*todo.pop(), build)
                running[case.pid] = case
            pid, _ = os.waitpid(-1, 0)
            bad += running.pop(pid).end()
    finally:
        for pid in running:
            os.kill(pid, signal.SIGTERM)
        for pid in running:
            os.waitpid(pid, 0)
    return bad


def main():
    parser = argparse.ArgumentParser(description="system tests of Chapar")
    parser.add_argument("--build", required=True)
    parser.add_argument("--races", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    chosen = [(name, function) for name, function in cases() if options.only in name
              and (not options.races or getattr(function, "races", True))]
    chosen.sort(key=lambda case: not getattr(case[1], "long", False))
    alone = [case for case in chosen if getattr(case[1], "alone", False)]
    beside = [case for case in chosen if case not in alone]
    build = os.path.abspath(options.build)
    bad = run_all(beside, options.jobs, build) + run_all(alone, 1, build)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
