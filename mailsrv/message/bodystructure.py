"""BODYSTRUCTURE and BODY as IMAP sends them (rfc9051:5958, rfc9051:6355), from the part tree."""

from mailsrv.message.header import Parameters
from mailsrv.message.octets import imap_nstring, imap_string
from mailsrv.message.structure import Part


def body(root: Part) -> bytes:
    """The non-extensible form, for FETCH BODY."""
    return _render(root, False)


def bodystructure(root: Part) -> bytes:
    """The form with extension data, for FETCH BODYSTRUCTURE."""
    return _render(root, True)


def _render(root: Part, extended: bool) -> bytes:
    out: list[str] = []
    _append(out, root, extended)
    return "".join(out).encode("latin-1")


def _append(out: list[str], part: Part, extended: bool) -> None:
    if part.type == "multipart":
        _append_multipart(out, part, extended)
    else:
        _append_single(out, part, extended)


def _append_multipart(out: list[str], part: Part, extended: bool) -> None:
    out.append("(")
    for child in part.children:
        _append(out, child, extended)
    out.append(f" {imap_string(part.subtype.upper())}")
    if extended:
        out.append(f" {_parameters(part.params)}{_extension(part)}")
    out.append(")")


def _append_single(out: list[str], part: Part, extended: bool) -> None:
    out.append(
        f"({imap_string(part.type.upper())} {imap_string(part.subtype.upper())}"
        f" {_parameters(part.params)} {imap_nstring(part.content_id)}"
        f" {imap_nstring(part.description)} {imap_string(part.encoding.upper())}"
        f" {part.end - part.body_start}"
    )
    if part.encloses_message:
        enclosed = part.children[0]
        out.append(f" {(enclosed.envelope or b'').decode('latin-1')} ")
        _append(out, enclosed, extended)
    if part.encloses_message or part.type == "text":
        out.append(f" {part.lines}")
    if extended:
        out.append(f" {imap_nstring(part.md5)}{_extension(part)}")
    out.append(")")


def _extension(part: Part) -> str:
    """Disposition, language and location, each with a blank before it."""
    disposition = "NIL"
    if part.disposition is not None:
        params = _parameters(part.disposition_params)
        disposition = f"({imap_string(part.disposition)} {params})"
    language = "NIL"
    if part.language:
        language = f"({' '.join(map(imap_string, part.language))})"
    return f" {disposition} {language} {imap_nstring(part.location)}"


def _parameters(params: Parameters) -> str:
    if not params:
        return "NIL"
    pairs = [f"{imap_string(name)} {imap_string(value)}" for name, value in params]
    return f"({' '.join(pairs)})"
