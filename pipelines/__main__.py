"""``python -m pipelines`` is the command `kindred`."""

from pipelines.command_line import main

main()
