"""What each role opens, and in which order the services of a process start and stop."""

import signal
from pathlib import Path
from typing import Any, get_args

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import InvalidInput
from mailsrv.service.far import primaries
from mailsrv.service.front_ends import FAREWELL_SECONDS, FRONT_ENDS, Farewell, doors
from mailsrv.service.link import serves_link
from mailsrv.service.listeners import Door
from mailsrv.service.orders import Order, decode_order, encode_order
from mailsrv.service.process import RootService
from mailsrv.settings import Role, Settings, load

REMOTE = '[link.primaries.b]\nendpoint = "tcp:b.example:4190"\nca = "b.pem"\n'


class RolesTests(SynchronousTestCase):
    def settings(self, text: str) -> Settings:
        path = Path(f"{self.mktemp()}.toml")
        path.write_text(f'hostname = "mail.example.com"\n{text}')
        return load(path)

    def test_every_role_but_primary_is_in_the_table(self) -> None:
        self.assertEqual({"primary", *FRONT_ENDS}, set(get_args(Role)))

    def test_doors(self) -> None:
        expected = [
            Door(key="imap.listen", text="tcp:143", tls=False, role="imap"),
            Door(key="imap.listen_tls", text="tcp:993", tls=True, role="imap"),
            Door(key="mx.listen", text="tcp:25", tls=False, role="mx"),
        ]
        self.assertEqual(doors(self.settings("")), expected)
        self.assertEqual(doors(self.settings('roles = ["mx", "primary"]')), expected[2:])
        self.assertEqual(doors(self.settings('roles = ["primary"]')), [])

    def test_a_door_behind_a_balancer(self) -> None:
        door = Door(key="mx.listen", text="haproxy:tcp:25", tls=False, role="mx")
        self.assertEqual((door.endpoint, door.proxied), ("tcp:25", True))
        self.assertEqual(str(door), "mx.listen 'haproxy:tcp:25'")

    def test_no_door_believes_just_anybody(self) -> None:
        for door in doors(self.settings("")):
            text = f'{door.key} = ["haproxy:tcp:1"]'
            with self.assertRaisesRegex(InvalidInput, f"proxy.allow_from: .* for {door.key} "):
                self.settings(text)

    def test_who_serves_the_link(self) -> None:
        for text, serves in (
            ("", False),
            ("workers = 1", True),
            ('[link]\nlisten = ["tcp:4190"]', True),
            (REMOTE, True),
            ('roles = ["primary"]', True),
            (f'roles = ["imap"]\n{REMOTE}', False),
            (f'roles = ["imap"]\nworkers = 2\n{REMOTE}', False),
        ):
            self.assertEqual(serves_link(self.settings(text)), serves, text)

    def test_primaries_to_reach(self) -> None:
        settings = self.settings(REMOTE)
        reached = primaries(settings)
        self.assertEqual(set(reached), {"primary", "b"})
        self.assertEqual(reached["primary"].endpoint, f"unix:{settings.base}/link.sock")
        self.assertEqual(reached["primary"].token_file, settings.base / "link.token")
        self.assertEqual(set(primaries(self.settings(f'roles = ["mx"]\n{REMOTE}'))), {"b"})

    def test_an_order_arrives_as_it_was(self) -> None:
        text = 'imap.cleartext_login_from = ["127.0.0.0/8"]\nlink.lease_seconds = 2.5\n'
        order = Order(number=3, settings=self.settings(f"workers = 3\n{text}{REMOTE}"))
        line = encode_order(order)
        self.assertEqual(line.count(b"\n"), 1)
        self.assertEqual(decode_order(line), order)


class _Part(Service):
    def __init__(self, said: list[str], word: str, stopping: Deferred[None] | None = None) -> None:
        self.said, self.word, self.stopping = said, word, stopping

    def privilegedStartService(self) -> None:
        self.said.append(f"bind {self.word}")

    def startService(self) -> None:
        super().startService()
        self.said.append(f"start {self.word}")

    def stopService(self) -> Deferred[None] | None:
        self.said.append(f"stop {self.word}")
        return self.stopping


class RootServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP))
        self.said: list[str] = []
        self.root = RootService(self, lambda: self.said.append("leave"))
        self.root.prepares.append(lambda: self.said.append("prepare"))

    def callFromThread(self, call: Any) -> None:
        call()

    def test_order(self) -> None:
        slow: Deferred[None] = Deferred()
        for part in (_Part(self.said, "a"), _Part(self.said, "b", slow), _Part(self.said, "c")):
            self.root.addService(part)
        self.root.startService()
        self.assertEqual(
            self.said, ["bind a", "bind b", "bind c", "prepare", "start a", "start b", "start c"]
        )
        self.said.clear()
        stopped = self.root.stopService()
        self.assertEqual(self.said, ["leave", "stop c", "stop b"])
        slow.callback(None)
        self.assertEqual(self.said, ["leave", "stop c", "stop b", "stop a"])
        self.successResultOf(stopped)

    def test_what_fails_to_stop_keeps_nobody(self) -> None:
        failing: Deferred[None] = Deferred()
        failing.errback(ZeroDivisionError())
        for part in (_Part(self.said, "a"), _Part(self.said, "b", failing)):
            self.root.addService(part)
        self.successResultOf(self.root.stopService())
        self.assertEqual(self.said, ["leave", "stop b", "stop a"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_hangup_reloads_all(self) -> None:
        def broken() -> None:
            raise InvalidInput("tls.certificate: expected a PEM certificate")

        self.root.reloads += [broken, lambda: self.said.append("reload")]
        self.root.startService()
        signal.raise_signal(signal.SIGHUP)
        self.assertEqual(self.said[-1], "reload")


class _Factory:
    def __init__(self) -> None:
        self.leaving: Deferred[None] = Deferred()
        self.asked = False

    def shut_down(self) -> Deferred[None]:
        self.asked = True
        return self.leaving


class FarewellTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.factories = [_Factory(), _Factory()]
        self.stopped = Farewell(self.factories, self.clock).stopService()

    def test_waits_for_all(self) -> None:
        self.assertEqual([factory.asked for factory in self.factories], [True, True])
        self.factories[1].leaving.callback(None)
        self.assertNoResult(self.stopped)
        self.factories[0].leaving.callback(None)
        self.successResultOf(self.stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_waits_no_longer_than_that_for_all_together(self) -> None:
        self.clock.advance(FAREWELL_SECONDS)
        self.successResultOf(self.stopped)
