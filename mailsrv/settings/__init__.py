"""The configuration file: one TOML file, read into typed values and checked."""

from mailsrv.settings.checks import bucket_problem, is_hostname
from mailsrv.settings.reading import FILE_NAME, load
from mailsrv.settings.tables import (
    PROXY_PREFIX,
    ROLES,
    Backup,
    Bucket,
    BucketPlace,
    Link,
    Primary,
    Role,
    Settings,
)

__all__ = [
    "FILE_NAME",
    "PROXY_PREFIX",
    "ROLES",
    "Backup",
    "Bucket",
    "BucketPlace",
    "Link",
    "Primary",
    "Role",
    "Settings",
    "bucket_problem",
    "is_hostname",
    "load",
]
