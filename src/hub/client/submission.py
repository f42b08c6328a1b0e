"""One request of a client under one idempotency key: submitted, or called and cancelled with its caller."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final, final
from urllib.parse import quote

from anyio import current_effective_deadline, current_time, get_cancelled_exc_class, move_on_after
from httpx2 import Response

from hub.client.errors import GatewayError, GatewayUnreachable, UnexpectedReply
from hub.client.events import EVENT_STREAM
from hub.client.messages import AnyRequest, Target
from hub.client.snapshot import TaskSnapshot
from hub.client.transport import (
    MARGIN,
    MAX_WAIT,
    Sending,
    Transport,
    snapshot_in,
    task_id_in,
    task_path,
    timeout_header,
)
from hub.types import new_task_id

CANCEL_GRACE: Final = 3.0
"""Seconds for the cancellation of a task whose caller was cancelled; without a gateway in reach it goes on."""

LONGEST_KEY: Final = 240
"""Characters of an idempotency key: a gateway takes 255, and those of a batch have the number of a line behind it."""


@final
@dataclass(slots=True, kw_only=True)
class Submission:
    """A request that makes one task, however often it is sent.

    Attributes:
        deadline: Of the task, by the clock of the event loop.
        ambient: Whether that is the deadline of the cancel scopes around the call.
        shared: Whether the key is the caller's own, so that others may wait for the same task.
    """

    transport: Transport
    target: Target
    content: bytes
    headers: dict[str, str]
    deadline: float
    ambient: bool
    shared: bool
    task: str = ""
    sending: Sending = field(default_factory=Sending)

    @classmethod
    def of(
        cls,
        transport: Transport,
        target: Target,
        request: AnyRequest,
        *,
        timeout: float | None,
        idempotency_key: str | None,
        result_ttl: float | None,
        waiting: bool,
    ) -> Submission:
        """Encodes the request.

        Args:
            transport: Sends it.
            target: The model.
            request: The request.
            timeout: Seconds until the deadline of the task.
            idempotency_key: The caller's own key.
            result_ttl: Seconds that the outcome is kept.
            waiting: Whether the caller waits, so that the deadlines of the cancel scopes around it are those of the task.

        Raises:
            ValueError: A number of seconds is not positive, or the key has other characters than visible ASCII.
        """
        content, media_type = target.encode(request)
        deadline = inf if timeout is None else current_time() + positive("timeout", timeout)
        ambient = waiting and current_effective_deadline() < deadline
        headers = {"Content-Type": media_type, "Idempotency-Key": key_or_own(idempotency_key)}
        if result_ttl is not None:
            headers["Hub-Result-TTL"] = f"{positive('result_ttl', result_ttl):.12g}"
        return cls(
            transport=transport,
            target=target,
            content=content,
            headers=headers,
            deadline=current_effective_deadline() if ambient else deadline,
            ambient=ambient,
            shared=idempotency_key is not None,
        )

    @property
    def path(self) -> str:
        return f"/v1/models/{quote(self.target.name, safe='')}"

    async def submit(self) -> str:
        """Returns the id of the task once it is accepted.

        Raises:
            GatewayError, GatewayUnreachable, UnexpectedReply: As `Transport.send` says.
        """
        response = await self._post("/tasks")
        self.task = task_id_in(response)
        if not self.task:
            raise UnexpectedReply(f"submit to {self.target.name}", "the reply names no task")
        return self.task

    async def call(self) -> Any:
        """Returns the response. If the caller is cancelled, so is the task, unless its key is the caller's own.

        Raises:
            GatewayError, GatewayUnreachable, UnexpectedReply: As `Transport.send` says; `TaskUnsuccessful` if the task
                has ended without a result.
        """
        try:
            response = await self._called()
        except get_cancelled_exc_class():
            await self.abandon()  # noqa: ASYNC102 - shielded, with a time limit
            raise
        self.task = task_id_in(response) or self.task
        return self.target.decode(response.content, response.headers.get("content-type", ""))

    async def _called(self) -> Response:
        accept = {"Accept": self.target.accept, "Prefer": f"wait={MAX_WAIT:.0f}"}
        try:
            return await self._post("", accept, silence=MAX_WAIT + MARGIN)
        except GatewayError as error:
            if error.code != "call_timeout":
                raise
            self.task = error.task
        return await result_reply(self.transport, self.task, self.target.accept)

    async def open(self) -> Response:
        """Calls a streaming model, and returns the reply with its events unread.

        Raises:
            GatewayError, GatewayUnreachable, UnexpectedReply: As `Transport.open` says.
        """
        self.sending.uncertain = True
        headers = self.headers | {"Accept": EVENT_STREAM} | timeout_header(self.deadline)
        try:
            response = await self.transport.open("POST", self.path, content=self.content, headers=headers)
        except GatewayError as error:
            self.sending.uncertain = False
            if not self._forgets_ambient_deadline(error):
                raise
            return await self.open()
        self.task = task_id_in(response)
        return response

    async def abandon(self) -> None:
        """Cancels the task, if there may be one and no other caller knows its key. Shielded, and bounded in time."""
        if self.shared:
            return
        with move_on_after(CANCEL_GRACE, shield=True), suppress(GatewayError, GatewayUnreachable, UnexpectedReply):
            if not self.task and self.sending.uncertain:  # the key tells which task it has become
                await self.submit()
            if self.task:
                await self.transport.send("DELETE", task_path(self.task))

    async def _post(self, path: str, headers: dict[str, str] | None = None, silence: float = MARGIN) -> Response:
        try:
            return await self._send(path, headers, silence)
        except GatewayError as error:
            if not self._forgets_ambient_deadline(error):
                raise
            return await self._send(path, headers, silence)

    def _forgets_ambient_deadline(self, error: GatewayError) -> bool:
        """Whether to send the request again without a deadline: that of the cancel scopes is beyond the limit of the model."""
        forgets = self.ambient and error.code == "timeout_too_long"
        if forgets:
            self.ambient, self.deadline = False, inf
        return forgets

    async def _send(self, path: str, headers: dict[str, str] | None, silence: float) -> Response:
        return await self.transport.send(
            "POST",
            self.path + path,
            content=self.content,
            headers={**self.headers, **(headers or {})},
            silence=silence,
            deadline=self.deadline,
            timed=True,
            sending=self.sending,
        )


async def result_reply(transport: Transport, task: str, accept: str) -> Response:
    """Waits for the end of a task, and returns the reply with its response.

    Raises:
        GatewayError, GatewayUnreachable, UnexpectedReply: As `Transport.send` says; `TaskUnsuccessful` if there is none.
    """
    while True:
        try:
            return await transport.send(
                "GET",
                f"{task_path(task)}/result?wait={MAX_WAIT:.0f}",
                headers={"Accept": accept},
                silence=MAX_WAIT + MARGIN,
            )
        except GatewayError as error:
            if error.code != "not_finished":
                raise


async def ended_task(transport: Transport, task: str) -> TaskSnapshot:
    """The task, once it has ended. Raises as `Transport.send` says."""
    while True:
        path = f"{task_path(task)}?wait={MAX_WAIT:.0f}"
        snapshot = snapshot_in((await transport.send("GET", path, silence=MAX_WAIT + MARGIN)).content)
        if snapshot.state.terminal:
            return snapshot


def key_or_own(key: str | None) -> str:
    """An idempotency key: that of the caller, or a new one. Raises ValueError if it is none."""
    if key is None:
        return new_task_id()
    if not 1 <= len(key) <= LONGEST_KEY or not all("!" <= character <= "~" for character in key):
        raise ValueError(f"idempotency_key is {key!r}; give 1 to {LONGEST_KEY} visible ASCII characters without spaces")
    return key


def positive(name: str, seconds: float) -> float:
    """Raises ValueError unless `seconds` is a finite number above 0."""
    if not 0 < seconds < inf:
        raise ValueError(f"{name} is {seconds!r}; give seconds above 0")
    return seconds
