"""Where backups are kept: a folder, or a bucket of an S3-compatible store."""

from mailsrv.backup.objects.opening import open_bucket, open_store

__all__ = ["open_bucket", "open_store"]
