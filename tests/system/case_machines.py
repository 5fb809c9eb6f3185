"""The three hosts of etc/examples, used as they are, each in a network namespace of its own."""
import mailbox
import os
import shutil
import time

from chapar import ROOT, check, wait_for
from machines import Network

HOSTS = {"edge": ("198.18.0.1", "relayd", "chapar"),
         "inner": ("198.18.0.2", "relayd", "chapar"),
         "mailbox": ("198.18.0.3", "mailboxd", "chapar-mail")}


def set_up(network):
    """etc/examples/README.md, step by step, but for systemd itself."""
    for name, (address, daemon, user) in HOSTS.items():
        machine = network.machine(name, address + "/24")
        machine.install()
        machine.certify(f"{name}.example.net", user)
        shutil.copy(os.path.join(ROOT, "etc/examples", name + ".conf"),
                    os.path.join(machine.root, "etc/chapar", daemon + ".conf"))
    for name, (address, _, _) in HOSTS.items():
        network.name(f"{name}.example.net", address)
    for name, (_, daemon, _) in HOSTS.items():
        network.machines[name].boot(daemon)


def letter(machine, server, to, *words, good=(0,)):
    return machine.run("swaks", "--server", server, "--helo", "client.example.org", "--from",
                       "ann@example.org", "--to", to, "--timeout", "20", "--tls", *words, good=good)


def box(machine, user):
    path = os.path.join(machine.root, "var/lib/chapar-mail", user)
    return list(mailbox.mbox(path, create=False)) if os.path.exists(path) else []


def test_three_hosts(site):
    """Mail from the world and from a desk; a cable is pulled and plugged, a node stopped and started."""
    with Network(site) as network:
        set_up(network)
        edge, inner, node = (network.machines[name] for name in HOSTS)
        world = network.machine("world", "198.18.0.99/24")
        desk = network.machine("desk", "198.18.0.10/24")

        letter(world, "198.18.0.1:25", "ann@example.net", "--tls-verify",
               "--tls-ca-path", site.ca + "/ca.pem", "--tls-sni", "edge.example.net")
        letter(desk, "198.18.0.2:25", "bob@example.net")
        wait_for(lambda: box(node, "ann") and box(node, "bob"), 20, "both letters in their boxes")
        hops = [len(found.get_all("Received")) for user in ("ann", "bob") for found in box(node, user)]
        check(hops == [3, 2], f"hops: {hops}")
        check(all("TLS" in field for user in ("ann", "bob") for field in
                  box(node, user)[0].get_all("Received")), "a hop without TLS")

        said = letter(world, "198.18.0.1:25", "someone@elsewhere.example", good=(24,))
        check("550 5.7.1" in said or "554 5.7.1" in said, said)

        node.pull_cable()
        letter(desk, "198.18.0.2:25", "bob@example.net")
        time.sleep(1)
        check(len(box(node, "bob")) == 1, "a letter came without a cable")
        check("1 queued" in inner.ctl("list"), inner.ctl("list"))
        node.plug_cable()
        wait_for(lambda: len(box(node, "bob")) == 2, 60, "the letter after the cable is plugged:\n"
                 + inner.ctl("list"))

        node.off()
        letter(desk, "198.18.0.2:25", "ann@example.net")
        wait_for(lambda: "refused" in inner.ctl("list"), 20, "the reason for waiting")
        check("mailbox.example.net" in inner.ctl("list"), inner.ctl("list"))
        node.boot("mailboxd")
        wait_for(lambda: len(box(node, "ann")) == 2, 60, "the letter after the node is back:\n"
                 + inner.ctl("list"))
        check("0 queued" in edge.ctl("list"), "the edge still has a letter")
