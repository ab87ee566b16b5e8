"""``mailsrv`` whose links come back at once however often they break, and not ever more slowly.

For tests that cut a link a hundred times; run as a program, with the words of ``mailsrv``.
"""

from mailsrv.cli.commands import main
from mailsrv.link.secondary.primary_link import ClientLimits

if __name__ == "__main__":
    ClientLimits.__init__.__kwdefaults__.update(settled=0.0, first_delay=0.02)
    main()
