"""What hub needs of the world behind it: a broker, a store for results, and the registry's database.

Each port has an embedded adapter (`memory://`) and real ones, and one contract suite that all of them pass
(`tests/brokers`, `tests/stores`, `tests/directories`). Rules that hold for every adapter:

* An adapter is opened as an async context manager (`hub.brokers.open_broker(url)`, ...) and is used inside that block,
  by any number of tasks at once. It reconnects by itself, except where a method says otherwise.
* When its server is out of reach a call raises `LinkLost`, never an error of the client library, and never an
  `ExceptionGroup`. What had been sent may or may not have been carried out; every call may be repeated.
* Every call may be cancelled at any checkpoint: nothing leaks, and no later call sees the answer of a cancelled one.
* No call takes a timeout; callers use `anyio.fail_after`.
* Calls that carry tasks take many at once and answer in the same order, so that one round trip serves them all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import Enum
from hmac import compare_digest
from typing import Final, Protocol

from hub.contract.contract import Contract
from hub.errors import PublishRefused
from hub.histogram import Buckets
from hub.load import Load
from hub.task import Outcome, Progress, Task, TaskRecord
from hub.vocabulary import Fingerprint, InstanceId, InstanceState, ModelName, RegistryId, Signal, TaskId, TaskState

# --- broker ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A message on its way to a queue. `message_id` and `timestamp` (Unix seconds) are for people who look at queues.

    Attributes:
        queue: A model's queue, or the queue of its dead letters (`hub.vocabulary.dead_letter_queue`).
        delay: Seconds that the broker keeps the message before it is on the queue of its model, at least; the broker may
            take up to twice as long, or two seconds. 0: no delay; more than 48 days count as that.
    """

    queue: str
    body: bytes
    message_id: str
    timestamp: float
    delay: float = 0.0
    headers: Mapping[str, str | int] = field(default_factory=dict[str, str | int])


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message that the broker handed out and that stays unacknowledged until it is settled.

    Attributes:
        tag: Names the delivery on its consumer; means nothing anywhere else.
        redelivered: The broker has handed it out before.
        deliveries: How often the broker had handed it out before, as far as it counts that (0 if it does not).
    """

    tag: int
    body: bytes
    message_id: str
    redelivered: bool
    deliveries: int
    headers: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """The queue of a model as the broker sees it.

    Attributes:
        ready: Messages that wait for a consumer.
        consumers: Subscriptions.
        dead: Messages in its dead-letter queue.
    """

    ready: int
    consumers: int
    dead: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerStatistics:
    """What a broker adapter knows of itself.

    Attributes:
        publishing: Messages that `publish` has been given and that are not confirmed yet.
        blocked: Why the broker takes no messages at present, in its own words (a memory or disk alarm). `None`: it takes
            them, or the alarm began a few seconds ago (`hub.amqp.alarm`), or there is no telling.
        nodes: Open connections by `host:port` of the node that they are to; empty without a network.
    """

    connected: bool
    publishing: int
    consumers: int
    unacked: int
    reconnects: int
    blocked: str | None = None
    nodes: Mapping[str, int] = field(default_factory=dict[str, int])


class Consumer(Protocol):
    """One subscription to one queue, for as long as its link lives.

    The three ways to settle a delivery are buffered and return at once. Settling twice, or after the link was lost,
    does nothing: the broker has already put the message back.
    """

    @property
    def unsettled(self) -> int:
        """Messages that the broker has handed to it, received or not, and that are not settled; 0 after a lost link."""
        ...

    async def receive(self) -> Sequence[Delivery]:
        """Waits for work and returns all that has arrived, at least one delivery, never more than the prefetch count.

        Raises:
            LinkLost: The link broke, or the broker cancelled the consumer (its queue was deleted, its node went down).
        """
        ...

    def ack(self, deliveries: Iterable[Delivery]) -> None:
        """The messages are done with; the broker forgets them."""
        ...

    def requeue(self, deliveries: Iterable[Delivery]) -> None:
        """Hands messages back that were not started, as a drain does (`basic.nack`, not counted against them)."""
        ...

    def reject(self, deliveries: Iterable[Delivery], *, requeue: bool) -> None:
        """Gives messages up after a failure: back to the queue, or else to the dead-letter queue `<queue>.dead`."""
        ...

    async def stop(self) -> None:
        """Ends the intake: no `receive()` returns deliveries from here on; what nobody received yet is requeued.

        What was received can still be settled until the block that opened the consumer is left.
        """
        ...


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Dead letters that nobody else gets to see for now, oldest first.

    What `consumer.ack` was given is gone for good once the block that holds the letters is left, also by an error.

    Attributes:
        total: How many there were in all.
    """

    consumer: Consumer
    deliveries: Sequence[Delivery]
    total: int


