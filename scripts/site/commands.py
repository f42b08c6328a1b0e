"""The reference of the command line, from the help of every command."""

from __future__ import annotations

from hub.cli.app import app

_INTRODUCTION = """
Every command with its arguments and options, as `hub COMMAND --help` prints them. [The command line](../cli.md) explains output,
exit codes and completion; [Settings](settings.md) has the settings in one table.
""".strip()


def commands_page() -> str:
    text = app.generate_docs(output_format="markdown", heading_level=1, flatten_commands=False)
    return text
