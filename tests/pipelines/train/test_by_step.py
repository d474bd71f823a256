"""Weights and temperatures by step: between changes a run is one of constants, and it resumes to the bit."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import safetensors.torch

from pipelines.case.load import load_case
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.run import HISTORY, WEIGHTS, list_runs
from pipelines.train import step_graphs
from pipelines.train.assignment import WorkerAssignment
from pipelines.train.checkpoints.writer import CheckpointWriter
from pipelines.train.data import open_training_data
from pipelines.train.loop import train_run
from pipelines.train.worker import Worker
from tests.pipelines.train.test_step_graphs import recorder  # noqa: F401
from tests.pipelines.train.test_train_settings import SHORT, assert_same, data_sets, fit  # noqa: F401
from tests.two_workers import train_share

CHANGE = 5
# By key: what holds before the change, and from it on.
CHANGES = {
    "training.matching.dm.weight": (0, 0.5),
    "training.matching.dm.tau": (1, 3),
    "training.matching.sca.weight": (0.5, 0),
    "training.matching.sca.tau_co": (0.1, 0.7),
    "training.task_weights.traits": (2, 0.5),
    "relatedness.0.weight": (1, 0.3),
}
BY_STEP = [f"{key}={{0: {before}, {CHANGE}: {after}}}" for key, (before, after) in CHANGES.items()]
WARMED_UP = "training.matching.warmup_steps=8"


class Killed(BaseException):
    """Nobody catches it, as nobody catches a kill."""


@pytest.fixture
def killed_at(monkeypatch):
    """Have whatever trains die after the checkpoint of a step."""
    put = CheckpointWriter.put

    def killed(step, train):
        def put_until(writer, checkpoint):
            put(writer, checkpoint)
            if checkpoint.about.step == step:
                writer.flush()
                raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(CheckpointWriter, "put", put_until)
            with pytest.raises(Killed):
                train()

    return killed


def found(folder):
    return pq.read_table(Path(folder) / HISTORY).to_pandas(), safetensors.torch.load_file(Path(folder) / WEIGHTS)


EVERY_STEP = "training.checkpoints.every_steps=1"


def test_it_is_a_run_of_the_first_values_that_goes_on_with_the_others(fit, data_sets, killed_at, tmp_path):  # noqa: F811
    """What a search that copies the state of one trial to another relies on, whatever changed and wherever."""
    # Each with another value where it does not train, for a loss that never has a weight is not there at all.
    before = [f"{key}={{0: {value}, 11: 7}}" for key, (value, _) in CHANGES.items()]
    after = [f"{key}={{0: 7, 1: {value}}}" for key, (_, value) in CHANGES.items()]

    def train(settings):
        case = load_case("digits", [f"storage.path={tmp_path}", *SHORT, WARMED_UP, EVERY_STEP, *settings])
        (run,) = list_runs(case)
        work = WorkerAssignment(case, (run,), data_sets, str(tmp_path / "spliced"), "a")
        train_run(work, run, open_training_data(case, data_sets), Worker())
        return work.folder(run)

    killed_at(CHANGE, lambda: train(before))
    folder = train(after)
    assert_same(fit(WARMED_UP, *BY_STEP), found(folder), rtol=0, atol=0)


def test_every_one_of_them_changes_the_steps_after_its_change_and_none_before(fit):  # noqa: F811
    first = {key: before for key, (before, _) in CHANGES.items()} | {"training.matching.dm.weight": 0.2}
    constants = [f"{key}={value}" for key, value in first.items()]
    constant = fit("training.steps=6", *constants, store="constant")[0]["loss"]
    for key, (_, after) in CHANGES.items():
        changed = fit("training.steps=6", *constants, f"{key}={{0: {first[key]}, {CHANGE}: {after}}}", store=key)[0][
            "loss"
        ]
        assert list(changed[:CHANGE]) == list(constant[:CHANGE]), key
        assert changed[CHANGE] != constant[CHANGE], key


@pytest.mark.parametrize("step", [3, CHANGE, 8])
def test_a_run_that_goes_on_ends_bit_identically(fit, killed_at, step):  # noqa: F811
    whole = fit(*BY_STEP, store="whole")
    killed_at(step, lambda: fit(*BY_STEP, EVERY_STEP))
    again = fit(*BY_STEP, EVERY_STEP)
    assert '"resumed with' in (again[2] / "run.json").read_text()
    assert_same(whole, again, rtol=0, atol=0)


def test_a_batch_in_pieces_gives_the_same_curve(fit):  # noqa: F811
    assert_same(fit(*BY_STEP), fit(*BY_STEP, "training.accumulate=3", store="pieces"))


def test_gradients_are_balanced_through_steps_in_which_no_coupling_has_a_weight(fit):  # noqa: F811
    off = "training.matching={dm: {weight: {0: 0, 5: 0.5}}, warmup_steps: 0}"
    history = fit(off, "training.balancing.method=upgrad")[0]
    none = fit("training.matching={dm: {weight: 1.0e-38}, warmup_steps: 0}", "training.balancing.method=upgrad")[0]
    assert list(history["loss"][:CHANGE]) == pytest.approx(list(none["loss"][:CHANGE]))
    assert history["loss"][CHANGE] != pytest.approx(none["loss"][CHANGE])


def test_what_unlabelled_rows_teach_follows_its_tasks_weight(fit):  # noqa: F811
    unlabelled = "training.unlabelled={pseudo_labels: {weight: 1, threshold: 0.3}}"
    settings = [unlabelled, "training.batch_size=26", "training.mixing={digit_pictures: 1, trait_pictures: 1}"]
    constant = fit(*settings, "training.task_weights.traits=2")[0]
    changed = fit(*settings, f"training.task_weights.traits={{0: 2, {CHANGE}: 0.5}}", store="changed")[0]
    assert list(changed["loss"][:CHANGE]) == list(constant["loss"][:CHANGE])
    row = changed.iloc[CHANGE]
    assert row["pseudo:traits"] == constant.iloc[CHANGE]["pseudo:traits"], "a part is not weighed"
    share = constant.iloc[CHANGE]["traits"] + constant.iloc[CHANGE]["pseudo:traits"]
    assert constant["loss"][CHANGE] - row["loss"] == pytest.approx(1.5 * share, rel=1e-4)


def test_recorded_steps_read_the_weights_where_they_lie_and_are_recorded_anew_for_a_temperature(fit, recorder):  # noqa: F811
    weights = [setting for setting in BY_STEP if "tau" not in setting]
    for settings, recordings in ((weights, 2), (BY_STEP, 4)):
        settings = [*settings, "logging.relatedness_every=0"]
        plain = fit(*settings, store=f"plain-{recordings}")
        with pytest.MonkeyPatch.context() as patched:
            recorder.starts_in(patched)
            recorder.recorded = recorder.replayed = 0
            assert_same(plain, fit(*settings, store=f"replayed-{recordings}"), rtol=0, atol=0)
        # One for steps that compute trust anew, one for the others; of five steps three warm up.
        assert recorder.recorded <= recordings
        assert recorder.recorded > recordings / 2
        assert recorder.replayed == 12 - step_graphs._WARM_UP * (1 + (recordings == 4))


def test_two_workers_give_the_curve_of_one(fit, data_sets, two_workers, tmp_path):  # noqa: F811
    case = load_case("digits", [f"storage.path={tmp_path / 'two'}", *SHORT, *BY_STEP, "training.workers=2"])
    two_workers(train_share, case, data_sets)
    assert_same(fit(*BY_STEP), found(list_runs(case)[0].folder(experiment_folder(case))), rtol=3e-4, atol=5e-5)
