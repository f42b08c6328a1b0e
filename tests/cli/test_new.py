"""`hub new`: projects that pass their own tests and `mypy --strict`, and names that are refused with the repair."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hub.cli.app import main
from hub.cli.new.project import class_name, distribution_of_hub, write_project
from hub.errors import ConfigurationError


def hub(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as ended:
        main(["new", *arguments])
    output = capsys.readouterr()
    return int(ended.value.code or 0), output.out, output.err


def run(folder: Path, *command: str) -> str:
    """Runs a module of this interpreter in a folder; returns what it prints."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def mypy_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "tests"), [((), 2), (("--stream",), 4), (("--batch",), 4)], ids=["unary", "stream", "batch"]
)
def test_a_new_project_passes_its_own_tests_and_strict_mypy(
    options: tuple[str, ...], tests: int, tmp_path: Path, mypy_cache: Path
) -> None:
    printed = run(tmp_path, "hub", "new", "tone-of-voice", *options)
    assert "next: cd tone-of-voice && hub proto build && pytest && hub up" in printed
    project = tmp_path / "tone-of-voice"
    run(project, "hub", "proto", "build")
    shown = run(project, "pytest", "-q", "-p", "no:schemathesis", "-p", "no:cacheprovider", "-W", "error")
    assert f"{tests} passed" in shown
    shown = run(project, "mypy", "--strict", "--cache-dir", str(mypy_cache))
    assert "no issues found in 3 source files" in shown
    assert '"component": "up"' in run(project, "hub", "config", "show", "up", "--json"), "hub reads its hub.toml"


@pytest.mark.usefixtures("_in_an_empty_folder")
def test_files_of_a_project(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = hub(capsys, "sentiment", "--path", "here/it-is")
    assert (code, err) == (0, "")
    folder = Path("here/it-is")
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written == {
        ".dockerignore",
        ".github/workflows/ci.yml",
        ".gitignore",
        "Dockerfile",
        "README.md",
        "hub.toml",
        "protos/sentiment/v1/sentiment.proto",
        "pyproject.toml",
        "sentiment/__init__.py",
        "sentiment/model.py",
        "tests/test_sentiment.py",
    }
    assert all(str(folder / name) in out for name in written)
    assert not any("%%" in (folder / name).read_text() for name in written), "no placeholder is left"
    assert tomllib.loads((folder / "hub.toml").read_text()) == {"models": ["sentiment.model:Sentiment"]}
    assert tomllib.loads((folder / "pyproject.toml").read_text())["project"]["dependencies"] == [distribution_of_hub()]


@pytest.mark.usefixtures("_in_an_empty_folder")
def test_an_empty_folder_may_be_the_project(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = hub(capsys, "sentiment", "--path", ".")
    assert code == 0
    assert "next: hub proto build" in out
    assert Path("sentiment/model.py").exists()


@pytest.mark.parametrize(
    ("name", "repair"),
    [
        ("Sentiment", "such as sentiment"),
        ("MyModel", "such as my_model"),
        ("my model", "such as my_model"),
        ("2fast", "such as fast"),
        ("a__b", "such as a_b"),
        ("../up", "such as up"),
        ("", "begin with a letter"),
        ("x" * 51, "up to 50"),
        ("class", "keyword of Python; call it class_model"),
        ("none", "keyword of Python; call it none_model"),
        ("json", "standard library"),
        ("hub", "the name of hub itself"),
        ("tests", "the tests of the project are there"),
    ],
)
@pytest.mark.usefixtures("_in_an_empty_folder")
def test_a_name_that_cannot_be_is_refused_with_the_repair(
    name: str, repair: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = hub(capsys, name)
    assert (code, out) == (2, "")
    assert repair in err
    assert len(err.splitlines()) == 1
    assert list(Path().iterdir()) == []


@pytest.mark.usefixtures("_in_an_empty_folder")
def test_a_folder_with_files_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    Path("sentiment").mkdir()
    Path("sentiment/notes").write_text("mine")
    Path("file").write_text("mine")
    for arguments in (("sentiment",), ("other", "--path", "file"), ("other", "--path", "file/below")):
        code, _, err = hub(capsys, *arguments)
        assert code == 2
        assert "--path" in err
    assert [path.name for path in Path("sentiment").iterdir()] == ["notes"]


@pytest.mark.usefixtures("_in_an_empty_folder")
def test_a_model_does_not_stream_and_batch(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = hub(capsys, "sentiment", "--stream", "--batch")
    assert code == 2
    assert "use --stream or --batch" in err


def test_names_of_classes() -> None:
    assert class_name("tone_of_voice") == "ToneOfVoice"
    assert class_name("resnet50") == "Resnet50"


@pytest.mark.usefixtures("_in_an_empty_folder")
def test_a_folder_that_cannot_be_written_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot write .*--path"):
        write_project("sentiment", "unary", Path("/proc/sentiment"))
