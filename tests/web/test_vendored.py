"""The vendored files are exactly those in the list."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "vendor.py"


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("vendor", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "vendor", module)
    spec.loader.exec_module(module)
    return module


def test_the_tree_matches_the_list(vendor: ModuleType) -> None:
    assert vendor.main(["--check"]) == 0


def test_changed_added_and_missing_files_are_found(
    vendor: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in vendor.packages():
        copy = tmp_path / package.folder.name
        copy.mkdir()
        for file in package.folder.iterdir():
            (copy / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(vendor, "ASSETS", tmp_path)
    assert vendor.main(["--check"]) == 0

    (tmp_path / "uplot" / "LICENSE").unlink()
    (tmp_path / "uplot" / "extra.js").write_text("alert(1)")
    (tmp_path / "uplot" / "uPlot.min.css").write_text("")

    assert vendor.main(["--check"]) == 1
    complaints = capsys.readouterr().err
    for name, what in (("LICENSE", "missing"), ("extra.js", "not on the list"), ("uPlot.min.css", "has the sum")):
        assert any(name in line and what in line for line in complaints.splitlines())


def test_no_committed_file_names_where_packages_come_from(vendor: ModuleType) -> None:
    for file in (SCRIPT, SCRIPT.with_suffix(".toml")):
        assert "http" not in file.read_text()
    assert {package.name for package in vendor.packages()} == {"swagger-ui-dist", "uplot"}
