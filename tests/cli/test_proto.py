"""`hub proto`: modules with comments beside them, errors with their place, buf."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import new_class
from typing import Any

import pytest

from hub.cli.app import main
from hub.cli.proto import compiler
from hub.contract import BrokenRules, Contract, compile_contract
from hub.contract.comments import comments_beside
from hub.model.model import Model

ACME = """\
// License.
syntax = "proto3";

// The files of Acme.
package {package}.v1;

import "buf/validate/validate.proto";

// An order of
// the shop.
message OrderRequest {{
  // How many, from 1.
  uint32 count = 1 [(buf.validate.field).uint32.gte = 1];
  Colour colour = 2; // Its colour.
}}

message OrderResponse {{
  string text = 1;
}}

enum Colour {{
  COLOUR_UNSPECIFIED = 0;
  // As a rose.
  COLOUR_RED = 1;
}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with one .proto file, as the working directory and on the path of imports."""
    package = f"acme{abs(hash(tmp_path)) % 10**8}"  # protobuf's pool keeps the names of all tests
    file = tmp_path / "protos" / package / "v1" / "acme.proto"
    file.parent.mkdir(parents=True)
    file.write_text(ACME.format(package=package))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)
    yield file
    for name in set(sys.modules) - known:
        if name.startswith((package, "buf.")):
            del sys.modules[name]


def hub(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as ended:
        main(["proto", *arguments])
    output = capsys.readouterr()
    return int(ended.value.code or 0), output.out, output.err


def test_build_writes_modules_whose_comments_and_rules_reach_the_contract(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = hub(capsys, "build")
    assert (code, err) == (0, "")
    package = project.parts[-3]
    assert f"{package}/v1/acme.proto -> {package}/v1/acme_pb2.py, {package}/v1/acme_pb2.pyi" in out

    module: Any = importlib.import_module(f"{package}.v1.acme_pb2")
    request, response = module.OrderRequest.DESCRIPTOR, module.OrderResponse.DESCRIPTOR
    comments, unreadable = comments_beside([request, response])
    assert (dict(comments), unreadable) == (
        {
            f"{package}/v1/acme.proto": "The files of Acme.",
            f"{package}.v1.OrderRequest": "An order of\nthe shop.",
            f"{package}.v1.OrderRequest.count": "How many, from 1.",
            f"{package}.v1.OrderRequest.colour": "Its colour.",
            f"{package}.v1.Colour.COLOUR_RED": "As a rose.",
        },
        [],
    )
    contract = Contract.from_descriptors(request, response)
    # The module of validate.proto is loaded here, and not where a registry decodes the contract.
    program = (
        "import sys; from hub.contract import Contract; c = Contract.decode(sys.stdin.buffer.read());"
        "assert 'buf.validate.validate_pb2' not in sys.modules; sys.stdout.buffer.write(c.fingerprint.encode() + c.files)"
    )
    assert "buf.validate.validate_pb2" in sys.modules
    other = subprocess.run(
        [sys.executable, "-c", program], input=contract.encode(), capture_output=True, check=True, timeout=60
    )
    assert other.stdout == contract.fingerprint.encode() + contract.files
    bases = (Model[module.OrderRequest, module.OrderResponse],)
    members = {"process_request": lambda _, request: request}
    shop: Any = new_class("Shop", bases, exec_body=lambda namespace: namespace.update(members))
    assert shop.example_json() == '{"count": 1, "colour": "COLOUR_RED"}'
    with pytest.raises(BrokenRules, match=r"/count: must be greater than or equal to 1 \(rule uint32\.gte\)"):
        compile_contract(contract).request_transcoder.decode_json(b"{}")


def test_a_damaged_file_of_comments_is_reported_and_the_rest_is_used(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub(capsys, "build")
    module: Any = importlib.import_module(f"{project.parts[-3]}.v1.acme_pb2")
    Path(module.__file__).with_suffix(".comments.json").write_bytes(b"\xff")
    comments, unreadable = comments_beside([module.OrderRequest.DESCRIPTOR])
    assert comments == ()
    assert len(unreadable) == 1


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("uint32 count", "uint33 count", '"uint33" is not defined'),
        (
            "(buf.validate.field).uint32.gte = 1",
            '(buf.validate.field).cel = {id: "a"}',
            "the rule `cel` is not",
        ),
        (
            "(buf.validate.field).uint32.gte = 1",
            "(buf.validate.field).string.len = 1",
            "the kind string do not fit",
        ),
    ],
)
def test_an_error_has_the_place_in_the_file(
    project: Path, capsys: pytest.CaptureFixture[str], before: str, after: str, message: str
) -> None:
    project.write_text(project.read_text().replace(before, after))
    code, out, err = hub(capsys, "build")
    assert (code, out) == (1, "")
    (line,) = [line for line in err.splitlines() if message in line]
    assert line.startswith(f"{project.relative_to(Path.cwd())}:13:3: ")


def test_check_runs_buf_lint_and_breaking(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hub(capsys, "check") == (0, "lint: 1 files\n", "")
    earlier = project.read_text()
    project.write_text(earlier.replace("uint32 count", "uint32 Count"))
    code, _, err = hub(capsys, "check")
    assert code == 1
    assert f"{project.relative_to(Path.cwd())}:13:10:" in err

    former = Path("former") / project.relative_to(Path.cwd() / "protos")
    former.parent.mkdir(parents=True)
    former.write_text(earlier)
    project.write_text(earlier.replace("colour = 2", "colour = 3"))
    code, _, err = hub(capsys, "check", "--against", "former")
    assert code == 1
    assert "was deleted" in err
    project.write_text(earlier)
    assert hub(capsys, "check", "--against", "former") == (0, "lint: 1 files\nbreaking: none\n", "")


def test_a_missing_program_is_named_with_its_package(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project.exists()
    monkeypatch.setattr("hub.cli.proto.commands.program", lambda _: None)
    code, _, err = hub(capsys, "check")
    assert (code, "install the package buf-bin" in err) == (2, True)
    monkeypatch.setattr(compiler, "find_spec", lambda _: None)
    code, _, err = hub(capsys, "build")
    assert (code, "hub-serving[proto]" in err) == (2, True)


def test_a_folder_without_files_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert hub(capsys, "build")[0] == 2
    (tmp_path / "protos").mkdir()
    code, _, err = hub(capsys, "build")
    assert (code, "no .proto file" in err) == (2, True)
