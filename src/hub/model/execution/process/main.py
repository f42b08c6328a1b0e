"""The main program of a process of a model; the instance's side is `hub.model.execution.process.worker`.

    python -m hub.model.execution.process.main pkg.module:Class LIFELINE

It reads requests from standard input and writes answers to standard output (`hub.model.execution.process.frames`). Both
descriptors are replaced first, so that the output of the model goes to standard error. `LIFELINE` is a pipe without data;
the kernel ends this process when the other end is closed.

There is one thread and no event loop here, so that a SIGINT always interrupts the code of the model.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from inspect import isawaitable, iscoroutinefunction
from select import POLLIN, poll
from types import FrameType
from typing import Any, Final, cast, final

from google.protobuf.message import Message

from hub.concurrency.forking import cleaned_up_in_children
from hub.concurrency.threads import on_error_in_thread
from hub.errors import HubError, Undecodable
from hub.model.current import CurrentTask, TaskControl, processing
from hub.model.errors import RAISED_AGAIN, ModelExit
from hub.model.execution.batch_results import METHOD, checked
from hub.model.execution.chunk_producer import opened
from hub.model.execution.chunk_window import WINDOW_BYTES, WINDOW_CHUNKS
from hub.model.execution.codec import MessageCodec
from hub.model.execution.exits import exits_as_errors
from hub.model.execution.process.frames import (
    TO_PROCESS,
    BatchFrame,
    ChunkFrame,
    ContinueFrame,
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
from hub.model.model import AnyModel
from hub.observability.code_origin import add_author
from hub.observability.logs import configure_logging
from hub.observability.tracebacks import describe, lines, text_of_error
from hub.safe_text import full_name, printable
from hub.types import InstanceId, ModelName, TaskId

CHUNK: Final = 65_536
"""Bytes that are read at once, and size of the buffer for answers: those of a pipe."""


ASK_CHUNKS: Final = WINDOW_CHUNKS // 4
"""Chunks after which the process asks whether more are wanted: a round trip for each of them would cost more than they do."""

ASK_BYTES: Final = WINDOW_BYTES // 4
"""Bytes of chunks after which it asks."""


class _Terminated(SystemExit):
    """Raised by SIGTERM."""


@final
class WorkerMain:
    """Processes requests one after the other, until standard input is closed.

    Args:
        requests: File descriptor of the requests.
        answers: File descriptor of the answers.
    """

    def __init__(self, requests: int, answers: int) -> None:
        self._requests = requests
        # Its lock serializes frames from several threads of a model. Never closed, since its end means that of the process.
        self._answers = os.fdopen(answers, "wb", buffering=CHUNK, closefd=False)
        self._reader = PipeFrameReader(TO_PROCESS)
        self._received: list[ToProcess] = []
        self._interruptible = False
        self._interruption_deferred = False
        self._controls: list[TaskControl] = []

    def run(self) -> int:
        """Runs the model; returns the exit code of the process.

        Raises:
            SystemExit: SIGTERM was received, or the model called `sys.exit`.
            BrokenPipeError: The instance has closed the pipe of the answers.
        """
        signal.signal(signal.SIGTERM, _terminate)
        signal.signal(signal.SIGINT, self._interrupt)
        with cleaned_up_in_children(self._reset_signals):
            return self._run()

    def _reset_signals(self) -> None:
        """Restores the default signal handlers in a process that the model has forked."""
        for number, handler in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
            if signal.getsignal(number) in {_terminate, self._interrupt}:  # otherwise the model has set its own
                signal.signal(number, handler)

    def _run(self) -> int:
        init = self._receive()
        if not isinstance(init, InitFrame):
            return 0  # the instance has ended
        configure_logging(init.log_level, init.log_format)
        add_author(init.target.partition(":")[0])
        try:
            with exits_as_errors("the import", but=(_Terminated,)):
                model_class = _import_model(init)
            with exits_as_errors("__init__", but=(_Terminated,)):
                model = model_class()
            messages = MessageCodec(model)
        except Exception as error:  # noqa: BLE001 - reported to the instance, which ends
            self._send(encode(_error_frame(error)))
            return 1
        try:
            try:
                with exits_as_errors("setup", but=(_Terminated,)):
                    _call(model.setup, init.backend)
            except Exception as error:  # noqa: BLE001 - reported to the instance, which ends
                self._send(encode(_error_frame(error)))
                return 1
            signal.signal(signal.SIGINT, self._interrupt)  # a library may have set a handler of its own
            self._send(encode(InitializedFrame()))
            while (message := self._receive()) is not None:
                if isinstance(message, RequestFrame):
                    self._send(self._process(model, messages, message))
                elif isinstance(message, BatchFrame):
                    self._send(self._process_batch(model, messages, self._receive_requests(message.size)))
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            with exits_as_errors("teardown", but=(_Terminated,)):
                _call(model.teardown, init.backend)
        return 0

    def _process(self, model: AnyModel, messages: MessageCodec, request: RequestFrame) -> bytes:
        try:
            with self._interruption_allowed(), self._current_task(request.task):
                self._send(encode(StartedFrame()))
                message = messages.decode(request.body)
                with exits_as_errors("process_request", but=(_Terminated,)):
                    response = model.process_request(message)
                    if model.streaming:
                        self._send_chunks(model, messages, response)
                        return encode(ResponseFrame(b""))
                return encode(ResponseFrame(messages.encode(response)))
        except _Terminated:
            raise
        except BaseException as error:  # noqa: ASYNC103, BLE001 - any error of a model is the outcome of its task
            return encode(_error_frame(error))  # noqa: ASYNC104 - there is no event loop here

    def _send_chunks(self, model: AnyModel, messages: MessageCodec, made: object) -> None:
        count = size = 0
        with opened(made, model.name) as chunks:
            for chunk in chunks:
                body = messages.encode(chunk)
                count, size = count + 1, size + len(body)
                asks = count >= ASK_CHUNKS or size >= ASK_BYTES
                with self._interruption_postponed():
                    self._send(encode(ChunkFrame(body, asks)))
                if asks:
                    count = size = 0
                    self._wait_until_wanted()

    def _wait_until_wanted(self) -> None:
        ready = poll()
        ready.register(self._requests, POLLIN)
        while not any(isinstance(message, ContinueFrame) for message in self._received):
            ready.poll()
            with self._interruption_postponed():
                data = os.read(self._requests, CHUNK)
                self._received += self._reader.feed(data)
            if not data:
                raise _Terminated(0)  # the instance has ended
        self._received.clear()  # nothing else is sent during a request

    def _process_batch(self, model: AnyModel, messages: MessageCodec, requests: Sequence[RequestFrame]) -> bytes:
        """The answers to all requests, in order: each has a frame of its own."""
        answers: dict[int, bytes] = {}
        try:
            with self._interruption_allowed():
                self._send(encode(StartedFrame()))
                decoded = self._decoded(messages, requests, answers)
                results: Sequence[object] = ()
                if decoded:
                    with self._current_tasks({place: requests[place].task for place in decoded}):
                        with exits_as_errors(METHOD, but=(_Terminated,)):
                            results = cast("Sequence[object]", model.process_batch(list(decoded.values())))
                        results = checked(results, len(decoded), model.name)
            for place, result in zip(decoded, results, strict=True):
                answers[place] = _answer(messages, result)
        except _Terminated:
            raise
        except BaseException as error:  # noqa: ASYNC103, BLE001 - any error of a model is the outcome of its tasks
            answers = dict.fromkeys(range(len(requests)), encode(_error_frame(error))) | answers  # noqa: ASYNC104 - no loop
        return b"".join(answers[place] for place in range(len(requests)))

    def _decoded(
        self, messages: MessageCodec, requests: Sequence[RequestFrame], answers: dict[int, bytes]
    ) -> dict[int, Message | bytes]:
        """The requests by their places; those that cannot be decoded have an answer instead."""
        decoded: dict[int, Message | bytes] = {}
        for place, request in enumerate(requests):
            try:
                decoded[place] = messages.decode(request.body)
            except Undecodable as error:
                answers[place] = encode(_error_frame(error))
        return decoded

    def _current_task(self, task: TaskInfo | None) -> AbstractContextManager[None]:
        self._controls = [self._control(0)]
        return nullcontext() if task is None else processing(_current(task, self._controls[0]))

    def _current_tasks(self, tasks: Mapping[int, TaskInfo | None]) -> AbstractContextManager[None]:
        """The tasks of a batch, by their places."""
        controls = {place: self._control(place) for place in tasks}
        self._controls = list(controls.values())
        return processing([_current(task, controls[place]) for place, task in tasks.items() if task is not None])

    def _control(self, member: int) -> TaskControl:
        def report_progress(fraction: float | None, message: str) -> None:
            if control in self._controls:  # otherwise it comes from a thread of an earlier task
                self._send(encode(ProgressFrame(fraction, message, member)))

        control = TaskControl(report_progress)
        return control

    @contextmanager
    def _interruption_allowed(self) -> Generator[None]:
        """The first SIGINT in the block raises `KeyboardInterrupt`. At all other times SIGINT is ignored."""
        self._interruptible = True
        try:
            yield
        finally:
            self._interruptible = False

    @contextmanager
    def _interruption_postponed(self) -> Generator[None]:
        """A SIGINT in the block raises `KeyboardInterrupt` after it, so that no frame is cut off."""
        self._interruption_deferred = True
        try:
            yield
        finally:
            self._interruption_deferred = False
        if any(
            control.cancelled for control in self._controls
        ):  # also if the model has caught an earlier one and goes on
            raise KeyboardInterrupt

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        if not self._interruptible:
            return
        self._interruptible = False
        for control in self._controls:
            control.cancelled = True
        if not self._interruption_deferred:
            raise KeyboardInterrupt

    def _send(self, frame: bytes) -> None:
        """Writes a frame.

        If a signal interrupts it, the rest of the frame stays in the buffer and is written before the next one. That requires
        a frame that fits into the buffer; larger ones are not written while interruptions are allowed.
        """
        self._answers.write(frame)
        self._answers.flush()

    def _receive_requests(self, size: int) -> Sequence[RequestFrame]:
        """The requests of a batch, which follow its frame; fewer at the end of the input."""
        requests: list[RequestFrame] = []
        while len(requests) < size and isinstance(request := self._receive(), RequestFrame):
            requests.append(request)
        return requests

    def _receive(self) -> ToProcess | None:
        """The next message; `None` at the end of the input."""
        while not self._received:
            data = os.read(self._requests, CHUNK)
            if not data:
                return None
            self._received = self._reader.feed(data)
        return self._received.pop(0)


def main() -> None:
    die_with_parent(int(sys.argv[2]))
    sys.excepthook = lambda _kind, error, _trace: _print_error("the process of a model failed", error)
    on_error_in_thread(lambda name, error: _print_error(f"an error ended the thread {name}", error))
    requests, answers = os.dup(0), os.dup(1)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - only the descriptor is needed
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        sys.exit(WorkerMain(requests, answers).run())
    except BrokenPipeError:
        os._exit(1)


def _import_model(init: InitFrame) -> type[AnyModel]:
    sys.path[:] = init.path
    module, _, name = init.target.partition(":")
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return cast("type[AnyModel]", found)  # the instance has checked it: `importable_name`


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
    import anyio  # noqa: PLC0415 - most models do not need it, and starts would be slower

    anyio.run(work, backend=backend)


def _current(task: TaskInfo, control: TaskControl) -> CurrentTask:
    return CurrentTask(
        id=TaskId(task.id),
        attempt=task.attempt,
        deadline=task.deadline,
        model=ModelName(task.model),
        instance=InstanceId(task.instance),
        control=control,
    )


def _answer(messages: MessageCodec, result: object) -> bytes:
    """The answer to one request of a batch."""
    try:
        if isinstance(result, Exception):
            return encode(_error_frame(result))
        return encode(ResponseFrame(messages.encode(result)))
    except Exception as error:  # noqa: BLE001 - the failure of this task only
        return encode(_error_frame(error))


def _error_frame(error: BaseException) -> ErrorFrame:
    kind = type(error)
    names = tuple(map(full_name, kind.__mro__))
    return ErrorFrame(
        code=error.code if isinstance(error, HubError) else "model_error",
        mro=(error.type, *names) if isinstance(error, ModelExit) else names,
        message=text_of_error(error),
        described=describe(error),
        arguments=tuple(map(str, error.args)) if kind in RAISED_AGAIN else (),
    )


def _print_error(what: str, error: BaseException) -> None:
    """Writes an error to standard error, in the short form of the log."""
    sys.stderr.write("\n  ".join([printable(what, 200), *lines(describe(error))]) + "\n")


def _terminate(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise _Terminated(128 + number)


if __name__ == "__main__":
    main()
