"""``wsolbench check-method NAME|FILE``: the conformance kit."""

import sys
from typing import Annotated

import typer

from wsolbench.cli.common import Quiet


def check_method(
    method: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="A method's name, or a Python file that ends in .py.")
    ],
    backbone: Annotated[str, typer.Option(help="all, or one backbone's name.")] = "all",
    quiet: Quiet = False,
) -> None:
    """Check that a method does what the engine relies on: one line a check, then what failed and where to look."""
    from wsolbench.conformance import checks
    from wsolbench.conformance.report import run_check, summary

    found = checks(method, backbone)
    live = sys.stdout.isatty() and not quiet
    outcomes = []
    for number, check in enumerate(found, start=1):
        count = f"[{number:>2}/{len(found)}]"
        if live:
            typer.echo(f"{count} {check.name} ...", nl=False)
        outcomes.append(run_check(check))
        typer.echo(("\r\033[K" if live else "") + f"{count} {outcomes[-1].line()}")
        sys.stdout.flush()
    typer.echo(summary(found[0].subject.kind.name, outcomes))
    if any(outcome.status == "FAILED" for outcome in outcomes):
        raise typer.Exit(1)
