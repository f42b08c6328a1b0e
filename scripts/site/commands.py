"""The reference of the command line, from the help of every command."""

from __future__ import annotations

import re
import sys
from typing import Final

from hub.cli.app import app

_INTRODUCTION: Final = """
# Commands

Every command with its arguments and options, as `hub COMMAND --help` prints them. [The command line](../cli.md) explains output,
exit codes and completion; [Settings](settings.md) has the settings in one table.
""".strip()


def commands_page() -> str:
    arguments, sys.argv = sys.argv, ["hub"]  # usage lines begin with how this program was called
    try:
        text = app.generate_docs(output_format="markdown", heading_level=1, flatten_commands=False)
    finally:
        sys.argv = arguments
    text = re.sub(r"^# hub\n.*?^\*\*Commands\*\*:\n", "", text, count=1, flags=re.MULTILINE | re.DOTALL)
    text = text.replace("(#hub-install-completion)", "(#hub---install-completion)").replace("```console", "```text")
    return f"{_INTRODUCTION}\n\n{text.strip()}\n"
