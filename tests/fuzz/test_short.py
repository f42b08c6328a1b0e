"""The short fuzz run, with a fixed seed. `make fuzz` is the long one."""

from __future__ import annotations

import itertools
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen
from typing import Final

import pytest

from tests.fuzz import campaign
from tests.fuzz.campaign import Target, fuzz, run_delay
from tests.fuzz.decoders import decoders
from tests.fuzz.gateway import BACKENDS, Backend, running_gateway
from tests.fuzz.mutation import LARGEST

pytestmark = pytest.mark.slow

SEED: Final = 9
COUNT: Final = 1_500
SERVED_COUNT: Final = {"heads": 60, "documents": 300}
LONGEST: Final = 30.0
"""Seconds for a target on a busy machine; `COUNT` is reached earlier on an idle one."""


@pytest.mark.parametrize("target", decoders(), ids=lambda target: target.name)
def test_every_input_is_decoded_or_refused(target: Target) -> None:
    result = fuzz(target, seed=SEED, seconds=LONGEST, count=COUNT)

    assert result.inputs > len(target.seeds)
    assert result.kinds == {}, [finding.what for finding in result.findings]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_gateway_answers_every_input_and_goes_on(backend: Backend, tmp_path: Path) -> None:
    with running_gateway(backend, tmp_path) as targets:
        for target in targets:
            count = SERVED_COUNT[target.name.partition("-")[0]]
            result = fuzz(target, seed=SEED, seconds=LONGEST, count=count)
            assert result.inputs > len(target.seeds)
            assert result.kinds == {}, [finding.what for finding in result.findings]


def test_a_target_that_raises_is_found() -> None:
    held: list[bytes] = []

    def run(data: bytes) -> None:
        held.append(data)
        if b"7" in data:
            raise ValueError("seven")

    result = fuzz(
        Target("crafted", "crafted", [b"0123"], run, lambda: len(held) * 1_000_000), seed=SEED, seconds=5, count=200
    )

    assert any(kind.startswith("ValueError at test_short.py") for kind in result.kinds)
    assert all(b"7" in finding.data for finding in result.findings if finding.kind.startswith("ValueError"))


@pytest.mark.parametrize(("delayed", "kinds"), [(0.0, {"hang"}), (60.0, set[str]())])
def test_an_input_that_waits_is_a_hang_and_one_that_has_no_processor_is_none(
    monkeypatch: pytest.MonkeyPatch, delayed: float, kinds: set[str]
) -> None:
    monkeypatch.setattr(campaign, "HANG", 0.01)
    delays = itertools.count(0.0, delayed)

    account = fuzz(
        Target("slow", "slow", [b"0"], lambda _: time.sleep(0.02), lambda: 0, lambda: next(delays)),
        seed=SEED,
        seconds=5,
        count=1,
    )

    assert set(account.kinds) == kinds


def test_the_delay_of_a_thread_is_that_of_its_kernel() -> None:
    """Two threads of one processor: each is ready to run while the other one does."""
    processors = os.sched_getaffinity(0)
    before = run_delay()
    with ExitStack() as stack:
        os.sched_setaffinity(0, {min(processors)})
        stack.callback(os.sched_setaffinity, 0, processors)
        other = stack.enter_context(Popen([sys.executable, "-c", "while True: pass"]))
        stack.callback(other.kill)
        until = time.thread_time() + 0.1
        while time.thread_time() < until:
            pass
    assert run_delay() - before > 0.0
    assert run_delay(os.getpid()) > 0.0


def test_the_same_seed_gives_the_same_inputs() -> None:
    def inputs(seed: int) -> list[bytes]:
        given: list[bytes] = []
        fuzz(Target("same", "same", [b"a" * 50, b'{"a": 1}'], given.append, lambda: 0), seed=seed, seconds=5, count=100)
        return given

    assert inputs(1) == inputs(1)
    assert inputs(1) != inputs(2)
    assert max(map(len, inputs(1))) <= LARGEST
