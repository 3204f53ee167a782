"""``wsolbench new-method NAME``: the files that a method of your own starts from."""

from pathlib import Path
from typing import Annotated

import typer


def new_method(
    name: Annotated[str, typer.Argument(help="Lower-case words and hyphens, such as my-method.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path(),
) -> None:
    """Write a method that works, with a test that passes, and say how to check, run and add it."""
    from wsolbench.files import refuse_unwritable
    from wsolbench.method_template import class_name, write_method

    refuse_unwritable("--out", out)
    method, test = write_method(name, out)
    typer.echo(
        f"""wrote {method} and {test}

check  wsolbench check-method {method}
run    wsolbench run {name} parts --plugin {method} --backbone resnet-tiny
test   python -m pytest {test}
add    in your package's pyproject.toml:
       [project.entry-points."wsolbench.methods"]
       {name} = "your_package.{method.stem}:{class_name(name)}"
       or, in this project, move {method.name} to methods/, where tests/test_method.py finds it"""
    )
