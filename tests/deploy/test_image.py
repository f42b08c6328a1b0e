"""The Dockerfile against a linter, the tree, and the program; and its build steps, run without a container engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import hub
from tests.deploy.dockerfile import check_image, copy_context, stages
from tests.deploy.program import ROOT, Mistake

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION = hub.__version__
FILES = ("Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "LICENSE")


def pins() -> dict[str, list[str]]:
    """Name -> the lines that pin it, in requirements/run.lock."""
    blocks = re.findall(
        r"^([\w.-]+)==(\S+[^\n]*(?:\n {4}--hash[^\n]*)+)", (ROOT / "requirements/run.lock").read_text(), re.MULTILINE
    )
    return {name.lower().replace("_", "-").replace(".", "-"): block.splitlines() for name, block in blocks}


def test_all_checks_of_the_image_pass() -> None:
    assert list(check_image(ROOT, version=VERSION)) == []


def test_hadolint_accepts_the_dockerfile() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), "--failure-threshold", "style", "Dockerfile"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "")


MISTAKES = [
    Mistake("Dockerfile", "COPY stubs stubs", "COPY stub stub", "no stub to copy"),
    Mistake(".dockerignore", "!stubs\n", "", "keeps stubs out"),
    Mistake(".dockerignore", "!requirements/run.lock", "!requirements/dev.lock", "keeps requirements/run.lock out"),
    Mistake("Dockerfile", "USER 10001:10001", "USER hub", "runs as hub"),
    Mistake("Dockerfile", "USER 10001:10001", "USER 0:0", "runs as 0:0"),
    Mistake("Dockerfile", 'ENTRYPOINT ["hub"]', 'ENTRYPOINT ["hubs"]', "does not run hub"),
    Mistake("Dockerfile", "STOPSIGNAL SIGTERM", "STOPSIGNAL SIGQUIT", "not on SIGQUIT"),
    Mistake("Dockerfile", "EXPOSE 8000 8001", "EXPOSE 8000 8080", "tells of the ports"),
    Mistake("Dockerfile", f'version="{VERSION}"', 'version="9.9"', "version 9.9"),
    Mistake("Dockerfile", "--require-hashes ", "", "no hash pins"),
    Mistake("Dockerfile", "COPY --from=build /hub", "COPY --from=build-examples /hub", "more than hub"),
    Mistake("Dockerfile", "PIP_PYTHON=/hub/bin", "PIP_PYTHON=/usr/bin", "pip does not install beside hub"),
    Mistake("Dockerfile", "ARG PYTHON=3.13-slim-trixie", "ARG PYTHON=3-slim", "is made from"),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_mistake_in_the_image_is_found(mistake: Mistake, tmp_path: Path) -> None:
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    for name in ("src", "stubs", "examples", "requirements"):
        (tmp_path / name).symlink_to(ROOT / name)
    mistake.make(tmp_path)

    found = list(check_image(tmp_path, version=VERSION))

    assert any(mistake.said in complaint for complaint in found), found


def test_the_lock_of_the_image_pins_every_dependency() -> None:
    wanted = [
        *PROJECT["project"]["dependencies"],
        *PROJECT["dependency-groups"]["build"],
        *PROJECT["dependency-groups"]["examples"],
    ]
    names = {re.split(r"[<>=!;\s\[]", requirement)[0].lower().replace("_", "-") for requirement in wanted}

    assert names <= pins().keys()
    assert all(any("--hash=sha256:" in line for line in lines) for lines in pins().values())


def test_the_python_of_the_image_is_one_that_hub_supports() -> None:
    version = re.match(r"python:(3\.\d+)", stages(ROOT)[-1].base)

    assert version
    assert f"Programming Language :: Python :: {version.group(1)}" in PROJECT["project"]["classifiers"]


def test_the_files_that_the_dockerfile_copies_run(tmp_path: Path) -> None:
    """The steps of the build stage, without the dependencies: those of the test environment are used."""
    _, build, _, image = stages(ROOT)
    copy_context(ROOT, build, tmp_path)
    where = tmp_path / build.last("WORKDIR").lstrip("/")
    packages = tmp_path / "packages"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--target", str(packages)]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "."], cwd=where, check=True, capture_output=True)
    app = tmp_path / image.last("WORKDIR").lstrip("/")
    subprocess.run([sys.executable, "-m", "compileall", "-q", app], check=True)

    def run(*arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=app, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    sources = {path.relative_to(ROOT / "src") for path in (ROOT / "src" / "hub").rglob("*") if path.is_file()}
    packed = {path.relative_to(packages) for path in (packages / "hub").rglob("*") if path.is_file()}
    assert {path for path in packed if path.suffix != ".pyc"} == {path for path in sources if path.suffix != ".pyc"}
    assert run("-c", "import hub; print(hub.__file__)").startswith(str(packages))
    for target in ("examples.model_a:ModelA", "examples.digits:Digits"):
        seen = run(
            "-c",
            f"from hub.cli.load import load_model; print(load_model('{target}').name, __import__('examples').__path__)",
        )
        assert seen.startswith(target.partition(":")[2])
        assert str(app) in seen
    assert (packages / "bin" / "hub").exists()
