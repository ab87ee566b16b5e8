"""Links over real sockets: who gets in, what is carried, how a link ends."""

from tests.link.links import LinkCase
from tests.link.operations import Carry, Echo


class CarryingTests(LinkCase):
    async def test_unix_socket(self) -> None:
        link = await self.link(self.serve_unix())
        self.assertEqual(await link.peer.call(Echo(text="hi")), "hi")
        self.assertEqual(len(await link.peer.call(Carry(size=3_000_000))), 3_000_000)

    async def test_tls(self) -> None:
        link = await self.link(self.serve_tls())
        self.assertEqual(await link.peer.call(Echo(text="hi")), "hi")
        self.assertEqual(
            len(await link.peer.call(Carry(data=bytes(900_000), size=3_000_000))), 3_000_000
        )
