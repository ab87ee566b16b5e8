"""Links on WebSockets: Autobahn, TLS, unix sockets, tokens: who is let in and how to get in."""