class Broker(Protocol):
    async def declare(self, queue: ModelName) -> None:
        """Creates the durable queue and its dead-letter queue `<queue>.dead`, if they do not exist.

        Raises:
            ConfigurationError: They exist with other arguments; says which.
        """
        ...

    async def publish(self, publications: Sequence[Publication]) -> Sequence[PublishRefused | None]:
        """Puts messages on queues and waits until the broker has taken responsibility for each of them.

        Returns:
            For each publication `None`, or why the broker did not take it (`Unroutable`, `QueueFull`).

        Raises:
            LinkLost: The fate of at least one of them is unknown. While the link is down a call waits for its return.
        """
        ...

    def consume(self, queue: ModelName, *, prefetch: int) -> AbstractAsyncContextManager[Consumer]:
        """Declares the queue and subscribes to it, with at most `prefetch` unsettled deliveries at a time.

        One call is one link: it does not reconnect. The caller supervises it (`hub.supervision`). Leaving the block
        puts everything unsettled back on the queue.

        Raises:
            LinkLost: On entry, when the broker cannot be reached.
        """
        ...

    def dead_letters(self, queue: ModelName, *, limit: int) -> AbstractAsyncContextManager[DeadLetters]:
        """Holds the oldest dead letters of a model, at most `limit` of them, while the block runs.

        Leaving the block puts back what was not acked, in its order, as often as anyone likes: nothing ages by being
        looked at. (A quorum queue puts it behind other letters that were looked at before.) Two of these at once see
        different letters.

        Raises:
            LinkLost: On entry, when the broker cannot be reached, or later when the link breaks.
            UnknownQueue: On entry: the model has no dead-letter queue.
        """
        ...

    async def depths(self, queues: Iterable[ModelName]) -> Mapping[ModelName, QueueDepth | None]:
        """The depth of each queue now; `None` for a queue that does not exist."""
        ...

    def statistics(self) -> BrokerStatistics: ...


# --- result store ---------------------------------------------------------------------------------------------------


class Absent(Enum):
    """Why there is no record: the id was never seen (or forgotten entirely), or its record has expired."""

    UNKNOWN = "unknown"
    GONE = "gone"


LISTED_STATES: Final = (
    TaskState.RUNNING,
    TaskState.FAILED,
    TaskState.DEAD,
    TaskState.EXPIRED,
    TaskState.CANCELLED,
)
"""The states of which a store keeps lists. Tasks that wait, or have succeeded, are too many to write each down twice."""

LIST_LENGTH: Final = 1000
"""Tasks in one list at most: of one model and state, and of one state over all models."""


