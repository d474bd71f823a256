"""The command-line interface `kindred`. Each command imports what it needs, so that --help answers at once."""

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.base.disk import full_disk
from pipelines.base.encoding import accept_any_encoding
from pipelines.base.errors import UserError
from pipelines.base.logs import FORMAT, say
from pipelines.base.own_packages import import_own_packages
from pipelines.base.termination import sigterm_interrupts

if TYPE_CHECKING:
    from pipelines.case.case import Case

app = typer.Typer(
    name="kindred",
    help="Co-train related tasks from separately labelled data, on Ray.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class LogFormat(StrEnum):
    """How standard error tells what happens."""

    TEXT = "text"
    JSON = "json"


def _show_version(requested: bool) -> None:
    if requested:
        print(f"kindred {version('kindred-mtl')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
    log_format: Annotated[
        LogFormat | None,
        typer.Option("--log-format", help="How standard error tells progress and notes: json is one object a line."),
    ] = None,
) -> None:
    if log_format is not None:
        os.environ[FORMAT] = log_format.value


CaseArgument = Annotated[str, typer.Argument(metavar="CASE.yaml", help="A case file, or the name of a shipped case.")]
SetOption = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a key of the case file; repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Let Ray's own messages through.")]
CaseOrFolder = Annotated[
    str,
    typer.Argument(metavar="CASE.yaml|EXPERIMENT", help="A case file, a shipped case, or an experiment's folder."),
]
ExtendOption = Annotated[
    bool,
    typer.Option("--extend", help="Go on from the end of runs of fewer steps, whatever the schedule makes of that."),
]
WaitOption = Annotated[
    bool, typer.Option("--wait", help="Where another process trains the same, wait until it has ended.")
]
RunCodeOption = Annotated[
    bool,
    typer.Option("--run-code", help="Run code that a storage or an export names; only where you trust who wrote it."),
]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Train again what is already trained.")]

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 2, 130, 143


class _InterruptedError(Exception):
    """Ctrl-C or SIGTERM while a command worked; its argument is the exit code."""


@app.command()
def run(
    case: CaseArgument, overrides: SetOption = [], as_json: JsonOption = False, verbose: VerboseOption = False,
    fresh: FreshOption = False, extend: ExtendOption = False, wait: WaitOption = False,
) -> None:  # fmt: skip
    """Ingest, train every arm, evaluate on the test split, and write the report."""
    if not fresh and (done := _finished(case, overrides)):
        _show_results(done, as_json)
        return
    with _on_ray(_loading(case, overrides), verbose, trains=True) as loaded:
        from pipelines import commands as steps
        from pipelines.base.ray_session import is_job

        # A job's case lies in a folder of its own: nobody asks for it again.
        outcome = steps.run(loaded, fresh, extend, None if is_job() else (case, overrides), wait)
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
def init(
    place: Annotated[str, typer.Argument(metavar="PLACE", help="A folder, an archive or a table.")],
    out: Annotated[str | None, typer.Option(metavar="CASE.yaml", help="The file to write.")] = None,
) -> None:
    """Look at a folder or table and write a commented case file for it."""
    from pathlib import Path

    from pipelines.case.load import load_case
    from pipelines.inspection.draft import draft_case

    name = place.partition("?")[0].rstrip("/").rpartition("/")[2].partition(".")[0]
    file = out or f"{name or 'case'}.yaml"
    draft_case(place, file)
    try:
        load_case(file)
    except UserError as error:
        raise UserError(f"{file} is written, and is not right yet:\n{error}") from None
    print(f"{file}: written; `kindred inspect {Path(file)}` shows what is there")


@app.command("import")
def import_export(
    export: Annotated[str, typer.Argument(metavar="EXPORT", help="The folder of `kindred export`.")],
    out: Annotated[str, typer.Option(metavar="CASE.yaml", help="The file to write.")],
) -> None:
    """Write a commented case file that starts from an export, to add a task or data and go on."""
    from pipelines.use.start_case import draft_start

    draft_start(export, out)  # and no more: a case may name code, which its reader is to see first
    print(f"{out}: written; it starts from {export}. Name your data below `datasets`, then `kindred inspect {out}`")


@app.command()
def train(
    case: CaseArgument, overrides: SetOption = [], as_json: JsonOption = False, verbose: VerboseOption = False,
    fresh: FreshOption = False, extend: ExtendOption = False, wait: WaitOption = False,
) -> None:  # fmt: skip
    """Train every arm on the ingested blocks."""
    with _on_ray(_loading(case, overrides), verbose, trains=True) as loaded:
        from pipelines import commands as steps

        trained, folder = steps.train(loaded, fresh, extend, wait)
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
    wait: WaitOption = False, run_code: RunCodeOption = False,
) -> None:  # fmt: skip
    """Resume what was killed, to its report: from its storage alone, on as many workers as there are now."""

    def load() -> "Case":
        from pipelines.experiment.resume import begun_case

        return begun_case(run, overrides, run_code=run_code)

    with _on_ray(load, verbose, trains=True) as begun:
        from pipelines import commands as steps

        outcome = steps.resume(begun, allow_version_mismatch, wait)
    _show_results(outcome, as_json)


