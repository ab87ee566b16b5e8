"""Reading the configuration file: one TOML file, into typed values, checked, its paths absolute."""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from mailsrv.errors import InvalidInput
from mailsrv.settings.checks import first_problem
from mailsrv.settings.tables import ROLES, Backup, Bucket, Directory, Link, Primary, Settings, Tls

FILE_NAME = "mailsrv.toml"


def load(path: Path) -> Settings:
    """Read the file. InvalidInput names the file, the key and what was expected."""
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: not a TOML file: {error}") from None
    return _checked(path, document)


def _checked(path: Path, document: dict[str, Any]) -> Settings:
    if "base" in document:
        raise InvalidInput(f"{path}: base: unknown key, expected one of {', '.join(_keys(''))}")
    base = path.resolve().parent
    try:
        settings = msgspec.convert(
            {**document, "base": str(base)}, Settings, dec_hook=_decode_path, strict=True
        )
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{path}: {_explain(str(error))}") from None
    problem = first_problem(settings)
    if problem:
        raise InvalidInput(f"{path}: {problem}")
    return _absolute(settings)


def _decode_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str) and value:
        return Path(value)
    raise TypeError(f"Expected a path, got {value!r}")


def _explain(message: str) -> str:
    """Turn msgspec's "Expected `int`, got `str` - at `$.mx.recipients`" into key: sentence."""
    sentence, _, where = message.partition(" - at `$")
    key = where.rstrip("`").lstrip(".").replace("[...]", ".NAME")
    if re.fullmatch(r"roles\[\d+\]", key) and sentence.startswith("Invalid enum value"):
        return f"roles: unknown role {sentence.split()[-1]}, expected some of {', '.join(ROLES)}"
    unknown = re.match(r"Object contains unknown field `(.*)`", sentence)
    if unknown:
        known = ", ".join(_keys(key))
        return f"{f'{key}.' if key else ''}{unknown[1]}: unknown key, expected one of {known}"
    missing = re.match(r"Object missing required field `(.*)`", sentence)
    if missing:
        return f"{f'{key}.' if key else ''}{missing[1]}: expected a value, the key is missing"
    return f"{key}: {sentence[0].lower()}{sentence[1:].replace('`', '')}"


def _keys(table: str) -> list[str]:
    struct: Any = Settings
    for name in table.split(".") if table else ():
        kinds = {field.name: field.type for field in msgspec.structs.fields(struct)}
        struct = {"primaries": Primary, "s3": Bucket}.get(name) or kinds.get(name, struct)
    return [field.name for field in msgspec.structs.fields(struct) if field.name != "base"]


def _absolute(settings: Settings) -> Settings:
    base = settings.base
    url = settings.directory.url
    if url.startswith("sqlite:///"):
        url = f"sqlite:///{base / url.removeprefix('sqlite:///')}"
    replace = msgspec.structs.replace
    return replace(
        settings,
        tls=Tls(
            certificate=base / settings.tls.certificate,
            private_key=base / settings.tls.private_key,
        ),
        directory=Directory(url=url),
        store=replace(settings.store, mailboxes=base / settings.store.mailboxes),
        backup=_absolute_backup(settings.backup, base),
        link=_absolute_link(settings.link, base),
    )


def _absolute_backup(backup: Backup, base: Path) -> Backup:
    replace = msgspec.structs.replace
    s3 = backup.s3 and replace(backup.s3, secret_file=base / backup.s3.secret_file)
    return replace(backup, folder=base / backup.folder, s3=s3)


def _absolute_link(link: Link, base: Path) -> Link:
    replace = msgspec.structs.replace
    token_file = base / link.token_file
    primaries = {}
    for name, primary in link.primaries.items():
        kind, _, rest = primary.endpoint.partition(":")
        unix = kind == "unix"
        primaries[name] = replace(
            primary,
            endpoint=f"unix:{base / rest}" if unix else primary.endpoint,
            hostname=primary.hostname or ("" if unix else rest.rpartition(":")[0].strip("[]")),
            ca=base / primary.ca if primary.ca else None,
            token_file=base / (primary.token_file or token_file),
        )
    return replace(link, socket=base / link.socket, token_file=token_file, primaries=primaries)
