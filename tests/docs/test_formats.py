"""Blocks of data and configuration parse, by the parser that reads them in the end."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from hub.cli.config import MODELS
from hub.settings.tools import DoctorSettings
from tests.docs.blocks import ROOT, Block, all_blocks, blocks_to_check, kind_of

INCLUDE = ROOT / "src" / "hub" / "cli" / "proto" / "include"
SETTINGS = {field.name for field in fields(DoctorSettings)} | {MODELS}


def named(*kinds: str) -> Mapping[str, Block]:
    return {block.id: block for kind in kinds for block in blocks_to_check(kind)}


JSON, YAML, TOML, PROTOBUF, DOCKERFILE = (named(kind) for kind in ("json", "yaml", "toml", "protobuf", "dockerfile"))


@pytest.mark.parametrize("block", JSON)
def test_json_parses(block: str) -> None:
    assert json.loads(JSON[block].text) is not None


@pytest.mark.parametrize("block", YAML)
def test_yaml_parses(block: str) -> None:
    assert all(document is not None for document in yaml.safe_load_all(YAML[block].text))


@pytest.mark.parametrize("block", TOML)
def test_toml_has_settings_of_hub_or_is_a_pyproject(block: str) -> None:
    found = tomllib.loads(TOML[block].text)

    assert found
    assert found.keys() <= SETTINGS or found.keys() <= {"tool", "project", "dependency-groups"}


@pytest.mark.parametrize("block", PROTOBUF)
def test_a_proto_file_compiles(block: str, tmp_path: Path) -> None:
    text = PROTOBUF[block].text
    head = "" if "syntax =" in text else 'syntax = "proto3";\n'
    (tmp_path / "block.proto").write_text(head + text)
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{tmp_path}", f"-I{INCLUDE}"]
    done = subprocess.run(
        [*command, f"--descriptor_set_out={tmp_path}/out", "block.proto"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", DOCKERFILE)
def test_a_dockerfile_has_no_error(block: str) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    command: list[str | Path] = [hadolint, "--failure-threshold", "error", "-"]
    done = subprocess.run(command, input=DOCKERFILE[block].text, text=True, capture_output=True, check=False)

    assert done.returncode == 0, done.stdout


def test_there_are_blocks_of_each_format() -> None:
    assert all((JSON, YAML, PROTOBUF, DOCKERFILE))
    assert [block.page for block in all_blocks() if kind_of(block) == "promql" if block.page != "docs/metrics.md"] == []
