"""Counters that several processes may share: failed logins, rates."""
