"""Numbers and health over HTTP: what a monitoring system and an operator with curl see."""
import re
import socket

from chapar import chain, check, free_port, need, run, swaks, wait_for

SAMPLE = re.compile(r'^(chapar_[a-z0-9_]+)(\{[a-z_]+="(?:[^"\\\n]|\\.)*"'
                    r'(?:,[a-z_]+="(?:[^"\\\n]|\\.)*")*\})? -?[0-9]+(\.[0-9]+)?$')


def curl(*words, good=(0,)):
    need("curl")
    return run(["curl", "-sS", "--max-time", "10", *words], good=good)


def with_metrics(daemon, address):
    with open(daemon.config_path) as file:
        daemon.configure(file.read() + f'\nmetrics {{ address = "{address}" }}\n')
    return f"http://{address}"


def numbers(text):
    """The samples by name and labels; every line is checked against the format."""
    found, families = {}, {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            check(name not in families, f"{name} is announced twice")
            check(len(line.split(" ", 3)) == 4 and line.endswith("."), line)
            families[name] = None
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            check(families.get(name, 0) is None, f"{name}: TYPE without HELP, or twice")
            check(kind in ("counter", "gauge", "histogram"), line)
            families[name] = kind
        else:
            match = SAMPLE.match(line)
            check(match, f"not a sample: {line}")
            family = match.group(1)
            if family not in families:
                family = re.sub("_(bucket|sum|count)$", "", family)
            check(families.get(family), f"{line}: its family was not announced")
            if families[family] == "counter":
                check(family.endswith("_total"), f"{family} is a counter without _total")
            key, value = line.rsplit(" ", 1)
            check(key not in found, f"{key} is there twice")
            found[key] = float(value)
    return found


def test_metrics(site):
    """The numbers of both daemons are well formed and follow what happens."""
    relay1, relay2, node = chain(site)
    one = with_metrics(relay1, f"{site.address(1)}:9025")
    two = with_metrics(relay2, f"{site.address(2)}:9025")
    three = with_metrics(node, f"{site.address(3)}:9025")
    for daemon in (node, relay2, relay1):
        daemon.start()
    before = numbers(curl(one + "/metrics"))
    check(before["chapar_queue_messages"] == 0, str(before))
    swaks(site.address(1) + ":2525", "--tls")
    wait_for(lambda: len(site.box("box", "user@example.net")) == 1, 20, "the letter is there")

    def counted():
        first, last = numbers(curl(one + "/metrics")), numbers(curl(three + "/metrics"))
        return (first["chapar_queue_accepted_total"] == 1
                and first["chapar_queue_settled_total"] == 1
                and first["chapar_commits_total"] > before["chapar_commits_total"]
                and first["chapar_commit_sync_seconds_total"] > 0
                and first["chapar_sessions_total"] == 1
                and last["chapar_box_stored_total"] == 1)
    wait_for(counted, 10, "the letter is counted: " + curl(one + "/metrics"))
    node.stop()
    swaks(site.address(1) + ":2525", "--tls")

    def seen():
        now = numbers(curl(two + "/metrics"))
        down = [key for key, value in now.items()
                if key.startswith("chapar_host_down{") and value == 1]
        return now["chapar_queue_messages"] == 1 and down and f"{site.address(3)}:2424" in down[0]
    wait_for(seen, 20, "the host that is down: " + curl(two + "/metrics"))


def test_health(site):
    """What is alive and ready says so; other pages and methods are refused."""
    relay1, relay2, node = chain(site)
    url = with_metrics(relay1, f"{site.address(1)}:9025")
    relay1.start()
    check(curl(url + "/healthz") == "ok\n", "not alive")
    check(curl(url + "/readyz") == "ok\n", "not ready")
    code = ["-o", "/dev/null", "-w", "%{http_code} %{content_type}"]
    check(curl(*code, url + "/metrics") == "200 text/plain; version=0.0.4; charset=utf-8",
          curl(*code, url + "/metrics"))
    check(curl(*code, "-I", url + "/metrics").startswith("200"), "HEAD is refused")
    check(curl(*code, url + "/").startswith("404"), "/ is there")
    check(curl(*code, url + "/metrics/../etc/passwd").startswith("404"), "a path is followed")
    check(curl(*code, "-d", "x=y", url + "/metrics").startswith("405"), "POST is taken")
    check(curl(*code, "-X", "DELETE", url + "/readyz").startswith("405"), "DELETE is taken")
    # Nonsense and silence cost nobody else anything, and mail least of all.
    idle = []
    for words in (b"", b"GET /metr", b"\x16\x03\x01\x02\x00\x01", b"EHLO x\r\n" * 100) * 5:
        peer = socket.create_connection((site.address(1), 9025), 5)
        peer.sendall(words)
        idle.append(peer)
    swaks(site.address(1) + ":2525", "--tls", "--quit-after", "RCPT")
    for peer in idle:
        peer.close()
    wait_for(lambda: curl(url + "/healthz", good=None) == "ok\n", 10, "it answers again")
    relay1.stop()


def test_address_in_use(site):
    """A port that is taken is said with its address, and the daemon does not start."""
    relay1, relay2, node = chain(site)
    port = free_port(site.address(1))
    with_metrics(relay1, f"{site.address(1)}:{port}")
    with socket.socket() as other:
        other.bind((site.address(1), port))
        other.listen()
        said = run([relay1.program, "-f", relay1.config_path], good=(69,))
    check(f"metrics: cannot listen on {site.address(1)}:{port}: " in said, said)
