"""SMTP: the MX that takes mail from the world."""
