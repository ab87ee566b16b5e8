"""Octets to text in whatever charset a message names.

Python's codec registry is not asked directly: it also holds codecs that are quadratic
(punycode), that interpret escapes, or that are no charsets, and it remembers every unknown name
for ever. Labels that mail uses loosely go to the superset that senders mean (gb2312 is gb18030,
ks_c_5601 is cp949, latin-1 is windows-1252), as the WHATWG Encoding Standard has it.
"""

import re
from encodings.aliases import aliases

_NOT_CHARSETS = {
    "base64_codec",
    "bz2_codec",
    "charmap",
    "hex_codec",
    "idna",
    "mbcs",
    "oem",
    "punycode",
    "quopri_codec",
    "raw_unicode_escape",
    "rot_13",
    "undefined",
    "unicode_escape",
    "uu_codec",
    "zlib_codec",
}

_SUPERSETS = {
    "ascii": "",
    "latin_1": "cp1252",
    "iso8859_1": "cp1252",
    "iso8859_9": "cp1254",
    "iso8859_11": "cp874",
    "tis_620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "big5": "cp950",
    "iso2022_jp": "iso2022_jp_ext",
}

_MORE_LABELS = {
    "ansi_x3.4_1968": "",
    "iso_8859_8_i": "iso8859_8",
    "iso_8859_8_e": "iso8859_8",
    "iso_8859_6_i": "iso8859_6",
    "iso_8859_6_e": "iso8859_6",
    "ks_c_5601": "cp949",
    "windows_949": "cp949",
    "windows_936": "gb18030",
    "windows_932": "cp932",
    "windows_31j": "cp932",
    "windows_874": "cp874",
    "x_sjis": "cp932",
    "x_gbk": "gb18030",
    "x_euc_jp": "euc_jp",
    "x_big5": "cp950",
    "x_mac_roman": "mac_roman",
    "x_mac_cyrillic": "mac_cyrillic",
    "x_unicode_2_0_utf_7": "utf_7",
    "utf8mb4": "utf_8",
    "x_utf_8": "utf_8",
    "koi8": "koi8_r",
    "dos_874": "cp874",
}


def _labels() -> dict[str, str]:
    known = {label: codec for label, codec in aliases.items() if codec not in _NOT_CHARSETS}
    known |= {codec: codec for codec in known.values()}
    known |= {f"windows_{page}": f"cp{page}" for page in range(1250, 1259)}
    known |= {f"x_cp{page}": f"cp{page}" for page in range(1250, 1259)}
    known = {label: _SUPERSETS.get(codec, codec) for label, codec in known.items()}
    return known | _MORE_LABELS


_LABELS = _labels()
_SURROGATES = re.compile("[\ud800-\udfff]")


def codec_for(label: str) -> str | None:
    """The Python codec for a charset label; "" for plain ASCII, None for an unknown label."""
    if len(label) > 40:
        return None
    return _LABELS.get(label.strip(" \t'\"").lower().replace("-", "_").replace(" ", "_"))


def decode(data: bytes, label: str | None) -> str:
    """Text of ``data`` in the charset ``label``; never raises.

    Without a charset, or with an unknown one, it is UTF-8 when it is valid UTF-8 and
    windows-1252 otherwise. What cannot be decoded becomes U+FFFD.
    """
    codec = codec_for(label) if label else None
    if not codec:
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data.decode("cp1252", "replace")
    text = data.decode(codec, "replace")
    # utf-7 is the one codec that lets half of a pair through, which no UTF-8 can carry.
    return _SURROGATES.sub("\ufffd", text) if codec == "utf_7" else text
