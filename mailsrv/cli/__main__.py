"""``python -m mailsrv.cli``: the command without its console script."""

from mailsrv.cli.commands import main

main()
