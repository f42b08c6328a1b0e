"""The JSON bodies of the registry's routes, shared by both sides. Times are Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from msgspec import Struct

from hub.load import Durations
from hub.ports import HistoryEvent, Terms
from hub.registry.states import InstanceState, InstanceStatus
from hub.vocabulary import Signal, TaskState

PROTOBUF: str = "application/x-protobuf"

DESCRIPTORS: str = f"{PROTOBUF}; proto=google.protobuf.FileDescriptorSet"
"""The media type of the declarations alone."""

CONTRACT: str = f"{PROTOBUF}; proto=hub.v1.Contract"
"""The media type of the declarations with the names of the request and the response message."""

SECRET_HEADER: str = "Hub-Instance-Secret"  # noqa: S105 - a name
"""The header of logins and logouts with the secret of the instance."""

SECRET_LENGTHS: tuple[int, int] = (32, 128)
"""Characters of a secret that an instance makes up itself, at least and at most."""

MAX_EXAMPLE: int = 16_384
"""Characters: an example is for people to read, and travels in every list of models."""


class LoginBody(Struct, frozen=True, kw_only=True):
    """What an instance says of itself.

    Attributes:
        model: Name of its model.
        url: Base of its HTTP routes as the registry reaches them, such as `http://10.0.0.7:40123`.
        contract: A serialized `hub.v1.Contract`; base64 in JSON.
        example: A request that shows what the model does, as ProtoJSON of at most `MAX_EXAMPLE` characters, or empty.
        terms: What holds for the tasks of its model.
        consuming: Whether it takes tasks now. A no is believed at once, a yes when its ping says the same.
        loading: Whether its `setup` is still to be done; then it is listed as loading, whatever `consuming` says.
    """

    model: str
    url: str
    contract: bytes
    example: str = ""
    terms: Terms = Terms()
    consuming: bool = True
    loading: bool = False


class InstanceBody(Struct, frozen=True, kw_only=True):
    """One instance; see `hub.registry.states.InstanceStatus`."""

    id: str
    model: str
    url: str
    fingerprint: str
    state: InstanceState
    reason: str
    misses: int
    logged_in_at: float
    answered_at: float | None
    in_flight: int | None = None
    deaf_by: Signal | None = None

    @classmethod
    def of(cls, status: InstanceStatus) -> Self:
        entry = status.entry
        return cls(
            id=entry.id,
            model=entry.model,
            url=entry.url,
            fingerprint=entry.fingerprint,
            state=status.state,
            reason=status.reason,
            misses=status.misses,
            logged_in_at=entry.logged_in_at,
            answered_at=status.answered_at,
            in_flight=None if status.load is None else status.load.in_flight,
            deaf_by=status.deaf_by,
        )


class LoginReply(InstanceBody, frozen=True, kw_only=True):
    """The instance, as it is listed now.

    Attributes:
        accepts: Fingerprints of the other contracts whose tasks it may be given; see `contract_mode`.
        secret: What the instance has to send in the header `Hub-Instance-Secret` from now on. Empty when the call did not
            prove that it comes from the instance, so that all it did was to have it pinged.
    """

    accepts: tuple[str, ...] = ()
    secret: str = ""


class InstancesBody(Struct, frozen=True, kw_only=True):
    """All instances, oldest login first."""

    instances: tuple[InstanceBody, ...]


class QueueBody(Struct, frozen=True, kw_only=True):
    """The queue of a model a moment ago.

    Attributes:
        ready: Messages that wait for a consumer.
        unacked: Messages that instances have and have not settled, as they said last.
        consumers: Subscriptions.
        dead: Messages in its dead-letter queue.
        oldest_seconds: How long the oldest of the `ready` messages has waited at most, as far as can be seen; 0 if there
            is none.
    """

    ready: int
    unacked: int = 0
    consumers: int
    dead: int
    oldest_seconds: float = 0.0


class ModelBody(Struct, frozen=True, kw_only=True):
    """One model. `active` means that at least one of its instances is live; `request` and `response` are full names.

    `example` and `terms` are those of the newest instance (`example`: of the newest that offers one). `queue` is `None`
    while the broker is out of reach, or when the queue does not exist. `missing_consumers` is how many consumers the
    broker counts fewer than there are live instances, in two looks in a row. Neither is part of the version.
    """

    name: str
    active: bool
    fingerprint: str
    request: str
    response: str
    example: str = ""
    terms: Terms = Terms()
    instances: tuple[InstanceBody, ...]
    queue: QueueBody | None = None
    missing_consumers: int = 0


class HistoryBody(Struct, frozen=True, kw_only=True):
    """What became of instances, newest first. `before` is null for a login, `after` for a removal."""

    events: tuple[HistoryEvent, ...]


class ModelFigures(Struct, frozen=True, kw_only=True):
    """What the instances of a model do and have done; see `hub.load.Load`.

    `outcomes` has every terminal state. The buckets of `waited` and `ran` are at the bounds that all instances have in
    common, so there may be fewer of them than before; they have none before the first task.
    """

    model: str
    in_flight: int
    outcomes: Mapping[TaskState, int]
    waited: Durations
    ran: Durations
    queue: QueueBody | None = None


class FiguresBody(Struct, frozen=True, kw_only=True):
    """Every known model, by name, at one moment."""

    at: float
    models: tuple[ModelFigures, ...]


class ModelsBody(Struct, frozen=True, kw_only=True):
    """Models by name."""

    models: tuple[ModelBody, ...]


class TargetGroup(Struct, frozen=True, kw_only=True):
    """One entry of Prometheus's HTTP service discovery."""

    targets: tuple[str, ...]
    labels: dict[str, str]


class HealthBody(Struct, frozen=True, kw_only=True):
    """`status` is `ok` or `degraded`.

    In the latter case `out_of_reach` names what does not answer: `directory`, `broker`, or `instances` (most of them at
    once). `reason` says what that means, and why a directory that answers does not carry out what it is asked.
    """

    status: str
    out_of_reach: tuple[str, ...] = ()
    reason: str = ""
