"""`hub doctor`: checks the servers and settings of a component, and says how to mend what is wrong."""

from __future__ import annotations

import sys
from functools import partial
from typing import Annotated, Literal

from cyclopts import Parameter

from hub.cli.command import run_command
from hub.cli.config import sources_of_settings
from hub.cli.parameters import SETTINGS_GROUP, Json
from hub.settings.tools import DoctorSettings

Component = Annotated[
    Literal["up", "registry", "gateway", "model"],
    Parameter(env_var=(), help="What is to run with these settings; the defaults are those of this command."),
]
Settings = Annotated[DoctorSettings | None, Parameter(group=SETTINGS_GROUP)]


def doctor(component: Component = "up", /, *, json: Json = False, settings: Settings = None) -> int:
    """Check broker, store, registry, gateway, clocks, ports and settings; each problem is printed with its repair.

    Exit code 0, or 1 when there is a problem. It changes nothing but for a queue hub.doctor.* that it declares and deletes.
    """
    from hub.cli.doctor.commands import examine_and_print  # noqa: PLC0415 - each command loads only what it runs

    settings = settings or DoctorSettings()
    arguments = sys.argv[1:]
    sources = sources_of_settings(arguments)
    command = partial(examine_and_print, component, settings, sources, arguments, json_wanted=json)
    return run_command(command, settings, interrupted="interrupted")
