"""Idle connections are cheap, and newcomers do not feel them; `make idle` has the full counts."""
import os
import sys

from chapar import Skip, check

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))
import idle  # noqa: E402


def is_sanitized(site):
    with open(site.relayd, "rb") as file:
        return b"__asan_init" in (text := file.read()) or b"__tsan_init" in text


def measure(site, count, with_tls, bytes_max):
    if is_sanitized(site):
        raise Skip("a sanitizer keeps memory of its own")
    found = idle.measure(site, count, with_tls)
    check(found["bytes"] <= bytes_max, f"{found['bytes']:.0f} octets each, at most {bytes_max}: {found}")
    check(found["newcomer_median_ms"] <= idle.NEWCOMER_MS_MAX, f"a newcomer waits: {found}")


def test_idle_tls(site):
    """1,000 idle connections under TLS cost at most 40 kB each."""
    measure(site, 1000, True, idle.TLS_BYTES_MAX)


def test_idle_plain(site):
    """4,000 idle connections in clear cost at most 4 kB each."""
    measure(site, 4000, False, idle.PLAIN_BYTES_MAX)


test_idle_tls.races = test_idle_plain.races = False
test_idle_tls.alone = test_idle_plain.alone = True
