"""The bytes of one message -> envelope, structure, parts, text. Pure."""