@app.command()
def evaluate(
    case: CaseOrFolder, overrides: SetOption = [], as_json: JsonOption = False, verbose: VerboseOption = False,
    run_code: RunCodeOption = False,
) -> None:  # fmt: skip
    """Score the trained arms on the test split, with intervals, into results.json."""
    with _on_ray(_finding(case, overrides, run_code), verbose) as loaded:
        from pipelines import commands as steps

        outcome = steps.evaluate(loaded)
    _show_results(outcome, as_json)


@app.command()
def report(
    case: CaseOrFolder, overrides: SetOption = [], as_json: JsonOption = False,
    formats: Annotated[
        str, typer.Option("--format", metavar="html,md,tex", help="What to write: the page, or its tables as text.")
    ] = "html",
    run_code: RunCodeOption = False,
) -> None:  # fmt: skip
    """Write the report of results.json: an HTML page, its tables as Markdown or LaTeX, or several of them."""
    from pipelines import commands as steps

    files = steps.report(_finding(case, overrides, run_code)(), formats.split(","))
    print(json.dumps({"report": files[0], "files": files}) if as_json else "\n".join(files))


@app.command()
def export(
    case: CaseOrFolder,
    out: Annotated[str, typer.Argument(metavar="OUT", help="The folder to write.")],
    arm: Annotated[str, typer.Option(help="The arm whose network it is.")] = "co-trained",
    seed: Annotated[int | None, typer.Option(help="The run's seed; the best on validation by default.")] = None,
    task: Annotated[str | None, typer.Option(help="One task alone, of an arm with a network for each.")] = None,
    formats: Annotated[list[str], typer.Option("--format", help="Write onnx or torch_export too; repeatable.")] = [],
    overrides: SetOption = [], as_json: JsonOption = False, run_code: RunCodeOption = False,
) -> None:  # fmt: skip
    """Write a trained arm for use, without auxiliary tasks: weights, description and model card in a folder."""
    from pipelines import commands as steps

    folder = steps.export(_finding(case, overrides, run_code)(), arm, seed, task, out, formats)
    print(json.dumps({"exported": str(folder)}) if as_json else folder)


ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="The folder of an export, or of an experiment; a path or URL.")
]
ArmOption = Annotated[str | None, typer.Option(help="Of an experiment, the arm; co-trained by default.")]
SeedOption = Annotated[
    int | None, typer.Option(help="Of an experiment, the seed; the best on the validation split by default.")
]
EnsembleOption = Annotated[bool, typer.Option("--ensemble", help="Of an experiment, all seeds: their mean.")]


@app.command()
def predict(
    model: ModelArgument,
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Folders, archives, tables, arrays, images, URLs.")
    ],
    out: Annotated[str, typer.Option(help="The file to write: .parquet, .csv or .jsonl.")],
    arm: ArmOption = None, seed: SeedOption = None, ensemble: EnsembleOption = False,
    full: Annotated[bool, typer.Option("--full", help="The probabilities of all classes and labels too.")] = False,
    embeddings: Annotated[bool, typer.Option("--embeddings", help="What goes into the heads too.")] = False,
    uncalibrated: Annotated[
        bool, typer.Option("--uncalibrated", help="The network's own probabilities, and thresholds of 0.5.")
    ] = False,
    options: Annotated[
        list[str], typer.Option("--source", metavar="KEY=VALUE", help="How INPUT is read: file_column=path, ...")
    ] = [],
    run_code: RunCodeOption = False, as_json: JsonOption = False, verbose: VerboseOption = False,
) -> None:  # fmt: skip
    """Predict folders, archives and tables with a trained model; what was killed goes on where it was."""
    from pipelines.use.command import predict_command

    with _interruptible():
        predicted = predict_command(
            model, inputs, out, arm=arm, seed=seed, ensemble=ensemble, full=full, embeddings=embeddings,
            calibrated=not uncalibrated, options=options, run_code=run_code, verbose=verbose,
        )  # fmt: skip
    print(json.dumps(predicted.as_dict()) if as_json else predicted)


