"""Mail on another IMAP server as a source: all folders of a user, each message by its UID.

Of each folder (and its UIDVALIDITY) the mailbox remembers the highest UID that came. So a run that
was cut short goes on, and a later one brings what is new.
"""

import hashlib
import ssl
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import unquote, urlsplit

from mailsrv.backup.exchange.formats.foreign import flags_of, sent
from mailsrv.backup.exchange.formats.values import Found, Mail, MailFolder, Skipped
from mailsrv.backup.exchange.imap_client import Envelope, ImapClient, Listed
from mailsrv.errors import InvalidInput
from mailsrv.mailbox.folders import SPECIAL_USES

PORT = 993
OCTETS_AT_ONCE = 8 * 1024 * 1024
MESSAGES_AT_ONCE = 100
"""What is asked for in one FETCH of bodies, at most; a larger message comes alone."""

_EPOCH = "1970-01-01T00:00:00Z"
_FEWEST, _MOST = 200, 2000
"""Messages that a range of UIDs should have: it is made wider below, and narrower above."""

_WIDEST = 100_000

_NOT_TO_OPEN = {"\\noselect", "\\nonexistent"}
_VIEWS = {"\\flagged", "\\important"}
_ALL = "\\all"


class Address(NamedTuple):
    """Where the mail is."""

    user: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Self:
        """Of ``imaps://user@host[:port]/``. InvalidInput."""
        expected = InvalidInput("expected imaps://USER@HOST[:PORT]/")
        parts = urlsplit(url)
        user, _, place = parts.netloc.rpartition("@")
        try:
            port = urlsplit(f"//{place}").port or PORT
            host = urlsplit(f"//{place}").hostname
        except ValueError:
            raise expected from None
        if parts.scheme != "imaps" or not user or not host or parts.path not in ("", "/"):
            raise expected
        if ":" in user:
            raise InvalidInput(f"{expected}: the password is asked for")
        user = unquote(user)
        if not user.isprintable():
            raise expected
        return cls(user, host, port)


def verified(ca: Path | None) -> ssl.SSLContext:
    """TLS that trusts the authorities in ``ca``, or else those of the system. InvalidInput."""
    try:
        return ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError):
        raise InvalidInput(f"{ca}: expected certificates of an authority (PEM)") from None


class ImapSource:
    """All folders of a user. ``marked`` says how far a folder came before."""

    whole = False

    def __init__(
        self, client: ImapClient, address: Address, largest: int, marked: Callable[[str], int]
    ) -> None:
        self._client = client
        self._address = address
        self._largest = largest
        self._marked = marked
        listed = [one for one in client.folders() if one.levels]
        self._listed = sorted(listed, key=lambda one: (_ALL in one.attributes, one.levels))

    def folders(self) -> Sequence[MailFolder]:
        """Those that hold mail."""
        return [
            MailFolder(_name(one), _use(one), one.subscribed, self._client.count(one.raw))
            for one in self._to_read()
        ]

    def subscriptions(self) -> Sequence[str]:
        """Subscribed names that are no folders."""
        return [
            _name(one)
            for one in self._listed
            if one.subscribed and "\\nonexistent" in one.attributes
        ]

    def messages(self) -> Iterator[Found | Skipped]:
        """All messages that did not come before. Unavailable."""
        for one in self._listed:
            if one.attributes & _VIEWS:
                yield Skipped(_name(one), "shows messages of other folders, and was not opened")
        for one in self._to_read():
            try:
                uidvalidity, uidnext = self._client.examine(one.raw)
            except InvalidInput as error:
                yield Skipped(_name(one), str(error))
                continue
            yield from self._folder(one, uidvalidity, uidnext)

    def close(self) -> None:
        """Log out."""
        self._client.close()

    def _to_read(self) -> list[Listed]:
        return [one for one in self._listed if not one.attributes & (_NOT_TO_OPEN | _VIEWS)]

    def _folder(self, one: Listed, uidvalidity: int, uidnext: int) -> Iterator[Found | Skipped]:
        mark = self._mark(one, uidvalidity)
        first, width = self._marked(mark) + 1, _FEWEST
        while first < uidnext:
            last = min(first + width - 1, uidnext - 1)
            envelopes = self._client.envelopes(first, last)
            for batch in _batches(envelopes):
                yield from self._batch(one, mark, batch)
            first = last + 1
            if len(envelopes) < _FEWEST:
                width = min(2 * width, _WIDEST)
            elif len(envelopes) > _MOST:
                width = max(_FEWEST, width // 2)

    def _batch(self, one: Listed, mark: str, batch: list[Envelope]) -> Iterator[Found | Skipped]:
        small = [envelope.uid for envelope in batch if envelope.size <= self._largest]
        bodies = self._client.bodies(small) if small else {}
        for envelope in batch:
            content = bodies.get(envelope.uid)
            if envelope.size > self._largest:
                what = f"the message with UID {envelope.uid} has {envelope.size} octets"
                yield Skipped(_name(one), f"{what}, more than {self._largest}")
            elif content is None:
                what = f"the message with UID {envelope.uid} has gone meanwhile"
                yield Skipped(_name(one), what)
            else:
                date = envelope.date or sent(content) or _EPOCH
                yield Found(
                    _name(one),
                    Mail(content, flags_of(envelope.flags), date),
                    (mark, envelope.uid),
                    _ALL in one.attributes,
                )

    def _mark(self, one: Listed, uidvalidity: int) -> str:
        address = self._address
        text = f"{address.user}\0{address.host}\0{address.port}\0{uidvalidity}\0"
        return hashlib.sha256(text.encode() + one.raw).hexdigest()[:32]


def _batches(envelopes: list[Envelope]) -> Iterator[list[Envelope]]:
    batch: list[Envelope] = []
    octets = 0
    for one in envelopes:
        if batch and (octets + one.size > OCTETS_AT_ONCE or len(batch) >= MESSAGES_AT_ONCE):
            yield batch
            batch, octets = [], 0
        batch.append(one)
        octets += one.size
    if batch:
        yield batch


def _name(one: Listed) -> str:
    return "/".join(one.levels)


def _use(one: Listed) -> str | None:
    if _ALL in one.attributes:
        return None
    return next((use for use in SPECIAL_USES if use.lower() in one.attributes), None)
