"""Key derivation, credentials, sealing and the in-memory vault. Pure."""
