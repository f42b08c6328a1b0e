"""The words that every part of hub shares: ids, names, states, and where "now" comes from."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from enum import StrEnum
from hashlib import sha256
from typing import Final, Literal, NewType
from uuid import UUID

import uuid_utils

from hub.errors import InvalidName

ModelName = NewType("ModelName", str)
"""Name of a model, and of its queue: `[A-Za-z][A-Za-z0-9_.-]{0,63}`, and no name that `reserved` has a reason against."""

InstanceId = NewType("InstanceId", str)
"""UUIDv7 of one start of one instance of a model."""

RegistryId = NewType("RegistryId", str)
"""UUIDv7 of one start of one registry process."""

TaskId = NewType("TaskId", str)
"""UUID of one task, in canonical text form: version 7, which sorts by creation time, or see `idempotent_task_id`."""

Fingerprint = NewType("Fingerprint", str)
"""SHA-256 of a canonical contract: 64 lower-case hexadecimal digits."""

LogLevel = Literal["debug", "info", "warning", "error", "critical"]
Backend = Literal["asyncio", "trio"]
LogFormat = Literal["console", "json"]

WallClock = Callable[[], float]
"""Returns Unix time in seconds. What must run in virtual time takes one of these; the default is `time.time`."""

wall_clock: WallClock = time.time

_MODEL_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")

OWN_PREFIX: Final = "hub."
"""What the names of hub's own exchanges begin with."""

_BROKER_PREFIX: Final = "amq."
"""What only RabbitMQ itself may let a name begin with (AMQP 0-9-1, `queue.declare`)."""

_DEAD: Final = ".dead"
_DELAY: Final = ".delay."
_DELAY_QUEUE = re.compile(rf".*{re.escape(_DELAY)}[0-9]+", re.DOTALL)


class InstanceState(StrEnum):
    """What the registries know about an instance. Only a `LIVE` one makes its model active."""

    LIVE = "live"
    """It answers, and it consumes from the queue of its model."""

    NOT_CONSUMING = "not_consuming"
    """It answers but does not work: it consumes nothing, its model is not well, or it is about to stop."""

    SUSPECT = "suspect"
    """It has not answered its last ping."""

    LOADING = "loading"
    """It has logged in and has never been live: its `setup` is running, or it has not been pinged yet."""


class ReadinessSource(StrEnum):
    """Who says that an instance is deaf."""

    HEALTH = "health"
    """Its model's own `health` says no, or it is about to stop."""

    PING = "ping"
    """It says by itself that it takes nothing from its queue."""

    BROKER = "broker"
    """It says that it consumes, but the broker counts no consumer of its queue."""


class TaskState(StrEnum):
    """Where a task is in its life; see the state table in `docs/tasks.md`."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    DEAD = "dead"

    @property
    def terminal(self) -> bool:
        """Whether the task has ended: its state and its outcome never change again."""
        return self not in (TaskState.QUEUED, TaskState.RUNNING)


def model_name(text: str) -> ModelName:
    """Checks that `text` is a model name.

    Raises:
        InvalidName: It is not, or it is reserved.
    """
    if _MODEL_NAME.fullmatch(text) is None:
        raise InvalidName(text)
    if why := reserved(text):
        raise InvalidName(text, why)
    return ModelName(text)


def reserved(name: str) -> str:
    """Why no model can have this name: another queue or exchange has it, or can get it. Empty if there is no reason."""
    if name.startswith(OWN_PREFIX):
        return f"what begins with {OWN_PREFIX!r} is hub's own"
    if name.startswith(_BROKER_PREFIX):
        return f"what begins with {_BROKER_PREFIX!r} is the broker's own"
    if name.endswith(_DEAD):
        return f"what ends with {_DEAD!r} is a queue of dead letters"
    if _DELAY_QUEUE.fullmatch(name):
        return f"what ends with {_DELAY!r} and a number is a queue of delayed tasks"
    return ""


def dead_letter_queue(model: str) -> str:
    """The name of the queue that keeps what was given up of a model's tasks: `<model>.dead`."""
    return f"{model}{_DEAD}"


def delayed_queue(queue: str, seconds: int) -> str:
    """The name of a queue in which messages for another one wait: `<queue>.delay.<seconds>`."""
    return f"{queue}{_DELAY}{seconds}"


def new_task_id() -> TaskId:
    return TaskId(str(uuid_utils.uuid7()))


def idempotent_task_id(client: str, model: ModelName, key: str) -> TaskId:
    """The one task id that an `Idempotency-Key` of a client stands for: a UUIDv8 (RFC 9562 section 5.8) out of all three.

    Since the id follows from the key, "never over an existing record" is all that the store needs to know of keys.
    """
    named = sha256(f"{client}\0{model}\0{key}".encode()).digest()[:16]
    number = int.from_bytes(named) & ~(0xF << 76) & ~(0x3 << 62) | (0x8 << 76) | (0x2 << 62)
    return TaskId(str(UUID(int=number)))


def new_instance_id() -> InstanceId:
    return InstanceId(str(uuid_utils.uuid7()))


def new_registry_id() -> RegistryId:
    return RegistryId(str(uuid_utils.uuid7()))


def parse_task_id(text: str) -> TaskId | None:
    """The canonical form of a task id, or `None` if `text` is no UUID (and so cannot name a task)."""
    try:
        return TaskId(str(UUID(text)))
    except ValueError:
        return None
