"""The Deferred-based interface to mailboxes that every front end talks to."""
