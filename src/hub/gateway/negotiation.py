"""What a request says about its body, the reply that it wants, and how long it waits."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from litestar import Request
from litestar.datastructures import State

from hub.gateway.errors import BadParameter, NotAcceptable
from hub.http import media_types
from hub.http.headers import MAX_WAIT, prefer_wait, seconds_of
from hub.http.media_types import UnsupportedBody, declared_type

JSON: Final = media_types.JSON
PROTOBUF: Final = "application/x-protobuf"

_PROTOBUF_NAMES: Final = frozenset({PROTOBUF, "application/protobuf", "application/vnd.google.protobuf"})
_WEIGHT: Final = re.compile(r"[01](\.[0-9]*)?|\.[0-9]+", re.ASCII)
_BODIES: Final = f"{JSON} (in UTF-8) or {PROTOBUF}"
_WILDCARDS: Final = {"*/*": 2, "application/*": 1}

type_of_body = {**dict.fromkeys(_PROTOBUF_NAMES, PROTOBUF), JSON: JSON}
"""The media types that a body may have, by what they mean."""

HttpRequest = Request[None, None, State]


def body_type(request: HttpRequest) -> str:
    """`JSON` or `PROTOBUF`, by `Content-Type`.

    Raises:
        UnsupportedBody: It is another type, or none is declared.
    """
    found = type_of_body.get(declared_type(request.headers, _BODIES))
    if found is None:
        raise UnsupportedBody(request.headers["content-type"], _BODIES)
    return found


def liking(request: HttpRequest, names: Collection[str]) -> float:
    """How much `Accept` likes the media type that goes by these names, from 0 (not at all) to 1."""
    best, weight = 3, 0.0  # how exactly it was named so far (0 is best), and with which weight
    ranges = {
        "*/*": 2,
        **dict.fromkeys((f"{name.partition('/')[0]}/*" for name in names), 1),
        **dict.fromkeys(names, 0),
    }
    for element in request.headers.get("accept", "*/*").split(","):
        name, *parameters = (part.strip().lower() for part in element.split(";"))
        exactness = ranges.get(name, 3)
        if exactness < best:
            best, weight = exactness, _weight(parameters)
        elif exactness == best < 3:
            weight = max(weight, _weight(parameters))
    return weight


def reply_type(request: HttpRequest) -> str:
    """`JSON` or `PROTOBUF`, whichever `Accept` likes better; JSON when it does not care (RFC 9110 section 12.5.1).

    Raises:
        NotAcceptable: It takes neither.
    """
    accept = request.headers.get("accept", "*/*")
    weights: dict[str, tuple[int, float]] = {}  # media type -> how exactly it was named (0 is best), and its weight
    for element in accept.split(","):
        name, *parameters = (part.strip().lower() for part in element.split(";"))
        exactness = _WILDCARDS.get(name, 0)
        for meant in (JSON, PROTOBUF) if exactness else filter(None, [type_of_body.get(name)]):
            if meant not in weights or exactness < weights[meant][0]:
                weights[meant] = exactness, _weight(parameters)
    best = max((JSON, PROTOBUF), key=lambda name: weights.get(name, (0, 0.0))[1])
    if weights.get(best, (0, 0.0))[1] <= 0:
        raise NotAcceptable(f"Accept is {accept!r}; this reply comes as {JSON} or {PROTOBUF}")
    return best


def asked_wait(request: HttpRequest) -> tuple[float, dict[str, str]]:
    """The seconds that a reply may be held back, at most `MAX_WAIT`, and the headers of the reply that say so.

    `?wait=N` counts, else `Prefer: wait=N`, which the reply confirms (RFC 7240 section 3); 0 without both.

    Raises:
        BadParameter: `?wait` is no number of seconds.
    """
    text = request.query_params.get("wait")
    if text is None:
        preferred = prefer_wait(request.headers.get("prefer"))
        return (0.0, {}) if preferred is None else (preferred, preference_applied(preferred))
    seconds = seconds_of(text)
    if seconds is None:
        raise BadParameter(f"wait={text!r} is no number of seconds; write ?wait=30")
    return min(seconds, MAX_WAIT), {}


def preference_applied(seconds: float) -> dict[str, str]:
    """The header that confirms `Prefer: wait=N`, with the seconds that it came to (RFC 7240 section 3)."""
    return {"Preference-Applied": f"wait={seconds:.0f}"}


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return float(value) if _WEIGHT.fullmatch(value.strip()) else 0.0
    return 1.0
