"""Run the system tests: real daemons, real clients, loopback only.

    run.py --build DIR [--races] [--only WORD]

A case is a function test_* in a case_*.py file; its first line of documentation is its claim.
All run also under the thread sanitizer (--races), but for those with `races = False` set on them:
cases that measure time.  Prints "ok NAME", "not ok NAME" or "skip NAME: reason"; exit status 1 when
a case failed.
"""
import argparse
import glob
import importlib.util
import os
import sys
import time
import traceback

import chapar

HERE = os.path.dirname(os.path.abspath(__file__))


def cases():
    for path in sorted(glob.glob(os.path.join(HERE, "case_*.py"))):
        name = os.path.basename(path)[5:-3]
        spec = importlib.util.spec_from_file_location("case_" + name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for key, function in list(vars(module).items()):
            if key.startswith("test_") and callable(function):
                yield f"{name}/{key[5:]}", function


def main():
    parser = argparse.ArgumentParser(description="system tests of Chapar")
    parser.add_argument("--build", required=True)
    parser.add_argument("--races", action="store_true")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    build = os.path.abspath(options.build)
    bad = 0
    for name, function in cases():
        if options.only not in name or (options.races and not getattr(function, "races", True)):
            continue
        begun = time.monotonic()
        try:
            with chapar.Site(build) as site:
                function(site)
            print(f"ok {name} ({time.monotonic() - begun:.1f} s)")
        except chapar.Skip as reason:
            print(f"skip {name}: {reason}")
        except Exception as failure:
            bad += 1
            print(f"not ok {name} ({time.monotonic() - begun:.1f} s)")
            if isinstance(failure, chapar.Failure):
                print("  " + str(failure).replace("\n", "\n  "))
            else:
                print("  " + traceback.format_exc().replace("\n", "\n  "))
        sys.stdout.flush()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
