"""The state of one message to the process of a model, until its answer. It does no I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

from anyio import Event

from hub.concurrency.notify import Notifier
from hub.model.errors import RAISED_AGAIN, ChildError, ProcessDied
from hub.model.execution.chunk_window import ChunkWindow
from hub.model.execution.process.frames import (
    ChunkFrame,
    ErrorFrame,
    FromProcess,
    InitializedFrame,
    ProgressFrame,
    ResponseFrame,
    StartedFrame,
)
from hub.safe_text import full_name

OnProgress = Callable[[float | None, str], None]
"""Called with the progress of a task: a fraction or `None`, and a message."""


class WorkerDiedIdle(ProcessDied):
    """The process died before it reported that it had received the request."""


@final
class PendingCall:
    """One message and its answer, or the messages of a batch and an answer for each.

    Args:
        on_progress: Receives the progress, for each message.
        window: Where chunks of the answer go; `None` if the model does not stream.

    Attributes:
        accepted: Set when the model has received the message, or when the call is done.
        done: Set when there are all answers, or the process has died.
    """

    def __init__(self, *on_progress: OnProgress, window: ChunkWindow | None = None) -> None:
        self.accepted = Event()
        self.done = Event()
        self._window = window
        self._asks = False
        self._asked = Notifier()
        self._on_progress = on_progress
        self._was_accepted = False
        self._answers: list[bytes | ErrorFrame | None] = []

    def receive(self, message: FromProcess) -> None:
        match message:
            case StartedFrame():
                self.accept()
            case ProgressFrame():
                if message.member < len(self._on_progress):  # otherwise it is late, from a thread of an earlier batch
                    self._on_progress[message.member](message.fraction, message.message)
            case ChunkFrame():
                if self._window is not None:
                    self._window.put(message.body)  # if no more is wanted, this call is cancelled soon
                if message.asks:
                    self._asks = True
                    self._asked.notify()
            case InitializedFrame():
                self._answer(b"")
            case ResponseFrame():
                self._answer(message.body)
            case ErrorFrame():
                self._answer(message)

    def accept(self) -> None:
        """The model has received the message; from now on it may be interrupted."""
        self._was_accepted = True
        self.accepted.set()

    async def asked(self) -> None:
        """Waits until the process asks whether more chunks are wanted."""
        await self._asked.wait_for(lambda: self._asks)
        self._asks = False

    def died(self) -> None:
        """The process has died: there are no more answers."""
        self._answers += [None] * (len(self._on_progress) - len(self._answers))
        self.accepted.set()
        self.done.set()

    def _answer(self, answer: bytes | ErrorFrame) -> None:
        self._answers.append(answer)
        if len(self._answers) == len(self._on_progress):
            self.accepted.set()
            self.done.set()

    def results(self, model: str, death: str) -> Sequence[bytes | Exception]:
        """The serialized response to each message, or the exception that `result` would raise."""
        return [self._result(answer, model, death) for answer in self._answers]

    def result(self, model: str, death: str) -> bytes:
        """The serialized response to the first message; empty if the message was not a request.

        Args:
            model: Name of the model.
            death: How the process ended, if it did.

        Raises:
            WorkerDiedIdle: The process died before the model received the message.
            ProcessDied: The process died later.
            ChildError: The model raised an error.
            Undecodable: The message is not a request of the model.
            WrongResponse: The model did not return its response message.
            UnreadableResponse: The model returned a message that cannot be parsed.
        """
        result = self._result(self._answers[0], model, death)
        if isinstance(result, Exception):
            raise result
        return result

    def _result(self, answer: bytes | ErrorFrame | None, model: str, death: str) -> bytes | Exception:
        match answer:
            case None:
                return (ProcessDied if self._was_accepted else WorkerDiedIdle)(model, death)
            case ErrorFrame() as failed:
                return _exception(failed)
            case body:
                return body


def _exception(failed: ErrorFrame) -> Exception:
    for kind in RAISED_AGAIN:
        if failed.mro[0] == full_name(kind):
            return kind(*failed.arguments)
    return ChildError(failed.code, failed.mro, failed.message, failed.described)
