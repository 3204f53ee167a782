"""``python -m wsolbench`` is ``wsolbench``."""

from wsolbench.cli.main import main

main()
