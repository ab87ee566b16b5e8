"""Two peers back to back: calls, answers, notes, cancelling, limits, what a wrong peer meets."""

from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import InvalidInput, LinkLost, NoSuchFolder, Unavailable
from mailsrv.link.transport.protocols import LinkProtocol
from mailsrv.link.wire.connection import PrimarySide, WelcomeParts
from mailsrv.link.wire.frames import (
    VERSION,
    Answer,
    Begin,
    Call,
    Cancel,
    Chunk,
    Credit,
    Failed,
    Frame,
    Hello,
    Note,
    decode_frame,
    encode_body,
    encode_frame,
)
from mailsrv.link.wire.limits import CHUNK, FIRST_CREDIT, KIB, MIB, LinkLimits
from mailsrv.link.wire.peer import Peer, ProtocolViolation, Received
from mailsrv.link.wire.streams import Budget
from tests.link.operations import ACCEPTS, NOTES, TIMES, Carry, Echo, News
from tests.link.pipe import End, Pipe, Recorder
from tests.link.test_frames import FRAMES

LIMITS = LinkLimits(message_octets=2 * MIB, in_flight=3, body_octets=8 * MIB)


def work(call: Received) -> Any:
    operation = call.operation
    if isinstance(operation, Echo):
        return operation.text
    assert isinstance(operation, Carry)
    return b"x" * operation.size or operation.data[::-1]


class PeerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.connect(work)

    def connect(self, answer: Any, limits: LinkLimits = LIMITS) -> None:
        self.recorder = Recorder(answer)
        self.pipe = Pipe(
            End(Recorder(work), ACCEPTS, NOTES, limits), End(self.recorder, ACCEPTS, NOTES, limits)
        )
        self.left, self.right = self.pipe.left.peer, self.pipe.right.peer


class CallTests(PeerCase):
    def test_an_answer(self) -> None:
        asked = self.left.call(Echo(text="hi"), session="5e55", lent=None)
        self.assertEqual(self.left.in_flight, 1)
        self.pipe.flush()
        self.assertEqual(self.successResultOf(asked), "hi")
        self.assertEqual(self.recorder.calls, [Received(Echo(text="hi"), "5e55", None)])
        self.assertEqual((self.left.in_flight, self.right.serving), (0, 0))

    def test_both_ways(self) -> None:
        there, back = self.left.call(Echo(text="a")), self.right.call(Echo(text="b"))
        self.pipe.flush()
        self.assertEqual(self.successResultOf(there) + self.successResultOf(back), "ab")

    def test_awaitables(self) -> None:
        async def answer(call: Received) -> str:
            return "from a coroutine"

        self.connect(answer)
        asked = self.left.call(Echo(text=""))
        self.pipe.flush()
        self.assertEqual(self.successResultOf(asked), "from a coroutine")

    def test_errors_as_themselves(self) -> None:
        self.connect(lambda call: fail(NoSuchFolder("no folder Trash")))
        asked = self.left.call(Echo(text=""))
        self.pipe.flush()
        self.assertEqual(str(self.failureResultOf(asked, NoSuchFolder).value), "no folder Trash")

    def test_unexpected_errors_stay_there(self) -> None:
        def answer(call: Received) -> str:
            raise KeyError("canary-secret")

        self.connect(answer)
        asked = self.left.call(Echo(text=""))
        self.pipe.flush()
        self.assertNotIn("canary", str(self.failureResultOf(asked, Unavailable).value))

    def test_an_answer_that_msgpack_cannot_carry(self) -> None:
        self.connect(lambda call: object())
        asked = self.left.call(Echo(text=""))
        self.pipe.flush()
        self.failureResultOf(asked, Unavailable)

    def test_an_answer_of_another_type(self) -> None:
        self.connect(lambda call: 5)
        asked = self.left.call(Echo(text=""))
        self.pipe.flush()
        self.assertIn("echo", str(self.failureResultOf(asked, Unavailable).value))

    def test_out_of_order(self) -> None:
        answers: list[Deferred[str]] = []

        def answer(call: Received) -> Deferred[str]:
            answers.append(Deferred())
            return answers[-1]

        self.connect(answer)
        first, second = self.left.call(Echo(text="1")), self.left.call(Echo(text="2"))
        self.pipe.flush()
        answers[1].callback("two")
        self.pipe.flush()
        self.assertNoResult(first)
        self.assertEqual(self.successResultOf(second), "two")
        answers[0].callback("one")
        self.pipe.flush()
        self.assertEqual(self.successResultOf(first), "one")

    def test_notes(self) -> None:
        self.left.tell(News(number=5))
        self.left.tell(News(number=6))
        self.pipe.flush()
        self.assertEqual(self.recorder.notes, [News(number=5), News(number=6)])

    def test_a_listener_that_fails(self) -> None:
        def told(note: object) -> None:
            raise ValueError("canary-secret")

        self.recorder.told = told  # type: ignore[method-assign]
        self.left.tell(News(number=5))
        asked = self.left.call(Echo(text="still here"))
        self.pipe.flush()
        self.assertEqual(self.successResultOf(asked), "still here")

    def test_goodbye(self) -> None:
        self.left.say_goodbye("shutting down")
        self.pipe.flush()
        self.assertEqual(self.right.goodbye, "shutting down")


