"""What runs in the process of a model with `run_in_process`; the instance's side of it is `hub.model.execution.process.worker`.

    python -m hub.model.execution.process.main pkg.module:Class LIFELINE

Requests come as frames on standard input and answers leave on standard output (`hub.model.execution.process.frames`); both are moved out
of the way first, so that whatever the model prints goes to standard error. `LIFELINE` is a pipe that never carries
anything; the kernel ends this process when the other end of it closes.

There is one thread and no event loop here, so that a SIGINT finds the code of the model and nothing else.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from inspect import isawaitable, iscoroutinefunction
from types import FrameType
from typing import Any, Final, cast, final

from hub.concurrency.forking import cleaned_up_in_children
from hub.concurrency.threads import on_error_in_thread
from hub.errors import HubError
from hub.model.current import CurrentTask, TaskControl, processing
from hub.model.errors import RAISED_AGAIN, ModelExit
from hub.model.execution.codec import MessageCodec
from hub.model.execution.exits import exits_as_errors
from hub.model.execution.process.frames import (
    TO_PROCESS,
    ErrorFrame,
    InitFrame,
    InitializedFrame,
    PipeFrameReader,
    ProgressFrame,
    RequestFrame,
    ResponseFrame,
    StartedFrame,
    TaskInfo,
    ToProcess,
    encode,
)
from hub.model.execution.process.lifeline import die_with_parent
from hub.model.model import Model
from hub.observability.code_origin import add_author
from hub.observability.logs import configure_logging
from hub.observability.tracebacks import describe, lines, text_of_error
from hub.safe_text import full_name, printable
from hub.types import InstanceId, ModelName, TaskId

CHUNK: Final = 65_536
"""Bytes that are read at once, and that fit into the buffer for answers: the size of a pipe."""


class _Terminated(SystemExit):
    """SIGTERM came."""


@final
class WorkerMain:
    """Answers requests one after the other, until there are no more.

    Args:
        requests: File descriptor to read from.
        answers: File descriptor to write to.
    """

    def __init__(self, requests: int, answers: int) -> None:
        self._requests = requests
        # Its lock keeps the frames of the threads of a model apart. Left open, since its end must be that of the process.
        self._answers = os.fdopen(answers, "wb", buffering=CHUNK, closefd=False)
        self._reader = PipeFrameReader(TO_PROCESS)
        self._received: list[ToProcess] = []
        self._interruptible = False
        self._control = TaskControl(lambda _fraction, _message: None)

    def run(self) -> int:
        """Runs the model; returns the exit code of the process.

        Raises:
            SystemExit: SIGTERM came, or the model called `sys.exit`.
            BrokenPipeError: Nobody wants the answers any more.
        """
        signal.signal(signal.SIGTERM, _terminate)
        signal.signal(signal.SIGINT, self._interrupt)
        with cleaned_up_in_children(self._be_no_child):
            return self._run()

    def _be_no_child(self) -> None:
        """In a process that the model forks off: signals mean what they mean in any program."""
        for number, handler in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
            if signal.getsignal(number) in {_terminate, self._interrupt}:  # else it is the model's
                signal.signal(number, handler)

    def _run(self) -> int:
        load = self._receive()
        if not isinstance(load, InitFrame):
            return 0  # the instance went away
        configure_logging(load.log_level, load.log_format)
        add_author(load.target.partition(":")[0])
        try:
            with exits_as_errors("the import", but=(_Terminated,)):
                model_class = _model_class(load)
            with exits_as_errors("__init__", but=(_Terminated,)):
                model = model_class()
            messages = MessageCodec(model)
        except Exception as error:  # noqa: BLE001 - told to the instance, which ends with it
            self._send(encode(_failed(error)))
            return 1
        try:
            try:
                with exits_as_errors("setup", but=(_Terminated,)):
                    _call(model.setup, load.backend)
            except Exception as error:  # noqa: BLE001 - likewise
                self._send(encode(_failed(error)))
                return 1
            signal.signal(signal.SIGINT, self._interrupt)  # a library may have set a handler of its own
            self._send(encode(InitializedFrame()))
            while isinstance(request := self._receive(), RequestFrame):
                self._send(self._answer(model, messages, request))
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            with exits_as_errors("teardown", but=(_Terminated,)):
                _call(model.teardown, load.backend)
        return 0

    def _answer(self, model: Model[Any, Any], messages: MessageCodec, request: RequestFrame) -> bytes:
        try:
            with self._interruption_allowed(), self._processing(request.task):
                self._send(encode(StartedFrame()))
                message = messages.decode(request.body)
                with exits_as_errors("process_request", but=(_Terminated,)):
                    response = model.process_request(message)
                return encode(ResponseFrame(messages.encode(response)))
        except _Terminated:
            raise
        except BaseException as error:  # noqa: ASYNC103, BLE001 - whatever a model raises is the outcome of its task
            return encode(_failed(error))  # noqa: ASYNC104 - there is no event loop here

    def _processing(self, task: TaskInfo | None) -> AbstractContextManager[None]:
        def tell(fraction: float | None, message: str) -> None:
            if self._control is control:  # a thread that a model left behind may still talk of an earlier task
                self._send(encode(ProgressFrame(fraction, message)))

        self._control = control = TaskControl(tell)
        if task is None:
            return nullcontext()
        return processing(
            CurrentTask(
                id=TaskId(task.id),
                attempt=task.attempt,
                deadline=task.deadline,
                model=ModelName(task.model),
                instance=InstanceId(task.instance),
                control=control,
            )
        )

    @contextmanager
    def _interruption_allowed(self) -> Generator[None]:
        """While the block runs the first SIGINT raises `KeyboardInterrupt`. At all other times they are ignored."""
        self._interruptible = True
        try:
            yield
        finally:
            self._interruptible = False

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        if not self._interruptible:
            return
        self._interruptible = False
        self._control.cancelled = True
        raise KeyboardInterrupt

    def _send(self, frame: bytes) -> None:
        """Writes a frame.

        When a signal interrupts it, the rest of the frame stays in the buffer and leaves before the next one. That holds
        for frames that fit into the buffer; others are not written while interruptions are allowed.
        """
        self._answers.write(frame)
        self._answers.flush()

    def _receive(self) -> ToProcess | None:
        """The next message; `None` when no more come."""
        while not self._received:
            data = os.read(self._requests, CHUNK)
            if not data:
                return None
            self._received = self._reader.feed(data)
        return self._received.pop(0)


def main() -> None:
    die_with_parent(int(sys.argv[2]))
    sys.excepthook = lambda _kind, error, _trace: _write("the process of a model failed", error)
    on_error_in_thread(lambda name, error: _write(f"an error ended the thread {name}", error))
    requests, answers = os.dup(0), os.dup(1)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a descriptor is what is wanted
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        sys.exit(WorkerMain(requests, answers).run())
    except BrokenPipeError:
        os._exit(1)


def _model_class(load: InitFrame) -> type[Model[Any, Any]]:
    sys.path[:] = load.path
    module, _, name = load.target.partition(":")
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return cast("type[Model[Any, Any]]", found)  # the instance has seen that it is


def _call(method: Callable[[], Awaitable[None] | None], backend: str) -> None:
    if iscoroutinefunction(method):
        _run(method, backend)
        return
    awaitable = method()
    if isawaitable(awaitable):

        async def wait() -> None:
            await awaitable

        _run(wait, backend)


def _run(work: Callable[[], Awaitable[None]], backend: str) -> None:
    import anyio  # noqa: PLC0415 - most models have no use for it here, and starts would be slower

    anyio.run(work, backend=backend)


def _failed(error: BaseException) -> ErrorFrame:
    kind = type(error)
    names = tuple(map(full_name, kind.__mro__))
    return ErrorFrame(
        code=error.code if isinstance(error, HubError) else "model_error",
        mro=(error.type, *names) if isinstance(error, ModelExit) else names,
        message=text_of_error(error),
        described=describe(error),
        arguments=tuple(map(str, error.args)) if kind in RAISED_AGAIN else (),
    )


def _write(what: str, error: BaseException) -> None:
    """Tells an error on standard error, which is the instance's, as short as its log would."""
    sys.stderr.write("\n  ".join([printable(what, 200), *lines(describe(error))]) + "\n")


def _terminate(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise _Terminated(128 + number)


if __name__ == "__main__":
    main()
