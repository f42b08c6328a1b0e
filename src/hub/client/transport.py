"""Requests to a gateway: problems become errors, and what passes is retried until a limit.

Every request that a client sends may be sent twice: reads and cancellations by their nature, submits because they have an
idempotency key. So a lost connection is retried like a 429 or a 503.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Final, final
from urllib.parse import quote

import msgspec
from anyio import current_time, sleep
from httpx2 import AsyncClient, ConnectError, ConnectTimeout, InvalidURL, Response, Timeout, TransportError
from opentelemetry.context import get_current

from hub.client.errors import GatewayError, GatewayUnreachable, UnexpectedReply, error_of
from hub.client.snapshot import TaskSnapshot
from hub.concurrency.retrying import ExponentialBackoff
from hub.http.client import CONNECT_TIMEOUT
from hub.observability.redaction import redacted_url
from hub.observability.tracing import NO_TRACE, inject

MAX_WAIT: Final = 60.0
"""Seconds that a gateway holds a reply back at most."""

MARGIN: Final = 15.0
"""Seconds beyond that after which a connection without a reply counts as lost."""

IDLE_LIMIT: Final = 45.0
"""Seconds without a byte after which a stream counts as lost: the gateway sends something every 15."""

WORKED: Final = 10.0
"""Seconds after which a failed attempt counts as one that had worked: its limit for retries begins anew."""

BACKOFF: Final = ExponentialBackoff(initial=0.1, maximum=5.0)

_BAD_GATEWAY: Final = frozenset({502, 503, 504})
"""Statuses of a proxy whose gateway does not answer."""

_PROBLEM: Final = "application/problem+json"


@dataclass(slots=True)
class Sending:
    """Whether a request may have made a task although no reply said so."""

    uncertain: bool = False


@final
class RetryLimit:
    """Decides how long something is retried: for `seconds` since its first failure in a row, and until a deadline.

    Args:
        seconds: Since the first failure; 0 for no retries.
        deadline: Time of the event loop's clock.
    """

    def __init__(self, seconds: float, deadline: float = inf) -> None:
        self._seconds = seconds
        self._deadline = deadline
        self.succeeded()

    def succeeded(self) -> None:
        """The next failure is the first one in a row."""
        self._until = inf
        self._pauses = BACKOFF.intervals()

    async def pause(self, error: GatewayError | GatewayUnreachable) -> None:
        """Sleeps before the next attempt. Raises `error` if there is none."""
        now = current_time()
        self._until = min(self._until, now + self._seconds, self._deadline)
        seconds = next(self._pauses)
        if error.retry_after is not None:
            seconds += error.retry_after  # never earlier than asked for, and with jitter
        if not is_temporary(error) or now + seconds > self._until:
            raise error
        await sleep(seconds)


@final
class Transport:
    """Sends requests to one gateway.

    Args:
        http: The client that does it.
        url: The gateway, without a slash at the end.
        api_key: Sent with each request, unless empty.
        retry_for: Seconds that failures in a row are retried.
    """

    def __init__(self, http: AsyncClient, url: str, *, api_key: str, retry_for: float) -> None:
        self._http = http
        self._url = url
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._retry_for = retry_for

    def retry_limit(self, deadline: float = inf) -> RetryLimit:
        return RetryLimit(self._retry_for, deadline)

    async def send(
        self,
        method: str,
        path: str,
        *,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        silence: float = MARGIN,
        deadline: float = inf,
        timed: bool = False,
        sending: Sending | None = None,
    ) -> Response:
        """Sends a request until there is a reply other than a temporary problem.

        Args:
            method: The HTTP method.
            path: Below the URL of the gateway.
            content: The body.
            headers: Beside those of all requests.
            silence: Seconds without a byte of the reply after which the connection counts as lost.
            deadline: Time of the event loop's clock after which there is no further attempt.
            timed: Whether the gateway gets the deadline as `Hub-Timeout`.
            sending: Told whether the request may have had an effect.

        Raises:
            GatewayError: The gateway answered with a problem.
            GatewayUnreachable: There was no reply.
            UnexpectedReply: The reply is not one of a gateway.
        """
        limit = self.retry_limit(deadline)
        sending = sending or Sending()
        while True:
            began = current_time()
            sent = {**(headers or {}), **(timeout_header(deadline) if timed else {})}
            uncertain, sending.uncertain = sending.uncertain, True
            try:
                response = await self._request(method, path, content=content, headers=sent, silence=silence)
                sending.uncertain = False
                raise_problem(response, response.content)
            except (GatewayError, GatewayUnreachable) as error:
                if "code" in getattr(error, "problem", ()) or isinstance(
                    error.__cause__, ConnectError | ConnectTimeout
                ):
                    sending.uncertain = uncertain
                if current_time() - began > WORKED:
                    limit.succeeded()
                await limit.pause(error)
            else:
                return response

    async def open(
        self,
        method: str,
        path: str,
        *,
        content: bytes = b"",
        headers: Mapping[str, str],
    ) -> Response:
        """Sends a request once and returns its reply with the body unread; the caller closes it.

        Raises:
            GatewayError, GatewayUnreachable, UnexpectedReply: As `send` says.
        """
        response = await self._request(method, path, content=content, headers=headers, silence=IDLE_LIMIT, stream=True)
        if not response.is_success:
            try:
                body = await response.aread()
            except TransportError as error:
                raise self.unreachable(error) from error
            finally:
                await response.aclose()
            raise_problem(response, body)
        return response

    def unreachable(self, error: TransportError | None = None) -> GatewayUnreachable:
        """The error for a lost connection."""
        reason = "the connection was closed" if error is None else str(error) or type(error).__name__
        return GatewayUnreachable(f"gateway at {redacted_url(self._url)}", reason)

    async def _request(
        self,
        method: str,
        path: str,
        *,
        content: bytes,
        headers: Mapping[str, str],
        silence: float,
        stream: bool = False,
    ) -> Response:
        try:
            request = self._http.build_request(
                method,
                f"{self._url}{path}",
                content=content or None,
                headers={**self._headers, **_trace(), **headers},
                timeout=Timeout(silence, connect=CONNECT_TIMEOUT, pool=None),
            )
            return await self._http.send(request, stream=stream)
        except InvalidURL as error:
            raise UnexpectedReply(
                f"{method} {redacted_url(self._url)}{path}", f"the URL is malformed: {error}"
            ) from error
        except TransportError as error:
            raise self.unreachable(error) from error


def is_temporary(error: GatewayError | GatewayUnreachable) -> bool:
    """Whether the same request may succeed later: a lost connection, 429, 503, or a proxy without its gateway."""
    if isinstance(error, GatewayUnreachable):
        return True
    if "code" not in error.problem:
        return error.status in _BAD_GATEWAY
    return error.status in (429, 503) and error.code != "contract_unavailable"


def task_path(task: str) -> str:
    return f"/v1/tasks/{quote(task, safe='')}"


def timeout_header(deadline: float) -> dict[str, str]:
    """`Hub-Timeout` for a deadline, at least a millisecond; none without one."""
    return {} if deadline == inf else {"Hub-Timeout": f"{max(0.001, deadline - current_time()):.3f}"}


def raise_problem(response: Response, body: bytes) -> None:
    """Raises the error of a reply that is no success. `body` is what it has read."""
    if response.status_code < 300:
        return
    request = f"{response.request.method} {redacted_url(str(response.request.url))}"
    if response.status_code < 400:
        raise UnexpectedReply(request, f"the reply is a {response.status_code}, which is not followed")
    problem: Mapping[str, object] = {}
    if response.headers.get("content-type", "").startswith(_PROBLEM):
        problem = problem_in(body, request)
    elif response.status_code not in _BAD_GATEWAY:
        raise UnexpectedReply(request, f"the reply is a {response.status_code} that no gateway of hub sends")
    raise error_of(
        problem or {"detail": f"{request}: status {response.status_code} from a server that is no gateway of hub"},
        response.status_code,
        _seconds(response.headers.get("retry-after")),
    )


def problem_in(body: bytes, request: str) -> Mapping[str, object]:
    """The members of a problem document."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise UnexpectedReply(request, f"the problem in the reply cannot be read: {error}") from error


def snapshot_in(body: bytes) -> TaskSnapshot:
    """The task in a reply."""
    try:
        return msgspec.json.decode(body, type=TaskSnapshot)
    except msgspec.DecodeError as error:
        raise UnexpectedReply("task", f"it cannot be read: {error}") from error


def task_id_in(response: Response) -> str:
    """The task that a reply is about, from its header `Hub-Task`; empty if it has none."""
    return str(response.headers.get("hub-task", ""))


def _seconds(text: str | None) -> float | None:
    """`Retry-After` as a number of seconds; a date counts as none."""
    try:
        return None if text is None else max(0.0, float(text))
    except ValueError:
        return None


def _trace() -> dict[str, str]:
    """The trace of the caller, if it records one."""
    trace = inject(get_current(), NO_TRACE)
    headers = {"traceparent": trace.traceparent, "tracestate": trace.tracestate}
    return {name: value for name, value in headers.items() if value}
