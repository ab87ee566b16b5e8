"""The canaries of ``test_canary`` where front ends, two primaries and Redis are processes apart.

Passwords and keys also pass over the link here, and over it again after it broke; mail asks for a
key; a mailbox moves. What went over the link is searched for passwords and keys as well: inside
TLS they are sealed once more.
"""

import imaplib
import re
import subprocess
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.keys.filekey import derive_file_key
from tests import redis
from tests.faults.cluster import Cluster, Node
from tests.faults.link_frames import Frame, payload_of
from tests.faults.link_proxy import LinkProxy
from tests.test_canary import ADDRESS, CANARIES, contents
from tests.waiting import eventually

MESSAGE = (
    f"From: a@example.org\r\nTo: {ADDRESS}\r\nSubject: {CANARIES['subject']}\r\n\r\n"
    f"{CANARIES['body']}\r\n"
).encode()


class LinkCanaryTests(SynchronousTestCase):
    if problem := redis.missing():
        skip = problem

    def setUp(self) -> None:
        self.redis = redis.Server()
        self.redis.start()
        self.addCleanup(self.redis.remove)
        self.frames: list[bytes] = []
        take = LinkProxy.take

        def note(proxy: LinkProxy, frame: Frame) -> object:
            if frame.number:  # the opening handshake has the token
                self.frames.append(payload_of(frame))
            return take(proxy, frame)

        patch = mock.patch.object(LinkProxy, "take", note)
        patch.start()
        self.addCleanup(patch.stop)
        self.cluster = Cluster(("primary", "other"), lease=1.0, redis=self.redis.url)
        self.addCleanup(self.cluster.stop)
        self.password = self.cluster.primary.add(ADDRESS)
        self.cluster.start()
        self.secrets = {"password": self.password.encode()}
        self.keys: dict[str, bytes] = {}

    def imap(self) -> imaplib.IMAP4:
        return imaplib.IMAP4("127.0.0.1", self.cluster.a.imap_port, timeout=60)

    def use_everything(self) -> bytes:
        """Answers what the commands wrote."""
        a, b = self.cluster.a, self.cluster.b
        b.deliver(MESSAGE, ADDRESS)
        client = self.imap()
        self.assertRaises(imaplib.IMAP4.error, client.login, ADDRESS, CANARIES["wrong password"])
        client.login(ADDRESS, self.password)
        client.create(CANARIES["folder"])
        client.select()
        client.search(None, "TEXT", CANARIES["search"])
        self.learn_keys()
        for proxy in a.proxies.values():
            proxy.cut()
        client.append(CANARIES["folder"], f"({CANARIES['keyword']})", None, MESSAGE)
        self.assertTrue(eventually(lambda: b.deliver(MESSAGE, ADDRESS).startswith("250")))
        with self.cluster.primary.spawn(
            *("mailbox", "move", ADDRESS, "other"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as move:
            places = self.live(move.pid)
            written = move.communicate(timeout=60)[0]
            self.look(places)
        self.assertEqual(move.returncode, 0, written)
        client.noop()
        self.assertEqual(client.status("INBOX", "(MESSAGES)")[1], [b"INBOX (MESSAGES 2)"])
        self.learn_keys()
        for node in self.cluster.nodes:
            self.look(self.live(node.pid))
        client.logout()
        return written

    def learn_keys(self) -> None:
        for primary in self.cluster.primaries.values():
            for path in (primary.folder / "mailboxes").glob("*.sqlite"):
                with path.open("rb") as file:
                    key = derive_file_key(self.password, file.read(16))
                self.keys[path.name] = key.raw

    def live(self, pid: int) -> dict[str, bytes]:
        folder = Path(f"/proc/{pid}")
        return {f"{pid} {name}": (folder / name).read_bytes() for name in ("cmdline", "environ")}

    def tokens(self) -> dict[str, bytes]:
        files = [one.folder / "link.token" for one in self.cluster.primaries.values()]
        lines = [line for file in files for line in file.read_text().splitlines()]
        return {f"token {line[:8]}": line.split()[1].encode() for line in lines}

    def look(self, places: dict[str, bytes], *, carries_mail: bool = False) -> None:
        secrets = {**self.secrets, **self.tokens()}
        secrets["wrong password"] = CANARIES["wrong password"].encode()
        if not carries_mail:
            secrets.update((what, word.encode()) for what, word in CANARIES.items())
        for what, secret in secrets.items():
            pattern = re.compile(re.escape(secret), re.IGNORECASE)
            for place, content in places.items():
                self.assertIsNone(pattern.search(content), f"{what} in {place}")
        for name, key in self.keys.items():
            for place, content in places.items():
                self.assertNotIn(key, content, f"key of {name} in {place}")
                self.assertNotIn(key.hex().encode(), content.lower(), f"key of {name} in {place}")

    def files(self) -> dict[str, bytes]:
        found = contents(self.cluster.root)
        return {path: octets for path, octets in found.items() if not path.endswith("link.token")}

    def test_nothing_leaks(self) -> None:
        written = self.use_everything()
        self.look({"mailbox move": written})
        self.look(self.files())
        self.assertGreater(len(self.frames), 50)
        link = {f"frame {number}": frame for number, frame in enumerate(self.frames)}
        self.assertTrue(any(CANARIES["body"].encode() in frame for frame in self.frames))
        self.look(link, carries_mail=True)
        counted = self.redis.ask("KEYS", "*")
        self.assertIn("mailsrv:", counted)
        values = "\n".join(self.redis.ask("GET", key) for key in counted.splitlines())
        self.look({"Redis": f"{counted}\n{values}".encode()})
        self.assertNotIn(ADDRESS, counted)
        self.assertTrue(all(value.isdigit() for value in values.splitlines()))
        for node in self.cluster.nodes:
            self.check_end(node)
        self.look(self.files())

    def check_end(self, node: Node) -> None:
        node.kill(15)
        log = node.log.read_text()
        for word in ("Traceback", "Unhandled", "Unexpected"):
            self.assertNotIn(word, log, node.name)
