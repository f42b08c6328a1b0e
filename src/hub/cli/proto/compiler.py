"""protoc from grpcio-tools, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from hub.contract.comments import declared_paths
from hub.contract.descriptors.pool import build_pool
from hub.contract.errors import InvalidContract
from hub.contract.rules.compiled import compile_rules
from hub.errors import ConfigurationError

INCLUDE: Final = Path(__file__).parent / "include"
"""The folder with `buf/validate/validate.proto`, which declares the rules."""

RULES: Final = "buf/validate/validate.proto"

_TIMEOUT: Final = 120.0
"""Seconds for one run of protoc or buf."""


class ProtoErrors(Exception):
    """Errors in `.proto` files, each a line that begins with the file, the line and the column."""


def proto_files(root: Path) -> Sequence[str]:
    """The names of the `.proto` files below `root`, as imports name them.

    Raises:
        ConfigurationError: There is no such folder, or no file in it.
    """
    if not root.is_dir():
        raise ConfigurationError(f"there is no folder {str(root)!r}: name the one with the .proto files by --root")
    names = sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*.proto")
        if not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    if not names:
        raise ConfigurationError(f"there is no .proto file below {str(root)!r}: name their folder by --root")
    return names


def compile_files(root: Path, names: Sequence[str]) -> FileDescriptorSet:
    """The files with all imports and source info.

    Raises:
        ProtoErrors: protoc refuses a file.
        ConfigurationError: grpcio-tools is not installed, or protoc did not end in time.
    """
    with TemporaryDirectory(prefix="hub-proto-") as folder:
        target = Path(folder) / "files.binpb"
        run_protoc(root, [f"--descriptor_set_out={target}", "--include_imports", "--include_source_info", *names])
        return FileDescriptorSet.FromString(target.read_bytes())


def generate_modules(files: FileDescriptorSet, out: Path) -> None:
    """Writes a module and a typed stub of each file below `out`, where the name of the file says.

    Args:
        files: With all imports; comments in their source info are in the stubs.
        out: An existing folder.

    Raises:
        ProtoErrors: protoc refuses a file.
        ConfigurationError: grpcio-tools or mypy-protobuf is not installed, or protoc did not end in time.
    """
    if program("protoc-gen-mypy") is None:
        raise ConfigurationError("mypy-protobuf is not installed: install hub with its extra, hub-serving[proto]")
    with TemporaryDirectory(prefix="hub-proto-") as folder:
        source = Path(folder) / "files.binpb"
        source.write_bytes(files.SerializeToString(deterministic=True))
        outputs = [f"--descriptor_set_in={source}", f"--python_out={out}", f"--mypy_out={out}"]
        run_protoc(Path(folder), [*outputs, *(file.name for file in files.file)])


def run_protoc(root: Path, arguments: Sequence[str]) -> None:
    """Runs protoc; raises as `compile_files` does."""
    spec = find_spec("grpc_tools")
    if spec is None or spec.origin is None:
        raise ConfigurationError("protoc is not installed: install hub with its extra, hub-serving[proto]")
    own = Path(spec.origin).parent / "_proto"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{root}", f"-I{INCLUDE}", f"-I{own}", *arguments]
    done = run(command)
    if done.returncode:
        raise ProtoErrors(positioned(done.stderr, root) or f"protoc ended with exit code {done.returncode}")


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Runs a program that is installed with hub; its plugins are found beside it."""
    scripts = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": os.pathsep.join([scripts, os.environ.get("PATH", "")])}
    try:
        return subprocess.run(  # noqa: S603 - the program is named by hub, the arguments are files of the caller
            command, capture_output=True, check=False, text=True, timeout=_TIMEOUT, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(f"{Path(command[0]).name} did not end within {_TIMEOUT:.0f} s") from error


def program(name: str) -> str | None:
    """The path of a program beside the interpreter or on the PATH."""
    return which(name, path=str(Path(sys.executable).parent)) or which(name)


def positioned(output: str, root: Path) -> str:
    """Lines of protoc or buf about files, which begin with names relative to `root`, with the path of the file."""
    return "\n".join(
        str(root / line) if (root / line.partition(":")[0]).is_file() and not line.startswith(str(root)) else line
        for line in output.splitlines()
        if line.strip()
    )


def rule_errors(root: Path, names: Sequence[str], files: FileDescriptorSet) -> Sequence[str]:
    """Rules in the files that hub does not support, each with its place."""
    pool = build_pool(files)
    found: list[str] = []
    for file in files.file:
        if file.name in names:
            for message in pool.FindFileByName(file.name).message_types_by_name.values():
                try:
                    compile_rules(message)
                except InvalidContract as error:
                    found.append(_place(root, files, error.reason))
    return sorted(set(found))


def _place(root: Path, files: FileDescriptorSet, reason: str) -> str:
    """`reason`, which begins with the kind and the name of what it is about, after the place of that in its file."""
    subject = reason.partition(":")[0].rpartition(" ")[2]
    for file in files.file:
        for name, path in declared_paths(file):
            if name == subject:
                line, column = _position(file, path)
                return f"{root / file.name}:{line}:{column}: {reason}"
    return reason


def _position(file: FileDescriptorProto, path: tuple[int, ...]) -> tuple[int, int]:
    """Line and column, both from 1."""
    for location in file.source_code_info.location:
        if tuple(location.path) == path:
            return location.span[0] + 1, location.span[1] + 1
    return 1, 1
