"""Builds the documentation site into site/, or serves it: `python -m scripts.site [serve]`.

`scripts/install-docs.sh` has to have run. The build is strict: a warning of the generator, a link that leads nowhere, and
anything that a page would load from another host end it with exit code 1.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from watchfiles import watch

from scripts.check_docs import ROOT
from scripts.site import http, llms
from scripts.site.built import complaints
from scripts.site.staging import CACHE, COPY, Site, navigation, site, write

OUT: Final = ROOT / "site"
BUILT: Final = CACHE / "built"
_GENERATOR: Final = CACHE / "venv" / "bin" / "zensical"
_ADDRESS: Final = "127.0.0.1:8080"
"""Of `make docs`: the gateway of `hub up` is at 8000."""
_SUMMARY: Final = (
    "hub serves several Python models behind one HTTP API, with tasks that outlast an HTTP timeout: queue, stored results, a "
    "registry of live instances and one API page, on asyncio and on trio."
)


def build() -> int:
    made = site(http.descriptions())
    write(made)
    shutil.rmtree(BUILT, ignore_errors=True)
    command: list[str | Path] = [_GENERATOR, "build", "--clean", "--strict", "--config-file", COPY]
    if (done := subprocess.run(command, cwd=CACHE, check=False)).returncode:
        return done.returncode
    shutil.rmtree(OUT, ignore_errors=True)
    shutil.copytree(BUILT, OUT)
    write_texts(made)
    found = complaints(OUT)
    for each in found:
        print(each, file=sys.stderr)
    print(f"{OUT.relative_to(ROOT)}: {len(list(OUT.rglob('*.html')))} pages")
    return 1 if found else 0


def write_texts(made: Site) -> None:
    """The pages as Markdown beside their HTML, and their index."""
    for place, text in made.pages.items():
        there = OUT / place
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text)
    (OUT / "llms.txt").write_text(llms.index("hub", _SUMMARY, navigation(), made.pages))
    (OUT / "llms-full.txt").write_text(llms.full(navigation(), made.pages))


def serve() -> int:
    descriptions = http.descriptions()
    write(site(descriptions))
    with subprocess.Popen([_GENERATOR, "serve", "--config-file", COPY, "--dev-addr", _ADDRESS], cwd=CACHE) as generator:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # as Ctrl-C: the generator ends too
        try:
            for _ in watch(ROOT / "docs", ROOT / "src" / "hub", raise_interrupt=False):
                if generator.poll() is not None:
                    break
                write(site(descriptions))
        finally:
            generator.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(serve() if sys.argv[1:] == ["serve"] else build())
