"""Error texts for bytes that are not JSON (RFC 8259), with the repair. The parser reports a place and seldom a reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from hub.contract.errors import MalformedJson

MARK: Final = b"\xef\xbb\xbf"
"""The byte order mark in UTF-8. RFC 8259 section 8.1 lets a parser ignore it at the start of a text, and hub does."""

_MESSAGE: Final = re.compile(r"^(?:JSON is malformed: )?(.*?)(?: \(byte (\d+)\))?$")

_OTHER_ENCODINGS: Final = (
    (re.compile(rb"\xff\xfe\0\0|[^\0]\0\0\0", re.DOTALL), "UTF-32, little-endian"),
    (re.compile(rb"\0\0\xfe\xff|\0\0\0[^\0]", re.DOTALL), "UTF-32, big-endian"),
    (re.compile(rb"\xff\xfe|[^\0]\0(?:[^\0]\0|\Z)", re.DOTALL), "UTF-16, little-endian"),
    (re.compile(rb"\xfe\xff|\0[^\0](?:\0[^\0]|\Z)", re.DOTALL), "UTF-16, big-endian"),
)
"""Encodings by the first four bytes: a byte order mark, or the positions of zeros (RFC 4627 section 3)."""

_PAIRED: Final = re.compile(
    rb"(?:[^\\]++"
    rb"|\\[^u]"
    rb"|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb")*+",
    re.DOTALL,
)
"""The longest prefix of a text with all surrogates in pairs. Possessive, so that it takes one pass over any text."""

_LONE: Final = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_HALF_A_PAIR: Final = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?\Z")
_WORD: Final = re.compile(rb"-?[A-Za-z][A-Za-z0-9_]{0,20}")
_LITERAL: Final = re.compile(rb"(?<![A-Za-z0-9_-])[ntf][A-Za-z0-9_]{0,20}")
_ZERO_FIRST: Final = re.compile(rb"(?<!\d)0\Z")

_WORDS: Final = {
    "none": "null",
    "nil": "null",
    "undefined": "null",
    "null": "null",
    "true": "true",
    "false": "false",
    "nan": '"NaN", a string, where the field is a float or double',
    "inf": '"Infinity", a string, where the field is a float or double',
    "infinity": '"Infinity", a string, where the field is a float or double',
    "-inf": '"-Infinity", a string, where the field is a float or double',
    "-infinity": '"-Infinity", a string, where the field is a float or double',
}
"""Literals of other languages, with their equivalent in JSON."""

_CHARACTERS: Final = {
    "'": "a single quote: strings and names stand in double quotes",
    "`": "a backtick: strings and names stand in double quotes",
    "\u2018": "a typographic quote: strings and names stand in straight double quotes",
    "\u2019": "a typographic quote: strings and names stand in straight double quotes",
    "\u201c": "a typographic quote: strings and names stand in straight double quotes",
    "\u201d": "a typographic quote: strings and names stand in straight double quotes",
    "/": "JSON has no comments",
    "#": "JSON has no comments",
    ",": "a value is missing before the comma",
    "}": "a value is missing before the brace",
    "]": "a value is missing before the bracket",
    ".": "a number needs a digit before its point",
    "+": "a number has no plus sign",
    "\ufeff": "a byte order mark can only stand at the start of the text",
    "\u00a0": "a no-break space: JSON has spaces, tabs and line ends between its parts",
}


def malformed(text: bytes, message: str) -> MalformedJson:
    """The exception for a text that the parser refuses.

    Args:
        text: The text, without a byte order mark in UTF-8.
        message: The error text of the parser.
    """
    match = _MESSAGE.match(message)
    reason, byte = match.groups() if match else (message, None)
    for pattern, name in _OTHER_ENCODINGS:
        if pattern.match(text[:4]):
            return at(text, f"the text is in {name}: JSON is exchanged in UTF-8 (RFC 8259 section 8.1)", 0)
    if text.startswith(b"\x1f\x8b"):
        return at(text, "the text is compressed (gzip)", 0)
    if byte is None or "surrogate" in message:
        return _lone_surrogate(text) or _truncated(text)
    return at(text, *_explained(text, reason or message, int(byte)))


def not_utf8(text: bytes) -> MalformedJson:
    """The exception for a text with a string that is not UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return at(text, "not UTF-8", error.start)
    return at(text, "not UTF-8", 0)


def at(text: bytes, reason: str, offset: int) -> MalformedJson:
    """The exception with the line and the column of a byte."""
    line_start = text.rfind(b"\n", 0, offset) + 1
    return MalformedJson(reason, text.count(b"\n", 0, offset) + 1, offset - line_start + 1)


def _lone_surrogate(text: bytes) -> MalformedJson | None:
    match = _PAIRED.match(text)
    offset = match.end() if match else 0
    escape = _LONE.match(text, offset)
    if escape is None or _HALF_A_PAIR.match(text, offset):
        return None
    reason = f"{escape.group().decode()} is a lone surrogate, half of a character: write both halves, or the character itself"
    return at(text, reason, offset)


def _truncated(text: bytes) -> MalformedJson:
    return at(text, "the text ends too early" if text.strip() else "the text is empty", len(text))


