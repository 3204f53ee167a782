"""The command ``wsolbench``: its subcommands, and how errors leave it.

Exit status 0: done; 1: the run failed; 2: the user's input was wrong. A traceback is shown only with ``--debug``.
"""

import sys
import traceback

import typer

from wsolbench.cli import (
    bench,
    check_method,
    compare,
    data,
    demo,
    evaluate,
    explain,
    extract,
    figures,
    illustrate,
    leaderboard,
    listing,
    new_method,
    predict,
    report,
    rescore,
    run,
    tune,
)
from wsolbench.errors import RunError, SealedError, UserError

app = typer.Typer(
    name="wsolbench",
    help="Weakly supervised object localization: one protocol, one engine, one leaderboard.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: half the start-up time
)
app.command("demo")(demo.demo)
app.command("run")(run.run)
app.command("tune")(tune.tune)
app.command("bench")(bench.bench)
app.command("evaluate")(evaluate.evaluate)
app.command("leaderboard")(leaderboard.leaderboard)
app.command("report")(report.report)
app.command("figures")(figures.figures)
app.command("compare")(compare.compare)
app.command("rescore")(rescore.rescore)
app.command("predict")(predict.predict)
app.command("explain")(explain.explain)
app.command("extract")(extract.extract)
app.command("illustrate")(illustrate.illustrate)
app.command("list")(listing.list_names)
app.add_typer(data.app, name="data")
app.command("new-method")(new_method.new_method)
app.command("check-method")(check_method.check_method)


@app.callback()
def options(debug: bool = typer.Option(False, "--debug", help="Show tracebacks; may stand anywhere.")) -> None:
    """Options of every command; ``--debug`` is taken out of the arguments before they are parsed."""


def main() -> None:
    """Run the command line and exit with its status."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        app(arguments)
    except Exception as error:
        if debug:
            raise
        typer.echo(f"error: {describe(error)}", err=True)
        sys.exit(2 if isinstance(error, UserError) else 1)


def _plugin_line(error: Exception) -> str:
    """Return file and line of the last frame of an error that lies in a local method file; empty if none does."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if frame.f_globals.get("__name__", "").startswith("wsolbench_plugin_"):  # as plugins names its imports
            return f"{frame.f_code.co_filename}:{line}"
    return ""


def describe(error: Exception) -> str:
    """Return one sentence on what went wrong."""
    if isinstance(error, (UserError, RunError, SealedError)):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    if type(error).__name__ == "OutOfMemoryError":
        return "the device is out of memory; use a smaller batch (--set batch_size=N) or image (--image-size S)"
    first = str(error).splitlines()[0] if str(error) else ""
    if line := _plugin_line(error):
        kind = type(error).__name__
        return f"the plugin raised {kind} at {line}: {first} (--debug shows more; so does wsolbench check-method FILE)"
    return f"unexpected {type(error).__name__}: {first} (--debug shows where; please report it)"