@app.command()
def serve(
    model: ModelArgument,
    host: Annotated[str, typer.Option(help="The address to listen on; by default this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    replicas: Annotated[int, typer.Option(min=1, help="How many hold the model.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of each replica.")] = 0,
    arm: ArmOption = None, seed: SeedOption = None, ensemble: EnsembleOption = False,
    no_token: Annotated[bool, typer.Option("--no-token", help="Ask for no token; on this machine alone.")] = False,
    run_code: RunCodeOption = False, verbose: VerboseOption = False,
) -> None:  # fmt: skip
    """Serve a trained model over HTTP: POST /predict, a page on /; the token is KINDRED_TOKEN, or a new one."""
    from pipelines.use.command import serve_command

    with _interruptible():
        serve_command(
            model, host=host, port=port, replicas=replicas, gpus=gpus, arm=arm, seed=seed, ensemble=ensemble,
            no_token=no_token, run_code=run_code, verbose=verbose, tell=lambda words: print(words, flush=True),
        )  # fmt: skip


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
    case: CaseArgument, overrides: SetOption = [], as_json: JsonOption = False, verbose: VerboseOption = False,
    extend: Annotated[int, typer.Option("--extend", min=0, metavar="N", help="Try N more, when all have ended.")] = 0,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Run the best case, all arms, and score it once on the test split.")
    ] = False,
    wait: WaitOption = False,
) -> None:  # fmt: skip
    """Search weights, temperatures and any other settings on the validation split; write the best as a case file.

    The same command goes on from where it was ended, from the storage alone. Exits with 1 where every trial failed.
    """
    with _on_ray(_loading(case, overrides), verbose, trains=True) as loaded:
        from pipelines import commands as steps

        result = steps.tune(loaded, extend, wait)
        confirmed = steps.confirm(result) if confirm and result.case_file else None
    if as_json:
        told = {"confirmed": confirmed.as_dict()} if confirmed else {}
        from pipelines.search.records import finite

        print(json.dumps(finite(result.as_dict()) | told))
    else:
        print(result.table())
        print(f"page: {result.page}")
        print(f"best case: {result.case_file}" if result.case_file else f"no case is written; records: {result.folder}")
        if confirmed:
            _show_results(confirmed, False)
    if result.all_failed:
        raise typer.Exit(EXIT_FAILED)


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


StorageArgument = Annotated[str, typer.Argument(metavar="STORAGE", help="storage.path: a folder or a URL.")]


@app.command("list")
def list_experiments(storage: StorageArgument = "kindred-runs", as_json: JsonOption = False) -> None:
    """List the experiments of a storage: how far they are, how large, and what they came to."""
    from pipelines.housekeeping import listing

    experiments = listing.list_experiments(storage)
    if as_json:
        print(json.dumps([one.model_dump() for one in experiments]))
    else:
        print(listing.experiments_text(experiments))


