"""The numbering of a selected folder changes only by what is said."""

from array import array

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.imap.selected import SelectedFolder
from mailsrv.imap.sequence import parse_set
from mailsrv.store.values import Changes, FlagRow, Folder, Selected


def folder(*uids: int, modseq: int = 10) -> SelectedFolder:
    value = Folder(
        id=1,
        name="INBOX",
        object_id="0" * 24,
        special_use=None,
        subscribed=True,
        uidvalidity=1,
        uidnext=(uids[-1] if uids else 0) + 1,
        highestmodseq=modseq,
        messages=len(uids),
        unseen=0,
        deleted=0,
        recent=0,
        size=0,
    )
    selected = Selected(value, array("I", uids).tobytes(), ((3, 6),), None, ("blue",))
    return SelectedFolder(selected, writable=True)


def row(uid: int, modseq: int, flags: int = 0, keywords: str = "") -> FlagRow:
    return FlagRow(uid, flags, keywords, modseq)


def news(
    modseq: int, uidnext: int, *changed: FlagRow, vanished: tuple[tuple[int, int], ...] = ()
) -> Changes:
    return Changes(modseq, uidnext, list(changed), vanished)


class SelectedTests(SynchronousTestCase):
    def said(self, one: SelectedFolder, *, expunge: bool = True) -> list[bytes]:
        return list(one.lines(expunge=expunge, modseq=False))

    def test_expunges_wait_until_they_may_be_said(self) -> None:
        one = folder(2, 3, 5, 7)
        one.absorb(news(11, 9, row(8, 11), vanished=((3, 3), (6, 7))))
        self.assertEqual(self.said(one, expunge=False), [b"* 5 EXISTS\r\n* 2 RECENT\r\n"])
        self.assertEqual(one.number(5), 3)
        self.assertTrue(one.gone(((1, 3),)))
        self.assertEqual(self.said(one), [b"* 4 EXPUNGE\r\n", b"* 2 EXPUNGE\r\n"])
        self.assertEqual(list(one.uids), [2, 5, 8])
        self.assertEqual(one.recent, {5})
        self.assertFalse(one.gone(((1, 3),)))

    def test_what_came_and_went_unheard_is_not_spoken_of(self) -> None:
        one = folder(2)
        one.absorb(news(11, 6, row(4, 11), row(5, 11)))
        one.absorb(news(12, 6, vanished=((2, 4),)))
        self.assertEqual(self.said(one), [b"* 1 EXPUNGE\r\n", b"* 1 EXISTS\r\n* 0 RECENT\r\n"])
        self.assertEqual(list(one.uids), [5])

    def test_own_flags_are_not_repeated_and_foreign_ones_are_told(self) -> None:
        one = folder(2, 3)
        one.told([(2, 12)])
        one.absorb(news(13, 4, row(2, 12, 1), row(3, 13, 4)))
        self.assertEqual(self.said(one), [b"* 2 FETCH (FLAGS (\\Recent \\Flagged))\r\n"])
        one.told([(2, 14)])
        one.absorb(news(15, 4, row(2, 15, 0)))
        self.assertEqual(self.said(one), [b"* 1 FETCH (FLAGS ())\r\n"])

    def test_own_writes_in_step_need_no_question(self) -> None:
        one = folder(2)
        self.assertTrue(one.advance(10, 11))
        self.assertFalse(one.behind)
        self.assertFalse(one.advance(12, 13))
        self.assertTrue(one.behind)
        self.assertEqual(one.modseq, 11)

    def test_sets(self) -> None:
        one = folder(2, 3, 5, 7)

        def numbers(text: bytes) -> object:
            return one.resolve(parse_set(text), by_uid=False)

        def uids(text: bytes) -> object:
            return one.resolve(parse_set(text), by_uid=True)

        self.assertEqual(numbers(b"1:2,*"), ((2, 3), (7, 7)))
        self.assertEqual(one.resolve(parse_set(b"3:9"), by_uid=False, strict=False), ((5, 7),))
        self.assertEqual(uids(b"3:100"), ((3, 7),))
        self.assertEqual(uids(b"100:*"), ((7, 7),))
        self.assertEqual(uids(b"50"), ())
        self.assertEqual(list(one.known(((3, 6),))), [3, 5])
        self.assertEqual(one.count(((1, 4), (7, 9))), 3)
        self.assertEqual(one.known_numbers([3, 4, 7]), ([3, 7], [2, 4]))
        self.assertEqual(one.known_numbers([3, 5]), ([3, 5], range(2, 4)))
        self.assertEqual(folder().resolve(parse_set(b"1:*"), by_uid=True), ())
