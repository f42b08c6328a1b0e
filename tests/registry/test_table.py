from __future__ import annotations

from dataclasses import replace
from typing import Final

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hub.ports.directory import InstanceEntry, InstanceHealth
from hub.registry.client.views import InstanceStatus
from hub.registry.core.changes import InstanceChange, Removal
from hub.registry.core.ping_result import PingMissed, PingOk, PingRejected, PingResult, PingTarget
from hub.registry.core.table import FORGOTTEN_MODELS, NO_CONSUMER, InstanceTable
from hub.stats import InstanceStats
from hub.types import Fingerprint, InstanceId, InstanceState, ModelName, ReadinessSource
from tests.registry.helpers import DIGITS, MODEL, TEXTS, entry_of
from tests.support.examples import examples

LIVE, NOT_CONSUMING, SUSPECT = InstanceState.LIVE, InstanceState.NOT_CONSUMING, InstanceState.SUSPECT
LOADING = InstanceState.LOADING


def pinged(
    table: InstanceTable, entry: InstanceEntry, result: PingResult, *, now: float = 5.0, scheduled: bool = True
) -> list[InstanceChange]:
    target = table.target(entry.id)
    assert target is not None
    return list(table.pinged(target, result, now=now, scheduled=scheduled))


def table_with(*entries: InstanceEntry) -> InstanceTable:
    table = InstanceTable()
    for entry in entries:
        table.login(entry)
        pinged(table, entry, PingOk())
    return table


def state_of(table: InstanceTable, entry: InstanceEntry) -> InstanceState | None:
    status = table.instance(entry.id)
    return None if status is None else status.state


def is_active(table: InstanceTable, model: ModelName = MODEL) -> bool:
    status = table.model(model)
    return status is not None and status.active


def test_a_login_is_loading_until_its_first_reply() -> None:
    table, entry = InstanceTable(), entry_of()
    assert [(change.before, change.after) for change in table.login(entry)] == [(None, LOADING)]
    assert not is_active(table)
    assert [(change.before, change.after) for change in pinged(table, entry, PingOk(), now=7.0)] == [(LOADING, LIVE)]
    status = table.instance(entry.id)
    assert status == InstanceStatus(entry=entry, state=LIVE, reason="", misses=0, answered_at=7.0)
    assert is_active(table)


def test_statistics_are_kept_without_a_change_of_the_version() -> None:
    entry = entry_of()
    table = table_with(entry)
    version = table.version
    for result, kept in (
        (PingOk(stats=InstanceStats(in_flight=2)), 2),
        (PingOk(), 2),
        (PingOk(stats=InstanceStats(in_flight=3)), 3),
    ):
        assert not pinged(table, entry, result)
        status = table.instance(entry.id)
        assert status is not None
        assert status.stats == InstanceStats(in_flight=kept)
    assert table.version == version


def test_a_report_of_not_consuming_is_not_undone_by_an_earlier_ping() -> None:
    entry = entry_of()
    table = table_with(entry)
    before = table.target(entry.id)
    assert before is not None
    assert [(change.before, change.after) for change in table.report_not_consuming(entry.id, now=8.0)] == [
        (LIVE, NOT_CONSUMING)
    ]
    assert not table.pinged(before, PingOk(), now=9.0)
    assert state_of(table, entry) is NOT_CONSUMING
    pinged(table, entry, PingOk())
    assert state_of(table, entry) is LIVE
    assert not table.report_not_consuming(entry_of().id, now=10.0)


def test_a_repeated_login_changes_nothing_and_keeps_the_time_of_the_first() -> None:
    entry = entry_of(at=1.0)
    table = table_with(entry)
    version = table.version
    again = entry_of(id=entry.id, at=99.0)
    assert not table.login(again)
    assert table.version == version
    assert [status.entry for status in table.instances()] == [entry]
    assert state_of(table, entry) is LIVE


SETUP = PingOk(consuming=False, loading=True, reason="its setup is running")


def test_an_instance_in_setup_is_loading_until_it_consumes() -> None:
    entry = entry_of()
    table = InstanceTable()
    table.login(entry)
    assert [(each.before, each.after) for each in pinged(table, entry, SETUP, now=1.0)] == [(LOADING, LOADING)]
    assert (state_of(table, entry), is_active(table)) == (LOADING, False)
    assert pinged(table, entry, SETUP, now=2.0) == [], "no change"
    assert [(each.before, each.after) for each in pinged(table, entry, PingOk(), now=3.0)] == [(LOADING, LIVE)]


