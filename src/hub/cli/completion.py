"""`hub --install-completion`: commands, options and choices at the Tab key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter

from hub.errors import ConfigurationError

Shell = Literal["bash", "zsh", "fish", "powershell"]
OfShell = Annotated[
    Shell | None, Parameter(env_var=(), show_env_var=False, help="The shell; by default the running one.")
]
Output: TypeAlias = Annotated[
    Path | None,
    Parameter(
        env_var=(),
        show_env_var=False,
        help="Write the script to this file only; by default to where the shell looks for it, and a line into its start-up file.",
    ),
]


def install_completion(*, shell: OfShell = None, output: Output = None) -> int:
    """Install completion of commands and options for your shell.

    The script is complete in itself: the Tab key starts no process of hub.
    """
    from cyclopts.completion.detect import ShellDetectionError  # noqa: PLC0415 - each command loads only what it runs

    from hub.cli.app import app  # noqa: PLC0415 - which loads this module

    try:
        path = app.install_completion(shell=shell, output=output, add_to_startup=output is None)
    except ShellDetectionError as error:
        raise ConfigurationError(
            "the shell is unknown: name it, hub --install-completion --shell bash (or zsh, fish, powershell)"
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"the script cannot be written: {error}; name another file, hub --install-completion --output FILE"
        ) from error
    print(f"completion is in {path}: open a new shell")  # noqa: T201
    return 0
