"""Settings of speed change the speed: what a run comes to stays the same, as far as rounding and precision let it."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
import torch.distributed as dist

from pipelines.base.errors import UserError
from pipelines.case.load import load_case
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.run import HISTORY, WEIGHTS, list_runs
from pipelines.ingest.ingest import ingest, ingested
from pipelines.train.assignment import WorkerAssignment
from pipelines.train.checkpoints.writer import CheckpointWriter
from pipelines.train.data import open_training_data
from pipelines.train.loop import train_run
from pipelines.train.prepare import check_compiler
from pipelines.train.sharding import layers
from pipelines.train.worker import Worker
from tests.two_workers import train_share

SHORT = [
    "training.steps=12",
    "training.batch_size=13",
    "training.seeds=[3]",
    "network={backbone: small_cnn, widths: [8, 16]}",
    "training.mixing={digit_pictures: 2, trait_pictures: 11}",
    "training.matching={dm: {weight: 0.5}, sca: {weight: 0.5, tau_co: 0.1, form: full}, ill: {weight: 0.3}, "
    "trust: estimated}",
    "arms={joint: {}}",
    "evaluation.baseline=joint",
]
OTHER = "training.precision=bfloat16"


@pytest.fixture(scope="module")
def data_sets(ray_local, digits_store):
    torch.set_num_threads(1)
    ingest(case := load_case("digits", [f"storage.path={digits_store}"]))
    return ingested(case)


@pytest.fixture
def fit(data_sets, tmp_path):
    """Train the joint network in this process; return its losses, its weights, and its run's folder."""

    def of(*settings, worker=None, store="store"):
        case = load_case("digits", [f"storage.path={tmp_path / store}", *SHORT, *settings])
        return fitted(case, data_sets, worker or Worker())

    return of


def fitted(case, data_sets, worker):
    run = list_runs(case)[0]
    work = WorkerAssignment(case, (run,), data_sets, experiment_folder(case), "a")
    train_run(work, run, open_training_data(case, data_sets), worker)
    folder = Path(run.folder(experiment_folder(case)))
    return pq.read_table(folder / HISTORY).to_pandas(), safetensors.torch.load_file(folder / WEIGHTS), folder


def assert_same(one, other, rtol=1e-4, atol=2e-5):
    assert list(one[0]) == list(other[0])
    np.testing.assert_allclose(other[0], one[0], rtol=rtol, atol=atol)
    assert list(one[1]) == list(other[1])
    for name, weight in one[1].items():
        torch.testing.assert_close(other[1][name], weight, rtol=10 * rtol, atol=10 * atol, msg=name)


def test_a_batch_in_pieces_gives_the_same_curve(fit):
    whole = fit()
    for pieces in (3, 13):
        assert_same(whole, fit(f"training.accumulate={pieces}", store=str(pieces)))


def test_a_blended_batch_in_pieces_gives_the_same_curve(fit):
    blended = "training.augmentation.mixup=0.5"
    assert_same(fit(blended), fit(blended, "training.accumulate=3", store="pieces"))


def test_channels_last_and_a_compiled_backbone_give_the_same_curve(fit):
    plain = fit()
    assert_same(plain, fit("training.channels_last=false", store="channels_first"))
    torch._dynamo.utils.counters.clear()
    assert_same(plain, fit("training.compile=true", store="compiled"))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("augmentation", ["{}", "{flip: 0.5, crop: 1, brightness: 0.3, erasing: 0.4, mixup: 0.3}"])
def test_where_inputs_wait_and_how_many_threads_read_them_changes_no_bit(fit, augmentation):
    altered = f"training.augmentation={augmentation}"
    on_host = fit(altered)
    for i, settings in enumerate((["training.data=device"], ["training.loader_threads=3"])):
        assert_same(on_host, fit(altered, *settings, store=f"other-{i}"), rtol=0, atol=0)


def test_a_backbone_that_channels_last_would_break_is_given_pictures_as_torch_has_them(fit):
    viewing = "network={backbone: 'tests.pipelines.inspection.viewing:viewing'}"
    assert_same(fit(viewing), fit(viewing, "training.channels_last=false", store="channels_first"), rtol=0, atol=0)


def test_bfloat16_is_near_float32_and_not_the_same(fit):
    (exact, weights, _), (half, other, _) = fit(), fit("training.precision=bfloat16", store="half")
    np.testing.assert_allclose(half["loss"], exact["loss"], rtol=0.05)
    assert not half["loss"].equals(exact["loss"])
    assert all(w.dtype is torch.float32 for w in [*weights.values(), *other.values()])


@pytest.mark.parametrize("method", ["upgrad", "gradnorm", "uncertainty"])
def test_bfloat16_goes_with_balancing(fit, method):
    exact, half = fit(f"training.balancing.method={method}"), fit(f"training.balancing.method={method}", OTHER)
    np.testing.assert_allclose(half[0]["loss"], exact[0]["loss"], rtol=0.08)


def test_clipping_bounds_the_change_of_a_step_and_a_high_bound_changes_nothing(fit):
    sgd = ["training.optimizer={name: sgd, lr: 1.0, momentum: 0, weight_decay: 0}", "training.schedule=constant"]
    sgd += ["training.steps=1"]
    start = fit(*sgd[1:], "training.optimizer={name: sgd, lr: 1.0e-30, momentum: 0, weight_decay: 0}")[1]

    def change(*settings):
        after = fit(*sgd, *settings)[1]
        return torch.cat([(after[name] - start[name]).flatten() for name in start])

    free, bound, wide = change(), change("training.clip_norm=0.01"), change("training.clip_norm=1e6")
    assert free.norm() > 0.1
    torch.testing.assert_close(bound.norm(), torch.tensor(0.01), rtol=1e-3, atol=0)
    torch.testing.assert_close(bound / bound.norm(), free / free.norm(), rtol=1e-3, atol=1e-4)
    assert torch.equal(wide, free)