def test_an_instance_in_setup_that_misses_a_ping_is_suspect_then_loading_or_removed() -> None:
    entry = entry_of()
    table = InstanceTable()
    table.login(entry)
    pinged(table, entry, SETUP)
    assert pinged(table, entry, PingMissed("silence"), scheduled=False) == [], "asked out of turn, it loses nothing"
    pinged(table, entry, PingMissed("silence"))
    assert state_of(table, entry) is SUSPECT
    pinged(table, entry, SETUP)
    assert state_of(table, entry) is LOADING
    changes = [change for _ in range(3) for change in pinged(table, entry, PingMissed("silence"))]
    assert [change.after for change in changes] == [SUSPECT, None]


def test_a_miss_of_the_first_ping_makes_a_login_suspect() -> None:
    entry = entry_of()
    table = InstanceTable()
    table.login(entry)
    (change,) = pinged(table, entry, PingMissed("no answer"), scheduled=False)
    assert (change.before, change.after, change.reason) == (LOADING, SUSPECT, "no answer")


def test_a_login_from_another_address_has_to_answer_there() -> None:
    entry = entry_of(url="http://127.0.0.1:1")
    table = table_with(entry)
    old = table.target(entry.id)
    assert old is not None
    moved = entry_of(id=entry.id, url="http://127.0.0.1:2")
    table.login(moved)
    assert state_of(table, entry) is LOADING
    assert not table.pinged(old, PingOk(), now=5.0)
    assert not table.pinged(old, PingRejected("connection refused"), now=5.0)
    assert state_of(table, entry) is LOADING


def test_one_miss_makes_an_instance_suspect_and_one_reply_live() -> None:
    entry = entry_of()
    table = table_with(entry)
    pinged(table, entry, PingMissed("silence"))
    assert (state_of(table, entry), is_active(table)) == (SUSPECT, False)
    pinged(table, entry, PingOk())
    assert (state_of(table, entry), is_active(table)) == (LIVE, True)


def test_three_misses_in_a_row_remove_an_instance_and_an_answer_in_between_starts_the_count_again() -> None:
    entry = entry_of()
    table = table_with(entry)
    for result in (PingMissed("1"), PingMissed("2"), PingOk(), PingMissed("1"), PingMissed("2")):
        pinged(table, entry, result)
    assert state_of(table, entry) is SUSPECT
    (change,) = pinged(table, entry, PingMissed("3"))
    assert (change.before, change.after, change.reason) == (SUSPECT, None, "3")
    assert table.instances() == ()


def test_a_refused_connection_removes_an_instance_at_once() -> None:
    entry = entry_of()
    table = table_with(entry)
    (change,) = pinged(table, entry, PingRejected("connection refused"))
    assert (change.before, change.after, change.reason) == (LIVE, None, "connection refused")
    assert table.target(entry.id) is None


def test_a_model_is_active_as_long_as_one_of_its_instances_is_live() -> None:
    first, second, third = entry_of(), entry_of(), entry_of()
    table = table_with(first, second, third)
    pinged(table, first, PingRejected("gone"))
    pinged(table, second, PingMissed("silence"))
    assert is_active(table)
    pinged(table, third, PingOk(consuming=False, reason="no link to the broker"))
    assert not is_active(table)


def test_an_instance_that_replies_without_consuming_is_never_removed_for_it() -> None:
    entry = entry_of()
    table = table_with(entry)
    for now in range(20):
        pinged(table, entry, PingOk(consuming=False, reason="no link to the broker"), now=float(now))
    status = table.instance(entry.id)
    assert status == InstanceStatus(
        entry=entry,
        state=NOT_CONSUMING,
        reason="no link to the broker",
        misses=0,
        answered_at=19.0,
        not_consuming_source=ReadinessSource.PING,
    )
    assert not is_active(table)


def poll(table: InstanceTable, count: int, began: float, *among: InstanceEntry) -> list[InstanceChange]:
    return list(table.consumer_counts({MODEL: count}, began=began, among={entry.id for entry in among}))


