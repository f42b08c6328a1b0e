"""Forbidden text in committed files, and the completeness of the locks."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]

# Written so that this file passes its own test.
FORBIDDEN = {
    "the host name of a package registry": re.compile(
        r"\b(?:pypi[.]org|pythonhosted[.]org|npmjs[.](?:com|org)|proxy[.]golang[.]org|crates[.]io)\b"
    ),
    "a path of one machine": re.compile(r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+|opt/(?:wheels|pypi))(?:/|\b)"),
}


MINIFIED = "src/hub/web/assets/"
"""Third-party files, in which regular expressions may match paths."""


def committed() -> Iterator[Path]:
    """The files that git tracks or would add; all files in a copy without git."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout.decode().split("\0")
        candidates = [ROOT / name for name in listed if name]
    else:
        candidates = list(ROOT.rglob("*"))
    for path in candidates:
        if path.is_file() and not path.relative_to(ROOT).as_posix().startswith(".venv/"):
            yield path


def findings(text: str, *allowed: str) -> list[str]:
    return [
        f"{number}: {what}: {match.group()}"
        for number, line in enumerate(text.splitlines(), 1)
        for what, pattern in FORBIDDEN.items()
        if what not in allowed
        for match in pattern.finditer(line)
    ]


def pins(lock: str) -> dict[str, list[Requirement]]:
    """Package -> its pins (one for each range of Python versions)."""
    found: dict[str, list[Requirement]] = {}
    for line in (ROOT / "requirements" / lock).read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            pin = Requirement(line.removesuffix("\\").strip())
            found.setdefault(canonicalize_name(pin.name), []).append(pin)
    return found


def required(*groups: str, alone: bool = False) -> Iterator[Requirement]:
    """The dependencies of `groups`, and those of the project unless `alone`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    if not alone:
        yield from map(Requirement, project["project"]["dependencies"])
    for group in groups:
        for entry in project["dependency-groups"][group]:
            if isinstance(entry, str):
                yield Requirement(entry)
            else:
                yield from required(entry["include-group"])


def test_no_committed_file_names_a_registry_or_a_machine() -> None:
    found = {}
    for path in committed():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        name = path.relative_to(ROOT).as_posix()
        if lines := findings(text, *(["a path of one machine"] if name.startswith(MINIFIED) else [])):
            found[name] = lines

    assert found == {}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        pytest.param("--index-url https://{}.org/simple", "pypi", id="index"),
        pytest.param("https://files.{}.org/a.whl", "pythonhosted", id="files"),
        pytest.param('"resolved": "https://registry.{}.org/a"', "npmjs", id="npm"),
        pytest.param("see /{}/notes", "work", id="workplace"),
        pytest.param("~ is /{}", "root", id="home of root"),
        pytest.param("/{}/ann/hub", "home", id="home"),
    ],
)
def test_a_registry_or_a_machine_is_found(line: str, what: str) -> None:
    (finding,) = findings("first line\n" + line.format(what))

    assert finding.startswith("2: ")
    assert what in finding


def test_paths_that_every_machine_has_are_accepted() -> None:
    assert findings("/usr/lib/rabbitmq/bin /etc/hub/network/root src/hub/root.py http://hub/work") == []


@pytest.mark.parametrize(
    ("lock", "groups"),
    [
        ("base.lock", ["build"]),
        ("run.lock", ["build", "examples"]),
        ("dev.lock", ["dev"]),
        ("clients.lock", ["clients"]),
        ("docs.lock", ["docs"]),
    ],
)
def test_the_lock_satisfies_pyproject(lock: str, groups: list[str]) -> None:
    pinned = pins(lock)

    for requirement in required(*groups, alone=groups in (["clients"], ["docs"])):
        found = pinned.get(canonicalize_name(requirement.name), [])
        versions = [next(iter(pin.specifier)).version for pin in found]
        assert versions, f"{requirement} is not locked: run `make lock`"
        assert all(requirement.specifier.contains(version) for version in versions), f"{requirement}: {versions}"


def test_the_versions_that_run_are_those_that_were_tested() -> None:
    tested = pins("dev.lock")

    for name, run in [*pins("run.lock").items(), *pins("base.lock").items()]:
        assert {str(pin.specifier) for pin in run} <= {str(pin.specifier) for pin in tested[name]}


@pytest.mark.parametrize(("folder", "kind"), [("tests/clients", "devDependencies"), ("examples/node", "dependencies")])
def test_every_npm_package_has_its_hash_and_no_address(folder: str, kind: str) -> None:
    wanted: dict[str, str] = json.loads((ROOT / folder / "package.json").read_text())[kind]
    locked: dict[str, dict[str, object]] = json.loads((ROOT / folder / "package-lock.json").read_text())["packages"]
    assert locked.pop("")[kind] == wanted
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert [path for path, package in locked.items() if "integrity" not in package or "resolved" in package] == []


@pytest.mark.parametrize(
    "lock",
    ["base.lock", "run.lock", "dev.lock", "clients.lock", "docs.lock", "../benchmarks/peers/requirements.txt"],
)
def test_every_pin_has_hashes(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text()

    assert len(re.findall(r"^\S+==\S+.* \\\n    --hash=sha256:", text, re.MULTILINE)) == sum(
        map(len, pins(lock).values())
    )


def test_generated_code_is_up_to_date() -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "check-generated.sh"], capture_output=True, text=True, check=False, cwd=ROOT
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_generated_code_that_was_edited_is_found(tmp_path: Path) -> None:
    for folder in ("protos", "scripts", "src", "stubs", "examples", "deploy"):
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True)
    edited = tmp_path / "src" / "hub" / "v1" / "task_pb2.py"
    edited.write_text(edited.read_text() + "# edited\n")
    (tmp_path / "stubs" / "hub" / "v1" / "gone_pb2.pyi").write_text("")
    board = tmp_path / "deploy" / "grafana" / "dashboards" / "hub.json"
    board.write_text(board.read_text().replace('"uid": "hub"', '"uid": "mine"'))

    done = subprocess.run(
        [tmp_path / "scripts" / "check-generated.sh"],
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(ROOT / ".venv" / "bin" / "python")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "-# edited" in done.stdout
    assert "-stubs/hub/v1/gone_pb2.pyi" in done.stdout
    assert '- "uid": "mine"' in done.stdout
    assert "make generate" in done.stderr
