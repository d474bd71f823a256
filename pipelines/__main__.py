"""``python -m pipelines`` is the command `kindred`."""

from pipelines.cli import main

main()