def test_an_instance_without_a_consumer_in_two_polls_is_not_consuming() -> None:
    entry = entry_of()
    table = table_with(entry)
    assert not poll(table, 0, 6.0, entry)
    (change,) = poll(table, 0, 8.0, entry)
    assert (change.before, change.after, change.reason) == (LIVE, NOT_CONSUMING, NO_CONSUMER)
    assert not pinged(table, entry, PingOk(), now=9.0), "it says that it consumes, which was known"
    status = table.instance(entry.id)
    assert status is not None
    assert (status.state, status.not_consuming_source, status.answered_at) == (
        NOT_CONSUMING,
        ReadinessSource.BROKER,
        9.0,
    )
    (change,) = poll(table, 1, 10.0, entry)
    assert (change.before, change.after, change.reason) == (NOT_CONSUMING, LIVE, "")


def test_polls_count_only_in_a_row_and_later_than_the_last_reply() -> None:
    entry = entry_of()
    table = table_with(entry)
    assert not poll(table, 0, 4.9, entry)
    assert not poll(table, 0, 6.0, entry)
    assert not poll(table, 1, 7.0, entry)
    assert not poll(table, 0, 8.0, entry)
    pinged(table, entry, PingMissed("silence"))
    pinged(table, entry, PingOk(), now=9.0)
    assert not poll(table, 0, 10.0, entry)
    assert poll(table, 0, 11.0, entry)


def test_polls_do_not_affect_instances_of_other_registries() -> None:
    ours, theirs, other = entry_of(), entry_of(), entry_of("Other")
    table = table_with(ours, theirs, other)
    for began in (6.0, 7.0, 8.0):
        poll(table, 0, began, ours, other)
    assert [state_of(table, entry) for entry in (ours, theirs, other)] == [NOT_CONSUMING, LIVE, LIVE]


def test_an_instance_that_subscribed_again_is_live_with_its_next_reply() -> None:
    entry = entry_of()
    table = table_with(entry)
    poll(table, 0, 6.0, entry)
    poll(table, 0, 7.0, entry)
    table.report_not_consuming(entry.id, now=8.0)
    pinged(table, entry, PingOk(), now=8.5)
    assert state_of(table, entry) is LIVE
    assert not poll(table, 0, 9.0, entry)


def test_health_from_another_registry_is_applied_in_one_step() -> None:
    table, entry = InstanceTable(), entry_of()
    live = InstanceHealth(state=LIVE, answered_at=5.0, stats=InstanceStats(in_flight=1))
    (change,) = table.apply_remote(entry, live)
    assert (change.before, change.after) == (None, LIVE)
    assert is_active(table)
    version = table.version
    assert not table.apply_remote(entry, replace(live, answered_at=6.0))
    assert not table.apply_remote(entry, None)
    assert table.version == version
    (change,) = table.apply_remote(entry, InstanceHealth(state=SUSPECT, reason="silence", misses=2, answered_at=6.0))
    assert (change.before, change.after, change.reason) == (LIVE, SUSPECT, "silence")
    assert pinged(table, entry, PingMissed("silence")), "the misses of one registry count for the next"
    assert table.instances() == ()


def test_remote_health_does_not_replace_a_newer_reply() -> None:
    table, entry = InstanceTable(), entry_of()
    table.login(entry)
    pinged(table, entry, PingOk(stats=InstanceStats(in_flight=7)), now=9.0)
    table.apply_remote(entry, InstanceHealth(state=LIVE, answered_at=6.0, stats=InstanceStats(in_flight=1)))
    status = table.instance(entry.id)
    assert status is not None
    assert (status.answered_at, status.stats) == (9.0, InstanceStats(in_flight=7))


def test_a_remote_instance_without_health_is_loading_and_may_be_removed_remotely() -> None:
    table, entry = InstanceTable(), entry_of()
    assert [change.after for change in table.apply_remote(entry, None)] == [LOADING]
    assert [change.removal for change in table.remove_remote(entry.id)] == [Removal.REMOTE]
    assert not table.remove_remote(entry.id)
    assert table.instances() == ()


def test_an_unscheduled_miss_neither_counts_nor_changes_a_live_instance() -> None:
    entry = entry_of()
    table = table_with(entry)
    version = table.version
    for _ in range(10):
        assert not pinged(table, entry, PingMissed("silence"), scheduled=False)
    assert (state_of(table, entry), table.version) == (LIVE, version)


