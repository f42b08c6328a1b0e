"""The checks of a model class where it is defined: an unusable one is refused with the repair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, signature, unwrap
from math import isfinite
from typing import Any, Final, TypeVar, cast, final, get_args, get_origin

from google.protobuf.message import Message

from hub.errors import InvalidName
from hub.model.errors import InvalidModel
from hub.model.misspellings import BATCH_PROCESSING, PROCESSING, misspellings
from hub.model.retry import Retry
from hub.types import model_name

MAX_TASKS: Final = 65_535
"""Tasks that one instance may hold at once: the largest prefetch count of AMQP 0-9-1 (`basic.qos`, a short)."""

_ARGUMENTS: Final = {
    "process_request": "request",
    "process_batch": "requests",
    "setup": "",
    "teardown": "",
    "health": "",
    "get_request_format": "",
    "get_response_format": "",
}
"""Methods that hub calls, each with the name of its argument."""

_CHOICES: Final = ("run_in_process", "shares_loop", "streaming")
"""Attributes that are True or False."""

_DERIVED: Final = ("name", "streaming")
"""Attributes that each class gets, whether its author sets them or not."""

_BATCH_SETTINGS: Final = ("max_batch_size", "max_batch_wait")


@final
@dataclass(frozen=True, slots=True)
class ModelDefinition:
    """A class that inherits from `hub.Model`.

    Attributes:
        cls: The class of the author.
        base: `hub.Model`, which checks its subclasses by this class, so that this module does not import it.
    """

    cls: type[Any]
    base: type[Any]

    def overrides(self, name: str) -> bool:
        """Whether an attribute is another one than that of `hub.Model`."""
        return getattr(self.cls, name) is not getattr(self.base, name)

    @property
    def processes_requests(self) -> bool:
        """Whether it has one of the methods that process requests; a base of models may leave them open."""
        return self.overrides("process_request") or self.overrides("process_batch")

    @property
    def processes_batches(self) -> bool:
        return self.overrides("process_batch")

    @property
    def task_places(self) -> int:
        """Number of tasks that one instance holds at once: those that are processed and, with batches, those of the next one."""
        concurrency: int = self.cls.concurrency
        batch: int = self.cls.max_batch_size
        return (concurrency + 1) * batch if self.processes_batches else concurrency

    @property
    def repair(self) -> str:
        """How its messages are declared."""
        return (
            f"Write `class {self.cls.__name__}(hub.Model[SomeRequest, SomeResponse])` with two classes that protoc generated, "
            "or override get_request_format and get_response_format"
        )

    def messages(self) -> tuple[type[Message], type[Message]] | None:
        """The classes of request and response; `None` if its type arguments do not name them."""
        arguments = type_arguments(self.cls, self.base)
        if arguments is None or not all(is_generated(argument) for argument in arguments):
            return None
        request, response = arguments
        return request, response

    def unknown_messages(self) -> InvalidModel:
        """The error of a class whose messages are needed and unknown."""
        return self._invalid("its messages are unknown", self.repair)

    def unprocessable(self) -> InvalidModel:
        """The error of a class that is to run and has no method which processes requests."""

        def methods(names: Sequence[str]) -> list[str]:
            return [name for name in names if any(callable(vars(base).get(name)) for base in self.cls.__mro__)]

        if batches := methods(BATCH_PROCESSING):
            write = f"Rename its {batches[0]} to process_batch"
        elif others := methods(PROCESSING):
            write = f"Rename its {others[0]} to process_request"
        else:
            write = "Write `def process_request(self, request)`, or `def process_batch(self, requests)`"
        return self._invalid("it has no process_request", f"{write}, plain or async")

    def check_spelling(self) -> None:
        """Refuses attributes whose name is nearly one of hub's, and methods of hub that are no methods."""
        cls = self.cls
        methods = {name for name, value in vars(self.base).items() if callable(value) or isinstance(value, classmethod)}
        methods = {name for name in methods if not name.startswith("_")}
        settings = {name for name in self.base.__annotations__ if not name.startswith("_")}
        if not self.processes_batches:
            settings.difference_update(_BATCH_SETTINGS)  # so that names like batch_size are the author's
        below = [base for base in cls.__mro__ if base is not self.base and base not in self.base.__mro__]
        overridden = {name for base in below for name in vars(base) if name not in _DERIVED or base is cls}
        found = dict(
            misspellings(vars(cls), settings=settings, methods=methods, overridden=overridden & (settings | methods))
        )
        for name in methods & vars(cls).keys():
            if not (callable(vars(cls)[name]) or isinstance(vars(cls)[name], classmethod | staticmethod)):
                raise self._invalid(f"its {name} is {vars(cls)[name]!r}", f"Write {name} as a method")
        if found:
            shown = "; ".join(f"`{name}`: did you mean `{'` or `'.join(meant)}`?" for name, meant in found.items())
            raise self._invalid(
                f"hub has no {', '.join(found)}",
                f"{shown} (attributes of your own need another name, such as `_{next(iter(found))}`)",
            )

    def check(self) -> None:
        """Refuses values and methods that cannot work; for classes that process requests."""
        cls = self.cls
        try:
            model_name(cls.name)
        except (InvalidName, TypeError) as error:
            raise self._invalid(str(error), "Set `name` in the class") from error
        if not _is_whole(cls.concurrency):
            raise self._invalid(f"its concurrency is {cls.concurrency!r}", "Set `concurrency` to a whole number from 1")
        for name in _CHOICES:
            if not isinstance(getattr(cls, name), bool):
                raise self._invalid(f"its {name} is {getattr(cls, name)!r}", "Set it to True or False")
        self._check_batches()
        if not _is_retry(cls.retry):
            raise self._invalid(f"its retry is {cls.retry!r}", "Set it to a `hub.Retry(...)`, or to None")
        self._check_times()
        overridden = tuple(self.overrides(method) for method in ("get_request_format", "get_response_format"))
        repair = self.repair
        arguments = type_arguments(cls, self.base)
        if arguments is None:
            if not all(overridden):
                raise self._invalid("its request and response are not declared", repair)
            return
        for what, argument, free in zip(("request", "response"), arguments, overridden, strict=True):
            if not (free or is_generated(argument)):
                shown = getattr(argument, "__qualname__", None) or str(argument)
                raise self._invalid(f"its {what} is {shown}, which is not a generated message class", repair)

    def check_signatures(self) -> None:
        """Refuses methods of this class that cannot be called as hub calls them."""
        for name, argument in _ARGUMENTS.items():
            method = vars(self.cls).get(name)
            reason = "" if method is None else _mismatch(method, 1 if argument else 0)
            if reason:
                arguments = f"self, {argument}" if argument else "self"
                raise self._invalid(
                    f"its {name} cannot be called with {'one argument' if argument else 'no argument'} ({reason})",
                    f"Write `def {name}({arguments})`",
                )
        example = vars(self.cls).get("example")
        if callable(example) and not isinstance(example, classmethod | staticmethod):
            raise self._invalid("its example is no class method", "Write `@classmethod` above it")

    def _check_batches(self) -> None:
        cls = self.cls
        if not self.processes_batches:
            useless = [name for name in _BATCH_SETTINGS if self.overrides(name)]
            if useless:
                raise self._invalid(
                    f"it has {' and '.join(useless)}, but no process_batch",
                    "Write `def process_batch(self, requests)` instead of process_request, or leave them out",
                )
            return
        if self.overrides("process_request"):
            raise self._invalid(
                "it has both process_request and process_batch",
                "Remove one of them: hub calls process_batch also for a single request",
            )
        if yields(cls.process_batch):
            raise self._invalid(
                "its process_batch is a generator",
                "Return a list with one response for each request instead of a `yield`",
            )
        size, wait = cls.max_batch_size, cls.max_batch_wait
        if not _is_whole(size):
            raise self._invalid(f"its max_batch_size is {size!r}", "Set `max_batch_size` to a whole number from 1")
        if not (_is_number(wait) and isfinite(wait) and wait >= 0):
            raise self._invalid(f"its max_batch_wait is {wait!r}", "Set it to seconds from 0")
        if self.task_places > MAX_TASKS:
            raise self._invalid(
                f"its instances would hold {self.task_places} tasks at once, and {MAX_TASKS} are allowed",
                "Lower `max_batch_size`, or `concurrency`",
            )

    def _check_times(self) -> None:
        cls = self.cls
        for name in ("default_timeout", "max_timeout"):
            seconds: float | None = getattr(cls, name)
            if seconds is not None and not (_is_number(seconds) and isfinite(seconds) and seconds > 0):
                raise self._invalid(f"its {name} is {seconds!r}", "Set it to seconds above 0, or to None")
        if cls.default_timeout is not None and cls.max_timeout is not None and cls.default_timeout > cls.max_timeout:
            raise self._invalid(
                f"its default_timeout ({cls.default_timeout:g} s) is above its max_timeout ({cls.max_timeout:g} s)",
                "Lower the first or raise the second",
            )
        method = "process_batch" if self.processes_batches else "process_request"
        if cls.run_in_process and _is_async(getattr(cls, method)):
            raise self._invalid(
                f"it has run_in_process, but its {method} is async",
                "Write it as a plain `def`, or leave `run_in_process` out",
            )
        if not (_is_number(cls.kill_grace) and cls.kill_grace >= 0):
            raise self._invalid(f"its kill_grace is {cls.kill_grace!r}", "Set it to seconds from 0")

    def _invalid(self, reason: str, repair: str) -> InvalidModel:
        return InvalidModel(self.cls.__qualname__, reason, repair)


