"""The protocol between an instance and the process of its model.

A frame is the length of its content in four bytes, most significant first, and the content: one of the messages below in
MessagePack. The instance sends an `InitFrame`, then `RequestFrame`s. The process answers the first with
`InitializedFrame` or `ErrorFrame`, and each request with `StartedFrame`, any number of `ProgressFrame`s, and one
`ResponseFrame` or `ErrorFrame`. If its model streams there are `ChunkFrame`s before the last one; after one that asks for
it, the process waits for a `ContinueFrame`. A `BatchFrame` announces several requests that are processed together: one
`StartedFrame` answers all of them, and then a `ResponseFrame` or `ErrorFrame` each, in order.
"""

from __future__ import annotations

from typing import Final, Generic, TypeAlias, TypeVar, final

from msgspec import MsgspecError, Struct
from msgspec.msgpack import Decoder, Encoder

from hub.model.errors import FrameTooLarge, MalformedFrame
from hub.observability.tracebacks import Described
from hub.types import LogFormat, LogLevel

FRAME_LIMIT: Final = 512 * 1024 * 1024
"""Maximum number of bytes in the content of a frame: that of a value in Redis."""

REQUEST_LIMIT: Final = FRAME_LIMIT - 65_536
"""Maximum number of bytes of a request in a batch: with its task it fits into a frame."""

_HEADER: Final = 4


class InitFrame(Struct, frozen=True, tag=True, array_like=True):
    """The first message to a process: the model that it runs.

    Attributes:
        target: `pkg.module:Class`.
        path: `sys.path` of the instance, so that the same modules are imported.
        backend: Event loop for a `setup` or `teardown` that is async.
        log_level: Least severe lines of the process's log to show.
        log_format: Format of these lines.
    """

    target: str
    path: list[str]
    backend: str
    log_level: LogLevel = "warning"
    log_format: LogFormat = "console"


class TaskInfo(Struct, frozen=True, tag=True, array_like=True):
    """The content of `hub.current_task()` in the process; see `CurrentTask`."""

    id: str
    attempt: int
    deadline: float | None
    model: str
    instance: str


class RequestFrame(Struct, frozen=True, tag=True, array_like=True):
    """A request; `task` is `None` if it does not belong to a task."""

    body: bytes
    task: TaskInfo | None


class ContinueFrame(Struct, frozen=True, tag=True, array_like=True):
    """More chunks are wanted. One that comes after the answer to its request has no effect."""


class BatchFrame(Struct, frozen=True, tag=True, array_like=True):
    """The next `size` requests are one batch."""

    size: int


class InitializedFrame(Struct, frozen=True, tag=True, array_like=True):
    """The model is set up."""


class StartedFrame(Struct, frozen=True, tag=True, array_like=True):
    """From now until the answer a SIGINT interrupts the request; before and after, the process ignores it."""


class ProgressFrame(Struct, frozen=True, tag=True, array_like=True):
    """Progress of a task; `member` is its place in the batch."""

    fraction: float | None
    message: str
    member: int = 0


class ResponseFrame(Struct, frozen=True, tag=True, array_like=True):
    body: bytes


class ChunkFrame(Struct, frozen=True, tag=True, array_like=True):
    """A chunk of the response; `asks` if the process waits for a `ContinueFrame` after it."""

    body: bytes
    asks: bool


class ErrorFrame(Struct, frozen=True, tag=True, array_like=True):
    """An error that the model, or hub in its process, raised.

    Attributes:
        code: Code of the failure of the task.
        mro: Full names of the classes in the method resolution order of the error.
        message: Text of the error.
        described: The error and its causes; see `hub.observability.tracebacks.describe`.
        arguments: `args` of an error that hub raised and the instance raises again; empty for all others.
    """

    code: str
    mro: tuple[str, ...]
    message: str
    described: tuple[Described, ...]
    arguments: tuple[str, ...] = ()


ToProcess: TypeAlias = InitFrame | RequestFrame | ContinueFrame | BatchFrame
FromProcess: TypeAlias = InitializedFrame | StartedFrame | ProgressFrame | ChunkFrame | ResponseFrame | ErrorFrame

TO_PROCESS: Final[Decoder[ToProcess]] = Decoder(ToProcess)
FROM_PROCESS: Final[Decoder[FromProcess]] = Decoder(FromProcess)

_ENCODER: Final = Encoder()

T = TypeVar("T")


def encode(message: ToProcess | FromProcess, *, limit: int = FRAME_LIMIT) -> bytes:
    """Encodes a message as a frame.

    Raises:
        FrameTooLarge: Its content has more than `limit` bytes.
    """
    content = _ENCODER.encode(message)
    if len(content) > limit:
        raise FrameTooLarge(len(content), limit)
    return len(content).to_bytes(_HEADER) + content


@final
class PipeFrameReader(Generic[T]):
    """Decodes messages from bytes that arrive in pieces. Unusable after it has raised."""

    def __init__(self, decoder: Decoder[T], *, limit: int = FRAME_LIMIT) -> None:
        self._decoder = decoder
        self._limit = limit
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[T]:
        """The messages that `data` completes.

        Raises:
            MalformedFrame: The frame is too long, or its content is not one of the messages.
        """
        self._bytes += data
        messages: list[T] = []
        start = 0
        with memoryview(self._bytes) as view:
            while (end := self._end_of_frame(view, start)) is not None:
                try:
                    messages.append(self._decoder.decode(view[start + _HEADER : end]))
                except (
                    MsgspecError,
                    UnicodeError,
                    RecursionError,
                ) as error:  # text that is not UTF-8 is not an error of msgspec
                    raise MalformedFrame(str(error)) from error
                start = end
        del self._bytes[:start]
        return messages

    def _end_of_frame(self, view: memoryview, start: int) -> int | None:
        if len(view) - start < _HEADER:
            return None
        length = int.from_bytes(view[start : start + _HEADER])
        if length > self._limit:
            raise MalformedFrame(f"it announced {length} bytes, and {self._limit} are allowed")
        end = start + _HEADER + length
        return end if end <= len(view) else None
