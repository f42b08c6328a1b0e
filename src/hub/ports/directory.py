"""The registry's database: instances, contracts, leases, events."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hmac import compare_digest
from typing import Protocol

from hub.contract.contract import Contract
from hub.stats import InstanceStats
from hub.types import Fingerprint, InstanceId, InstanceState, ModelName, ReadinessSource, RegistryId


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLimits:
    """What holds for the tasks of a model, as its instances say it. Durations are seconds.

    Attributes:
        concurrency: Tasks that one instance works on at a time.
        default_timeout: Time from submit to outcome when the client does not set one; `None`: no deadline.
        max_timeout: What a client may ask for at most; `None`: anything.
    """

    concurrency: int = 1
    default_timeout: float | None = None
    max_timeout: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceEntry:
    """One instance as it logged in.

    Attributes:
        url: The base of its HTTP routes, such as `http://10.0.0.7:40123`.
        example: A request that shows what the model does, as ProtoJSON, for documentation; empty if it has none.
        limits: What holds for the tasks of its model.
        secret_hash: SHA-256 of the secret that its owner proves itself with, in hexadecimal digits; empty: it has none,
            because an earlier release let it in.
    """

    id: InstanceId
    model: ModelName
    url: str
    fingerprint: Fingerprint
    logged_in_at: float
    example: str = ""
    limits: ModelLimits = ModelLimits()
    secret_hash: str = ""

    def owned_by(self, proof: str) -> bool:
        """Whether `proof`, the hash of a secret, is that of its owner, or it has none."""
        return not self.secret_hash or compare_digest(self.secret_hash.encode(), proof.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginLimits:
    """What a directory takes in at most; the names are those of the registry's settings.

    Attributes:
        max_models: Models that have an instance.
        max_instances: Instances of all models.
        max_model_instances: Instances of one model.
        max_contracts: Contracts that are kept. Room for a new one is made by those of models without instances, the
            longest unused first.
        max_contract_bytes: Bytes of all contracts that are kept, as they are stored.
    """

    max_models: int = 1_000
    max_instances: int = 5_000
    max_model_instances: int = 1_000
    max_contracts: int = 5_000
    max_contract_bytes: int = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredContract:
    """A contract that the registry has accepted, the first time it did, and the instance that brought it."""

    model: ModelName
    contract: Contract
    first_seen_at: float
    first_seen_from: InstanceId


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStanding:
    """What the registry that pings an instance knows about it, for the others to read.

    Attributes:
        reason: Why it is not live, in words; empty if it is.
        misses: Pings in a row without an answer.
        answered_at: When it last answered a ping, in Unix seconds; `None` if it never has.
        not_consuming_source: Who says that it is deaf; `None` unless it is.
        stats: The statistics of its last ping reply; `None` before the first.
    """

    state: InstanceState
    reason: str = ""
    misses: int = 0
    answered_at: float | None = None
    not_consuming_source: ReadinessSource | None = None
    stats: InstanceStats | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEvent:
    """One instance went from one state to another.

    Attributes:
        at: Unix time in seconds.
        before: `None` when it logged in.
        after: `None` when it was removed.
        reason: Why, in words; empty for an instance that is live again.
    """

    at: float
    instance: InstanceId
    model: ModelName
    url: str
    before: InstanceState | None
    after: InstanceState | None
    reason: str


HISTORY_LENGTH = 1000
"""Events that a directory keeps: the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSet:
    """Whom one registry pings, and nobody else does.

    Attributes:
        tokens: The fencing token of each lease. A later lease of the same instance has a higher one.
        registries: How many registries share the work, this one included unless it stands by.
    """

    tokens: Mapping[InstanceId, int]
    registries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusUpdate:
    """What a registry found out about an instance that it holds the lease of.

    Attributes:
        token: Of the lease. The report counts only while it is the newest one.
        standing: `None` removes the instance.
        events: For the history, oldest first.
    """

    instance: InstanceId
    token: int
    standing: InstanceStanding | None
    events: Sequence[HistoryEvent] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInstance:
    """An instance as the directory has it. `token` is that of its newest lease, 0 before the first."""

    entry: InstanceEntry
    token: int
    standing: InstanceStanding | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryChanges:
    """What changed in the directory.

    Attributes:
        revision: Up to which change this goes. Tokens are revisions too, so the two can be compared.
        complete: Whether these are all instances there are, not only those that changed.
        instances: Those that changed, or whose lease did.
        gone: Those that left, and at which revision.
    """

    revision: int
    complete: bool
    instances: Sequence[StoredInstance]
    gone: Mapping[InstanceId, int]


class Directory(Protocol):
    async def login(
        self,
        entry: InstanceEntry,
        contract: Contract,
        *,
        beside: Collection[Fingerprint] = (),
        proof: str = "",
        limits: LoginLimits | None = None,
    ) -> Fingerprint | None:
        """Adds or refreshes an instance, unless its model's name is taken by instances with another contract.

        Atomic: of two registries that log in different contracts under one name, exactly one succeeds. An accepted
        contract is kept until `forget` drops it; see `contracts`.

        Args:
            entry: The instance.
            contract: Its contract.
            beside: Other contracts whose instances may hold the name at the same time.
            proof: Hash of the secret that the caller has shown; see `InstanceEntry.owned_by`.
            limits: What there is room for; `None`: for everything.

        Returns:
            `None` when the instance is in, else a fingerprint that holds the name.

        Raises:
            NotYourInstance: The instance is here with another secret.
            RegistryFull: There is no room.
        """
        ...

    async def logout(self, instance: InstanceId, event: HistoryEvent | None = None) -> bool:
        """Removes an instance, whoever holds its lease. The last one to go frees the name of its model.

        Args:
            instance: Who goes.
            event: Written into the history, if the instance was there.

        Returns:
            Whether it was there.
        """
        ...

    async def instances(self) -> Sequence[InstanceEntry]:
        """All instances, oldest login first."""
        ...

    async def contracts(self) -> Sequence[RegisteredContract]:
        """Every contract that is kept, oldest first."""
        ...

    async def forget(self, ttl: float) -> int:
        """Drops the contracts that no instance has had for `ttl` seconds, by the clock of the directory.

        Returns:
            How many.
        """
        ...

    async def lease(
        self, registry: RegistryId, *, ttl: float, claim: Collection[InstanceId] = (), standby: bool = False
    ) -> LeaseSet:
        """Says that a registry is alive for another `ttl` seconds, and which instances it is to ping until then.

        It keeps what it holds, gets those that nobody alive holds until it has its share (instances / registries,
        rounded up), and takes from the richest until it has at least that share rounded down. Atomic; time is that of
        the directory.

        Args:
            registry: Who asks.
            ttl: Seconds.
            claim: Instances that it is to have in any case, whoever holds them: they have just logged in with it.
            standby: It wants nothing, and gives back what it holds, provided that another registry is alive.
        """
        ...

    async def release(self, registry: RegistryId) -> None:
        """A registry stops: what it holds is free at once."""
        ...

    async def report(self, reports: Sequence[StatusUpdate]) -> Sequence[bool]:
        """Writes what registries found out. Atomic for each report.

        Returns:
            For each report whether it counts. It does not when the instance is gone, or its lease went to somebody else.
        """
        ...

    async def news(self, after: int) -> DirectoryChanges:
        """What changed after a revision; everything after revision 0, or one that the directory has lost."""
        ...

    async def history(self, limit: int) -> Sequence[HistoryEvent]:
        """The last events, newest first; at most `HISTORY_LENGTH`."""
        ...
