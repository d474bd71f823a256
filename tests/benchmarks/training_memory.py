"""How much memory a worker that trains holds, by the number of rows of its data.

    python tests/benchmarks/training_memory.py --rows 10240 40960 163840

For each number of rows the blocks are ingested, then a process of its own trains a run by the code that Ray's workers
call, long enough to have read every row once where `--steps` allows, and reads /proc/self/status at its end. Anonymous
memory is the process's own and should not grow with the rows; file pages are the blocks' in the page cache, which the
system takes back when it needs them.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
from pathlib import Path
from typing import Any


def status() -> dict[str, float]:
    """Return this process's resident memory in MiB: anonymous, of files, shared."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {key: int(lines[key].split()[0]) / 1024 for key in ("RssAnon", "RssFile", "RssShmem")}


def train_and_tell(work: Any, out: str) -> None:
    """Train a work's first run in this process, and write its memory before and after."""
    import torch

    from pipelines.train.data import open_training_data
    from pipelines.train.loop import train_run
    from pipelines.train.malloc import disable_malloc_trim
    from pipelines.train.worker import Worker

    torch.set_num_threads(1)
    disable_malloc_trim()  # as the function does that Ray calls
    before = status()
    data = open_training_data(work.case, work.data_sets)
    opened = status()
    train_run(work, work.runs[0], data, Worker())
    Path(out).write_text(json.dumps({"before": before, "blocks opened": opened, "after": status()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10240, 40960, 163840])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()

    from made_case import made_case

    from pipelines.base.ray_session import ray_session
    from pipelines.experiment.layout import experiment_folder
    from pipelines.experiment.run import list_runs
    from pipelines.ingest.ingest import ingest
    from pipelines.train.assignment import WorkerAssignment

    answer: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        works = {}
        with ray_session():
            for rows in given.rows:
                (folder := Path(scratch) / str(rows)).mkdir()
                # A small network: what is looked for is what the data take.
                overrides = [f"training.steps={given.steps}", "network.widths=[8, 8]"]
                case = made_case(folder, rows, overrides=overrides, name=f"rows{rows}")
                data_sets = ingest(case)
                works[rows] = WorkerAssignment(
                    case, tuple(list_runs(case)), data_sets, experiment_folder(case), "benchmark"
                )
        for rows, work in works.items():
            out = Path(scratch) / f"{rows}.json"
            process = multiprocessing.get_context("spawn").Process(target=train_and_tell, args=(work, str(out)))
            process.start()
            process.join()
            answer[str(rows)] = json.loads(out.read_text())
    least, most = min(given.rows), max(given.rows)
    grown = answer[str(most)]["after"]["RssAnon"] - answer[str(least)]["after"]["RssAnon"]
    per_row = grown * 2**20 / max(1, most - least)
    if given.json:
        print(json.dumps({"load": os.getloadavg(), "rows": answer, "anonymous bytes a row": round(per_row, 1)}))
        return
    for rows, of in answer.items():
        after = of["after"]
        print(f"{int(rows):,} rows: anonymous {after['RssAnon']:.0f} MiB, pages of files {after['RssFile']:.0f} MiB")
    print(f"anonymous memory grew by {grown:.1f} MiB, {per_row:.1f} bytes a row; a picture has {32 * 32 * 3} bytes")


if __name__ == "__main__":
    main()
