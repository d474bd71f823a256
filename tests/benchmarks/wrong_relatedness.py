"""What a wrong relatedness table costs, with and without trust: CIFAR-10, the right table and one with shuffled rows.

    python tests/benchmarks/wrong_relatedness.py --data-root ../shared/data/cifar10-images.zip

The shipped case `cifar10` with three arms: naive, the plain method, and the method with estimated trust; differences
are to naive. All settings are the shipped case's, and the labels are the right table's throughout: only the table that
the losses use is shuffled. Prints a table for the right R and one for each shuffle of its rows.
"""

import argparse
import tempfile
from pathlib import Path

import torch
import yaml

SHIPPED = Path(__file__).parents[2] / "pipelines" / "cases" / "cifar10.yaml"


def case_with(table: dict[str, list[str]], name: str, folder: Path, seeds: list[int]) -> Path:
    """Write the case with this table."""
    case = yaml.safe_load(SHIPPED.read_text())
    case["name"] = name
    case["relatedness"][0]["table"] = table
    case["training"]["seeds"] = seeds
    case["arms"] = {"naive": {"matching": "none"}, "plain": {}, "trust": {"matching": {"trust": "estimated"}}}
    case["evaluation"]["baseline"] = "naive"
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(case, sort_keys=False))
    return file


def shuffled(table: dict[str, list[str]], seed: int) -> dict[str, list[str]]:
    """Give every class another's row."""
    classes = list(table)
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(seed)).tolist()
    return {classes[i]: table[classes[j]] for i, j in enumerate(order)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="the zip archive of CIFAR-10's pictures")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--shuffles", type=int, nargs="*", default=[1], help="seeds of shuffles of the table's rows")
    parser.add_argument("--no-right", action="store_true", help="leave the right table out")
    parser.add_argument("--storage", type=Path, help="keep what is trained here, and go on from it")
    given = parser.parse_args()

    from pipelines.base.ray_session import ray_session
    from pipelines.case.case import Case
    from pipelines.case.load import load_case
    from pipelines.evaluate.evaluate import evaluate
    from pipelines.ingest.ingest import ingest
    from pipelines.report.results_table import results_table
    from pipelines.train.launch import train

    table = yaml.safe_load(SHIPPED.read_text())["relatedness"][0]["table"]
    with tempfile.TemporaryDirectory() as scratch, ray_session():
        storage = given.storage or Path(scratch) / "store"
        overrides = [f"data_root={given.data_root.resolve()}", f"storage.path={storage.resolve()}"]

        def case_of(name: str, rows: dict[str, list[str]]) -> Case:
            return load_case(str(case_with(rows, name, Path(scratch), given.seeds)), overrides)

        data_sets = ingest(case_of("right", table))  # attributes are read off the class, through the right table
        tables = {} if given.no_right else {"right": table}
        for name, rows in (tables | {f"shuffled-{seed}": shuffled(table, seed) for seed in given.shuffles}).items():
            case = case_of(name, rows)
            train(case, data_sets)
            print(results_table(evaluate(case, data_sets)), flush=True)


if __name__ == "__main__":
    main()