@dataclass(frozen=True, slots=True)
class RecentTasks:
    """A page of `ResultStore.recent`.

    Attributes:
        records: Newest first.
        cursor: What to ask for the next page with; empty if this is the last one.
    """

    records: Sequence[TaskRecord]
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """The answer to `ResultStore.start`.

    Attributes:
        state: `RUNNING`: run it. `QUEUED`: do not, its attempts are used up, and nothing was changed or counted.
            `None`: the task was withdrawn. Anything else: the task has ended.
        attempt: Which run this is; when it is none, how many there were.
        retries: See `TaskRecord.retries`.
    """

    state: TaskState | None
    attempt: int
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedBack:
    """A run that ended without an outcome and is no sign of trouble: it does not count against the attempts of its task.

    Attributes:
        attempt: Which run; a later one that has begun meanwhile is not disturbed.
        retry_at: Of a run that failed and is to be tried again: when, in Unix seconds. `None`: a drain handed it back.
    """

    task_id: TaskId
    attempt: int
    retry_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressReport:
    """What run number `attempt` of a task says of itself."""

    task_id: TaskId
    attempt: int
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCalls:
    """The calls of one operation so far: `seconds` that each took, and `sizes`, the tasks that each carried."""

    seconds: Buckets
    sizes: Buckets


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatistics:
    """A snapshot.

    Attributes:
        connected: Whether the link stands.
        waiting: Calls of `changed` that wait.
        flushes: Round trips.
        commands: Tasks that they carried.
        dropped_outcomes: Outcomes that were not the first of their task.
        reconnects: Links after the first one.
        refusal: Why the server, which is in reach, carries out no changes, in its words: it is out of memory, or its access
            list forbids scripts. `None`: it does, as far as a look every few seconds tells.
        calls: Those that were carried out, by operation: a method of the port, `watch` for what `changed` asks, `rejoin`,
            or `list` for what is written into lists of recent tasks. An operation that was never called is not there.
    """

    connected: bool
    waiting: int
    flushes: int
    commands: int
    dropped_outcomes: int
    reconnects: int
    refusal: str | None = None
    calls: Mapping[str, StoreCalls] = field(default_factory=dict[str, StoreCalls])


class ResultStore(Protocol):
    """Task records and outcomes, by task id. Every change of a record raises its revision, atomically."""

    @property
    def channel(self) -> str:
        """Where this process hears of changes; a gateway puts it into `Task.reply_channel` when a client waits."""
        ...

    async def create(self, tasks: Sequence[Task]) -> Sequence[TaskRecord | None]:
        """Writes a `queued` record for each task, never over an existing one.

        The record of a task with an idempotency key is `pending` until `accept`. One that is still pending after
        `hub.task.PENDING_TTL` seconds, untouched, was left behind by a submit that died: it is written over.

        Returns:
            For each task `None` when the record was written, or the record that was there already.
        """
        ...

    async def accept(self, tasks: Sequence[Task]) -> None:
        """The messages of these tasks are confirmed: their records are `pending` no more."""
        ...

    async def withdraw(self, tasks: Sequence[Task]) -> None:
        """Takes back records whose task could not be published. A task that turns up nevertheless is not started.

        Records that are no longer `queued`, or were written by another submit (`Task.created_at` tells), stay. A
        withdrawn id is `Absent.UNKNOWN` to everybody else, and may be created again.
        """
        ...

    async def start(self, tasks: Sequence[Task], instance: InstanceId, *, attempts: int) -> Sequence[Start]:
        """Counts one more attempt of each task and marks it `running` on `instance`, whom `ended` tells of its end.

        A task whose record is terminal, or was withdrawn, or was written for another body (`Task.digest`), is left as it
        is and not counted; neither is one of which `attempts` runs were started that were not handed back. A task whose
        record has vanished (the store lost its data) gets a new one: the broker still vouches for it, so it was accepted.
        """
        ...

    async def hand_back(self, runs: Sequence[HandedBack]) -> Sequence[bool]:
        """Marks runs as ended without an outcome: their tasks are `queued` again, the number of the attempt stays.

        Returns:
            For each run whether its task waits for another one now; `False` when the task has ended, or is run elsewhere.
        """
        ...

    async def report(self, reports: Sequence[ProgressReport]) -> None:
        """Stores what running tasks say of themselves; reports of runs that are not the present one are dropped."""
        ...

    async def ended(self, instance: InstanceId) -> Sequence[TaskId]:
        """Waits until tasks that `instance` has started have ended otherwise than by `finish` here, and says which.

        They were cancelled, or expired, or finished by another instance, so nobody needs their runs any more. Each is
        told at least once, also when it ended while the link was lost. Woken by the store, it never polls.
        """
        ...

    async def revive(self, tasks: Sequence[Task]) -> Sequence[bool]:
        """Makes tasks that are `dead`, or forgotten altogether, `queued` again, with all their attempts before them.

        The one way out of a terminal state, for an operator who has repaired the reason. `revision` goes on.

        Returns:
            For each task whether it waits for a run now; `False` when its record says that it is not dead.
        """
        ...

    async def finish(self, outcomes: Sequence[Outcome]) -> Sequence[bool]:
        """Stores terminal outcomes; the first of a task wins.

        Returns:
            For each outcome whether it is the one that counts. A repeated call with the same outcome is `True` again.
        """
        ...

    async def fetch(self, task_ids: Sequence[TaskId]) -> Sequence[TaskRecord | Absent]: ...

    async def recent(
        self, states: Sequence[TaskState], *, model: ModelName | None = None, before: str = "", limit: int
    ) -> RecentTasks:
        """The newest tasks of some states: by the start of their run while they run, else by their end.

        Reads lists of `LIST_LENGTH` tasks, never all records. A task that has moved on is not in the answer. A store that
        several processes share may take a second to list a task that runs, and does not list one that is faster. The
        lists are for people: what a process wrote down last may be missing after it was killed.

        Args:
            states: Out of `LISTED_STATES`.
            model: Whose tasks; `None`: those of all models.
            before: The cursor of the page before; empty for the first page.
            limit: Tasks at most.
        """
        ...

    async def changed(self, task_id: TaskId, *, after: int, until_terminal: bool = False) -> TaskRecord | Absent:
        """Waits until the revision is higher than `after` (with `until_terminal`: until the task has ended too).

        Returns at once when that is so already, or when there is no record. Woken by the store, it never polls.
        """
        ...

    def statistics(self) -> StoreStatistics: ...


