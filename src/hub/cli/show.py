"""`hub config show`: the settings of a command, with the sources of their values."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Literal

from cyclopts import App, Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hub.cli.config import COMPONENTS, EXPOSED, AllSettings, config_path, describe, exposed_secrets
from hub.cli.parameters import Json

config = App(name="config", help="Show the settings.")

Component = Annotated[
    Literal["up", "registry", "gateway", "model", "call", "dead", "schema", "top", "doctor"],
    Parameter(env_var=(), help="Settings of this command."),
]


@config.command
def show(component: Component = "up", /, *, json_wanted: Json = False, settings: AllSettings | None = None) -> None:
    """Print every setting of a component with the source of its value. Secrets are hidden."""
    lines = describe(COMPONENTS[component], settings or AllSettings(), sys.argv[1:])
    if exposed := exposed_secrets():
        Console(stderr=True).print(escape(f"{config_path()} {EXPOSED} ({', '.join(exposed)})"), highlight=False)
    if json_wanted:
        found = [{"setting": line.name, "value": line.value, "from": line.source} for line in lines]
        Console().out(json.dumps({"component": component, "settings": found}, indent=2), highlight=False)
        return
    table = Table("setting", "value", "from")
    for line in lines:
        table.add_row(line.name, escape(line.value), escape(line.source))
    Console().print(table)
