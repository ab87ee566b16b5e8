"""Dovecot in a process of its own, on a loopback port: the server that most mail comes from."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.children import die_with_parent

STARTUP_SECONDS = 20.0
USER, PASSWORD = "owner@example.org", "dove-password"

_CONFIG = r"""
protocols = imap
base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/log.txt
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{key}
auth_mechanisms = plain
mail_location = maildir:{root}/mail
mail_plugins = listescape
mail_uid = {user}
mail_gid = {group}
first_valid_uid = 1
default_internal_user = {internal}
default_internal_group = {internal_group}
default_login_user = {login}
namespace inbox {{
  inbox = yes
  separator = /
  mailbox Archive {{
    special_use = \Archive
  }}
  mailbox Sent {{
    special_use = \Sent
  }}
  mailbox Drafts {{
    special_use = \Drafts
  }}
  mailbox Junk {{
    special_use = \Junk
  }}
  mailbox Trash {{
    special_use = \Trash
  }}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    address = 127.0.0.1
    port = {port}
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={root}/home
}}
"""


def program() -> str | None:
    """Where it is, if it is installed with IMAP."""
    found = shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    return found if found and Path("/usr/lib/dovecot/imap").exists() else None


class Dovecot:
    """Started by ``start``; ``stop`` removes everything. The mail lies in ``mail``, a Maildir."""

    def __init__(self, certificate: Path, key: Path) -> None:
        # short, since paths of sockets may not be long, and where other users may go
        self.root = Path(tempfile.mkdtemp(prefix="dove-", dir="/tmp"))
        self.root.chmod(0o755)
        self.mail = self.root / "mail"
        self.port = _free_port()
        self.user, self.process = _user(), None
        for name in ("mail", "home", "state"):
            (self.root / name).mkdir()
        for path, name in ((certificate, "cert.pem"), (key, "key.pem")):
            shutil.copy(path, self.root / name)
        own = pwd.getpwuid(os.geteuid())
        internal, login = ("dovecot", "dovenull") if own.pw_uid == 0 else (own.pw_name,) * 2
        self.config = self.root / "dovecot.conf"
        self.config.write_text(
            _CONFIG.format(
                root=self.root,
                password=PASSWORD,
                certificate=self.root / "cert.pem",
                key=self.root / "key.pem",
                port=self.port,
                user=self.user.pw_uid,
                group=self.user.pw_gid,
                internal=internal,
                internal_group=_group(internal),
                login=login,
            )
        )

    def start(self) -> None:
        self.own()
        self.process = subprocess.Popen(
            [program() or "dovecot", "-F", "-c", str(self.config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent(),
        )
        deadline = time.monotonic() + STARTUP_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"dovecot did not start:\n{self.log()}")
            time.sleep(0.02)

    def log(self) -> str:
        path = self.root / "log.txt"
        return path.read_text() if path.exists() else ""

    def own(self) -> None:
        """Give what lies in its directories to the user it serves."""
        for path in (self.mail, self.root / "home", *self.mail.rglob("*")):
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
        shutil.rmtree(self.root, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


def _user() -> pwd.struct_passwd:
    """Whose mail it is: not root, which Dovecot refuses."""
    own = pwd.getpwuid(os.geteuid())
    return pwd.getpwnam("mail") if own.pw_uid == 0 else own


def _group(user: str) -> str:
    import grp

    return grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
