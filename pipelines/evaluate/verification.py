"""Verification: pairs of inputs of people that no network was trained on, by the cosine of their embeddings."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from mtlcore import verification_difference, verification_scores
from pipelines.base.errors import UserError
from pipelines.base.progress import bar, note
from pipelines.base.ray_session import need_ray
from pipelines.base.waiting import a_processor
from pipelines.batches.normalize import normalize
from pipelines.case.case import Case
from pipelines.case.data import outputs_of
from pipelines.case.verification import Verification
from pipelines.evaluate.forward import forward_in_batches, one_thread
from pipelines.evaluate.predict_split import resources_of_a_task, trained_network
from pipelines.evaluate.results import Difference, VerificationOfArm, VerificationResult
from pipelines.evaluate.task_test import or_null
from pipelines.experiment.run import Run
from pipelines.ingest.boxes import with_boxes, with_own_crop
from pipelines.ingest.decode_rows import decode_rows
from pipelines.sources.cells import distinct_cells
from pipelines.sources.list_source import list_source
from pipelines.sources.listing import column
from pipelines.train.worker import allow_tf32

_KEY = "evaluation.verification"
_MOST_TRIES = 20  # a pair: few identities may have fewer different pairs than are asked for


@dataclass(frozen=True)
class Pairs:
    """Pairs of inputs.

    Attributes:
        rows: which rows of the source they are of, int64 (n,), every one once.
        first: the place in ``rows`` of one of a pair, int64 (P,).
        second: of the other.
        identities: of every row, int64 (n,).
    """

    rows: np.ndarray
    first: np.ndarray
    second: np.ndarray
    identities: np.ndarray


def verify(case: Case, runs: Sequence[Run], experiment: str) -> VerificationResult | None:
    """Score every arm on pairs of inputs; None where the case asks for none, or too few can be read. It needs Ray.

    Raises:
        UserError: the source cannot be listed, or holds too few identities, or some that the task is trained on.
    """
    settings = case.evaluation.verification
    if settings is None:
        return None
    if (read := read_pairs(case, settings)) is None:
        return None
    inputs, pairs = read
    serving = [run for run in runs if settings.task in run.tasks]
    alike = _similarities(case, settings.task, serving, experiment, inputs, pairs)
    first, second = pairs.identities[pairs.first], pairs.identities[pairs.second]
    by_arm = {
        arm: [alike[run] for seed in case.training.seeds for run in serving if run.arm == arm and run.seed == seed]
        for arm in dict.fromkeys(run.arm for run in serving)
    }
    arms = {}
    for arm, of_seeds in by_arm.items():
        scored = [verification_scores(of_seed, first, second) for of_seed in of_seeds]
        difference = None
        if arm != case.evaluation.baseline and case.evaluation.baseline in by_arm:
            gained = verification_difference(
                of_seeds, by_arm[case.evaluation.baseline], first, second,
                replicates=case.evaluation.replicates, confidence=case.evaluation.confidence,
            )  # fmt: skip
            difference = Difference(value=gained.value, low=gained.low, high=gained.high)
        arms[arm] = VerificationOfArm(
            auc=[or_null(of_seed["auc"]) for of_seed in scored],
            eer=[or_null(of_seed["eer"]) for of_seed in scored],
            difference=difference,
        )
    return VerificationResult(
        task=settings.task,
        inputs=len(pairs.rows),
        identities=len(np.unique(pairs.identities)),
        same=int((first == second).sum()),
        different=int((first != second).sum()),
        arms=arms,
    )


def check_identities(case: Case) -> None:
    """Refuse, before anything is trained, a source of pairs of which none could be drawn.

    Raises:
        UserError: as :func:`verify`, but for inputs that turn out to be unreadable.
    """
    if case.evaluation.verification is not None:
        _listed(case, case.evaluation.verification)


def _listed(case: Case, settings: Verification) -> tuple[pa.Table, np.ndarray, np.ndarray, Pairs]:
    """Return the rows of the source, the identity of each, which of them may take part, and the pairs."""
    listing = list_source(str(case.data_root), settings.source)
    listing = with_boxes(listing.sorted_by_id(), with_own_crop(case.input, settings.crop), f"{_KEY}.source")
    which, words = distinct_cells(column(listing.fields, settings.column, _KEY))
    names = np.array([*words, None], dtype=object)[which]
    known = set(outputs_of(settings.task, case.tasks[settings.task])) | set(case.tasks[settings.task].aliases)
    if seen := sorted(known & set(names[names != None])):  # noqa: E711 - of an array
        raise UserError(
            f"{_KEY}.source: found {', '.join(seen[:3])}{', ...' if len(seen) > 3 else ''}, {len(seen)} of which "
            f"{settings.task} is trained on; expected identities that are none of its classes"
        )
    usable = np.flatnonzero(
        pc.is_null(listing.rows["refused"]).to_numpy(zero_copy_only=False)
        & np.array([name is not None for name in names], dtype=bool)
    )
    return listing.rows, names, usable, draw_pairs(names, usable, settings.pairs, settings.seed)


def read_pairs(case: Case, settings: Verification) -> tuple[Tensor, Pairs] | None:
    """Return the inputs of the pairs, as they are read, (n, ...), and the pairs, of what can be read.

    Others are drawn in the place of inputs that cannot; None where too few are left.
    """
    listed, names, usable, pairs = _listed(case, settings)
    declared = with_own_crop(case.input, settings.crop)
    inputs: dict[int, np.ndarray] = {}
    failed: list[dict[str, str]] = []
    while unread := sorted(set(pairs.rows.tolist()) - inputs.keys()):
        rows = listed.take(pa.array(unread, pa.int64())).combine_chunks()
        found, kept, of_these = decode_rows(rows, settings.source, declared)
        inputs |= {unread[i]: one for i, one in zip(kept, found, strict=True)}
        if not of_these:
            break
        failed += of_these
        usable = np.setdiff1d(usable, np.delete(unread, kept))
        try:
            pairs = draw_pairs(names, usable, settings.pairs, settings.seed)
        except UserError as error:
            note(f"no verification: of {_KEY}.source {len(failed)} inputs cannot be read, and then {error}")
            return None
    if failed:
        note(
            f"{_KEY}.source: {len(failed)} inputs cannot be read and take no part, such as {failed[0]['id']}: "
            f"{failed[0]['reason']}"
        )
    return torch.from_numpy(np.stack([inputs[row] for row in pairs.rows.tolist()])), pairs


def draw_pairs(names: np.ndarray, usable: np.ndarray, pairs: int, seed: int) -> Pairs:
    """Draw pairs of one identity, every identity with two rows as often as another, and as many of two.

    Args:
        names: of every row, the identity, object (n,).
        usable: the rows that take part.
        pairs: how many of each kind at most; each pair once.
        seed: decides which.

    Raises:
        UserError: there are no two identities, or none with two rows.
    """
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row in usable.tolist():
        rows_of[names[row]].append(row)
    people = sorted(rows_of)
    several = [name for name in people if len(rows_of[name]) > 1]
    if len(people) < 2 or not several:
        raise UserError(
            f"{_KEY}.source: found {len(people)} identities, {len(several)} of them with two inputs; expected two, and "
            "one with two inputs, at least"
        )
    rng = np.random.default_rng(seed)
    same: dict[tuple[int, int], None] = {}
    different: dict[tuple[int, int], None] = {}
    for _ in range(_MOST_TRIES * pairs):
        if len(same) < pairs:
            a, b = rng.choice(rows_of[several[int(rng.integers(len(several)))]], size=2, replace=False).tolist()
            same[min(a, b), max(a, b)] = None
        if len(different) < pairs:
            one, other = rng.choice(len(people), size=2, replace=False).tolist()
            a, b = (rows_of[people[k]][int(rng.integers(len(rows_of[people[k]])))] for k in (one, other))
            different[min(a, b), max(a, b)] = None
        if len(same) == len(different) == pairs:
            break
    drawn = np.array([*same, *different], dtype=np.int64)
    rows, places = np.unique(drawn, return_inverse=True)
    first, second = places.reshape(-1, 2).T
    number = {name: i for i, name in enumerate(people)}
    identities = np.array([number[names[row]] for row in rows.tolist()], dtype=np.int64)
    return Pairs(rows, first, second, identities)


def _similarities(
    case: Case, task: str, runs: Sequence[Run], experiment: str, inputs: Tensor, pairs: Pairs
) -> Mapping[Run, np.ndarray]:
    """Return the cosine of every pair by run, spread over the cluster."""
    need_ray()
    import ray

    asked = resources_of_a_task(case)
    device = "cuda" if asked["num_gpus"] else "cpu"
    compare = ray.remote(_compare).options(scheduling_strategy="SPREAD", **asked)
    kept = ray.put(inputs)
    waiting = {
        compare.remote(case, task, run, experiment, kept, pairs.first, pairs.second, device): run for run in runs
    }
    alike: dict[Run, np.ndarray] = {}
    with bar("verify", len(runs), "runs", waiting=a_processor()) as shown:
        while waiting:
            ready, _ = ray.wait(list(waiting), timeout=0.2)
            for one in ready:
                alike[waiting.pop(one)] = ray.get(one)
            shown.show(len(alike))
    return alike


def _compare(
    case: Case,
    task: str,
    run: Run,
    experiment: str,
    inputs: Tensor,
    first: np.ndarray,
    second: np.ndarray,
    device: str,
) -> np.ndarray:
    allow_tf32(case.training.precision != "float32")
    network = trained_network(case.for_arm(run.arm), run, experiment).to(device)

    def embed(x: Tensor) -> dict[str, Tensor]:
        return {"h": network.features(normalize(x, case.input))[task]}

    with one_thread():
        h = torch.nn.functional.normalize(forward_in_batches(embed, inputs, device)["h"].double(), dim=1)
    return (h[first] * h[second]).sum(dim=1).numpy()  # type: ignore[no-any-return]
