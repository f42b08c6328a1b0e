"""The command `hub`, outside of the package `hub`: it checks first that `import hub` finds this distribution.

An abandoned package on the index is called `hub`, and its modules are imported as `hub` too. Installed after this
distribution it overwrites `hub/__init__.py`; installed before, its removal removes that file. Code in the package `hub`
cannot check this, because it may not run any more.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Final

DISTRIBUTION: Final = "hub-serving"

OTHER: Final = "hub"
"""The distribution whose modules have the same names."""

EXIT_CODE: Final = 2
"""That of invalid settings: a retry fails in the same way."""

_REPAIR: Final = f"pip uninstall {OTHER}; pip install --force-reinstall --no-deps {DISTRIBUTION}"


def conflict() -> str:
    """The reason why `import hub` does not, or may soon not, find this distribution, with its repair; empty if none."""
    try:
        other = distribution(OTHER)
    except PackageNotFoundError:
        pass
    else:
        if any(file.parts[0] == OTHER for file in other.files or ()):
            return (
                f"the package {OTHER!r} {other.version} is installed beside {DISTRIBUTION}, and both write the folder "
                f"hub/: {_REPAIR}"
            )
    ours = Path(__file__).parent / "hub" / "__init__.py"
    found = find_spec("hub")
    if found is None or found.origin is None or not ours.is_file():
        return f"the package hub of {DISTRIBUTION} is not at {ours.parent}: {_REPAIR}"
    if not ours.samefile(found.origin):
        return (
            f"`import hub` finds {found.origin}, which shadows the one of {DISTRIBUTION} at {ours.parent}: rename it, or "
            "take its folder out of PYTHONPATH"
        )
    return ""


def main() -> None:
    """Runs `hub`, or refuses to when another package is imported as `hub`."""
    reason = conflict()
    if reason:
        sys.exit(_refuse(reason))
    from hub.cli.app import main as run  # noqa: PLC0415 - not before the check

    run()


def _refuse(reason: str) -> int:
    print(f"hub: {reason}", file=sys.stderr)  # noqa: T201 - nothing of hub may be imported here
    return EXIT_CODE


if __name__ == "__main__":
    main()
