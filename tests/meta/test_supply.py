"""The bill of materials, and pinned images."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.meta.test_scripts import SCRIPTS

ROOT = Path(__file__).parents[2]
PINNED = "sha256:" + "a" * 64
OLD = "sha256:" + "b" * 64


def bill(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/sbom.py", *arguments], capture_output=True, check=True, text=True, timeout=60
    )
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def pins(lock: str) -> set[tuple[str, str]]:
    """Names and versions, read from the lock in another way than the script does; some depend on the Python."""
    lines = (ROOT / "requirements" / lock).read_text().splitlines()
    found = [line.split(" ")[0].split("==") for line in lines if "==" in line and not line.startswith((" ", "#"))]
    return {(name.partition("[")[0].replace("_", "-").replace(".", "-").lower(), version) for name, version in found}


def python_packages(*arguments: str) -> list[dict[str, Any]]:
    return [each for each in bill(*arguments)["components"] if each["purl"].startswith("pkg:pypi/")]


def test_the_bill_lists_every_locked_package_with_the_sums_of_its_files() -> None:
    listed = python_packages()
    locked = pins("run.lock")
    assert len(locked) > 30
    assert {(each["name"], each["version"]) for each in listed} == locked
    sums = re.findall(r"sha256:([0-9a-f]{64})", (ROOT / "requirements/run.lock").read_text())
    assert sorted(each["value"] for found in listed for each in found["properties"]) == sorted(sums)
    assert {each["scope"] for each in listed} == {"required"}


def test_with_dev_the_tools_are_listed_as_excluded() -> None:
    listed = python_packages("--dev")
    assert {(each["name"], each["version"]) for each in listed} == pins("dev.lock") | pins("run.lock")
    required = {(each["name"], each["version"]) for each in listed if each["scope"] == "required"}
    assert required == pins("run.lock")


def test_the_bill_lists_third_party_browser_code() -> None:
    components = {each["name"]: each for each in bill()["components"]}
    for name, entry in tomllib.loads((ROOT / "scripts/vendor.toml").read_text()).items():
        assert components[name]["version"] == entry["version"]
        sums = {file["name"]: file["hashes"][0]["content"] for file in components[name]["components"]}
        assert sums == entry["files"]


def test_the_bill_is_well_formed_and_the_same_each_time() -> None:
    document = bill()
    assert (document["bomFormat"], document["specVersion"], document["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", document["serialNumber"])
    references = [each["bom-ref"] for each in document["components"]]
    assert len(references) == len(set(references))
    assert {each["ref"] for each in document["dependencies"]} == {
        *references,
        document["metadata"]["component"]["bom-ref"],
    }
    assert bill() == document


def pin(folder: Path, docker: str, *files: Path) -> subprocess.CompletedProcess[str]:
    """Runs the script with a fake Docker."""
    program = folder / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{docker}\n")
    program.chmod(0o755)
    path = f"{program.parent}:/usr/bin:/bin"
    command = [SCRIPTS / "pin-images.sh", *files]
    return subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=False, timeout=60)


def test_every_image_but_that_of_hub_and_that_of_the_user_has_a_digest() -> None:
    files = [ROOT / "compose.yaml", *(ROOT / "deploy").rglob("*.yaml")]
    images = re.findall(r"^\s*image: *\"?([^\s\"]+)", "\n".join(each.read_text() for each in files), re.MULTILINE)
    base = re.findall(r"^ARG PYTHON=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {image.split(":")[0] for image in images} >= {
        "hub",
        "rabbitmq",
        "redis",
        "prom/prometheus",
        "grafana/grafana",
    }
    local = {"hub", "own-model", "${MODEL_IMAGE:-own-model}"}
    assert [
        each for each in [*images, *base] if each not in local and not re.search(r"@sha256:[0-9a-f]{64}$", each)
    ] == []


def test_images_are_pinned_and_pins_are_raised(tmp_path: Path) -> None:
    compose = tmp_path / "compose.yaml"
    compose.write_text(
        f'    image: hub\n    image: redis:7.4\n  image: "prom/prometheus:v3@{OLD}" # why\n    image: hub # redis:7.4\n'
    )
    docker_file = tmp_path / "Dockerfile"
    docker_file.write_text("ARG PYTHON=3.13-slim-trixie\nFROM python:${PYTHON} AS build\n")
    done = pin(tmp_path, f"echo {PINNED}", compose, docker_file)
    assert done.returncode == 0, done.stderr
    assert compose.read_text() == (
        f'    image: hub\n    image: redis:7.4@{PINNED}\n  image: "prom/prometheus:v3@{PINNED}" # why\n'
        "    image: hub # redis:7.4\n"
    )
    assert docker_file.read_text() == f"ARG PYTHON=3.13-slim-trixie@{PINNED}\nFROM python:${{PYTHON}} AS build\n"


@pytest.mark.parametrize("docker", ["echo denied", "exit 1", "true"])
def test_without_a_digest_nothing_is_written(tmp_path: Path, docker: str) -> None:
    compose = tmp_path / "compose.yaml"
    compose.write_text("    image: redis:7.4\n")
    done = pin(tmp_path, docker, compose)
    assert done.returncode != 0
    assert compose.read_text() == "    image: redis:7.4\n"
