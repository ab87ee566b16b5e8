"""IMAP4rev1: the protocol's serving side, over the store."""
