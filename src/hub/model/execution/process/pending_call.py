"""One message to the process of a model, and what it answers. Waits for nothing and reads nothing itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from anyio import Event

from hub.model.errors import RAISED_AGAIN, ChildError, ProcessDied
from hub.model.execution.process.frames import (
    ErrorFrame,
    FromProcess,
    InitializedFrame,
    ProgressFrame,
    ResponseFrame,
    StartedFrame,
)
from hub.safe_text import full_name

Tell = Callable[[float | None, str], None]
"""Takes the progress of a task: a fraction or `None`, and a message."""


class WorkerDiedIdle(ProcessDied):
    """The process has died before it told that it had the request."""


@final
class PendingCall:
    """What has become of a message so far.

    Attributes:
        moved: Set when the model has the message, or when it is over.
        over: Set when there is an answer, or will be none.
    """

    def __init__(self, tell: Tell) -> None:
        self.moved = Event()
        self.over = Event()
        self._tell = tell
        self._begun = False
        self._answer: bytes | ErrorFrame | None = None

    def hear(self, message: FromProcess) -> None:
        match message:
            case StartedFrame():
                self.begin()
            case ProgressFrame():
                self._tell(message.fraction, message.message)
            case InitializedFrame():
                self.end(b"")
            case ResponseFrame():
                self.end(message.body)
            case ErrorFrame():
                self.end(message)

    def begin(self) -> None:
        """The model has it, and may be interrupted."""
        self._begun = True
        self.moved.set()

    def end(self, answer: bytes | ErrorFrame | None = None) -> None:
        """It is over; `None`: the process has died."""
        self._answer = answer
        self.moved.set()
        self.over.set()

    def result(self, model: str, death: str) -> bytes:
        """The serialized response; empty if the message was no request.

        Args:
            model: Its name.
            death: How the process has ended, if it has.

        Raises:
            WorkerDiedIdle: The process has died before the model had the message.
            ProcessDied: It has died later.
            ChildError: The model raised something.
            Undecodable: The message was no request of the model.
            WrongResponse: The model returned something else than its response message.
            UnreadableResponse: The model returned a message that no reader takes.
        """
        match self._answer:
            case None:
                raise (ProcessDied if self._begun else WorkerDiedIdle)(model, death)
            case ErrorFrame() as failed:
                raise _error(failed)
            case body:
                return body


def _error(failed: ErrorFrame) -> Exception:
    for kind in RAISED_AGAIN:
        if failed.mro[0] == full_name(kind):
            return kind(*failed.arguments)
    return ChildError(failed.code, failed.mro, failed.message, failed.described)
