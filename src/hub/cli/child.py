"""The main program of a child process of a command; the parent's side is `hub.cli.children`.

    python -m hub.cli.child LIFELINE model pkg.module:Class ...

`LIFELINE` is a pipe without data: the kernel ends this process and its group when the parent has ended, in any way.
"""

from __future__ import annotations

import sys

from hub.cli.children import GENERATION
from hub.model.execution.process.lifeline import die_with_parent


def main() -> None:
    """Runs `hub`, or the models of `hub up --reload`."""
    lifeline, *arguments = sys.argv[1:]
    die_with_parent(int(lifeline))
    sys.argv = ["hub", *arguments]  # settings name the source of their values by it
    if arguments[0] == GENERATION:
        from hub.cli.reload.generation import run_generation  # noqa: PLC0415 - each command loads only what it runs

        sys.exit(run_generation(int(arguments[1])))
    from hub.cli.app import main as run  # noqa: PLC0415

    run()


if __name__ == "__main__":
    main()
