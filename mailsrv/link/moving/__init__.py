"""Moving a mailbox between primaries: the operator's steps, and who carries them out."""