def _mismatch(method: object, arguments: int) -> str:
    """Why an attribute of a class cannot be called with so many arguments on an object; empty if it can, as far as is known."""
    function: object = getattr(method, "__func__", method)
    given = [None] * (arguments if isinstance(method, staticmethod) else arguments + 1)
    try:
        signature(cast("Callable[..., object]", function)).bind(*given)
    except TypeError as error:
        return str(error)
    except ValueError:
        pass  # written in C, without a signature
    return ""


def yields(method: Callable[..., object]) -> bool:
    """Whether a method is a generator, perhaps an asynchronous one."""
    function = unwrap(method)
    return isasyncgenfunction(function) or isgeneratorfunction(function)


def _is_async(method: Callable[..., object]) -> bool:
    return iscoroutinefunction(method) or isasyncgenfunction(method)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and value is not True and value is not False


def _is_whole(value: float) -> bool:
    """Whether it is a whole number from 1."""
    return _is_number(value) and isfinite(value) and value >= 1 and value == int(value)


def _is_retry(value: object) -> bool:
    return value is None or isinstance(value, Retry)


def is_generated(argument: object) -> bool:
    """Whether it is the class of a message that protoc generated."""
    return isinstance(argument, type) and issubclass(argument, Message) and argument is not Message


def type_arguments(cls: type, origin: type) -> tuple[Any, ...] | None:
    """The type arguments of `cls` for its generic ancestor `origin`, through any number of classes in between.

    An unbound argument is a `TypeVar`. `None`: no ancestor of `cls` has arguments for `origin`.
    """
    # 3.11 has no types.get_original_bases; a class without subscripted bases has no __orig_bases__ of its own.
    for base in cls.__dict__.get("__orig_bases__", cls.__bases__):
        ancestor = get_origin(base) or base
        if ancestor is origin:
            return get_args(base) or None
        if isinstance(ancestor, type) and issubclass(ancestor, origin):
            inherited = type_arguments(ancestor, origin)
            if inherited is not None:
                parameters: tuple[TypeVar, ...] = getattr(ancestor, "__parameters__", ())
                given = dict(zip(parameters, get_args(base), strict=False))
                return tuple(given.get(argument, argument) for argument in inherited)
    return None