class LongBodyTests(PeerCase):
    @settings(max_examples=30, deadline=None)
    @given(
        st.sampled_from([0, 1, CHUNK - 20, CHUNK, CHUNK + 1, FIRST_CREDIT, FIRST_CREDIT + 1, MIB]),
        st.sampled_from([0, 1, CHUNK - 20, CHUNK, CHUNK + 1, FIRST_CREDIT, FIRST_CREDIT + 1, MIB]),
        st.booleans(),
    )
    def test_every_size(self, there: int, back: int, immediate: bool) -> None:
        ends = [End(Recorder(work), ACCEPTS, NOTES, LIMITS) for _ in range(2)]
        pipe = Pipe(*ends, immediate=immediate)
        data = bytes(range(256)) * (there // 256) + bytes(there % 256)
        asked = pipe.left.peer.call(Carry(data=data, size=back))
        pipe.flush()
        self.assertEqual(self.successResultOf(asked), b"x" * back or data[::-1])

    def test_small_frames_pass_long_bodies(self) -> None:
        self.left.pause()
        long = self.left.call(Carry(data=bytes(2 * MIB), size=1))
        small = self.left.call(Echo(text="quick"))
        self.left.resume()
        self.pipe.flush(frames=4)
        self.assertEqual(self.successResultOf(small), "quick")
        self.assertNoResult(long)
        self.pipe.flush()
        self.assertEqual(self.successResultOf(long), b"x")

    def test_too_long_a_call_is_not_sent(self) -> None:
        asked = self.left.call(Carry(data=bytes(4 * MIB)))
        error = str(self.failureResultOf(asked, InvalidInput).value)
        self.assertIn("carry", error)
        self.assertIn(str(LIMITS.body_limit), error)
        self.assertEqual(self.pipe.frames, 0)

    def test_too_long_an_answer(self) -> None:
        asked = self.left.call(Carry(size=4 * MIB))
        self.pipe.flush()
        self.assertIn(str(LIMITS.body_limit), str(self.failureResultOf(asked, InvalidInput).value))
        self.assertEqual((self.left.in_flight, self.right.serving), (0, 0))

    def test_room_for_one_at_a_time(self) -> None:
        self.connect(work, LinkLimits(message_octets=2 * MIB, in_flight=8, body_octets=MIB))
        asked = [self.left.call(Carry(data=bytes(2 * MIB), size=MIB)) for _ in range(8)]
        self.pipe.flush()
        for one in asked:
            self.assertEqual(len(self.successResultOf(one)), MIB)

    def test_a_paused_reader_holds_back_bodies(self) -> None:
        self.right.pause()
        asked = self.left.call(Carry(size=2 * MIB))
        self.pipe.flush()
        self.assertFalse(self.pipe.left.inbox)
        self.assertTrue(self.right.full)
        self.right.resume()
        self.pipe.flush()
        self.assertEqual(len(self.successResultOf(asked)), 2 * MIB)


class EndingTests(PeerCase):
    def setUp(self) -> None:
        self.answers: list[Deferred[Any]] = []
        self.cancelled = 0
        self.connect(self.later)

    def later(self, call: Received) -> Deferred[Any]:
        self.answers.append(Deferred(lambda _: self.count()))
        return self.answers[-1]

    def count(self) -> None:
        self.cancelled += 1

    def test_cancelling_reaches_the_other_side(self) -> None:
        asked = self.left.call(Echo(text=""))
        self.pipe.flush()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual(self.left.in_flight, 1)
        self.pipe.flush()
        self.assertEqual(self.cancelled, 1)
        self.assertEqual((self.left.in_flight, self.right.serving), (0, 0))
        self.assertEqual((self.left.strays, self.right.strays), (0, 0))

    def test_cancelling_crosses_the_answer(self) -> None:
        asked = self.left.call(Echo(text=""))
        self.pipe.flush()
        self.answers[0].callback("too late")
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.pipe.flush()
        self.assertEqual(self.left.in_flight, 0)
        self.assertEqual((self.left.strays, self.right.strays), (0, 1))

    def test_cancelling_a_call_that_is_under_way(self) -> None:
        for frames in range(12):
            self.connect(work)
            asked = self.left.call(Carry(data=bytes(MIB), size=MIB))
            self.pipe.flush(frames)
            asked.cancel()
            self.failureResultOf(asked, CancelledError)
            self.pipe.flush()
            self.assertEqual((self.left.in_flight, self.right.serving), (0, 0), frames)

    def test_cancelling_an_answer_that_is_under_way(self) -> None:
        for frames in range(2, 40):
            self.connect(work)
            asked = self.left.call(Carry(size=2 * MIB))
            self.pipe.flush(frames)
            if asked.called:
                self.assertGreater(frames, 30)
                break
            asked.cancel()
            self.failureResultOf(asked, CancelledError)
            again = self.left.call(Carry(size=2 * MIB))
            self.pipe.flush()
            self.assertEqual(len(self.successResultOf(again)), 2 * MIB, frames)
            self.assertEqual((self.left.in_flight, self.right.serving), (0, 0), frames)

    def test_cancelling_before_it_was_sent(self) -> None:
        asked = [self.left.call(Echo(text=str(number))) for number in range(5)]
        asked[4].cancel()
        self.failureResultOf(asked[4], CancelledError)
        self.pipe.flush()
        self.assertEqual(len(self.recorder.calls), 3)

    def test_a_handler_that_does_not_stop(self) -> None:
        asked = self.left.call(Echo(text=""))
        self.pipe.flush()
        self.answers[0]._canceller = lambda deferred: deferred.callback("done anyway")
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.pipe.flush()
        self.assertEqual((self.left.in_flight, self.right.serving), (0, 0))

    def test_time_limit(self) -> None:
        asked = self.left.call(Echo(text=""), timeout=5)
        self.pipe.flush()
        self.pipe.clock.advance(4.9)
        self.assertNoResult(asked)
        self.pipe.clock.advance(0.2)
        self.assertIn("echo", str(self.failureResultOf(asked, Unavailable).value))
        self.pipe.flush()
        self.assertEqual(self.cancelled, 1)
        self.assertEqual(self.pipe.clock.getDelayedCalls(), [])

    def test_no_timer_stays(self) -> None:
        asked = [self.left.call(Echo(text=""), timeout=5) for _ in range(3)]
        self.pipe.flush()
        self.answers[0].callback("x")
        asked[1].cancel()
        self.failureResultOf(asked[1], CancelledError)
        self.pipe.flush()
        self.pipe.cut()
        self.failureResultOf(asked[2], LinkLost)
        self.assertEqual(self.pipe.clock.getDelayedCalls(), [])

    def test_lost(self) -> None:
        asked = [self.left.call(Echo(text="")) for _ in range(5)]
        self.pipe.flush()
        self.pipe.cut()
        for one in asked:
            self.failureResultOf(one, LinkLost)
        self.assertEqual(self.cancelled, 0)
        for one in self.answers:
            one.callback("nobody hears this")
        self.pipe.flush()
        self.failureResultOf(self.left.call(Echo(text="")), LinkLost)

    def test_cancelled_while_others_hear_of_the_loss(self) -> None:
        self.connect(lambda call: Deferred(), LinkLimits(in_flight=1))
        first, second = self.left.call(Echo(text="1")), self.left.call(Echo(text="2"))
        first.addErrback(lambda _: second.cancel())
        self.pipe.cut()
        self.assertIsNone(self.successResultOf(first))
        self.failureResultOf(second, CancelledError)

    def test_the_end_is_told_even_if_something_goes_wrong_in_it(self) -> None:
        handler = mock.Mock(accepts=ACCEPTS, notes=NOTES)
        clock: Any = self.pipe.clock
        make = mock.Mock(return_value=handler)
        link = PrimarySide(mock.Mock(), "role", make, clock, LIMITS, Budget(MIB))
        link.greet_with(WelcomeParts("primary", b"key", 5.0))
        link.received(encode_frame(Hello(version=VERSION, node="n", public_key=b"")))
        self.patch(link.peer, "lost", mock.Mock(side_effect=ZeroDivisionError))
        self.assertRaises(ZeroDivisionError, link.lost, "why")
        self.assertEqual(self.successResultOf(link.closed), "why")

    def test_so_is_that_of_its_transport(self) -> None:
        line: Any = LinkProtocol()
        line.link = mock.Mock()
        line.closeHandshakeTimeoutCall = line.remoteCloseReason = None
        line.wasNotCleanReason = "cut"
        line._connectionLost = mock.Mock(side_effect=ZeroDivisionError)
        self.assertRaises(ZeroDivisionError, line.connectionLost, Failure(ConnectionDone()))
        line.link.lost.assert_called_once_with("cut")

    def test_lost_at_every_frame(self) -> None:
        for frames in range(60):
            self.connect(work)
            asked = self.left.call(Carry(data=bytes(MIB), size=MIB))
            self.pipe.flush(frames)
            self.pipe.cut()
            if asked.called and not isinstance(asked.result, bytes):
                self.failureResultOf(asked, LinkLost)
            else:
                self.assertEqual(len(self.successResultOf(asked)), MIB)
                return
        self.fail("it never came to an end")


class LimitTests(PeerCase):
    def test_calls_over_the_limit_wait_here(self) -> None:
        answers: list[Deferred[str]] = []

        def answer(call: Received) -> Deferred[str]:
            answers.append(Deferred())
            return answers[-1]

        self.connect(answer)
        asked = [self.left.call(Echo(text=str(number))) for number in range(10)]
        for number in range(10):
            self.pipe.flush()
            self.assertEqual(self.left.in_flight, min(3, 10 - number))
            answers[number].callback(str(number))
        self.pipe.flush()
        self.assertEqual(
            [self.successResultOf(one) for one in asked], [str(number) for number in range(10)]
        )

    def test_calls_over_the_limit_are_refused_there(self) -> None:
        wrong = WrongPeer(lambda call: Deferred())
        for number in range(5):
            wrong.send(wrong.call(number))
        self.assertEqual([one.id for one in wrong.got], [3, 4])
        self.assertEqual({one.kind for one in wrong.got}, {"Unavailable"})

    def test_who_asks_and_does_not_read(self) -> None:
        wrong = WrongPeer(work, LinkLimits(queued_octets=100_000))
        wrong.peer.pause()
        for number in range(20_000):
            wrong.send(wrong.call(number))
            if wrong.overflowed:
                break
        self.assertEqual(wrong.overflowed, 1)
        self.assertEqual(wrong.got, [])

    def test_long_answers_wait_for_those_that_are_not_sent(self) -> None:
        self.connect(work, LinkLimits(in_flight=50, unsent_octets=MIB))
        self.right.pause()
        asked = [self.left.call(Carry(size=600 * KIB)) for _ in range(10)]
        asked.append(self.left.call(Carry(size=2 * MIB)))
        asked[5].cancel()
        self.failureResultOf(asked.pop(5), CancelledError)
        small = self.left.call(Echo(text="x"))
        self.pipe.flush()
        self.assertEqual(len(self.recorder.calls), 2)
        self.right.resume()
        self.pipe.flush()
        self.assertEqual(self.successResultOf(small), "x")
        for one in asked:
            self.assertIn(len(self.successResultOf(one)), (600 * KIB, 2 * MIB))
        self.assertEqual((self.left.in_flight, self.right.serving), (0, 0))

    def test_those_that_waited_and_were_cancelled_are_forgotten(self) -> None:
        self.connect(lambda call: Deferred(), LinkLimits(in_flight=3, unsent_octets=MIB))
        self.left.call(Carry(size=MIB))
        for _ in range(10):
            asked = self.left.call(Carry(size=MIB))
            self.pipe.flush()
            asked.cancel()
            self.failureResultOf(asked, CancelledError)
            self.pipe.flush()
        self.assertEqual((self.right.serving, len(self.right._served._heavy)), (1, 0))

    def test_many_that_are_answered_at_once(self) -> None:
        self.connect(work, LinkLimits(in_flight=2000))
        asked = [self.left.call(Carry(size=1)) for _ in range(2000)]
        self.pipe.flush()
        self.assertEqual({self.successResultOf(one) for one in asked}, {b"x"})


class WrongPeer:
    """Speaks frames by hand to a peer and keeps what comes back."""

    def __init__(self, answer: Any = work, limits: LinkLimits = LIMITS) -> None:
        self.got: list[Any] = []
        self.overflowed = 0
        self.handler = Recorder(answer)
        clock = Pipe(End(), End()).clock
        self.peer = Peer(
            lambda data: self.got.append(decode_frame(data)),
            self.handler,
            ACCEPTS,
            NOTES,
            clock,
            limits,
            overflow=self.overflow,
        )

    def overflow(self) -> None:
        self.overflowed += 1

    def call(self, number: int, **given: Any) -> Call:
        body = encode_body(Echo(text="x"))
        fields = {"operation": "echo", "session": None, "lent": None, "body": body, **given}
        return Call(id=number, **fields)

    def send(self, frame: Frame) -> None:
        self.peer.received(encode_frame(frame))


class WrongPeerTests(SynchronousTestCase):
    """What a peer that is wrong, or hostile, meets."""

    def setUp(self) -> None:
        self.wrong = WrongPeer()

    def answered(self, *words: str) -> None:
        """The last call was answered with an error that says so, and the link goes on."""
        failed = self.wrong.got.pop()
        self.assertIsInstance(failed, Failed)
        self.assertEqual(failed.kind, "InvalidInput")
        for word in words:
            self.assertIn(word, failed.sentence)
        self.wrong.send(self.wrong.call(999))
        self.assertEqual(self.wrong.got.pop(), Answer(id=999, body=encode_body("x")))

    def violates(self, frame: Frame | bytes) -> None:
        data = frame if isinstance(frame, bytes) else encode_frame(frame)
        with self.assertRaises(ProtocolViolation):
            self.wrong.peer.received(data)

    def test_unknown_operation(self) -> None:
        self.wrong.send(self.wrong.call(1, operation="executescript"))
        self.answered("unknown operation", "executescript")

    def test_wrong_type(self) -> None:
        self.wrong.send(self.wrong.call(1, body=encode_body({"text": 5})))
        self.answered("echo", "$.text", "int")

    def test_unknown_field(self) -> None:
        self.wrong.send(self.wrong.call(1, body=encode_body({"text": "x", "sql": "DROP"})))
        self.answered("echo", "sql")

    def test_deep_nesting(self) -> None:
        self.wrong.send(self.wrong.call(1, body=b"\x81\xa4nope" + b"\x91" * 60_000))
        self.answered("echo")

    def test_a_call_that_is_no_call(self) -> None:
        self.wrong.peer.received(b"\x93\x02\x07\xc0")
        self.assertEqual(self.wrong.got[-1].id, 7)
        self.answered("frame of 4 octets")

    def test_too_large(self) -> None:
        head = encode_frame(self.wrong.call(1, operation="carry", body=b""))
        for size in (LIMITS.body_limit + 1, 65 * MIB, 2**31, 2**63 - 1):
            self.wrong.send(Begin(id=1, answer=False, size=size, head=head))
            self.answered("carry", str(size), str(LIMITS.body_limit))

    def test_chunks_of_what_was_refused(self) -> None:
        head = encode_frame(self.wrong.call(1, operation="nope", body=b""))
        self.wrong.send(Begin(id=1, answer=False, size=MIB, head=head))
        self.answered("nope")
        self.wrong.send(Chunk(id=1, answer=False, data=b"x"))
        self.assertEqual(self.wrong.peer.strays, 1)

    def test_strays(self) -> None:
        for frame in (
            Answer(id=77, body=b""),
            Failed(id=77, kind="Unavailable", sentence=""),
            Cancel(id=77),
            Credit(id=77, answer=True, octets=5),
            Chunk(id=77, answer=True, data=b"x"),
            Begin(id=77, answer=True, size=5 * MIB, head=encode_frame(Answer(id=77, body=b""))),
        ):
            self.wrong.send(frame)
        self.assertEqual(self.wrong.peer.strays, 6)
        self.assertEqual(self.wrong.got, [])

    def test_garbage(self) -> None:
        for data in (
            b"",
            b"\xc1",
            b"\x90",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x80\x04\x95",
            b"\xff" * 99,
        ):
            self.violates(data)

    def test_frames_out_of_place(self) -> None:
        self.violates(Hello(version=1, node="x", public_key=b""))
        self.violates(Note(kind="unknown", body=b""))
        self.violates(Note(kind="news", body=encode_body({"number": "five"})))
        self.violates(b"\x92\x63\x01")

    def test_an_id_twice(self) -> None:
        self.wrong = WrongPeer(lambda call: Deferred())
        self.wrong.send(self.wrong.call(1))
        self.violates(self.wrong.call(1))

    def test_an_id_whose_answer_is_under_way(self) -> None:
        self.wrong.send(self.wrong.call(1, operation="carry", body=encode_body(Carry(size=MIB))))
        self.violates(self.wrong.call(1))

    def test_an_answer_before_the_body_was_sent(self) -> None:
        asked = self.wrong.peer.call(Carry(data=bytes(MIB)))
        self.wrong.send(Answer(id=1, body=encode_body(b"done")))
        self.assertEqual(self.successResultOf(asked), b"done")
        self.assertEqual(self.wrong.peer._outbox.unsent, 0)

    def test_heads_that_do_not_match(self) -> None:
        call = self.wrong.call(1, body=b"")
        for begin in (
            Begin(id=2, answer=False, size=MIB, head=encode_frame(call)),
            Begin(id=1, answer=True, size=MIB, head=encode_frame(call)),
            Begin(id=1, answer=False, size=0, head=encode_frame(call)),
            Begin(id=1, answer=False, size=MIB, head=encode_frame(Cancel(id=1))),
            Begin(id=1, answer=False, size=MIB, head=encode_frame(self.wrong.call(1))),
            Begin(id=1, answer=False, size=MIB, head=b"\x91" * 5000),
        ):
            self.violates(begin)

    def test_more_than_credit(self) -> None:
        head = encode_frame(self.wrong.call(1, operation="carry", body=b""))
        self.wrong.send(Begin(id=1, answer=False, size=100, head=head))
        self.violates(Chunk(id=1, answer=False, data=bytes(101)))
        self.wrong.send(
            Begin(
                id=2,
                answer=False,
                size=100,
                head=encode_frame(self.wrong.call(2, operation="carry", body=b"")),
            )
        )
        self.violates(Chunk(id=2, answer=False, data=b""))

    def test_memory_of_bodies_that_never_end(self) -> None:
        self.wrong = WrongPeer(work, LinkLimits(in_flight=1000, body_octets=MIB))
        for number in range(100):
            call = self.wrong.call(number, operation="carry", body=b"")
            self.wrong.send(Begin(id=number, answer=False, size=50 * MIB, head=encode_frame(call)))
        granted = sum(one.octets for one in self.wrong.got if isinstance(one, Credit))
        self.assertEqual(granted, 50 * MIB - FIRST_CREDIT)

    @settings(max_examples=300 * TIMES, deadline=None)
    @given(st.lists(st.binary(max_size=60), max_size=5))
    def test_any_bytes(self, messages: list[bytes]) -> None:
        wrong = WrongPeer()
        try:
            for data in messages:
                wrong.peer.received(data)
        except ProtocolViolation:
            return

    @settings(max_examples=300 * TIMES, deadline=None)
    @given(st.data())
    def test_any_frames(self, data: st.DataObject) -> None:
        wrong = WrongPeer()
        small = st.integers(0, 3)
        try:
            for _ in range(data.draw(st.integers(1, 12))):
                frame = data.draw(FRAMES)
                if hasattr(frame, "id"):
                    fields = {name: getattr(frame, name) for name in frame.__struct_fields__}
                    frame = type(frame)(**{**fields, "id": data.draw(small)})
                wrong.send(frame)
        except ProtocolViolation:
            return


class ReenteringTests(SynchronousTestCase):
    def test_many_calls_at_once_over_a_pipe_that_delivers_at_once(self) -> None:
        limits = LinkLimits(in_flight=4, message_octets=MIB)
        pipe = Pipe(
            End(Recorder(work), ACCEPTS, NOTES, limits),
            End(Recorder(work), ACCEPTS, NOTES, limits),
            immediate=True,
        )
        asked = [pipe.left.peer.call(Carry(size=300 * KIB)) for _ in range(20)]
        asked += [pipe.right.peer.call(Carry(size=300 * KIB)) for _ in range(20)]
        pipe.flush()
        self.assertEqual({len(self.successResultOf(one)) for one in asked}, {300 * KIB})
