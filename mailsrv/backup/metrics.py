"""What is counted about backups, for Prometheus. No metric tells of single addresses."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200)
"""Bounds of the histogram's buckets."""


class Metrics:
    """Any thread. ``registry`` is what is told at /metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.outcomes = Counter(
            "mailsrv_backups",
            "Backups by outcome: taken, unchanged or recent (nothing was copied), failed.",
            ["outcome"],
            registry=registry,
        )
        self.octets = Counter(
            "mailsrv_backup_octets", "Octets of the copies that were kept.", registry=registry
        )
        self.seconds = Histogram(
            "mailsrv_backup_seconds",
            "Duration of the steps of a backup: copy (with the key), keep (upload, prune).",
            ["step"],
            buckets=SECONDS,
            registry=registry,
        )
        self.refusals = Counter(
            "mailsrv_backup_store_refusals",
            "Times that a store of backups refused, or did not answer.",
            registry=registry,
        )
        self.verifications = Counter(
            "mailsrv_backup_verifications",
            "Newest copies that were fetched and compared: good, damaged, or failed to come.",
            ["outcome"],
            registry=registry,
        )
        self.removed = Counter(
            "mailsrv_backup_copies_removed", "Copies that are no longer kept.", registry=registry
        )
        self.wanted = Gauge(
            "mailsrv_backup_wanted_seconds",
            "How long the longest wanted backup, which could have been made, is wanted already.",
            registry=registry,
        )
        self.late = Gauge(
            "mailsrv_backup_late",
            "Mailboxes whose backup could have been made for backup.late_hours and was not.",
            registry=registry,
        )
        self.failing = Gauge(
            "mailsrv_backup_failing",
            "Mailboxes whose last backup, or check of a backup, failed.",
            registry=registry,
        )
        self.shipping = Gauge(
            "mailsrv_backup_shipping_failing",
            "What stands in the way of shipping changes of mailboxes, where they are shipped.",
            registry=registry,
        )
        for outcome in ("taken", "unchanged", "recent", "failed"):
            self.outcomes.labels(outcome)
        for outcome in ("good", "damaged", "failed"):
            self.verifications.labels(outcome)
        for step in ("copy", "keep"):
            self.seconds.labels(step)
