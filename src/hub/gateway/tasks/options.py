"""The options of a task in the headers of its request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Self

from hub.gateway.errors import BadParameter, TimeoutTooLong
from hub.http.auth import presented_credential
from hub.http.headers import positive_seconds
from hub.observability.tracing import NO_TRACE, TraceContext
from hub.ports.directory import ModelLimits
from hub.types import DEFAULT_RESULT_TTL

MAX_TRACE: Final = 512
"""Characters of `traceparent` and of `tracestate` that are passed on (W3C Trace Context section 3.3.1.5)."""

MAX_KEY: Final = 255
"""Characters of an `Idempotency-Key`."""

MAX_TIMEOUT: Final = 366 * 24 * 3600.0
"""Seconds of `Hub-Timeout` for a model without a limit: a year, so that every deadline can be written as a date."""


@dataclass(frozen=True, slots=True)
class ResultTtls:
    """How long an outcome is kept, in seconds: by default, and the range that a client may ask for."""

    default: float = DEFAULT_RESULT_TTL
    least: float = 60.0
    most: float = 7 * DEFAULT_RESULT_TTL


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitOptions:
    """Options of all tasks that one request makes.

    Attributes:
        trace: The trace that the request belongs to.
        timeout: Seconds from accepting a task to its deadline; `None`: it has none.
        result_ttl: Seconds that its outcome is kept.
        idempotency_key: Empty if the client gave none.
        client: The credential of the client, which keeps its keys apart from those of others; empty without one.
    """

    trace: TraceContext = NO_TRACE
    timeout: float | None = None
    result_ttl: float = DEFAULT_RESULT_TTL
    idempotency_key: str = ""
    client: str = ""

    @classmethod
    def from_headers(cls, headers: Mapping[str, str], limits: ModelLimits, ttls: ResultTtls) -> Self:
        """Reads the headers of a request for a model with these limits.

        Raises:
            BadParameter: A header is malformed, or out of its range.
            TimeoutTooLong: The timeout is longer than the limit of the model.
        """
        return cls(
            trace=TraceContext(headers.get("traceparent", "")[:MAX_TRACE], headers.get("tracestate", "")[:MAX_TRACE]),
            timeout=_timeout(headers.get("hub-timeout"), limits),
            result_ttl=_result_ttl(headers.get("hub-result-ttl"), ttls),
            idempotency_key=_key(headers.get("idempotency-key")),
            client=presented_credential(headers),
        )

    def for_line(self, index: int) -> Self:
        """The options of one line of a batch: its key is that of the batch with the number of the line."""
        return replace(self, idempotency_key=f"{self.idempotency_key}:{index}") if self.idempotency_key else self


def _timeout(text: str | None, limits: ModelLimits) -> float | None:
    if text is None:
        return limits.max_timeout if limits.default_timeout is None else limits.default_timeout
    seconds = positive_seconds(text)
    if seconds is None:
        raise BadParameter(
            f"Hub-Timeout is {text!r}; write the seconds that the task may take, a number above 0, such as 30 or 2.5"
        )
    longest = MAX_TIMEOUT if limits.max_timeout is None else limits.max_timeout
    if seconds > longest:
        raise TimeoutTooLong(seconds, longest)
    return seconds


def _result_ttl(text: str | None, ttls: ResultTtls) -> float:
    if text is None:
        return ttls.default
    seconds = positive_seconds(text)
    if seconds is None or not ttls.least <= seconds <= ttls.most:
        raise BadParameter(
            f"Hub-Result-TTL is {text!r}; write the seconds that the outcome is to be kept, "
            f"from {ttls.least:g} to {ttls.most:.0f}"
        )
    return seconds


def _key(text: str | None) -> str:
    if text is None:
        return ""
    if not 1 <= len(text) <= MAX_KEY or not all("!" <= character <= "~" for character in text):
        raise BadParameter(
            f"Idempotency-Key is {text[:MAX_KEY]!r}; write 1 to {MAX_KEY} visible ASCII characters without spaces, "
            "such as a UUID"
        )
    return text