# --- the registry's database ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
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
        terms: What holds for the tasks of its model.
        secret_hash: SHA-256 of the secret that its owner proves itself with, in hexadecimal digits; empty: it has none,
            because an earlier release let it in.
    """

    id: InstanceId
    model: ModelName
    url: str
    fingerprint: Fingerprint
    logged_in_at: float
    example: str = ""
    terms: Terms = Terms()
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
class KnownContract:
    """A contract that the registry has accepted, the first time it did, and the instance that brought it."""

    model: ModelName
    contract: Contract
    first_seen_at: float
    first_seen_from: InstanceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the registry that pings an instance knows about it, for the others to read.

    Attributes:
        reason: Why it is not live, in words; empty if it is.
        misses: Pings in a row without an answer.
        answered_at: When it last answered a ping, in Unix seconds; `None` if it never has.
        deaf_by: Who says that it is deaf; `None` unless it is.
        load: What it last said of its work; `None` if it never has.
    """

    state: InstanceState
    reason: str = ""
    misses: int = 0
    answered_at: float | None = None
    deaf_by: Signal | None = None
    load: Load | None = None


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
class Leases:
    """Whom one registry pings, and nobody else does.

    Attributes:
        tokens: The fencing token of each lease. A later lease of the same instance has a higher one.
        registries: How many registries share the work, this one included unless it stands by.
    """

    tokens: Mapping[InstanceId, int]
    registries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a registry found out about an instance that it holds the lease of.

    Attributes:
        token: Of the lease. The report counts only while it is the newest one.
        standing: `None` removes the instance.
        events: For the history, oldest first.
    """

    instance: InstanceId
    token: int
    standing: Standing | None
    events: Sequence[HistoryEvent] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedInstance:
    """An instance as the directory has it. `token` is that of its newest lease, 0 before the first."""

    entry: InstanceEntry
    token: int
    standing: Standing | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryNews:
    """What changed in the directory.

    Attributes:
        revision: Up to which change this goes. Tokens are revisions too, so the two can be compared.
        complete: Whether these are all instances there are, not only those that changed.
        instances: Those that changed, or whose lease did.
        gone: Those that left, and at which revision.
    """

    revision: int
    complete: bool
    instances: Sequence[SharedInstance]
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

    async def contracts(self) -> Sequence[KnownContract]:
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
    ) -> Leases:
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

    async def report(self, reports: Sequence[Report]) -> Sequence[bool]:
        """Writes what registries found out. Atomic for each report.

        Returns:
            For each report whether it counts. It does not when the instance is gone, or its lease went to somebody else.
        """
        ...

    async def news(self, after: int) -> DirectoryNews:
        """What changed after a revision; everything after revision 0, or one that the directory has lost."""
        ...

    async def history(self, limit: int) -> Sequence[HistoryEvent]:
        """The last events, newest first; at most `HISTORY_LENGTH`."""
        ...
