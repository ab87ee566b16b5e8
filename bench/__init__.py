"""How fast mailsrv is: ``make bench``, or ``python -m bench --messages 2000`` for a short run."""
