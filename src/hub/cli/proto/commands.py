"""The commands `hub proto build` and `hub proto check`. Each returns the exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from hub.cli.command import EXIT_OK, fail
from hub.cli.proto.compiler import (
    RULES,
    ProtoErrors,
    compile_files,
    positioned,
    program,
    proto_files,
    rule_errors,
    run,
    run_protoc,
)
from hub.contract.comments import SUFFIX, encoded_comments
from hub.errors import ConfigurationError

EXIT_ERRORS: Final = 1


def build_modules(root: Path, out: Path) -> int:
    """Writes modules, stubs and comments of the `.proto` files below `root` to `out`, and prints their paths."""
    return _reported(lambda: _build(root, out))


def check_files(root: Path, against: str) -> int:
    """Runs `buf lint`, and `buf breaking` if `against` is not empty."""
    return _reported(lambda: _check(root, against))


def _reported(command: Callable[[], Sequence[str]]) -> int:
    """Prints the lines that a command returns, or its error."""
    try:
        lines = command()
    except ProtoErrors as errors:
        print(errors, file=sys.stderr)  # noqa: T201 - for editors and build logs, which read the lines as they are
        return EXIT_ERRORS
    except ConfigurationError as error:
        return fail(str(error), error.exit_code)
    for line in lines:
        print(line)  # noqa: T201 - paths, which a terminal must not wrap
    return EXIT_OK


def _build(root: Path, out: Path) -> Sequence[str]:
    names = [*proto_files(root)]
    files = _compiled(root, names)
    declared = {file.name: file for file in files.file}
    if RULES in declared and RULES not in names:
        names.append(RULES)  # the modules import its module
    out.mkdir(parents=True, exist_ok=True)
    outputs = [f"--python_out={out}"]
    stubs = program("protoc-gen-mypy") is not None
    if stubs:
        outputs.append(f"--mypy_out={out}")
    run_protoc(root, [*outputs, *names])
    lines: list[str] = []
    for name in names:
        module = out / (name.removesuffix(".proto").replace("-", "_") + "_pb2.py")
        comments = module.with_suffix(SUFFIX)
        made = [module, *([module.with_suffix(".pyi")] if stubs else [])]
        if name != RULES:
            comments.write_bytes(encoded_comments(declared[name]))
            made.append(comments)
        lines.append(f"{name} -> {', '.join(map(str, made))}")
    return lines


def _compiled(root: Path, names: Sequence[str]) -> FileDescriptorSet:
    """The files; raises `ProtoErrors` also for rules that hub does not support."""
    files = compile_files(root, names)
    errors = rule_errors(root, names, files)
    if errors:
        raise ProtoErrors("\n".join(errors))
    return files


def _check(root: Path, against: str) -> Sequence[str]:
    names = proto_files(root)
    files = _compiled(root, names)
    buf = program("buf")
    if buf is None:
        raise ConfigurationError(
            "buf is not installed, which lints and compares .proto files: install the package buf-bin"
        )
    only = [f"--path={name}" for name in names]
    settings = root / "buf.yaml"
    configured = [f"--config={settings}"] if settings.is_file() else []
    with TemporaryDirectory(prefix="hub-proto-") as folder:
        image = _image(Path(folder) / "new.binpb", files)
        _run_buf(root, [buf, "lint", image, *only, *configured])
        lines = [f"lint: {len(names)} files"]
        if against:
            earlier = Path(against)
            if earlier.is_dir():
                against = _image(Path(folder) / "old.binpb", compile_files(earlier, proto_files(earlier)))
            _run_buf(root, [buf, "breaking", image, f"--against={against}", *only, *configured])
            lines.append("breaking: none")
    return lines


def _image(path: Path, files: FileDescriptorSet) -> str:
    path.write_bytes(files.SerializeToString())
    return str(path)


def _run_buf(root: Path, command: Sequence[str]) -> None:
    done = run(command)
    if done.returncode:
        raise ProtoErrors(positioned(done.stdout + done.stderr, root))
