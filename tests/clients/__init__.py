"""Real clients over loopback sockets, against a server in a process of its own."""
