"""Which of several media types a client prefers: the one reader of `Accept` (RFC 9110 section 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Final, final

from typing_extensions import override

from hub.errors import HubError
from hub.http.media_types import JSON, PROTOBUF, PROTOBUF_NAMES

_MESSAGES: Final[Mapping[str, Collection[str]]] = {JSON: (JSON,), PROTOBUF: PROTOBUF_NAMES}
_CACHED: Final = 256
"""Characters of an `Accept` that is remembered at most."""

_WEIGHT: Final = re.compile(r"[01](\.[0-9]*)?|\.[0-9]+", re.ASCII)


@final
class NotAcceptable(HubError):
    """The client accepts none of the types that the reply comes in."""

    code = "not_acceptable"
    status = 406
    title = "Not acceptable"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    @override
    def __str__(self) -> str:
        return self.detail


@final
class Accept:
    """A parsed `Accept` header. Without the header every type is accepted; a malformed element accepts nothing.

    Parameters of media types other than `q` are ignored.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.header: Final = headers.get("accept", "*/*")
        self._weights: dict[str, float] = {}
        for element in self.header.split(","):
            name, *parameters = (part.strip().lower() for part in element.split(";"))
            self._weights[name] = max(self._weights.get(name, 0.0), _weight(parameters))

    def quality(self, *names: str) -> float:
        """The quality value of a media type that is known by `names`, from 0 (not accepted) to 1.

        The most specific range counts: the type itself, then `type/*`, then `*/*`.
        """
        families = [f"{name.partition('/')[0]}/*" for name in names]
        for ranges in (names, families, ("*/*",)):
            found = [self._weights[each] for each in ranges if each in self._weights]
            if found:
                return max(found)
        return 0.0


def json_or_protobuf(headers: Mapping[str, str]) -> str:
    """`JSON` or `PROTOBUF`, whichever `Accept` prefers; JSON when it prefers neither.

    Raises:
        NotAcceptable: Neither is accepted.
    """
    header = headers.get("accept", "*/*")
    return _message_type(header) if len(header) <= _CACHED else _message_type.__wrapped__(header)


@lru_cache(256)  # clients send few of them, and this costs 4 us
def _message_type(accept: str) -> str:
    return preferred_type({"accept": accept}, _MESSAGES, f"this reply comes as {JSON} or {PROTOBUF}")


def preferred_type(headers: Mapping[str, str], offered: Mapping[str, Collection[str]], what: str) -> str:
    """The media type out of `offered` that `Accept` prefers; the first of those that it likes equally well.

    Args:
        headers: Of the request.
        offered: The names that each media type is known by.
        what: The end of the sentence that says what would be right.

    Raises:
        NotAcceptable: None is accepted.
    """
    accept = Accept(headers)
    qualities = {media_type: accept.quality(*names) for media_type, names in offered.items()}
    best = max(qualities, key=qualities.__getitem__)
    if not qualities[best]:
        raise NotAcceptable(f"Accept is {accept.header!r}; {what}")
    return best


def require_acceptable(headers: Mapping[str, str], names: Collection[str], what: str) -> None:
    """Raises `NotAcceptable` unless the media type that is known by `names` is accepted; `what` begins the sentence."""
    accept = Accept(headers)
    if not accept.quality(*names):
        raise NotAcceptable(f"Accept is {accept.header!r}; {what}")


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return float(value) if _WEIGHT.fullmatch(value.strip()) else 0.0
    return 1.0
