"""What travels on the link: one msgpack array to a WebSocket message, checked when decoded.

A frame is a tagged tuple. The body of a call, an answer or a note is msgpack of its own, decoded
only once its type is known: so a wrong body has an id to be answered with. Lengths of names are
part of the types, because what is refused is named in an error.
"""

from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from msgspec import Meta

from mailsrv.errors import InvalidInput
from mailsrv.link.wire.limits import MIB

VERSION = 1
"""Of the frames and of the operations together; both sides must speak the same."""

PLAIN = 4 * MIB
"""Octets of the arguments of an operation that carries no messages."""

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Node = Annotated[str, Meta(pattern=r"\A[!-~]{1,255}\Z")]
Sentence = Annotated[str, Meta(max_length=1000)]
Session = Annotated[str, Meta(min_length=1, max_length=128)]
PublicKey = Annotated[bytes, Meta(max_length=4096)]
Sealed = Annotated[bytes, Meta(max_length=8192)]


class _Frame(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    pass


class Hello(_Frame, frozen=True, tag=0):
    """The front end's first frame."""

    version: Count
    node: Node
    public_key: PublicKey


class Welcome(_Frame, frozen=True, tag=1):
    """The primary's answer to Hello. ``nonce`` is of this connection; keys are sealed with it."""

    version: Count
    primary: Node
    public_key: PublicKey
    nonce: Annotated[bytes, Meta(min_length=16, max_length=16)]
    in_flight: Annotated[int, Meta(ge=1, le=2**31)]
    message_octets: Count
    lease_seconds: float


class Lent(_Frame, frozen=True, tag=False):
    """A session's file key, sealed to the primary; each number is good for one use."""

    number: Count
    sealed: Sealed


class Call(_Frame, frozen=True, tag=2):
    """One operation. Every call gets one Answer or Failed, also one that was cancelled."""

    id: Count
    operation: Name
    session: Session | None
    lent: Lent | None
    body: bytes


class Answer(_Frame, frozen=True, tag=3):
    """What the operation gave."""

    id: Count
    body: bytes


class Failed(_Frame, frozen=True, tag=4):
    """The operation failed: an error of ``mailsrv.errors`` by name, and its sentence."""

    id: Count
    kind: Name
    sentence: Sentence


class Cancel(_Frame, frozen=True, tag=5):
    """Nobody waits for the answer of this call any more."""

    id: Count


class Begin(_Frame, frozen=True, tag=6):
    """A Call or an Answer whose body of ``size`` octets follows in chunks."""

    id: Count
    answer: bool
    size: Count
    head: bytes
    """The frame, with an empty body."""


class Chunk(_Frame, frozen=True, tag=7):
    """The next octets of a long body."""

    id: Count
    answer: bool
    data: bytes


class Credit(_Frame, frozen=True, tag=8):
    """The receiver has room for so many more octets of that body."""

    id: Count
    answer: bool
    octets: Count


class Note(_Frame, frozen=True, tag=9):
    """One-way news."""

    kind: Name
    body: bytes


class Goodbye(_Frame, frozen=True, tag=10):
    """The last frame of a side that closes on purpose, and why."""

    sentence: Sentence


Frame = Hello | Welcome | Call | Answer | Failed | Cancel | Begin | Chunk | Credit | Note | Goodbye


class Operation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what can be asked; the fields are the arguments."""

    name: ClassVar[str]
    answer: ClassVar[Any]
    """Type of the answer, as msgspec decodes it."""
    carries: ClassVar[bool] = False
    """Whether messages are among the arguments; without them no body is longer than ``PLAIN``."""
    lasting: ClassVar[bool] = False
    """Whether it goes on when its caller cancels, and is counted until it has ended."""

    @property
    def weight(self) -> int:
        """About how many octets the answer may have, where that is more than a few KiB.

        Such a call is begun only when earlier long answers have gone out.
        """
        return 0


class NoteBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what can be told."""

    name: ClassVar[str]


class BadFrame(InvalidInput):
    """A frame that breaks the format. ``call`` is its id where it was to be a call."""

    def __init__(self, sentence: str, call: int | None = None) -> None:
        super().__init__(sentence)
        self.call = call


class _Prefix(msgspec.Struct, array_like=True):
    """The beginning of a call whose rest is wrong."""

    tag: int
    id: Count


_frames: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Frame)
_prefixes = msgspec.msgpack.Decoder(_Prefix)
_encoder = msgspec.msgpack.Encoder()
_CALL_TAGS = (Call.__struct_config__.tag, Begin.__struct_config__.tag)

T = TypeVar("T")


def encode_frame(frame: Frame) -> bytes:
    """One WebSocket message."""
    return _encoder.encode(frame)


def decode_frame(data: bytes) -> Frame:
    """Decode one WebSocket message; BadFrame (an InvalidInput) says what was wrong."""
    try:
        return _decode(_frames, data)
    except InvalidInput as error:
        raise BadFrame(f"frame of {len(data)} octets: {error}", _call_of(data)) from None


def encode_body(value: object) -> bytes:
    """The body of a frame. TypeError for what msgpack cannot carry: an error of this side."""
    return _encoder.encode(value)


def decode_body(kind: Any, body: bytes | bytearray) -> Any:
    """Decode the body of a frame as ``kind``; InvalidInput says what was wrong and where."""
    return _decode(_decoder(kind), body)


@cache
def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind)


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes | bytearray) -> T:
    try:
        return decoder.decode(data)
    except RecursionError:
        raise InvalidInput("nested too deeply") from None
    except MemoryError:
        raise InvalidInput("claims more than memory holds") from None
    except UnicodeDecodeError:
        raise InvalidInput("text that is not UTF-8") from None
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise InvalidInput(_without_values(str(error))) from None


def _without_values(message: str) -> str:
    """Keep what was expected and where. A value that came could be anything."""
    what, _, where = message.partition(" - at `")
    if what.startswith("Invalid "):
        what = " ".join(what.split(" ")[:3])
    return f"{what} at {where.rstrip('`')}"[:300] if where else what[:300]


def _call_of(data: bytes) -> int | None:
    try:
        prefix = _decode(_prefixes, data)
    except InvalidInput:
        return None
    return prefix.id if prefix.tag in _CALL_TAGS else None
