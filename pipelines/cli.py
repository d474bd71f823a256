"""The command-line interface `kindred`. Each command imports what it needs, so that --help answers at once."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.base.encoding import accept_any_encoding
from pipelines.base.errors import UserError
from pipelines.base.own_packages import import_own_packages
from pipelines.base.termination import TerminatedError, sigterm_interrupts

if TYPE_CHECKING:
    from pipelines.case.case import Case

app = typer.Typer(
    name="kindred",
    help="Co-train related tasks from separately labelled data, on Ray.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(requested: bool) -> None:
    if requested:
        print(f"kindred {version('kindred-mtl')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


CaseArgument = Annotated[str, typer.Argument(metavar="CASE.yaml", help="A case file, or the name of a shipped case.")]
SetOption = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a key of the case file; repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Let Ray's own messages through.")]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Train again what is already trained.")]

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 2, 130, 143


class _InterruptedError(Exception):
    """Ctrl-C or SIGTERM while a command worked; its argument is the exit code."""


@app.command()
def run(
    case: CaseArgument, overrides: SetOption = [], as_json: JsonOption = False, verbose: VerboseOption = False,
    fresh: FreshOption = False,
) -> None:  # fmt: skip
    """Ingest, train every arm, evaluate on the test split, and write the report."""
    with _on_ray(_loading(case, overrides), verbose, trains=True) as loaded:
        from pipelines import commands as steps

        outcome = steps.run(loaded, fresh)
    _show_results(outcome, as_json)


@app.command()
def ingest(
    case: CaseArgument, overrides: SetOption = [], as_json: JsonOption = False, verbose: VerboseOption = False
) -> None:
    """Turn the sources into Arrow blocks."""
    with _on_ray(_loading(case, overrides), verbose) as loaded:
        from pipelines import commands as steps

        manifests = steps.ingest(loaded)
    if as_json:
        print(json.dumps({name: manifest.model_dump(mode="json") for name, manifest in manifests.items()}))
        return
    for name, manifest in manifests.items():
        quarantined = f", {manifest.quarantined:,} quarantined" if manifest.quarantined else ""
        leaked = f", {len(manifest.excluded):,} taken out: they stand in later splits too" if manifest.excluded else ""
        print(
            f"{name}: {manifest.rows:,} rows in {len(manifest.blocks)} blocks ({manifest.split}){quarantined}{leaked}"
        )


@app.command()
def inspect(
    case: CaseArgument, overrides: SetOption = [], as_json: JsonOption = False,
    pictures: Annotated[int, typer.Option(min=0, max=100, help="Images per dataset on the sheet; 0: no sheet.")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Which images: the same for the same seed.")] = 0,
    sheet: Annotated[str | None, typer.Option(metavar="FILE.png", help="Where to draw the images.")] = None,
) -> None:  # fmt: skip
    """Look at the data before or after their ingest: counts, labels, overlap, leakage, and a sheet of images.

    Exits with 1 where it says that the ingest will stop.
    """
    with _interruptible():
        from pipelines import commands as steps
        from pipelines.case.load import load_case
        from pipelines.inspection.tables import inspection_text

        inspection = steps.inspect(load_case(case, overrides), pictures, seed, sheet)
    if as_json:
        print(inspection.model_dump_json())
    else:
        print(inspection_text(inspection))
        if inspection.sheet:
            print(f"images: {inspection.sheet.file}")
    if any(data_set.stops for data_set in inspection.data_sets):
        raise typer.Exit(EXIT_FAILED)


@app.command()
def train(
    case: CaseArgument, overrides: SetOption = [], as_json: JsonOption = False, verbose: VerboseOption = False,
    fresh: FreshOption = False,
) -> None:  # fmt: skip
    """Train every arm on the ingested blocks."""
    with _on_ray(_loading(case, overrides), verbose, trains=True) as loaded:
        from pipelines import commands as steps

        trained, folder = steps.train(loaded, fresh)
    if as_json:
        print(json.dumps({"trained": trained, "experiment": folder}))
    else:
        print(f"{trained} runs trained: {folder}")


@app.command()
def resume(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The folder of an experiment that was begun.")],
    overrides: SetOption = [], as_json: JsonOption = False, verbose: VerboseOption = False,
    allow_version_mismatch: Annotated[
        bool,
        typer.Option("--allow-version-mismatch", help="Resume what another version of Kindred or torch has written."),
    ] = False,
) -> None:  # fmt: skip
    """Resume what was killed, to its report: from its storage alone, on as many workers as there are now."""

    def load() -> "Case":
        from pipelines.experiment.resume import begun_case

        return begun_case(run, overrides)

    with _on_ray(load, verbose, trains=True) as begun:
        from pipelines import commands as steps

        outcome = steps.resume(begun, allow_version_mismatch)
    _show_results(outcome, as_json)


@app.command()
def evaluate(
    case: CaseArgument, overrides: SetOption = [], as_json: JsonOption = False, verbose: VerboseOption = False
) -> None:
    """Score the trained arms on the test split, with intervals, into results.json."""
    with _on_ray(_loading(case, overrides), verbose) as loaded:
        from pipelines import commands as steps

        outcome = steps.evaluate(loaded)
    _show_results(outcome, as_json)


@app.command()
def report(case: CaseArgument, overrides: SetOption = [], as_json: JsonOption = False) -> None:
    """Write the HTML report of results.json."""
    from pipelines import commands as steps
    from pipelines.case.load import load_case

    file = steps.report(load_case(case, overrides))
    print(json.dumps({"report": file}) if as_json else file)


@app.command()
def export(
    case: CaseArgument,
    out: Annotated[str, typer.Argument(metavar="OUT", help="The folder to write.")],
    arm: Annotated[str, typer.Option(help="The arm whose network it is.")] = "co-trained",
    seed: Annotated[int | None, typer.Option(help="The run's seed; the case's first by default.")] = None,
    task: Annotated[str | None, typer.Option(help="The network's task, in an arm with a network for each.")] = None,
    overrides: SetOption = [], as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Write a trained network for use, without auxiliary tasks: weights and a JSON description in a folder."""
    from pipelines import commands as steps
    from pipelines.case.load import load_case

    folder = steps.export(load_case(case, overrides), arm, seed, task, out)
    print(json.dumps({"exported": str(folder)}) if as_json else folder)