@app.command()
def compare(
    experiments: Annotated[list[str], typer.Argument(metavar="EXPERIMENT...", help="Folders of two or more.")],
    page: Annotated[str | None, typer.Option(metavar="FILE.html", help="Write an HTML page too.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Put experiments side by side: scores with intervals, and the settings and data that differ."""
    from pipelines.base.storage import write_whole
    from pipelines.housekeeping import compare as comparing

    compared = comparing.compare(experiments)
    if page:
        try:
            write_whole(page, comparing.comparison_page(compared))
        except OSError as error:
            raise UserError(f"--page: {page} cannot be written: {error.strerror}") from None
    print(compared.model_dump_json() if as_json else comparing.comparison_text(compared))


@app.command()
def clean(
    storage: StorageArgument = "kindred-runs",
    experiments: Annotated[
        list[str], typer.Option("--experiment", metavar="NAME", help="Delete this experiment whole; repeatable.")
    ] = [],
    states: Annotated[
        bool, typer.Option("--states", help="Delete the states that more steps go on from, too.")
    ] = False,
    older_than: Annotated[
        float, typer.Option("--older-than", min=0, metavar="DAYS", help="Keep what was written since.")
    ] = 1.0,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it, what would go is shown.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what nothing in a storage needs: old blocks, checkpoints, empty experiments; with --yes, delete it."""
    from pipelines.housekeeping import clean as cleaning

    unneeded = cleaning.find_unneeded(storage, experiments, states, older_than)
    if yes:
        cleaning.delete_unneeded(storage, unneeded)
    if as_json:
        print(json.dumps({"deleted": yes, "unneeded": [one.model_dump() for one in unneeded]}))
    else:
        print(cleaning.unneeded_text(unneeded, deleted=yes))


def _loading(case: str, overrides: list[str]) -> "Callable[[], Case]":
    def load() -> "Case":
        from pipelines.case.load import load_case

        return load_case(case, overrides)

    return load


def _finding(case: str, overrides: list[str], run_code: bool) -> "Callable[[], Case]":
    def find() -> "Case":
        from pipelines.experiment.resume import find_case

        return find_case(case, overrides, run_code=run_code)

    return find


@contextmanager
def _on_ray(load: "Callable[[], Case]", verbose: bool, *, trains: bool = False) -> "Iterator[Case]":
    """Validate the case, and have Ray start, or be joined, when the command needs it, for as long as it works.

    What only training needs is looked for before anything is ingested, where it is this machine that trains.
    """
    with _interruptible():
        from pipelines.base.ray_session import is_own_ray, leave_job_folder, ray_on_demand
        from pipelines.base.shared_storage import check_on_start

        with ray_on_demand(verbose) as then:
            loaded = load()
            leave_job_folder()
            if check := check_on_start(loaded.storage.path):
                then.append(check)
            if trains and is_own_ray():
                from pipelines.case.checks import check_machine

                if problems := check_machine(loaded):
                    raise UserError("\n".join(problems))
            yield loaded


@contextmanager
def _interruptible() -> Iterator[None]:
    with sigterm_interrupts() as terminated:
        try:
            yield
        except KeyboardInterrupt:  # typer would make it exit code 1
            raise _InterruptedError(EXIT_TERMINATED if terminated.is_set() else EXIT_INTERRUPTED) from None
        except Exception as error:
            from pipelines.base.ray_watch import RayLostError

            # Where SIGTERM is sent to the whole group of processes, Ray's services end before this one has.
            if terminated.is_set() and isinstance(error, RayLostError):
                raise _InterruptedError(EXIT_TERMINATED) from None
            raise


def _finished(case: str, overrides: list[str]) -> Any:
    """Return the outcome of a case that has been run to its end, if nothing has changed since; else None."""
    from pathlib import Path

    from pipelines.experiment.finished import finished

    folder = finished(case, Path(__file__).parent / "cases", overrides)
    if folder is None:
        return None
    from pipelines.evaluate.outcome import Outcome
    from pipelines.evaluate.results import read_results

    try:
        return Outcome(read_results(folder), folder, f"{folder}/report.html")
    except UserError:
        return None


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
    verbose = not {"--verbose", "-v"}.isdisjoint(sys.argv)
    sys.path.append(os.getcwd())  # a case's own modules may lie there; Ray's workers look there too
    try:
        app()
    except UserError as error:
        if error.__cause__ is not None and verbose:
            traceback.print_exception(error.__cause__)
        say(f"error: {error}", level="error")
        sys.exit(EXIT_USAGE)
    except _InterruptedError as interruption:
        say(
            "interrupted; what was ingested and trained is kept, and the same command resumes from there", level="error"
        )
        sys.exit(interruption.args[0])
    except Exception as error:
        if verbose:
            raise
        if (words := full_disk(error)) is not None:
            say(f"failed: {words}", level="error")
            sys.exit(EXIT_FAILED)
        say(f"failed: {type(error).__name__}: {error}\n(--verbose shows the traceback)", level="error")
        sys.exit(EXIT_FAILED)
