"""Splits URLs of settings. Errors have the reason and the repair, and no part of a password."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

from hub.errors import ConfigurationError
from hub.observability.redaction import redacted_url

_HOST: Final = re.compile(r"(?P<host>\[[^\[\]]*\]|[^\[\]:]*)(?::(?P<port>.*))?")

LARGEST_PORT: Final = 65535

REDIS_SCHEMES: Final = ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+redispy", "rediss+redispy")
STORE_SCHEMES: Final = (*REDIS_SCHEMES, "memory")
BROKER_SCHEMES: Final = ("amqp", "amqps", "amqp+aiormq", "amqps+aiormq", "memory")
REGISTRY_SCHEMES: Final = ("http", "https")


def split_url(url: str, schemes: Sequence[str]) -> SplitResult:
    """Splits `scheme://[user[:password]@]host[:port][,host[:port]...][/path][?query]`.

    Args:
        url: The value of a setting.
        schemes: The valid schemes; the first one is in the repair for a URL without a scheme.

    Raises:
        ConfigurationError: A scheme is missing or unknown, a port is not between 1 and 65535, or a character
            has to be percent-encoded (RFC 3986, section 2.1).
    """
    shown = redacted_url(url)
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise ConfigurationError(f"{shown!r} has no scheme: write {schemes[0]}://{shown or 'host'}")
    if scheme not in schemes:
        known = ", ".join(f"{each}://" for each in schemes)
        raise ConfigurationError(f"{shown!r} starts with none of {known}: use one of them")
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ConfigurationError(
            f"{shown!r} has white space or control characters in it: write them as %XX, %20 for one"
        )
    try:
        parts = urlsplit(url)
    except ValueError as error:  # its text may contain the password
        raise ConfigurationError(f"{shown!r} cannot be read: check its brackets and special characters") from error
    authority = parts.netloc.rpartition("@")[2]
    if "@" in rest.removeprefix(parts.netloc) or parts.fragment:
        raise ConfigurationError(
            f"{shown!r} has a special character in user or password: write / as %2F, ? as %3F, # as %23 and @ as %40"
        )
    for each in authority.split(","):
        found = _HOST.fullmatch(each)
        port = found["port"] if found else "?"
        if port and not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= LARGEST_PORT):
            raise ConfigurationError(
                f"{shown!r}: the text after the host is not a port from 1 to {LARGEST_PORT}; if it belongs to a password, write "
                "its special characters as %XX, and an @ before the host"
            )
    return parts