def test_an_unscheduled_miss_updates_the_reason_of_a_suspect() -> None:
    table, entry = InstanceTable(), entry_of()
    table.login(entry)
    pinged(table, entry, PingMissed("no answer within 3 s"), scheduled=False)
    status = table.instance(entry.id)
    assert status is not None
    assert (status.state, status.reason, status.misses) == (SUSPECT, "no answer within 3 s", 0)


def test_an_unscheduled_rejection_removes_at_once() -> None:
    entry = entry_of()
    table = table_with(entry)
    pinged(table, entry, PingRejected("connection refused"), scheduled=False)
    assert table.instances() == ()


def test_a_logout_removes_at_once_and_a_second_one_changes_nothing() -> None:
    entry = entry_of()
    table = table_with(entry)
    assert [(change.before, change.after) for change in table.logout(entry.id)] == [(LIVE, None)]
    version = table.version
    assert not table.logout(entry.id)
    assert table.version == version


def test_a_model_without_instances_stays_known_but_is_not_active() -> None:
    entry = entry_of()
    table = table_with(entry)
    table.logout(entry.id)
    (model,) = table.models()
    assert (model.name, model.fingerprint, model.instances, model.active) == (MODEL, TEXTS.fingerprint, (), False)


def test_a_remembered_contract_never_replaces_the_one_that_a_model_has() -> None:
    table = table_with(entry_of())
    table.add_model(MODEL, DIGITS.fingerprint)
    model = table.model(MODEL)
    assert model is not None
    assert model.fingerprint == TEXTS.fingerprint


def test_an_accepted_login_with_another_contract_removes_the_former_holders_of_the_name() -> None:
    former, other = entry_of(), entry_of("Other")
    table = table_with(former, other)
    successor = entry_of(contract=DIGITS)
    table.login(successor)
    assert {status.entry.id for status in table.instances()} == {successor.id, other.id}
    model = table.model(MODEL)
    assert model is not None
    assert model.fingerprint == DIGITS.fingerprint


def test_a_login_with_another_contract_is_the_same_instance_in_a_new_state() -> None:
    entry = entry_of()
    table = table_with(entry)
    changes = table.login(entry_of(id=entry.id, contract=DIGITS))
    assert [(change.before, change.after) for change in changes] == [(LIVE, LOADING)]


def test_instances_are_listed_oldest_login_first() -> None:
    late, early = entry_of(at=2.0), entry_of(at=1.0)
    table = table_with(late, early)
    assert [status.entry for status in table.instances()] == [early, late]


def test_the_time_of_the_last_reply_does_not_change_the_version() -> None:
    entry = entry_of()
    table = table_with(entry)
    version = table.version
    assert not pinged(table, entry, PingOk(), now=1000.0)
    assert table.version == version
    status = table.instance(entry.id)
    assert status is not None
    assert status.answered_at == 1000.0


IDS: Final = [InstanceId(f"instance-{number}") for number in range(4)]
MODELS: Final = [ModelName("A"), ModelName("B")]
URLS: Final = ["http://127.0.0.1:1", "http://127.0.0.1:2"]
RESULTS: Final = st.sampled_from(
    [
        PingOk(),
        PingOk(consuming=False, reason="no connection"),
        PingOk(consuming=False, loading=True, reason="its setup is running"),
        PingMissed("silence"),
        PingRejected("connection refused"),
    ]
)


def test_the_models_that_changed_after_a_version_are_known() -> None:
    table = InstanceTable()
    one, other = entry_of(), entry_of(model=ModelName("Other"))
    table.login(one)
    before = table.version
    assert table.changed_models(before) == []
    table.login(other)
    assert table.changed_models(before) == ["Other"]
    table.logout(one.id)
    assert table.changed_models(before) == ["Other", MODEL]
    assert table.changed_models(table.version) == []
    assert table.changed_models(table.version + 1) is None, "a version of another process"


def test_removals_of_models_are_known_for_a_bounded_number_of_them() -> None:
    table = InstanceTable()
    table.login(entry_of())
    for number in range(FORGOTTEN_MODELS + 5):
        name = ModelName(f"M{number}")
        table.add_model(name, Fingerprint("f" * 64))
        table.set_model(name, None)
    assert table.changed_models(0) is None
    recent = table.changed_models(table.version - 2)
    assert recent == [f"M{FORGOTTEN_MODELS + 4}"]
    everything = table.changed_models(table.version - 2 * FORGOTTEN_MODELS + 20)
    assert everything is not None
    assert len(everything) < FORGOTTEN_MODELS


