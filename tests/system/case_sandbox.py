"""What the daemons cannot do: the sandbox in force, its self-check, and life inside of it."""
import os
import re
import shutil
import tempfile

from chapar import Skip, chain, check, run, swaks, wait_for


def state(daemon):
    found = re.findall(r"event=sandbox landlock=(\w+)(?: why_no_landlock=\"[^\"]*\")? seccomp=(\w+)",
                       daemon.log())
    check(found, "the log does not tell of the sandbox:\n" + daemon.log()[-2000:])
    return found[-1]


def process_status(daemon, field):
    with open(f"/proc/{daemon.process.pid}/status") as file:
        for line in file:
            if line.startswith(field + ":"):
                return line.split()[1]
    return None


def test_in_force(site):
    """Every thread of both daemons is inside; the kernel says so."""
    relay1, relay2, node = chain(site)
    for daemon in (node, relay1):
        daemon.start()
        landlock, seccomp = state(daemon)
        if os.path.exists("/sys/kernel/security/lsm"):
            with open("/sys/kernel/security/lsm") as file:
                check(landlock == "on" or "landlock" not in file.read(), "Landlock is off")
        check(process_status(daemon, "NoNewPrivs") == "1", "no_new_privs is not set")
        for thread in os.listdir(f"/proc/{daemon.process.pid}/task"):
            with open(f"/proc/{daemon.process.pid}/task/{thread}/status") as file:
                text = file.read()
            check("NoNewPrivs:\t1" in text, f"thread {thread}: privileges")
            check(("Seccomp:\t2" in text) == (seccomp == "on"), f"thread {thread}: seccomp")
        with open(f"/proc/{daemon.process.pid}/limits") as file:
            check(re.search(r"Max core file size +0 +0 ", file.read()), "core dumps are allowed")


def test_self_check(site):
    """--self-check tries what is forbidden; everything is refused, and the log of it is readable."""
    relay1, relay2, node = chain(site)
    for daemon in (relay1, node):
        said = run([daemon.program, "-f", daemon.config_path, "--self-check"])
        lines = said.splitlines()
        check(len(lines) >= 15 and not any(line.startswith("BAD") for line in lines), said)
        check(any(line.startswith("ok") for line in lines), said)
        check("skip  run a program" in said or "ok    run a program" in said, said)
        if "skip  trace" not in said:
            check("ok    mount a file system: ended by the kernel" in said, said)
    # It says what is so: nothing is claimed for a sandbox that the configuration switches off.
    # That it turns red where something is possible is told by sandbox_test.
    with open(relay1.config_path) as file:
        text = file.read()
    relay1.configure(text.replace("node {", "node {\n  sandbox = no", 1))
    said = run([relay1.program, "-f", relay1.config_path, "--self-check"])
    check("skip  read /etc/shadow: sandbox = no" in said and "skip  make a namespace: sandbox = no" in said, said)
    relay1.configure(text.replace("node {", "node {\n  user = \"no-such-user\"", 1))
    run([relay1.program, "-f", relay1.config_path, "--self-check"], good=(70,))


def test_life_inside(site):
    """Mail flows, certificates are renewed in place, a new directory is named as needing a restart."""
    relay1, relay2, node = chain(site)
    for daemon in (node, relay2, relay1):
        daemon.start()
    if state(relay1)[0] != "on":
        raise Skip("no Landlock in this kernel")
    swaks(site.address(1) + ":2525", "--tls")
    wait_for(lambda: len(site.box("box", "user@example.net")) == 1, 20, "the letter is there")
    site.chapar_ca("renew")
    relay1.reload()
    wait_for(lambda: "msg=\"reloaded " in relay1.log(), 10, "reloaded:\n" + relay1.log()[-2000:])
    swaks(site.address(1) + ":2525", "--tls")
    wait_for(lambda: len(site.box("box", "user@example.net")) == 2, 20, "the second letter")
    # Certificates in a directory that was not there at the start.
    other = tempfile.mkdtemp(prefix="chapar-test-", dir="/var/tmp")
    try:
        renamed_directory(site, relay1, other)
    finally:
        shutil.rmtree(other)


def renamed_directory(site, relay1, other):
    shutil.copytree(site.ca, other, dirs_exist_ok=True)
    with open(relay1.config_path) as file:
        text = file.read()
    relay1.configure(text.replace(site.ca + "/", other + "/"))
    relay1.reload()
    wait_for(lambda: re.search(r"reload refused.*needs a restart", relay1.log()), 10,
             "the restart is named:\n" + relay1.log()[-2000:])
    swaks(site.address(1) + ":2525", "--tls")
    wait_for(lambda: len(site.box("box", "user@example.net")) == 3, 20, "the third letter")
    relay1.stop()
    relay1.start()
    swaks(site.address(1) + ":2525", "--tls")
    wait_for(lambda: len(site.box("box", "user@example.net")) == 4, 20, "the fourth letter")


def test_switched_off(site):
    """sandbox = no is possible, and said."""
    relay1, relay2, node = chain(site)
    with open(relay1.config_path) as file:
        text = file.read()
    relay1.configure(text.replace("node {", "node {\n  sandbox = no", 1))
    relay1.start()
    check(state(relay1) == ("off", "off"), relay1.log())
