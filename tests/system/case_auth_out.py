"""A next hop that asks who we are."""
import os
import re

from case_auth import arrived, entry
from chapar import check, lmtp_route, run, smtp_route, swaks, wait_for

USER = "user@example.net"


def network(site, route, mechanisms="", listener="tls = starttls  auth = required"):
    """relay1 -> relay2, which takes mail of users only -> mailbox node."""
    users, password = os.path.join(site.path, "users"), os.path.join(site.path, "password")
    with open(users, "w") as file:
        file.write(entry(site, "relay1", "between us", "--scram") + entry(site, "hashed", "between us"))
    with open(password, "w") as file:
        file.write("between us\nnot this\n")
    os.chmod(users, 0o600)
    os.chmod(password, 0o600)
    site.mailbox("box", 3, [USER]).start()
    relay2 = site.relay("relay2", 2, lmtp_route([site.address(3) + ":2424"], extra="accept = no"), accept="accept { }\n",
                        extra=f'auth {{ credentials = "users"  delay = 10ms  {mechanisms} }}\n', listeners=f"""
listener "mx" {{ address = {{"{site.address(2)}:2525"}}  {listener} }}
""")
    relay1 = site.relay("relay1", 1, smtp_route([site.address(2) + ":2525"], **route))
    relay2.start()
    relay1.start()
    return relay1, relay2


def send(site, relay):
    swaks(site.address(1) + ":2525", "--tls")


def test_mechanisms(site):
    """SCRAM-SHA-256 is taken where it can be, PLAIN and LOGIN where not; EXTERNAL is the certificate."""
    relay1, relay2 = network(site, {"extra": 'auth_user = "relay1"  auth_password = "password"'})
    send(site, relay1)
    arrived(site, 1)
    check("user=relay1 mechanism=SCRAM-SHA-256" in relay2.log(), relay2.log()[-900:])
    config = open(relay1.config_path).read()
    for number, (options, says) in enumerate((
            ('auth_user = "hashed"  auth_password = "password"  auth_mechanisms = {"PLAIN"}', "user=hashed mechanism=PLAIN"),
            ('auth_user = "hashed"  auth_password = "password"  auth_mechanisms = {"LOGIN", "PLAIN"}', "user=hashed mechanism=LOGIN"),
            ('auth_user = "x"  auth_mechanisms = {"EXTERNAL"}', "user=relay1.chapar.test mechanism=EXTERNAL")), 2):
        relay1.stop()
        relay1.configure(re.sub(r'auth_user.*(?= })', options, config))
        relay1.start()
        send(site, relay1)
        arrived(site, number)
        check(says in relay2.log(), relay2.log()[-900:])
    check("between us" not in relay1.log() + relay2.log(), "a password in a log")


def test_refused(site):
    """With a wrong password the mail waits and says why; it goes when the password is right again."""
    relay1, relay2 = network(site, {"extra": 'auth_user = "relay1"  auth_password = "password"'})
    password = os.path.join(site.path, "password")
    with open(password, "w") as file:
        file.write("something else\n")
    relay1.ctl("reload")
    send(site, relay1)
    wait_for(lambda: "AUTH was refused: 535 5.7.8" in relay1.log(), 20, "the reason in the log")
    check("event=bounced" not in relay1.log(), relay1.log()[-900:])
    check(relay1.queue_length() == 1 and site.box("box", USER) == [], "the letter is gone")
    with open(password, "w") as file:
        file.write("between us\r\n")
    relay1.ctl("reload")
    relay1.ctl("retry", "--all", good=(0, 1))
    arrived(site, 1)


def test_not_in_clear(site):
    """No password is said without TLS, though the next hop offers it; the mail waits."""
    relay1, relay2 = network(site, {"tls": "may", "extra": 'auth_user = "relay1"  auth_password = "password"'},
                             listener="auth = required  auth_in_clear = yes")
    send(site, relay1)
    wait_for(lambda: "not without TLS" in relay1.log(), 20, "the reason in the log")
    check("stage=auth" not in relay2.log() and "event=authenticated" not in relay2.log(), relay2.log()[-900:])
    check(relay1.queue_length() == 1, "the letter is gone")


def test_configuration(site):
    """What cannot work is said with file and line."""
    os.close(os.open(os.path.join(site.path, "open"), os.O_CREAT, 0o644))
    os.close(os.open(os.path.join(site.path, "empty"), os.O_CREAT, 0o600))
    for route, says in (
            ({"extra": 'auth_user = "x"'}, "expected auth_password"),
            ({"extra": 'auth_password = "empty"'}, "expected auth_user"),
            ({"extra": 'auth_user = "x"  auth_password = "empty"'}, "expected a password"),
            ({"extra": 'auth_user = "x"  auth_password = "open"'}, "everybody may touch this file"),
            ({"extra": 'auth_user = "x"  auth_password = "nowhere"'}, "nowhere"),
            ({"extra": 'auth_user = "x"  auth_mechanisms = {"NTLM"}'}, "expected PLAIN"),
            ({"tls": "none", "extra": 'auth_user = "x"  auth_mechanisms = {"EXTERNAL"}'}, "needs tls")):
        relay = site.relay("relay1", 1, smtp_route(["127.0.0.1:25"], **route))
        said = run([site.relayd, "-f", relay.config_path, "-n"], good=(78,))
        check(says in said and relay.config_path + ":" in said, said)
