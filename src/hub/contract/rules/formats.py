"""Formats of strings that a rule can ask for by name: addresses, host names, URIs.

They are those of protovalidate, which are stricter or laxer than other programs' in places: an email address is what HTML
calls one, a host name may end with a dot, an IPv6 address may have a zone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, NetmaskValueError
from typing import Final
from urllib.parse import unquote_to_bytes

from hub.contract import patterns

_UNRESERVED: Final = "A-Za-z0-9\\-._~"
_SUB_DELIMS: Final = "!$&'()*+,;="
_PERCENT: Final = "%[0-9A-Fa-f]{2}"
_PCHAR: Final = f"(?:[{_UNRESERVED}{_SUB_DELIMS}:@]|{_PERCENT})"
_SEGMENT_WITHOUT_COLON: Final = f"(?:[{_UNRESERVED}{_SUB_DELIMS}@]|{_PERCENT})+"
_REST_OF_PATH: Final = f"(?:/{_PCHAR}*)*"
_ABSOLUTE: Final = f"/(?:{_PCHAR}+{_REST_OF_PATH})?"
_AUTHORITY: Final = (
    f"//(?:(?:[{_UNRESERVED}{_SUB_DELIMS}:]|{_PERCENT})*@)?"
    f"(?:\\[(?P<literal>[^\\]]*)\\]|(?P<name>(?:[{_UNRESERVED}{_SUB_DELIMS}]|{_PERCENT})*))(?::(?P<port>[0-9]*))?"
)
_SUFFIX: Final = f"(?:\\?(?:{_PCHAR}|[/?])*)?(?:#(?:{_PCHAR}|[/?])*)?"
_URI: Final = (
    f"[A-Za-z][A-Za-z0-9+.\\-]*:(?:{_AUTHORITY}{_REST_OF_PATH}|{_ABSOLUTE}|{_PCHAR}+{_REST_OF_PATH}|){_SUFFIX}"
)
_RELATIVE: Final = f"(?:{_AUTHORITY}{_REST_OF_PATH}|{_ABSOLUTE}|{_SEGMENT_WITHOUT_COLON}{_REST_OF_PATH}|){_SUFFIX}"
_FUTURE: Final = f"[vV][0-9A-Fa-f]+\\.[{_UNRESERVED}{_SUB_DELIMS}:]+"
_ZONE: Final = f"25(?:[{_UNRESERVED}]|{_PERCENT})+"
_LABEL: Final = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DECIMAL: Final = "0|[1-9][0-9]{0,4}"


@cache
def _compiled(pattern: str) -> Callable[[str], re.Match[str] | None]:
    """Compiled when it is first used: most processes need none of these, and it takes 20 ms."""
    return re.compile(pattern).fullmatch


def is_email(text: str) -> bool:
    return _compiled(patterns.EMAIL)(text) is not None


def is_hostname(text: str) -> bool:
    """Labels of letters, digits and hyphens, at most 253 characters; the last label is no number."""
    name = text.removesuffix(".")
    labels = name.split(".")
    return len(name) <= 253 and all(map(_compiled(_LABEL), labels)) and not labels[-1].isdigit()


def is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


def is_ipv6(text: str) -> bool:
    """An IPv6 address with an optional zone (RFC 4007), which may be any text."""
    address, percent, zone = text.partition("%")
    try:
        IPv6Address(address)
    except AddressValueError:
        return False
    return not percent or zone != ""


def is_ip(text: str) -> bool:
    return is_ipv4(text) or is_ipv6(text)


def is_ipv4_with_prefixlen(text: str) -> bool:
    return _is_network(text, IPv4Network, strict=False)


def is_ipv6_with_prefixlen(text: str) -> bool:
    return _is_network(text, IPv6Network, strict=False)


def is_ip_with_prefixlen(text: str) -> bool:
    return is_ipv4_with_prefixlen(text) or is_ipv6_with_prefixlen(text)


def is_ipv4_prefix(text: str) -> bool:
    return _is_network(text, IPv4Network, strict=True)


def is_ipv6_prefix(text: str) -> bool:
    return _is_network(text, IPv6Network, strict=True)


def is_ip_prefix(text: str) -> bool:
    return is_ipv4_prefix(text) or is_ipv6_prefix(text)


def _is_network(text: str, network: type[IPv4Network | IPv6Network], *, strict: bool) -> bool:
    """An address, a slash and a number of bits; if `strict`, all bits after these are zero."""
    address, _, bits = text.partition("/")
    if "%" in address or not _compiled(_DECIMAL)(bits):
        return False
    try:
        network(f"{address}/{bits}", strict=strict)
    except (AddressValueError, NetmaskValueError, ValueError):
        return False
    return True


def is_address(text: str) -> bool:
    return is_hostname(text) or is_ip(text)


def is_host_and_port(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    if not colon or not _compiled(_DECIMAL)(port) or int(port) > 65535:
        return False
    if host.startswith("["):
        return host.endswith("]") and is_ipv6(host[1:-1])
    return is_hostname(host) or is_ipv4(host)


def is_uri(text: str) -> bool:
    """A URI with a scheme (RFC 3986)."""
    return _is_uri(_compiled(_URI)(text))


def is_uri_ref(text: str) -> bool:
    """A URI or a relative reference (RFC 3986)."""
    return is_uri(text) or _is_uri(_compiled(_RELATIVE)(text))


def _is_uri(match: re.Match[str] | None) -> bool:
    if match is None:
        return False
    literal, name = match["literal"], match["name"]
    if literal is not None:
        return _compiled(_FUTURE)(literal) is not None or _is_ipv6_in_uri(literal)
    try:
        unquote_to_bytes(name or "").decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_ipv6_in_uri(literal: str) -> bool:
    """An IPv6 address, with the percent sign of a zone encoded (RFC 6874)."""
    address, percent, zone = literal.partition("%")
    if percent and not _compiled(_ZONE)(zone):
        return False
    try:
        unquote_to_bytes(zone.removeprefix("25")).decode()
    except UnicodeDecodeError:
        return False
    return is_ipv6(address)
