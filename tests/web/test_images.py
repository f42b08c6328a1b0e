"""The pictures of the documentation exist, are shown, and are small enough for a repository."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
LIMIT = 200_000
NAMES = {"dashboard-light", "dashboard-dark", "dashboard-phone", "models", "tasks", "task", "api"}


def test_every_picture_is_a_png_of_less_than_200_kb() -> None:
    found = {path.stem: path for path in IMAGES.iterdir()}
    assert found.keys() == NAMES
    for path in found.values():
        assert path.suffix == ".png"
        assert path.read_bytes().startswith(b"\x89PNG\r\n")
        assert path.stat().st_size < LIMIT, path.name


def test_every_picture_is_shown_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert {name for name in NAMES if f"docs/images/{name}.png" in readme} == NAMES
