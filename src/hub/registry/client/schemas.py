"""JSON bodies of the registry's routes, for server and client. Times are Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from msgspec import Struct

from hub.contract.contract import Contract
from hub.histogram import HistogramSnapshot
from hub.ports.directory import HistoryEvent, ModelLimits
from hub.registry.client.login import LoginRequest
from hub.registry.client.views import InstanceStatus
from hub.types import InstanceId, InstanceState, ReadinessSource, TaskState, model_name

PROTOBUF: str = "application/x-protobuf"

DESCRIPTORS: str = f"{PROTOBUF}; proto=google.protobuf.FileDescriptorSet"
"""The media type of the declarations alone."""

CONTRACT: str = f"{PROTOBUF}; proto=hub.v1.Contract"
"""The media type of the declarations with the names of the request and the response message."""

SECRET_HEADER: str = "Hub-Instance-Secret"  # noqa: S105 - a name
"""The header of logins and logouts with the secret of the instance."""

SECRET_LENGTHS: tuple[int, int] = (32, 128)
"""Minimum and maximum length of a secret that an instance chooses, in characters."""

PING_HEADER: str = "Hub-Registry-Ping"
"""The header of pings of a registry. An instance that gets no such pings logs in again."""

MESSAGE_HEADER: str = "Hub-Message"
STREAMING_HEADER: str = "Hub-Streaming"
"""The header of a reply of an instance's `/descriptors/request` and `/descriptors/response`: the full name of the message."""

MAX_EXAMPLE: int = 16_384
"""Characters: an example is for people to read, and is part of every list of models."""


class LoginBody(Struct, frozen=True, kw_only=True):
    """What an instance declares when it logs in; see `hub.registry.client.login.LoginRequest`.

    Attributes:
        contract: A serialized `hub.v1.Contract`; base64 in JSON. Left out, the registry reads the contract from the
            descriptor routes of the instance.
        example: At most `MAX_EXAMPLE` characters.
        comments: Comments of the `.proto` files by the full name of a message, a field, an enum or a value
            (`<enum>.<value>`), or by the name of a file. At most 32,768 characters, names included.
    """

    model: str
    url: str
    contract: bytes | None = None
    example: str = ""
    limits: ModelLimits = ModelLimits()
    consuming: bool = True
    loading: bool = False
    comments: dict[str, str] = {}

    @classmethod
    def of(cls, request: LoginRequest) -> Self:
        return cls(
            model=request.model,
            url=request.url,
            contract=request.contract.encode(),
            example=request.example,
            limits=request.limits,
            consuming=request.consuming,
            loading=request.loading,
            comments=dict(request.comments),
        )

    def request(self, instance: InstanceId, contract: Contract, secret: str) -> LoginRequest:
        """The login of an instance; `contract` is `self.contract` decoded, or read from the instance.

        Raises:
            InvalidName: Of the model.
        """
        return LoginRequest(
            instance=instance,
            model=model_name(self.model),
            url=self.url,
            contract=contract,
            example=self.example,
            limits=self.limits,
            consuming=self.consuming,
            loading=self.loading,
            secret=secret,
            comments=tuple(sorted(self.comments.items())),
        )


class InstanceBody(Struct, frozen=True, kw_only=True):
    """One instance; see `hub.registry.client.views.InstanceStatus`."""

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
    busy_seconds: float = 0.0
    not_consuming_source: ReadinessSource | None = None

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
            in_flight=None if status.stats is None else status.stats.in_flight,
            busy_seconds=0.0 if status.stats is None else status.stats.busy_seconds,
            not_consuming_source=status.not_consuming_source,
        )


class LoginReply(InstanceBody, frozen=True, kw_only=True):
    """The instance, as it is listed now.

    Attributes:
        accepts: Fingerprints of other contracts whose tasks it may be given; see `contract_mode`.
        secret: What the instance has to send in the header `Hub-Instance-Secret` from now on. Empty when the call did
            not carry the secret of the instance, so that it did nothing but ping it.
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
        unacked: Messages that instances have and have not settled, as of their last pings.
        consumers: Subscriptions.
        dead: Messages in its dead-letter queue.
        oldest_seconds: Maximum time that the oldest of the `ready` messages has waited; 0 without one.
    """

    ready: int
    unacked: int = 0
    consumers: int
    dead: int
    oldest_seconds: float = 0.0


class ModelBody(Struct, frozen=True, kw_only=True):
    """One model. `active` means that at least one of its instances is live; `request` and `response` are full names.

    `limits` are those of the newest instance, `example` and `comments` are those of the newest with some. `queue` is
    `None` while the broker is out of reach, or when the queue does not exist. `missing_consumers` is the number of live
    instances minus that of consumers, if there were fewer consumers in two polls in a row. Neither is part of the
    version. `streaming`: the response is a stream of messages instead of one. `states` has the number of instances in
    each state, instead of `instances`, in replies to `changes=true`.
    """

    name: str
    active: bool
    fingerprint: str
    request: str
    response: str
    streaming: bool = False
    example: str = ""
    limits: ModelLimits = ModelLimits()
    instances: tuple[InstanceBody, ...] = ()
    states: dict[InstanceState, int] | None = None
    queue: QueueBody | None = None
    missing_consumers: int = 0
    comments: dict[str, str] = {}


class EventLogBody(Struct, frozen=True, kw_only=True):
    """Changes of state of instances, newest first. `before` is null for a login, `after` for a removal."""

    events: tuple[HistoryEvent, ...]


class ModelStatsBody(Struct, frozen=True, kw_only=True):
    """The statistics of all instances of a model; see `hub.stats.InstanceStats`.

    `outcomes` has every terminal state. The buckets of `queue_time` and `run_time` are at the bounds that all instances
    have in common, so there may be fewer of them than before; they have none before the first task.
    """

    model: str
    in_flight: int
    outcomes: Mapping[TaskState, int]
    queue_time: HistogramSnapshot
    run_time: HistogramSnapshot
    queue: QueueBody | None = None


class StatsBody(Struct, frozen=True, kw_only=True):
    """Every known model, by name, at one moment."""

    at: float
    models: tuple[ModelStatsBody, ...]


class ModelsBody(Struct, frozen=True, kw_only=True):
    """Models by name.

    With `partial`, only those that have changed since the version that the request named, and the names of those that
    are no longer known.
    """

    models: tuple[ModelBody, ...]
    partial: bool = False
    removed: tuple[str, ...] = ()


class ScriptBody(Struct, frozen=True, kw_only=True):
    """A Lua script of the result store. `sha1` is the digest for `EVALSHA`."""

    sha1: str
    text: str


class ScriptsBody(Struct, frozen=True, kw_only=True):
    """The scripts of the result store that a model in another language calls, by name; see `docs/wire.md`."""

    scripts: Mapping[str, ScriptBody]


class TargetGroup(Struct, frozen=True, kw_only=True):
    """One entry of Prometheus's HTTP service discovery."""

    targets: tuple[str, ...]
    labels: dict[str, str]


class HealthBody(Struct, frozen=True, kw_only=True):
    """`status` is `ok` or `degraded`.

    In the latter case `out_of_reach` names what does not answer: `directory`, `broker`, or `instances` (most of them at
    once). `reason` has the consequence, and why a directory that answers refuses calls.
    """

    status: str
    out_of_reach: tuple[str, ...] = ()
    reason: str = ""
