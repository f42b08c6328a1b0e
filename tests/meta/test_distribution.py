"""The wheel and the source distribution: their contents, and the wheel in an environment of its own."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import urllib.request
import zipfile
from pathlib import Path

import pytest

import hub
from tests.support.server import free_port
from tests.support.wheel import ROOT, UV, build, install

MODEL = """
import hub
from sentiment_pb2 import Answer, Question


class Sentiment(hub.Model[Question, Answer]):
    async def process_request(self, request: Question) -> Answer:
        return Answer(positive="good" in request.text)
"""
PROTO = """
syntax = "proto3";
package sentiment.v1;
message Question { string text = 1; }
message Answer { bool positive = 1; }
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel, and with the locked dependencies of this one."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    command: list[str | Path] = [UV, "--quiet", "--offline", "--no-cache", "venv", "--no-project"]
    subprocess.run([*command, "--python", sys.executable, folder], check=True)
    install(wheel, folder)
    return folder / "bin" / "python"


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """The environment of a process in a folder that does not know the checkout."""
    return {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}


def files_of_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_has_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    files = files_of_wheel(wheel)
    metadata = f"hub_serving-{hub.__version__}.dist-info"
    sources = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }

    assert {name for name in files if not name.startswith(metadata)} == sources
    assert {name.rpartition("/")[2] for name in files - sources} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "LICENSE",
        "entry_points.txt",
    }
    assert {
        "hub/py.typed",
        "hub/v1/task_pb2.pyi",
        "hub/stores/redis/lua/finish.lua",
        "hub/web/assets/uplot/LICENSE",
        "hub/cli/proto/include/buf/validate/validate.proto",
    } <= files


def test_the_source_distribution_has_what_the_wheel_is_built_from_and_no_tests(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        links = [each.name for each in archive if each.issym() and each.linkname.startswith("/")]

    assert {name.partition("/")[0] for name in names} == {
        *("src", "stubs", "protos", "requirements", "LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml"),
        *("PKG-INFO", ".gitignore"),
    }
    assert {"protos/hub/v1/task.proto", "stubs/hub/v1/task_pb2.pyi", "src/hub/stores/redis/lua/finish.lua"} <= names
    assert links == []


def test_the_wheel_that_is_built_from_the_source_distribution_is_the_same(
    built: Path, wheel: Path, tmp_path: Path
) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    command: list[str | Path] = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "dist"]
    subprocess.run(command, cwd=unpacked, check=True, capture_output=True)
    (again,) = (tmp_path / "dist").iterdir()

    assert files_of_wheel(again) == files_of_wheel(wheel)


def test_the_installed_wheel_knows_its_version_and_imports_without_the_checkout(
    python: Path, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    def run(*command: str | Path) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=elsewhere, check=True, capture_output=True, text=True, timeout=60
        )
        return done.stdout.strip()

    assert run(python.with_name("hub"), "--version") == hub.__version__
    assert run(python, "-m", "hub", "--version") == hub.__version__
    metadata = "from importlib.metadata import version; import hub; print(version('hub-serving'), hub.__file__)"
    shown, file = run(python, "-c", metadata).split(" ")
    assert shown == hub.__version__
    assert Path(file).is_relative_to(python.parents[1])


def test_the_installed_wheel_runs_a_model_of_its_own(python: Path, elsewhere: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "protos").mkdir()
    (tmp_path / "protos" / "sentiment.proto").write_text(PROTO)
    (tmp_path / "sentiment.py").write_text(MODEL)
    command = python.with_name("hub")
    done = subprocess.run(
        [command, "proto", "build"],
        cwd=tmp_path,
        env=elsewhere,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    port = free_port()
    ports = ["--gateway-port", str(port), "--registry-port", "0", "--dashboard-port", "0"]
    running = subprocess.Popen(
        [command, "up", "sentiment:Sentiment", *ports], cwd=tmp_path, env=elsewhere, stdout=subprocess.PIPE, text=True
    )
    try:
        assert running.stdout is not None
        assert any("hub is up" in line for line in running.stdout)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/models/Sentiment",
            data=json.dumps({"text": "a good day"}).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            assert json.load(reply) == {"positive": True}
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0
    finally:
        running.kill()
        running.wait()
        assert running.stdout is not None
        running.stdout.close()


def installed_beside(python: Path, folder: Path, *, overwrites: bool) -> Path:
    """A copy of an environment, with a package called `hub` of another project in it; its packages."""
    (packages,) = python.parents[1].glob("lib/python*/site-packages")
    shutil.copytree(packages, folder)
    metadata = folder / "hub-3.0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: hub\nVersion: 3.0.1\n")
    (metadata / "RECORD").write_text("hub/__init__.py,,\nhub-3.0.1.dist-info/METADATA,,\n")
    if overwrites:
        (folder / "hub" / "__init__.py").write_text("raise RuntimeError('the other package')\n")
    return folder


@pytest.mark.parametrize("overwrites", [True, False], ids=["installed later", "installed earlier"])
def test_hub_refuses_to_start_beside_the_other_package_of_its_name(
    python: Path, elsewhere: dict[str, str], tmp_path: Path, *, overwrites: bool
) -> None:
    packages = installed_beside(python, tmp_path / "packages", overwrites=overwrites)
    run = "import sys; sys.argv = ['hub', '--version']; import hub_serving; hub_serving.main()"
    environment = {**elsewhere, "PYTHONPATH": f"{packages}:{sysconfig.get_path('purelib')}"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", run], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "hub: the package 'hub' 3.0.1 is installed beside hub-serving, and both write the folder hub/: "
        "pip uninstall hub; pip install --force-reinstall --no-deps hub-serving\n"
    )


def test_hub_refuses_to_start_when_a_folder_shadows_it(python: Path, elsewhere: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "mine" / "hub").mkdir(parents=True)
    (tmp_path / "mine" / "hub" / "__init__.py").write_text("")
    environment = {**elsewhere, "PYTHONPATH": str(tmp_path / "mine")}
    done = subprocess.run(
        [python.with_name("hub"), "--version"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert f"`import hub` finds {tmp_path}/mine/hub/__init__.py, which shadows" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_version_is_written_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert "version" not in project
    assert project["dynamic"] == ["version"]
