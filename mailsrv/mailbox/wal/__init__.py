"""A mailbox's write-ahead log: its frames captured before they are overwritten, key or no key."""
