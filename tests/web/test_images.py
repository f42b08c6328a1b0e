"""The pictures of the documentation exist, are shown, and are small enough for a repository."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
LIMIT = 200_000
NAMES = {"dashboard-light", "dashboard-dark", "dashboard-phone", "models", "tasks", "task", "api"}


PLOTS = {"benchmarks-cpu", "benchmarks-rates"}


def test_every_picture_is_a_png_of_less_than_200_kb() -> None:
    found = {path.stem: path for path in IMAGES.iterdir() if path.suffix != ".svg"}
    assert found.keys() == NAMES
    for path in found.values():
        assert path.suffix == ".png"
        assert path.read_bytes().startswith(b"\x89PNG\r\n")
        assert path.stat().st_size < LIMIT, path.name


def test_every_plot_is_a_small_svg_on_a_page_of_figures() -> None:
    page = "".join((ROOT / "docs" / name).read_text() for name in ("benchmarks.md", "performance.md"))
    found = {path.stem: path for path in IMAGES.iterdir() if path.suffix == ".svg"}
    assert found.keys() >= PLOTS
    for name, path in found.items():
        assert path.stat().st_size < LIMIT
        assert "<svg" in path.read_text()
        assert f"images/{name}.svg" in page


def test_every_picture_is_shown_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert {name for name in NAMES if f"docs/images/{name}.png" in readme} == NAMES
