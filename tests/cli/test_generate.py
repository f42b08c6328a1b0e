"""Generated packages: they pass type checkers and formatters as they are, and stay within their folder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from hub.cli.generate.commands import update_package
from hub.cli.generate.naming import checked_package, file_names, model_names
from hub.cli.generate.package import package_files, write_package
from hub.cli.proto import compiler
from hub.cli.proto.compiler import compile_files
from hub.client import ModelContract
from hub.client.messages import Target, json_line
from hub.contract import Contract
from hub.contract.comments import comments_of
from hub.contract.descriptors.pool import build_pool
from hub.errors import ConfigurationError
from hub.ports.directory import ModelLimits
from hub.types import ModelName

PROTOS = Path(__file__).parents[1] / "clients" / "protos"

ODD = '''\
syntax = "proto3";
// Of """quotes""", \\back\\slashes, {{braces}}, %%{{name}}, tabs\t. and a line that is longer than any other one in this file.
package odd.v1;

import "google/protobuf/timestamp.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/any.proto";

// Ends with a "quote"
//
//   indented, \\N{{BULLET}} and \\u0041
message Outer {{
  // Ends with a backslash \\
  message Inner {{
    // A moment.
    google.protobuf.Timestamp at = 1;
    google.protobuf.Struct more = 2;
    google.protobuf.Any any = 3;
    {more}
    Kind kind = 9;
  }}
  // Kinds.
  enum Kind {{
    KIND_UNSPECIFIED = 0;
    // """
    KIND_OTHER = 1;
  }}
}}
// Named as a keyword.
message None {{
  Request class = 1;
  message True {{}}
}}
// Named as a variable of the template.
message Request {{
  string from = 1;
}}
'''
USE = """\
from typing import assert_type

import hub
from awkward import Models, SyncModels
from awkward.echo import Request
from awkward.messages.google.protobuf.timestamp_pb2 import Timestamp
from awkward.messages.shared.v1.shared_pb2 import Everything
from hub.client import MessageStream, SyncTaskHandle


async def use(client: hub.Client) -> None:
    models = Models(client)
    assert_type(Request(), Everything)
    assert_type(await models.echo.call(Everything(timestamp=Timestamp())), Everything)
    assert_type(models.everything_stream.stream(Everything()), MessageStream[Everything])
    await models.echo.call({"text": "a"}, timeout=3)
    await models.echo.call("a")  # type: ignore[arg-type]


def use_without_await(client: hub.SyncClient) -> None:
    assert_type(SyncModels(client).echo.submit(Everything()), SyncTaskHandle[Everything])
"""


def contracts_of(root: Path, *models: tuple[str, str, str], limits: ModelLimits = ModelLimits()) -> list[ModelContract]:
    """The contracts of models, given by name, request and response, over all `.proto` files below `root`."""
    files = compile_files(root, compiler.proto_files(root))
    comments: dict[str, str] = {}
    for file in files.file:
        if not file.name.startswith("google/"):
            comments |= comments_of(file)
    pool = build_pool(files)
    found: list[ModelContract] = []
    for name, request, response in models:
        contract = Contract.from_descriptors(*(pool.FindMessageTypeByName(each) for each in (request, response)))
        found.append(
            ModelContract(
                model=name,
                fingerprint=contract.fingerprint,
                request=contract.request,
                response=contract.response,
                streaming=name.endswith("Stream"),
                limits=limits,
                comments=comments,
                descriptors=contract.descriptors.SerializeToString(),
            )
        )
    return found


@pytest.fixture(scope="module")
def contracts(tmp_path_factory: pytest.TempPathFactory) -> list[ModelContract]:
    """Models whose names, messages and comments generated code could stumble over."""
    odd, other = tmp_path_factory.mktemp("odd"), tmp_path_factory.mktemp("other")
    (odd / "odd-file.proto").write_text(ODD.format(more="int32 old = 4;"))
    (other / "odd-file.proto").write_text(ODD.format(more="string new = 4;"))
    everything = "shared.v1.Everything"
    return [
        *contracts_of(
            PROTOS,
            ("Echo", everything, everything),
            ("echo", "shared.v1.Item", "other.v1.Item"),
            ("my-model.v2", "shared.v1.Tree", "shared.v1.Tree"),
            ("for", everything, "other.v1.Task"),
            ("None", "other.v1.Problem", "shared.v1.EverythingReply"),
            ("A" * 64, everything, everything),
            ("EverythingStream", everything, everything),
        ),
        *contracts_of(
            odd,
            ("Request", "odd.v1.Outer.Inner", "odd.v1.Request"),
            ("messages", "odd.v1.Request", "odd.v1.Outer"),
            ("Keyword", "odd.v1.None", "odd.v1.None"),
            limits=ModelLimits(concurrency=2, default_timeout=30, max_timeout=60, max_batch_size=8),
        ),
        *contracts_of(other, ("z.Contradicts", "odd.v1.Outer.Inner", "odd.v1.Request")),
    ]


@pytest.fixture(scope="module")
def package(contracts: list[ModelContract], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of these models, in a folder of its own."""
    folder = tmp_path_factory.mktemp("generated") / "awkward"
    write_package(folder, package_files(contracts, "awkward"))
    return folder


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_package_passes_mypy_and_ruff_format_untouched(package: Path) -> None:
    (package.parent / "use.py").write_text(USE)
    shown = run(package.parent, "ruff", "format", "--isolated", "--check", "awkward")
    assert "already formatted" in shown
    shown = run(
        package.parent, "mypy", "--strict", "--config-file=", "--cache-dir=.cache", "-p", "awkward", "-m", "use"
    )
    assert "no issues found" in shown


def test_messages_have_the_wire_format_of_the_originals(
    package: Path, contracts: list[ModelContract], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(package.parent)
    found: Mapping[str, Any] = {
        name: import_module(f"awkward.{names.module}")
        for name, names in model_names(c.model for c in contracts).items()
    }
    echo, odd = found["Echo"], found["Request"]
    sent = echo.Request(text="a", item={"name": "b"}, labels={"c": "d"}, URL="e")
    sent.timestamp.FromDatetime(datetime(2026, 1, 31, tzinfo=UTC))
    sent.any.Pack(sent.item)
    assert sent.any.type_url == "type.googleapis.com/shared.v1.Item"
    assert echo.Response.FromString(sent.SerializeToString()) == sent
    assert found["my-model.v2"].Request.DESCRIPTOR.full_name == "shared.v1.Tree"
    assert odd.RequestMessage is odd.Response
    assert found["Keyword"].Request.DESCRIPTOR.full_name == "odd.v1.None"
    packed = odd.Request()
    packed.any.Pack(odd.Response(**{"from": "a"}))
    line = json_line(packed)
    assert json.loads(line) == {"any": {"@type": "type.googleapis.com/odd.v1.Request", "from": "a"}}
    assert Target(name=ModelName("Request"), response=odd.Request).decode_json(line) == packed
    assert odd.Request(old=3) == odd.Request.FromString(b"\x20\x03")
    assert found["z.Contradicts"].Request(new="a").SerializeToString() == b"\x22\x01a"
    assert found["z.Contradicts"].Request is not odd.Request


def test_docstrings_have_comments_and_limits(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(package.parent)
    cls = import_module("awkward.request").RequestModel
    shown = " ".join(cls.__doc__.split())
    assert "Ends with a backslash \\ Response" in shown
    assert "A task expires 30 s after its submit, unless it has a `timeout`, which is 60 s at most." in shown
    assert "2 batches of up to 8 tasks" in shown
    assert "at most 60" in cls.call.__doc__
    outer = import_module("awkward.messages_").Messages.__doc__
    assert 'Ends with a "quote"\n\n      indented, \\N{BULLET} and \\u0041' in outer


def test_the_same_contracts_make_the_same_bytes(contracts: list[ModelContract], package: Path) -> None:
    files = package_files(contracts[::-1], "awkward")
    assert {name: (package / name).read_bytes() for name in files} == files


def test_a_message_that_python_cannot_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "odd.proto").write_text(ODD.format(more=""))
    contracts = contracts_of(tmp_path, ("Inner", "odd.v1.None.True", "odd.v1.Request"))
    with pytest.raises(ConfigurationError, match=r"no class for Inner: Python cannot name its odd\.v1\.None\.True"):
        package_files(contracts, "p")


def test_names_of_files_stay_in_the_package() -> None:
    found = file_names(
        ["../../etc/a.proto", "/b.proto", "c d/1.proto", "for/class.proto", "C_D/1.proto", "..", "x/../y.txt"]
    )
    assert found["../../etc/a.proto"] == "etc/a.proto"
    assert found["/b.proto"] == "b.proto"
    assert found["for/class.proto"] == "for_/class.proto"
    assert found["x/../y.txt"] == "x/y_txt.proto"
    assert found[".."] == "file.proto"
    assert len({name.lower() for name in found.values()}) == len(found)


def test_a_list_of_files_that_leads_elsewhere_removes_nothing(contracts: list[ModelContract], tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("mine")
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "hub-client.json").write_text(f'{{"files": {{"../mine.py": "", "{mine}": ""}}}}')
    write_package(folder, package_files(contracts[:1], "p"))
    assert mine.read_text() == "mine"


def test_stale_files_go_and_files_of_others_stay(contracts: list[ModelContract], tmp_path: Path) -> None:
    folder = tmp_path / "p"
    assert update_package(contracts, tmp_path, "p", check=False) == 0
    (folder / "notes.py").write_text("mine")
    assert update_package(contracts[:1], tmp_path, "p", check=True) == 1
    assert update_package(contracts[:1], tmp_path, "p", check=False) == 0
    assert update_package(contracts[:1], tmp_path, "p", check=True) == 0
    assert {path.name for path in folder.iterdir()} == {
        *("__init__.py", "echo.py", "hub-client.json", "messages", "notes.py", "py.typed")
    }


@pytest.mark.parametrize("name", ["notes.txt", "__init__.py"])
def test_a_folder_with_other_files_is_refused(contracts: list[ModelContract], name: str, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / name).write_text("mine")
    with pytest.raises(ConfigurationError, match=rf"did not write \({name}\): choose another --package") as refused:
        update_package(contracts[:1], tmp_path, "p", check=False)
    assert refused.value.exit_code == 2
    assert [path.name for path in (tmp_path / "p").iterdir()] == [name]


def test_a_file_in_the_place_of_a_new_module_is_refused(contracts: list[ModelContract], tmp_path: Path) -> None:
    update_package(contracts[:1], tmp_path, "p", check=False)
    (tmp_path / "p" / "for_.py").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"did not write \(for_\.py\)"):
        update_package(contracts, tmp_path, "p", check=False)
    assert (tmp_path / "p" / "for_.py").read_text() == "mine"


def test_a_file_in_the_place_of_the_folder_is_refused(contracts: list[ModelContract], tmp_path: Path) -> None:
    (tmp_path / "p").write_text("mine")
    with pytest.raises(ConfigurationError, match="choose another"):
        update_package(contracts[:1], tmp_path, "p", check=False)
    with pytest.raises(ConfigurationError, match="choose another folder with --out"):
        update_package(contracts[:1], tmp_path / "p", "q", check=False)


@pytest.mark.parametrize("name", ["json", "hub", "class", "a-b", "", "../up", "a.b", "ä"])
def test_a_name_that_cannot_be_a_package_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="choose another --package"):
        checked_package(name)


@pytest.mark.parametrize("missing", ["protoc-gen-mypy"])
def test_a_missing_plugin_is_named(
    missing: str, contracts: list[ModelContract], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "program", lambda name: None if name == missing else name)
    with pytest.raises(ConfigurationError, match=r"hub-serving\[proto\]"):
        update_package(contracts[:1], tmp_path, "p", check=False)
