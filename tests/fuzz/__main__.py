"""Fuzzes every decoder of hub and a running gateway on both backends: `make fuzz`, or a part of it with

    python -m tests.fuzz --minutes 10 --seed 7 --only json --only heads-trio
    python -m tests.fuzz --only json --input json-0123456789ab.hex

All targets get the same time. Exits with 1 when an input ended in an exception that is no refusal, took over a second,
or memory grew; those inputs are saved with their seed, and printed with the command that runs them again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from tests.fuzz.campaign import Result, Target, checked, fuzz
from tests.fuzz.decoders import decoders
from tests.fuzz.gateway import BACKENDS, running_gateway


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", metavar="TARGET", help="may be repeated")
    parser.add_argument("--input", type=Path, metavar="FILE", help="run one saved input instead")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", default=Path("fuzz-findings"), help="save findings there"
    )
    arguments = parser.parse_args()
    wanted = set(arguments.only or ())
    with ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hub-fuzz-")))
        targets = [*decoders()]
        for backend in BACKENDS:
            if not wanted or any(name.endswith(backend) for name in wanted):
                targets += stack.enter_context(running_gateway(backend, logs))
        if unknown := wanted - {target.name for target in targets}:
            parser.error(
                f"no target {', '.join(sorted(unknown))}: choose from {', '.join(each.name for each in targets)}"
            )
        chosen = [target for target in targets if not wanted or target.name in wanted]
        if arguments.input is not None:
            return _run_input(chosen, arguments.input)
        seconds = arguments.minutes * 60 / len(chosen)
        results = [_fuzzed(target, arguments.seed, seconds, arguments.keep) for target in chosen]
    return 1 if any(result.kinds for result in results) else 0


def _fuzzed(target: Target, seed: int, seconds: float, keep: Path) -> Result:
    result = fuzz(target, seed=seed, seconds=seconds)
    _print(
        f"{target.name:18} {result.inputs:>9,} inputs, slowest {result.slowest * 1000:8.1f} ms, "
        f"grown by {result.growth / 1e6:6.1f} MB"
    )
    for finding in result.findings:
        path = _path(keep, finding.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{finding.data.hex()}  # seed {finding.seed}, input {finding.number}: {finding.kind}\n")
        _print(f"  FOUND {finding.what}\n    {finding.reproduce.replace('--input ', f'--input {keep}/')}")
    for kind, times in result.kinds.items():
        _print(f"  {times:,} times: {kind}")
    return result


def _run_input(targets: Iterable[Target], path: Path) -> int:
    data = bytes.fromhex(path.read_text().partition("#")[0])
    found = 0
    for target in targets:
        result = Result(target.name)
        began = time.perf_counter()
        for _, what in checked(target, data, result):
            _print(f"{target.name}: {what}")
            found = 1
        _print(f"{target.name}: {len(data):,} bytes, {(time.perf_counter() - began) * 1000:.1f} ms")
    return found


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.hex"


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command


if __name__ == "__main__":
    sys.exit(main())
