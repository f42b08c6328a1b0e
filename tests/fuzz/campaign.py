"""Runs a target on inputs. A finding is an unexpected exception, a hang over a second, or growth of memory."""

from __future__ import annotations

import hashlib
import os
import signal
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType
from typing import Final, final

from tests.fuzz.mutation import mutated

HANG: Final = 1.0
"""Seconds that one input may take, without those that the processes at work waited for a processor."""

STUCK: Final = 10.0
"""Seconds after which an input is interrupted."""

GROWTH: Final = 48 * 1024 * 1024
"""Bytes by which the resident memory of the process may grow after the warm-up of a target."""

WARM_UP: Final = 0.5
"""Share of a target's time after which its memory counts: until then caches and pools fill. (Descriptors, seen: 176 MB after
11,000 inputs, 247 MB after 53,000, 253 MB after 175,000.)"""

FINDINGS: Final = 5
"""Findings of one kind (a place in the code, a hang) that are saved; all are counted."""

CORPUS: Final = Path(__file__).parent / "corpus"


@dataclass(frozen=True, slots=True)
class Target:
    """A function to fuzz.

    Attributes:
        name: Of the target and of its findings.
        corpus: Name of the file with the inputs that are kept for it.
        seeds: Valid inputs, made by hub itself.
        run: Returns, or raises anything that is no refusal: a finding.
        memory: Resident bytes of the process that does the work.
        delay: Seconds that this thread, and the one that does the work, have waited for a processor so far.
    """

    name: str
    corpus: str
    seeds: Sequence[bytes]
    run: Callable[[bytes], None]
    memory: Callable[[], int]
    delay: Callable[[], float] = field(default_factory=lambda: run_delay)


@dataclass(frozen=True, slots=True)
class Finding:
    """An input that was not handled as it should be."""

    target: str
    seed: int
    number: int
    what: str
    kind: str
    data: bytes

    @property
    def name(self) -> str:
        return f"{self.target}-{hashlib.sha256(self.data).hexdigest()[:12]}"

    @property
    def reproduce(self) -> str:
        return f'make fuzz ARGS="--only {self.target} --seed {self.seed} --input {self.name}.hex"'


@dataclass(slots=True)
class Result:
    """Figures and findings of one target. `growth` is in bytes."""

    target: str
    inputs: int = 0
    slowest: float = 0.0
    growth: int = 0
    findings: list[Finding] = field(default_factory=list[Finding])
    kinds: dict[str, int] = field(default_factory=dict[str, int])


@final
class Stuck(BaseException):
    """An input was interrupted. Not an `Exception`, so that no target treats it as a refusal."""


def corpus_of(name: str) -> list[bytes]:
    """The saved inputs: one per line, in hexadecimal, with a comment after `#`."""
    path = CORPUS / f"{name}.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [bytes.fromhex(line.partition("#")[0]) for line in lines if line.partition("#")[0].strip()]


def resident(pid: int | None = None) -> int:
    """Bytes of resident memory of a process; 0 if it has ended."""
    try:
        statm = Path(f"/proc/{pid or os.getpid()}/statm").read_text().split()
    except OSError:
        return 0
    return int(statm[1]) * os.sysconf("SC_PAGE_SIZE")


def run_delay(pid: int | None = None) -> float:
    """Seconds that this thread, or the main thread of a process, was ready to run and had no processor.

    The second number of `schedstat` of Linux, in ns; 0 where there is none. What a busy machine adds to the wall clock is in
    it, and neither the time that is computed nor the time that is waited: those are what an input costs.
    """
    path = "/proc/thread-self/schedstat" if pid is None else f"/proc/{pid}/schedstat"
    try:
        return int(Path(path).read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def fuzz(target: Target, *, seed: int, seconds: float, count: int | None = None) -> Result:
    """Runs the kept corpus, the seeds, and changes of both, until the time or the count is up.

    Args:
        target: The function to fuzz.
        seed: Of the mutations; the same seed gives the same inputs in the same order.
        seconds: Time for all inputs.
        count: Inputs at most.
    """
    result = Result(target.name)
    corpus = [*corpus_of(target.corpus), *target.seeds]
    random = Random(f"{target.name} {seed}")
    began = time.monotonic()
    settled: int | None = None
    while (spent := time.monotonic() - began) < seconds and (count is None or result.inputs < count):
        number = result.inputs
        data = corpus[number] if number < len(corpus) else mutated(random, corpus)
        result.inputs += 1
        for kind, what in checked(target, data, result):
            result.kinds[kind] = result.kinds.get(kind, 0) + 1
            if result.kinds[kind] <= FINDINGS:
                result.findings.append(Finding(target.name, seed, number, what, kind, data))
        if settled is None and spent > WARM_UP * seconds and number >= len(corpus):
            settled = target.memory()
    if settled is not None:
        result.growth = target.memory() - settled
        if result.growth > GROWTH:
            what = f"grew by {result.growth / 1e6:.0f} MB over {result.inputs:,} inputs"
            result.kinds["growth"] = 1
            result.findings.append(Finding(target.name, seed, result.inputs, what, "growth", b""))
    return result


def checked(target: Target, data: bytes, result: Result) -> list[tuple[str, str]]:
    """Runs the target on `data`; kind and text of each finding."""
    found: list[tuple[str, str]] = []
    began, delay = time.perf_counter(), target.delay()
    try:
        with interrupt_when_stuck():
            target.run(data)
    except Stuck:
        found.append(("hang", f"was interrupted after {STUCK:g} s"))
    except Exception as error:  # noqa: BLE001 - every other exception is a finding
        found.append((_kind(error), f"{_kind(error)}: {str(error)[:300]}"))
    taken = time.perf_counter() - began
    if taken > HANG:
        taken -= target.delay() - delay
    result.slowest = max(result.slowest, taken)
    if taken > HANG and not found:
        found.append(("hang", f"took {taken:.2f} s"))
    return found


def _kind(error: Exception) -> str:
    """The kind of a finding: the class and the last line in hub's code, or the start of the text of a check."""
    if isinstance(error, AssertionError):
        return str(error).partition(":")[0]
    trace = traceback.extract_tb(error.__traceback__)
    last = next((frame for frame in reversed(trace) if "/hub/" in frame.filename), trace[-1])
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"


@contextmanager
def interrupt_when_stuck() -> Generator[None]:
    """Raises `Stuck` in the main thread after `STUCK` seconds. C code is interrupted when it returns."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise Stuck

    before = signal.signal(signal.SIGALRM, interrupt)
    timer = signal.setitimer(signal.ITIMER_REAL, STUCK)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(
            signal.ITIMER_REAL, *timer
        )  # the timer of pytest-timeout, which does not count the time of this input