@app.command()
def schema(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the reference of all keys in Markdown.")] = False,
) -> None:
    """Print the JSON Schema of a case file, with which an editor completes and checks its keys."""
    from pipelines.case.schema import case_reference, case_schema

    print(
        case_reference() if markdown else json.dumps(case_schema(), indent=1, ensure_ascii=False), end="\n"[markdown:]
    )


@app.command()
def tune(
    case: CaseArgument, overrides: SetOption = [], as_json: JsonOption = False, verbose: VerboseOption = False
) -> None:
    """Search loss weights and temperatures on the validation split; write the best as a case file."""
    with _on_ray(_loading(case, overrides), verbose, trains=True) as loaded:
        from pipelines import commands as steps

        result = steps.tune(loaded, verbose)
    if as_json:
        print(json.dumps(result.as_dict()))
    else:
        print(result.table())
        print(f"best case: {result.case_file}")


@app.command()
def relate(
    case: CaseArgument, overrides: SetOption = [], as_json: JsonOption = False, verbose: VerboseOption = False,
    edges: Annotated[
        list[str],
        typer.Option("--edge", metavar="FROM:TO", help="What to estimate; repeatable. Default: the case's edges."),
    ] = [],
) -> None:  # fmt: skip
    """Estimate how tasks relate where no input is annotated for both: each task's network labels the other's data."""
    with _on_ray(_loading(case, overrides), verbose, trains=True) as loaded:
        from pipelines import commands as steps

        estimates = steps.relate(loaded, edges)
    if as_json:
        print(json.dumps([edge.as_dict() for edge in estimates]))
        return
    for edge in estimates:
        print(f"{edge.relatedness}\n{edge.relatedness.provenance}\ntable: {edge.file}\nfigure: {edge.figure}")


def _loading(case: str, overrides: list[str]) -> "Callable[[], Case]":
    def load() -> "Case":
        from pipelines.case.load import load_case

        return load_case(case, overrides)

    return load


@contextmanager
def _on_ray(load: "Callable[[], Case]", verbose: bool, *, trains: bool = False) -> "Iterator[Case]":
    """Validate the case, then start or join a Ray for as long as the command works on it.

    What only training needs is looked for before anything is ingested, where it is this machine that trains.
    """
    with _interruptible():
        from pipelines.base.ray_session import is_own_ray, ray_session

        loaded = load()
        if trains and is_own_ray():
            from pipelines.case.checks import check_machine

            if problems := check_machine(loaded):
                raise UserError("\n".join(problems))
        with ray_session(verbose):
            yield loaded


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        with sigterm_interrupts():
            yield
    except TerminatedError:
        raise _InterruptedError(EXIT_TERMINATED) from None
    except KeyboardInterrupt:  # typer would make it exit code 1
        raise _InterruptedError(EXIT_INTERRUPTED) from None


def _show_results(outcome: Any, as_json: bool) -> None:
    from pipelines.report.results_table import results_table

    if as_json:
        print(json.dumps(outcome.as_dict()))
        return
    print(results_table(outcome.results))
    print(f"report: {outcome.report}" if outcome.report else f"results: {outcome.folder}/results.json")


def _add_commands_from_above() -> None:
    """Add what other folders declare in the entry-point group `kindred.commands`, `submit` for one."""
    for entry in sorted(entry_points(group="kindred.commands"), key=lambda entry: entry.name):
        command: Callable[..., None] = entry.load()
        app.command(entry.name)(command)


def main() -> None:
    """Run the command line; exit code 0, 1 for a failed run, 2 for a wrong call or case file."""
    import_own_packages()
    accept_any_encoding()
    _add_commands_from_above()
    sys.path.append(os.getcwd())  # a case's own modules may lie there; Ray's workers look there too
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    except _InterruptedError as interruption:
        print(
            "interrupted; what was ingested and trained is kept, and the same command resumes from there",
            file=sys.stderr,
        )
        sys.exit(interruption.args[0])
    except Exception as error:
        if "--verbose" in sys.argv or "-v" in sys.argv:
            raise
        print(f"failed: {type(error).__name__}: {error}\n(--verbose shows the traceback)", file=sys.stderr)
        sys.exit(EXIT_FAILED)