class TableMachine(RuleBasedStateMachine):
    """Random histories against a model of the rules that is as plain as the docstring of the module."""

    def __init__(self) -> None:
        super().__init__()
        self.table = InstanceTable(misses=3)
        self.entries: dict[InstanceId, InstanceEntry] = {}
        self.states: dict[InstanceId, InstanceState] = {}
        self.misses: dict[InstanceId, int] = {}
        self.answered: dict[InstanceId, float] = {}
        self.polls: dict[InstanceId, int] = {}
        self.unheard: set[InstanceId] = set()
        self.targets: list[PingTarget] = []
        self.stale: set[int] = set()
        self.shown = self.show()
        self.version = self.table.version
        self.now = 0.0

    def show(self) -> object:
        """What the lists show and the version stands for."""
        models = self.table.models()
        return [
            (model.name, model.fingerprint, [(each.entry, each.state, each.reason) for each in model.instances])
            for model in models
        ]

    def forget(self, instance: InstanceId) -> None:
        del self.entries[instance], self.states[instance], self.misses[instance]
        self.answered.pop(instance, None)
        self.polls.pop(instance, None)
        self.unheard.discard(instance)
        self.stale |= {target.serial for target in self.targets if target.entry.id == instance}

    @rule(
        instance=st.sampled_from(IDS),
        model=st.sampled_from(MODELS),
        contract=st.sampled_from([TEXTS, DIGITS]),
        url=st.sampled_from(URLS),
    )
    def login(self, instance: InstanceId, model: ModelName, contract: object, url: str) -> None:
        fingerprint: Fingerprint = TEXTS.fingerprint if contract is TEXTS else DIGITS.fingerprint
        self.now += 1
        entry = InstanceEntry(id=instance, model=model, url=url, fingerprint=fingerprint, logged_in_at=self.now)
        current = self.entries.get(instance)
        self.table.login(entry)
        if current is not None and (current.model, current.url, current.fingerprint) == (model, url, fingerprint):
            return
        self.admit(entry)
        self.states[instance], self.misses[instance] = LOADING, 0
        self.answered.pop(instance, None)

    def admit(self, entry: InstanceEntry) -> None:
        if entry.id in self.entries:
            self.forget(entry.id)
        for other in list(self.entries.values()):
            if other.model == entry.model and other.fingerprint != entry.fingerprint:
                self.forget(other.id)
        self.entries[entry.id] = entry

    def judge(self, instance: InstanceId, state: InstanceState, *, by_broker: bool = False) -> None:
        self.states[instance] = state
        (self.unheard.add if by_broker else self.unheard.discard)(instance)
        if state is not LIVE:
            self.polls.pop(instance, None)

    @rule(
        instance=st.sampled_from(IDS),
        model=st.sampled_from(MODELS),
        url=st.sampled_from(URLS),
        state=st.sampled_from(InstanceState),
        by_broker=st.booleans(),
        misses=st.integers(0, 2),
        ago=st.integers(0, 5),
    )
    def adopt(
        self,
        instance: InstanceId,
        model: ModelName,
        url: str,
        state: InstanceState,
        *,
        by_broker: bool,
        misses: int,
        ago: int,
    ) -> None:
        """Another registry pings the instance, and reports its health."""
        self.now += 1
        by_broker = by_broker and state is NOT_CONSUMING
        entry = InstanceEntry(id=instance, model=model, url=url, fingerprint=TEXTS.fingerprint, logged_in_at=self.now)
        signal = (ReadinessSource.BROKER if by_broker else ReadinessSource.PING) if state is NOT_CONSUMING else None
        answered = max(self.now - ago, 0.5)
        health = InstanceHealth(state=state, misses=misses, answered_at=answered, not_consuming_source=signal)
        self.table.apply_remote(entry, health)
        current = self.entries.get(instance)
        if current is None or replace(current, logged_in_at=self.now) != entry:
            self.admit(entry)
        self.misses[instance] = misses
        self.answered[instance] = max(self.answered.get(instance, 0.0), answered)
        self.judge(instance, state, by_broker=by_broker)

    @rule(instance=st.sampled_from(IDS))
    def removed_elsewhere(self, instance: InstanceId) -> None:
        self.table.remove_remote(instance)
        if instance in self.entries:
            self.forget(instance)

    @rule(
        model=st.sampled_from(MODELS),
        count=st.integers(0, 2),
        ago=st.integers(0, 3),
        among=st.sets(st.sampled_from(IDS), min_size=1),
    )
    def poll(self, model: ModelName, count: int, ago: int, among: set[InstanceId]) -> None:
        """The broker counts the consumers of a queue."""
        self.now += 1
        began = self.now - ago
        self.table.consumer_counts({model: count}, began=began, among=among)
        for instance in among & set(self.entries):
            if self.entries[instance].model != model:
                continue
            if count:
                self.polls.pop(instance, None)
                if instance in self.unheard:
                    self.judge(instance, LIVE)
            elif self.states[instance] is LIVE and self.answered[instance] < began:
                self.polls[instance] = self.polls.get(instance, 0) + 1
                if self.polls[instance] == 2:
                    self.judge(instance, NOT_CONSUMING, by_broker=True)

    @rule(instance=st.sampled_from(IDS))
    def own_word(self, instance: InstanceId) -> None:
        self.now += 1
        self.table.report_not_consuming(instance, now=self.now)
        if instance in self.entries:
            self.misses[instance] = 0
            self.answered[instance] = self.now
            self.judge(instance, NOT_CONSUMING)
            self.stale |= {target.serial for target in self.targets if target.entry.id == instance}

    @rule(instance=st.sampled_from(IDS))
    def logout(self, instance: InstanceId) -> None:
        self.table.logout(instance)
        if instance in self.entries:
            self.forget(instance)

    @rule(instance=st.sampled_from(IDS))
    def begin_a_ping(self, instance: InstanceId) -> None:
        target = self.table.target(instance)
        if target is not None:
            self.targets.append(target)

    @precondition(lambda self: self.targets)
    @rule(data=st.data(), result=RESULTS, scheduled=st.booleans())
    def end_a_ping(self, data: st.DataObject, result: PingResult, *, scheduled: bool) -> None:
        target = data.draw(st.sampled_from(self.targets))
        self.now += 1
        self.table.pinged(target, result, now=self.now, scheduled=scheduled)
        instance = target.entry.id
        if target.serial in self.stale:
            return
        match result:
            case PingOk(consuming=consuming, loading=loading):
                self.misses[instance], self.answered[instance] = 0, self.now
                if loading:
                    self.judge(instance, LOADING)
                elif not consuming or instance not in self.unheard:
                    self.judge(instance, LIVE if consuming else NOT_CONSUMING)
            case PingMissed():
                if not scheduled:
                    if self.states[instance] is LOADING and instance not in self.answered:
                        self.judge(instance, SUSPECT)
                    return
                self.misses[instance] += 1
                self.judge(instance, SUSPECT)
                if self.misses[instance] == 3:
                    self.forget(instance)
            case PingRejected():
                self.forget(instance)

    @invariant()
    def instances_and_states_are_those_of_the_rules(self) -> None:
        assert {each.entry.id: each.entry for each in self.table.instances()} == self.entries
        assert {each.entry.id: each.state for each in self.table.instances()} == self.states
        assert {each.entry.id: each.misses for each in self.table.instances()} == self.misses
        assert {
            each.entry.id for each in self.table.instances() if each.not_consuming_source is ReadinessSource.BROKER
        } == self.unheard
        assert all(
            (each.not_consuming_source is None) is (each.state is not NOT_CONSUMING) for each in self.table.instances()
        )

    @invariant()
    def a_model_is_active_exactly_while_an_instance_of_it_is_live(self) -> None:
        live = {self.entries[key].model for key, state in self.states.items() if state is LIVE}
        assert {model.name for model in self.table.models() if model.active} == live

    @invariant()
    def a_name_has_one_contract_at_a_time(self) -> None:
        for model in self.table.models():
            assert {each.entry.fingerprint for each in model.instances} <= {model.fingerprint}

    @invariant()
    def the_version_rises_exactly_when_something_that_is_shown_changes(self) -> None:
        shown = self.show()
        if shown == self.shown:
            assert self.table.version == self.version
        else:
            assert self.table.version > self.version
        self.shown, self.version = shown, self.table.version

    @invariant()
    def every_instance_and_no_other_is_a_target(self) -> None:
        assert {target.entry.id for target in self.table.targets()} == set(self.entries)


TableMachine.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=30, deadline=None)
test_any_history_keeps_the_rules = TableMachine.TestCase
