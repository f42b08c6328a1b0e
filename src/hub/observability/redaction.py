"""Hides secrets in texts: URLs with credentials, broken ones included.

Passwords may hold any character, also those that end a URL's authority (RFC 3986, section 3.2: `/`, `?` and `#`), so a
URL parser cannot be used: its path may be half of the password.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final, final
from urllib.parse import unquote

HIDDEN: Final = "***"

_PLACEHOLDERS: Final = frozenset({"", "PASSWORD", HIDDEN})
"""Placeholders that are not hidden, since hub's own messages have them."""

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S*")
_SECRET_PARAMETER: Final = re.compile(
    r"([?&;#](?:password|passwd|pass|pwd|secret|token|access_token|api_?key|auth)=).*", re.IGNORECASE | re.DOTALL
)
_HOST: Final = r"(?:\[[^\]@]*\]|[^\s:@/?#,\[\]]*)(?::[0-9]*)?"
_HOSTS: Final = re.compile(rf"{_HOST}(?:,{_HOST})*(?:[/?#].*)?", re.DOTALL)

SHORTEST_SECRET: Final = 6
"""Minimum length of a secret that is searched in texts: a shorter one, such as RabbitMQ's `guest`, is part of words."""


def redacted_url(url: str) -> str:
    """A URL, valid or not, without a possible password.

    The text before the last `@` counts as credentials, of which only the user is shown. Without an `@`, the text after a
    colon is hidden unless it is a port. The values of query parameters such as `password` are hidden, with the rest of
    the URL.
    """
    scheme, separator, rest = _split_scheme(url)
    rest = _SECRET_PARAMETER.sub(rf"\g<1>{HIDDEN}", rest)
    credentials, at, host = rest.rpartition("@")
    if at:
        rest = f"{_user(credentials)}@{host}"
    elif not _HOSTS.fullmatch(rest):
        rest = f"{rest.partition(':')[0]}:{HIDDEN}" if ":" in rest else HIDDEN
    return f"{scheme}{separator}{rest}"


def redacted(text: str) -> str:
    """`text` with the passwords of all URLs hidden. A URL ends at the next white space."""
    if "://" not in text:
        return text
    return _URL.sub(_without_credentials, text)


def _split_scheme(url: str) -> tuple[str, str, str]:
    """Scheme, `://` and the rest; all is rest if no scheme is in front of it, as in `user:pass://word@host`."""
    scheme, separator, rest = url.partition("://")
    return (scheme, separator, rest) if separator and _SCHEME.fullmatch(scheme) else ("", "", url)


def _without_credentials(found: re.Match[str]) -> str:
    url = _SECRET_PARAMETER.sub(rf"\g<1>{HIDDEN}", found[0])
    return redacted_url(url) if "@" in url else url


def _user(credentials: str) -> str:
    user, colon, password = credentials.partition(":")
    if colon:
        return credentials if password in _PLACEHOLDERS else f"{user}:{HIDDEN}"
    return user if user in _PLACEHOLDERS else HIDDEN  # redis://PASSWORD@host is a common mistake


@final
class Redactor:
    """Hides secrets in the output of a process: the passwords of URLs, and given secrets.

    Args:
        secrets: Values of secret settings. Of a URL the credentials are hidden, as they are and percent-decoded.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        found = {form for secret in secrets for part in _parts(secret) for form in _forms(part)}
        self._secrets = sorted((each for each in found if len(each) >= SHORTEST_SECRET), key=len, reverse=True)

    def redact(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, HIDDEN)
        return redacted(text)


def _parts(secret: str) -> Iterable[str]:
    """The secrets in the value of a setting: the password of a URL; the value and each item of it if it is a list."""
    _, separator, rest = _split_scheme(secret)
    if not separator:
        yield secret
        yield from (item.strip() for item in secret.split(","))
    credentials, at, _ = rest.rpartition("@")
    if at:
        user, colon, password = credentials.partition(":")
        yield password if colon else user
        yield unquote(password if colon else user)


def _forms(secret: str) -> Iterable[str]:
    """The forms of a text in a log: as it is, in quotes, or as JSON."""
    yield secret
    yield repr(secret)[1:-1]
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