@pytest.mark.parametrize(
    "settings",
    [
        ["training.accumulate=3", "training.clip_norm=0.5"],
        ["training.precision=bfloat16"],
        ["training.channels_last=false"],
        ["training.compile=true"],
    ],
    ids=lambda settings: settings[0].split(".")[1],
)
def test_a_run_that_goes_on_ends_bit_identically(fit, settings, monkeypatch):
    undisturbed = fit(*settings, store="whole")
    interrupted(fit, monkeypatch, [*settings, "training.checkpoints.every_steps=1"])
    again = fit(*settings, "training.checkpoints.every_steps=1")
    assert '"resumed with' in (again[2] / "run.json").read_text()
    assert again[0].equals(undisturbed[0])
    assert all(torch.equal(again[1][name], weight) for name, weight in undisturbed[1].items())


def interrupted(fit, monkeypatch, settings, worker=None):
    """Train until step 5 is written, then fail."""
    put = CheckpointWriter.put

    def put_until(writer, checkpoint):
        put(writer, checkpoint)
        if checkpoint.about.step == 5:
            writer.flush()
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(CheckpointWriter, "put", put_until)
        with pytest.raises(KeyboardInterrupt):
            fit(*settings, worker=worker)


def _fit_each(rank, cases, data_sets):
    """Train cases one after the other; one with a number ends after its checkpoint of that step."""
    for case, until in cases:
        if until is None:
            train_share(rank, case, data_sets)
        else:
            _train_until(rank, case, data_sets, until)


class _Stop(Exception):
    pass


def _train_until(rank, case, data_sets, until):
    """Train until the checkpoint of a step is written; both workers stop there."""
    from pipelines.train.checkpoints.schedule import CheckpointSchedule

    look_up = CheckpointSchedule.due

    def stop_after(pace, step):
        if step > until:
            raise _Stop
        return look_up(pace, step)

    CheckpointSchedule.due = stop_after
    try:
        train_share(rank, case, data_sets)
    except _Stop:
        pass
    finally:
        CheckpointSchedule.due = look_up
    dist.barrier()


@pytest.mark.parametrize("sharing", ["hard", "cross_stitch"])
def test_sharded_workers_give_the_curve_of_whole_ones_and_go_on_from_each_others_checkpoints(
    fit, data_sets, two_workers, tmp_path, sharing
):
    def case(store, *settings):
        network = f"network={{backbone: small_cnn, widths: [8, 16], sharing: {sharing}}}"
        every = ["training.workers=2", "training.checkpoints.every_steps=5", "logging.every=1", "training.clip_norm=1"]
        return load_case("digits", [f"storage.path={tmp_path / store}", *SHORT, network, *every, *settings])

    sharded = "training.shard=true"
    cases = [(case("a", sharded), None)]
    cases += [(case("b", sharded), 5), (case("b"), None), (case("c"), 5), (case("c", sharded), None)]
    cases += [(case("d", "training.accumulate=3"), None), (case("e", sharded, "training.accumulate=3"), None)]
    two_workers(_fit_each, cases, data_sets)
    plain = fit(f"network={{backbone: small_cnn, widths: [8, 16], sharing: {sharing}}}", "training.clip_norm=1")
    for store in "abcde":
        c = case(store)
        folder = Path(list_runs(c)[0].folder(experiment_folder(c)))
        assert (store in "ade") != ('"resumed with' in (folder / "run.json").read_text())
        found = pq.read_table(folder / HISTORY).to_pandas(), safetensors.torch.load_file(folder / WEIGHTS)
        assert_same(plain, found, rtol=3e-4, atol=5e-5)


def test_what_cannot_be_combined_is_told_at_once(monkeypatch):
    for settings, told in {
        ("training.accumulate=4", "training.balancing.method=upgrad"): r"training.accumulate: found 4, and .*'upgrad'",
        ("training.shard=true", "training.balancing.method=gradnorm"): r"training.shard: found true, and .*'gradnorm'",
        ("training.shard=true", "training.compile=true"): r"training.compile: found true, and training.shard too",
        ("training.accumulate=65",): r"training.accumulate: found 65 pieces for each of 1 workers",
        ("training.precision=float16",): r"training.precision: found 'float16'",
        ("training.clip_norm=0",): r"training.clip_norm: found 0",
    }.items():
        with pytest.raises(UserError, match=told):
            load_case("digits", ["training.batch_size=64", *settings])
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match="no C\\+\\+ compiler 'no-such-compiler'"):
        check_compiler(load_case("digits", ["training.compile=true"]))
    check_compiler(load_case("digits"))


def test_settings_of_speed_make_no_other_experiment_and_those_of_numbers_do():
    plain = experiment_folder(load_case("digits"))
    for setting in ("accumulate=2", "compile=true", "channels_last=false", "shard=true"):
        assert experiment_folder(load_case("digits", [f"training.{setting}"])) == plain
    for setting in ("precision=bfloat16", "precision=float32", "clip_norm=1"):
        assert experiment_folder(load_case("digits", [f"training.{setting}"])) != plain


def test_a_transformers_layers_are_gathered_one_at_a_time():
    from mtlcore import build_backbone

    tiny = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}
    backbone, _ = build_backbone("hf:vit", (3, 16, 16), options=tiny | {"patch_size": 8})
    found = [type(layer).__name__ for layer in layers(backbone)]
    assert found == ["ViTLayer"] * 3
