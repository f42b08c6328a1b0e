"""Types that all parts of hub share: ids, names, states, and the source of the time."""

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
"""Name of a model, and of its queue: `[A-Za-z][A-Za-z0-9_.-]{0,63}`, and not `reserved`."""

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
"""Returns Unix time in seconds. Code that has to run in virtual time has one as a parameter; the default is `time.time`."""

wall_clock: WallClock = time.time

MAX_NESTING: Final = 100
"""Nesting of protobuf messages, counted as on the wire, where the entry of a map is a message too: protobuf's own limit."""

DEFAULT_RESULT_TTL: Final = 24 * 3600.0
"""Seconds that an outcome is stored, unless the submit has another value."""

PENDING_TTL: Final = 30.0
"""Seconds after which the record of a submit without a confirmation of the broker may be replaced.

Longer than a submit may take (`publish_timeout`), so that a submit in progress is never overwritten.
"""

LONGEST_CHANGES: Final = 40_000
"""Changes of instances that a directory keeps for followers: more than there are instances, so that removals stay for long."""

_MODEL_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")

OWN_PREFIX: Final = "hub."
"""Prefix of the names of hub's own exchanges."""

_BROKER_PREFIX: Final = "amq."
"""Prefix that is reserved for RabbitMQ itself (AMQP 0-9-1, `queue.declare`)."""

_DEAD: Final = ".dead"
_DELAY: Final = ".delay."
_DELAY_QUEUE = re.compile(rf".*{re.escape(_DELAY)}[0-9]+", re.DOTALL)


class InstanceState(StrEnum):
    """The state of an instance in the registries. A model is active if one of its instances is `LIVE`."""

    LIVE = "live"
    """It answers pings, and it consumes from the queue of its model."""

    NOT_CONSUMING = "not_consuming"
    """It answers pings but does not consume: it has no connection to the broker, its model is unhealthy, or it drains."""

    SUSPECT = "suspect"
    """It has not answered its last ping."""

    LOADING = "loading"
    """It has logged in and has never been live: its `setup` is running, or it has not been pinged yet."""


class ReadinessSource(StrEnum):
    """The source of the information that an instance is not consuming."""

    HEALTH = "health"
    """The `health` of its model raised, or the instance is about to stop."""

    PING = "ping"
    """The instance reports that it consumes nothing from its queue."""

    BROKER = "broker"
    """The instance reports that it consumes, but the broker counts no consumer of its queue."""


class TaskState(StrEnum):
    """The state of a task; see the state table in `docs/tasks.md`."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    DEAD = "dead"

    def __init__(self, value: str) -> None:
        self.terminal: Final = value not in {"queued", "running"}
        """Whether the task has ended: its state and its outcome never change again."""


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
    """The reason why a model cannot have this name: another queue or exchange may have it. Empty if there is none."""
    if name.startswith(OWN_PREFIX):
        return f"names that begin with {OWN_PREFIX!r} are hub's own"
    if name.startswith(_BROKER_PREFIX):
        return f"names that begin with {_BROKER_PREFIX!r} are the broker's own"
    if name.endswith(_DEAD):
        return f"names that end with {_DEAD!r} are queues of dead letters"
    if _DELAY_QUEUE.fullmatch(name):
        return f"names that end with {_DELAY!r} and a number are queues of delayed tasks"
    return ""


def dead_letter_queue(model: str) -> str:
    """The name of the queue of a model's dead letters: `<model>.dead`."""
    return f"{model}{_DEAD}"


def delayed_queue(queue: str, seconds: int) -> str:
    """The name of a queue in which messages for another one wait: `<queue>.delay.<seconds>`."""
    return f"{queue}{_DELAY}{seconds}"


def new_task_id() -> TaskId:
    return TaskId(str(uuid_utils.uuid7()))


def idempotent_task_id(client: str, model: ModelName, key: str) -> TaskId:
    """The task id for an `Idempotency-Key` of a client: a UUIDv8 (RFC 9562 section 5.8) derived from all three arguments.

    Because the id is derived from the key, the store only has to refuse to overwrite a record.
    """
    return _derived_task_id(client, model, key)


def child_task_id(parent: TaskId, model: ModelName, digest: str, occurrence: int, generation: int = 0) -> TaskId:
    """The id of a task that a model makes while it processes `parent`: a UUIDv8 derived from all arguments.

    A later attempt of the parent derives the same ids, and so finds the tasks that an earlier one has made.

    Args:
        parent: The task that is processed.
        model: The model that is called.
        digest: SHA-256 of the request.
        occurrence: Which call of this model with this request it is in one attempt of the parent, from 1.
        generation: How many earlier tasks of this call have ended without a response.
    """
    return _derived_task_id(parent, model, digest, str(occurrence), str(generation))


def _derived_task_id(*parts: str) -> TaskId:
    named = sha256("\0".join(parts).encode()).digest()[:16]
    number = int.from_bytes(named) & ~(0xF << 76) & ~(0x3 << 62) | (0x8 << 76) | (0x2 << 62)
    return TaskId(str(UUID(int=number)))


def new_instance_id() -> InstanceId:
    return InstanceId(str(uuid_utils.uuid7()))


def new_registry_id() -> RegistryId:
    return RegistryId(str(uuid_utils.uuid7()))


def parse_task_id(text: str) -> TaskId | None:
    """The canonical form of a task id, or `None` if `text` is not a UUID."""
    try:
        return TaskId(str(UUID(text)))
    except ValueError:
        return None
