"""Entry point of ``python -m pipelines``, the same as the command `kindred`."""

from pipelines.cli import main

main()
