"""``make bench``, or ``python -m bench workers sessions`` for some parts of it alone.

server: one process, and beside it what plain apsw needs; link: the store over a link beside the
store itself; workers: more than one process; sessions: memory of idle ones; live: mail that comes
in at one process for a client of another; exchange: exports and imports; shipping: what a point
in time costs; backup: backups and restores, and what others notice of them.
"""

import argparse

from rich.console import Console

from bench import backup, exchange, link, live, server, sessions, shipping, workers

PARTS = {
    "server": server.run,
    "link": link.run,
    "workers": workers.run,
    "sessions": sessions.run,
    "live": live.run,
    "exchange": exchange.run,
    "shipping": shipping.run,
    "backup": backup.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", help="all of them by default")
    parser.add_argument("--messages", type=int, default=10_000, help="in the mailbox of server")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run of workers")
    parser.add_argument("--rounds", type=int, default=3, help="of each that alternates")
    parser.add_argument("--sessions", type=int, default=1000, help="that are idle")
    parser.add_argument(
        "--megabytes", type=int, nargs="*", default=[10, 1000], help="of the mailboxes of backup"
    )
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"expected parts among {', '.join(PARTS)}; got {', '.join(sorted(unknown))}")
    console = Console(width=130)
    for name in options.parts or PARTS:
        console.print(PARTS[name](options))


main()
