"""Errors on the wire."""

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from mailsrv import errors
from mailsrv.errors import Elsewhere, InvalidInput, LinkLost, MailsrvError, Unavailable
from mailsrv.link.wire.failures import describe, rebuild
from mailsrv.link.wire.frames import BadFrame


def all_kinds() -> list[type[MailsrvError]]:
    found = [one for one in vars(errors).values() if isinstance(one, type)]
    return [one for one in found if issubclass(one, MailsrvError)]


class FailureTests(SynchronousTestCase):
    def test_every_error_comes_back(self) -> None:
        for kind in all_kinds():
            if kind in {LinkLost, Elsewhere}:
                continue
            error = rebuild(*describe(kind("what happened")))
            self.assertIs(type(error), kind)
            self.assertEqual(str(error), "what happened")

    def test_elsewhere_keeps_its_primary(self) -> None:
        error = rebuild(*describe(Elsewhere("primary-b")))
        self.assertIsInstance(error, Elsewhere)
        self.assertEqual(getattr(error, "primary", None), "primary-b")
        self.assertEqual(str(error), str(Elsewhere("primary-b")))

    def test_a_lost_link_elsewhere_is_none_here(self) -> None:
        self.assertIs(type(rebuild(*describe(LinkLost("gone")))), Unavailable)
        self.assertIs(type(rebuild("LinkLost", "gone")), Unavailable)

    def test_local_kinds_travel_as_their_base(self) -> None:
        self.assertEqual(describe(BadFrame("no", 5)), ("InvalidInput", "no"))

    def test_unknown_kinds(self) -> None:
        for kind in ("Exception", "KeyError", "SystemExit", "BadFrame", "", "mailsrv.errors"):
            self.assertIs(type(rebuild(kind, "x")), Unavailable)

    def test_unexpected_errors_keep_their_text(self) -> None:
        kind, sentence = describe(ValueError("canary-secret"))
        self.assertEqual(kind, "Unavailable")
        self.assertNotIn("canary", sentence)
        logged = self.flushLoggedErrors()
        self.assertNotIn("canary", str(logged))

    def test_cancelled(self) -> None:
        self.assertEqual(describe(CancelledError()), ("Unavailable", "cancelled"))

    def test_sentences_are_short_and_printable(self) -> None:
        self.assertEqual(len(describe(InvalidInput("x" * 5000))[1]), 1000)
        self.assertEqual(str(rebuild("InvalidInput", "a\r\nb\x1b[2J")), "a??b?[2J")
