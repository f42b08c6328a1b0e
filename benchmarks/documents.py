"""Time and memory of crafted JSON documents, each in a separate process: `python -m benchmarks.documents [MEGABYTES]`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from hub.contract import compile_contract
from hub.errors import HubError
from tests.gateway.test_hostile_documents import rich


def documents(M: int) -> Mapping[str, bytes]:  # noqa: N803 - megabytes
    key = b"k" * 40_000
    return {
        "dup bomb": b'{"a":1,"a":' + b"[" * 900 + b",".join([b"0"] * 100000) + b"]" * 900 + b"}",
        "zeros": b'{"a":1,"a":[' + b"0," * (M // 2) + b"0]}",
        "dup objs": b'{"a":1,"a":[' + b"{}," * (M // 3) + b"0]}",
        "lists": b'{"a":1,"a":[' + b"[]," * (M // 3) + b"0]}",
        "dups": b'{"v":[' + b'{"a":1,"a":1},' * (M // 14) + b"0]}",
        "ptr": b'{"v":' + (b'{"' + key + b'":') * 45 + b"[" + b"1e400," * 200 + b"1]" + b"}" * 45 + b"}",
        "escapes bad": b'{"text":"' + b"\\\\" * (M // 2) + b'\x01"}',
        "strings dup": b'{"a":1,"a":[' + b'"",' * (M // 3) + b"0]}",
        "colons": b'{"text":1,"v":[' + b'":",' * (M // 4) + b"0]}",
        "uescapes": b'{"v":[' + b'"\\u003a",' * (M // 9) + b"0]}",
        "floats 1e400": b'{"v":[' + b"1e400," * (M // 6) + b"0]}",
        "long ints": b'{"v":[' + (b"9" * 5000 + b",") * (M // 5001) + b"0]}",
        "ints 4000": b'{"v":[' + (b"9" * 4000 + b",") * (M // 4001) + b"0]}",
        "frac": b'{"v":[' + (b"1." + b"9" * 4000 + b",") * (M // 4001) + b"1e400]}",
        "wide unknown": b"{" + b",".join(b'"k%d":1' % i for i in range(M // 12)) + b"}",
        "deep dups": b'{"zz":1,"zz":' + b"[" * 400 + b'{"a":1,"a":1},' * (M // 14) + b"1" + b"]" * 400 + b"}",
        "surr": b'{"text":"' + b"\\ud83d\\ude00" * (M // 12) + b'\\ud800"}',
        "trunc": b'{"v":[' + b"{}," * (M // 3),
        "objs nested dup": b'{"v":[' + b'{"b":[{"a":1,"a":1}]},' * (M // 22) + b"0]}",
        "lists taken": b'{"v":[' + b"[]," * (M // 3) + b"0]}",
        "dup at the end": b'{"v":[' + b'{"":{"":0}},' * (M // 12) + b'{"a":1,"a":1}]}',
    }


def peak() -> int:
    """Kibibytes of memory at most since the last reset."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def measure(name: str, size: int) -> None:
    transcoder = compile_contract(rich()).request_transcoder
    document = documents(size)[name]
    Path("/proc/self/clear_refs").write_text("5")  # what building all documents took is not counted
    before = peak()
    began = time.process_time()
    try:
        transcoder.decode_json(document)
        result = "taken"
    except HubError as error:
        result = type(error).__name__
    spent = time.process_time() - began
    factor = (peak() - before) * 1024 / len(document)
    print(f"{name:20} {len(document) / 1e6:5.1f} MB {spent:6.2f} s {factor:6.1f} x {result}", flush=True)


def main() -> None:
    size = int(float(sys.argv[1]) * 1e6) if len(sys.argv) > 1 else 4_000_000
    if len(sys.argv) > 2:
        measure(sys.argv[2], size)
        return
    for name in documents(100):
        subprocess.run([sys.executable, "-m", "benchmarks.documents", str(size / 1e6), name], check=True)


if __name__ == "__main__":
    main()