def _explained(text: bytes, reason: str, offset: int) -> tuple[str, int]:
    """A better reason and its offset, or those of the parser."""
    explain = _REASONS.get(reason)
    found = None if explain is None else explain(text, offset)
    return (reason, offset) if found is None else found


def _in_string(text: bytes, offset: int) -> bool:
    # A run of backslashes begins with an escape, so pairs of them can be removed first.
    return text[:offset].replace(rb"\\", b"").replace(rb"\"", b"").count(b'"') % 2 == 1


def _stray(text: bytes, offset: int) -> tuple[str, int] | None:
    """Explains a character that is not allowed at its place."""
    misspelt = _misspelt(text, offset)
    if misspelt is not None:
        return misspelt
    offset = min(offset, len(text) - 1)
    byte = text[offset]
    if byte < 0x20 and _in_string(text, offset):
        return f"the control character U+{byte:04X} in a string: write it as \\u{byte:04x}", offset
    character = _character(text, offset)
    if character is None:
        return "not UTF-8", offset
    signed = text[offset - 1 : offset] == b"-"
    word = _WORD.match(text, offset - signed)
    if word is not None:
        return _no_word(word), word.start()
    if signed:
        return "a number needs a digit after its minus sign", offset
    return _CHARACTERS.get(character) or f"the character {_shown(character)} cannot stand here", offset


def _misspelt(text: bytes, offset: int) -> tuple[str, int] | None:
    """Explains a word that begins like `null`, `true` or `false`: the parser reports the end of these."""
    for length in (4, 5):
        word = _LITERAL.match(text, max(0, offset - length))
        if word is not None and word.group() not in (b"null", b"true", b"false") and not _in_string(text, word.start()):
            return _no_word(word), word.start()
    return None


def _no_word(word: re.Match[bytes]) -> str:
    name = word.group().decode()
    repair = _WORDS.get(name.lower())
    return f"{name!r} is not JSON: " + (f"write {repair}" if repair else "a string stands in double quotes")


def _no_name(text: bytes, offset: int) -> tuple[str, int] | None:
    """Explains the text where the name of a member is expected."""
    character = _character(text, offset)
    if character in ("}", "]"):
        return "trailing comma in object", offset
    if character is not None and character in _CHARACTERS and character not in ",.+":
        return _CHARACTERS[character], offset
    return "the name of a member must be a string in double quotes", offset


def _no_separator(text: bytes, offset: int) -> tuple[str, int] | None:
    """Explains the text where a comma or an end is expected."""
    if text[offset : offset + 1] in (b"/", b"#"):
        return _CHARACTERS["/"], offset
    if text[offset - 1 : offset].isdigit():
        if text[offset : offset + 1] in (b"x", b"X", b"o", b"b") and _ZERO_FIRST.search(
            text, max(0, offset - 2), offset
        ):
            return "numbers are decimal in JSON", offset
        if text[offset : offset + 1] == b"_":
            return "a number has no underscores", offset
    return None


def _bad_number(text: bytes, offset: int) -> tuple[str, int] | None:
    if _ZERO_FIRST.search(text, max(0, offset - 2), offset) and text[offset : offset + 1].isdigit():
        return "a number has no leading zeros", offset
    if text[offset - 1 : offset] == b".":
        return "a number needs a digit after its point", offset
    if text[offset - 1 : offset] in (b"e", b"E", b"+", b"-"):
        return "a number needs a digit in its exponent", offset
    return None


def _trailing(text: bytes, offset: int) -> tuple[str, int] | None:
    offset -= 1  # the parser's offset is one byte too high
    if text[offset : offset + 1] in (b"/", b"#"):
        return _CHARACTERS["/"], offset
    return "the JSON text has ended before: one document is expected", offset


def _bad_escape(text: bytes, offset: int) -> tuple[str, int] | None:
    character = _character(text, offset - 1)
    shown = "" if character is None or not character.isprintable() else f"\\{character} is no escape: "
    return shown + 'a backslash in a string stands before one of " \\ / b f n r t u', offset - 2


def _bad_digits(text: bytes, offset: int) -> tuple[str, int] | None:
    return "\\u needs four hexadecimal digits", text.rfind(b"\\u", 0, offset)


_REASONS: Final[dict[str, Callable[[bytes, int], tuple[str, int] | None]]] = {
    "invalid character": _stray,
    "object keys must be strings": _no_name,
    "expected ',' or '}'": _no_separator,
    "expected ',' or ']'": _no_separator,
    "invalid number": _bad_number,
    "trailing characters": _trailing,
    "invalid escape character in string": _bad_escape,
    "invalid character in unicode escape": _bad_digits,
}
"""Explanations by the parser's reason; a test compares the keys with the parser."""


def _character(text: bytes, offset: int) -> str | None:
    """The character that begins at a byte; `None` if that is not the first byte of one."""
    for length in range(1, 5):
        try:
            return text[offset : offset + length].decode()
        except UnicodeDecodeError:
            continue
    return None


def _shown(character: str) -> str:
    return repr(character) if character.isprintable() else f"U+{ord(character):04X}"
