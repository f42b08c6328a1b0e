"""What `hub up` prints when everything is up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from hub.cli.up import UpSummary
from hub.model import Model


def print_summary(summary: UpSummary, models: Sequence[type[Model[Any, Any]]]) -> None:
    """Prints the addresses, and a line that works when pasted. Plain lines, so that they survive copy and paste."""
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"\n[bold]hub is up[/bold] in {summary.seconds:.1f} s: {', '.join(summary.models) or 'no models'}\n")
    console.print(f"  API page    {summary.gateway_url}/docs")
    console.print(f"  dashboard   {summary.dashboard_url}")
    console.print(f"  gateway     {summary.gateway_url}")
    console.print(f"  registry    {summary.registry_url}/docs")
    for model in models:
        example = model.example_json()
        console.print(f"\nTry {model.name}:", style="bold")
        console.print(
            f"  curl -s {summary.gateway_url}/v1/models/{model.name} -H 'content-type: application/json' -d '{example}'",
            markup=False,
        )
    if summary.embedded:
        console.print("\nTasks and results live in this process only and are forgotten when it ends.", style="dim")
    console.print("Ctrl-C stops it: running tasks finish, models log out.\n", style="dim")
