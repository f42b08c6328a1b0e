"""`hub proto`: the command line for `.proto` files of one's own project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

proto = App(
    name="proto",
    help="Make Python modules of .proto files, and check these. Needs the packages of hub-serving[proto]. "
    "Exit codes: 0 success, 1 errors in the .proto files, 2 bad arguments or a missing package.",
)

Root = Annotated[
    Path,
    Parameter(
        name="--root",
        env_var=(),
        help="The folder that imports and packages are relative to; its .proto files are taken.",
    ),
]
Out = Annotated[Path, Parameter(name="--out", env_var=(), help="The folder of the Python modules.")]
Against = Annotated[
    str,
    Parameter(
        name="--against",
        env_var=(),
        show_default=False,
        help="Also search for breaking changes since this state: a folder with .proto files, or any input of buf, such as "
        "'.git#branch=main,subdir=protos'.",
    ),
]


@proto.command
def build(*, root: Root = Path("protos"), out: Out = Path()) -> int:
    """Write a Python module, its typed stub and its comments for every .proto file.

    The comments are in a JSON file beside each module, where the model finds them.
    """
    from hub.cli.proto.commands import build_modules  # noqa: PLC0415 - each command loads only what it runs

    return build_modules(root, out)


@proto.command
def check(*, root: Root = Path("protos"), against: Against = "") -> int:
    """Check the .proto files with buf: lint, and breaking changes with --against. Rules must be ones that hub supports."""
    from hub.cli.proto.commands import check_files  # noqa: PLC0415

    return check_files(root, against)
