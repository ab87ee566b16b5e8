"""Whatever breaks, in whatever order: each request settles, and nothing stays behind."""

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.link.wire import calls, peer, served, streams
from tests.link.operations import TIMES
from tests.link.storm import SMALL_CHUNK, SMALL_CREDIT, Storm

SEEDS = 120 * TIMES


class StormTests(SynchronousTestCase):
    def setUp(self) -> None:
        for module in (calls, peer, served, streams):
            self.patch(module, "CHUNK", SMALL_CHUNK)
        self.patch(streams, "FIRST_CREDIT", SMALL_CREDIT)

    def test_every_request_settles_and_nothing_is_left(self) -> None:
        for seed in range(SEEDS):
            storm = Storm(seed, silent=seed % 3 == 0)
            try:
                storm.run()
                storm.calm()
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {error}") from error
