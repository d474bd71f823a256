"""docs/extending.md: its examples, all in one case, run by `kindred` from the folder that holds them."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from mtlcore import Multiclass, Multilabel, paired_difference, task_metrics
from mtlcore.losses.joint_loss import JointLoss
from mtlcore.losses.pair_loss import AddedPairLoss
from mtlcore.losses.related_pair import RelatedPair
from mtlcore.metrics.summed import SUMMED_METRICS
from mtlcore.registry import Registry
from pipelines.base.errors import UserError
from pipelines.case.build import build_balancing, build_loss, relatedness_of, tasks_of
from pipelines.case.load import SHIPPED_CASES, load_case
from pipelines.case.metrics import metrics_of
from pipelines.search.settings import current_values
from pipelines.search.tune import space_of
from pipelines.sources.embedded import write_embedded
from pipelines.train.lr_schedule import learning_rate
from tests.commands import kindred

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
MODULES = dict(re.findall(r"```python\n# (kit/\w+\.py)\n(.*?)```", PAGE, re.DOTALL))
FRAGMENTS = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
SMALL = {
    "training": {"steps": 4, "seeds": [0], "batch_size": 32},
    "arms": {"co-trained": {}},
    "evaluation": {"baseline": "co-trained", "replicates": 10},
    "logging": {"every": 1},
}


def merged(base, over):
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    return base | {key: merged(base.get(key), value) for key, value in over.items()}


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """A folder with the page's modules, a case that uses them all, and the records that its source reads."""
    folder = tmp_path_factory.mktemp("extending")
    for name, code in MODULES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code)
    case = yaml.safe_load((SHIPPED_CASES / "digits.yaml").read_text())
    for part in (*FRAGMENTS, SMALL, {"storage": {"path": str(folder / "store")}}):
        case = case | {"datasets": case["datasets"] | part["datasets"]} if "datasets" in part else merged(case, part)
    case["arms"] = SMALL["arms"]
    (folder / "own.yaml").write_text(yaml.safe_dump(case))
    sources = folder / "store" / "sources" / "digits"
    write_embedded("digits", str(sources))
    draw = np.random.Generator(np.random.PCG64(0))
    records = [bytes([i % 10]) + draw.integers(0, 256, 64, dtype=np.uint8).tobytes() for i in range(40)]
    (sources / "records.bin").write_bytes(b"".join(records))
    return folder


@pytest.fixture
def case(kit, monkeypatch):
    monkeypatch.syspath_prepend(str(kit))
    return load_case(str(kit / "own.yaml"))


@pytest.mark.starts_ray
def test_every_example_takes_part_in_a_run_and_workers_find_the_modules_of_the_working_directory(kit, monkeypatch):
    root = str(Path(__file__).parents[1])
    monkeypatch.chdir(kit)
    ran = kindred("run", "own.yaml", more={"PYTHONPATH": root})
    assert ran.returncode == 0, ran.stderr
    (folder,) = (kit / "store").glob("digits-*/runs/co-trained/shared/seed-0")
    history = pq.read_table(folder / "history.parquet")
    assert np.isfinite(history["agreement:digit->traits"].to_numpy()).all()
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    rates = [line["lr"] for line in lines if "lr" in line]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3 * (2 / 3) ** 0.5, 1e-3 * (2 / 4) ** 0.5])
    results = json.loads((folder.parents[3] / "results.json").read_text())
    assert results["data_sets"]["digit_pictures"]["rows"] == 40
    assert results["arms"]["co-trained"]["digit"]["primary_metric"] == "TopTwo"
    (top_two,) = results["arms"]["co-trained"]["digit"]["metrics"]["TopTwo"]
    assert results["arms"]["co-trained"]["digit"]["metrics"]["accuracy"][0] <= top_two <= 1
    assert results["arms"]["co-trained"]["traits"]["primary_metric"] == "balanced_accuracy"


def test_what_the_case_names_is_what_is_built(case):
    joint = build_loss(case, list(case.tasks), case.arms["co-trained"].matching, {})
    assert [added.name for pair in joint.pairs for added in pair.added] == ["agreement"]
    shared = [torch.zeros(2, 2, requires_grad=True)]
    assert type(build_balancing(case, "co-trained", joint, shared, [], 0)).__name__ == "InverseLosses"
    assert learning_rate(case.training, 3) == pytest.approx(1e-3 * 0.5**0.5)
    assert current_values(case, space_of(case)) == {
        "training.matching.sca.weight": 0.0,
        "training.matching.agreement.weight": 0.1,
    }


def test_a_loss_of_ones_own_is_counted_over_the_whole_batch_and_weighed_as_matching(case):
    """In pieces, the parts and the gradients add up to those of the whole, as on several workers."""
    tasks, added = tasks_of(case), build_loss(case, list(case.tasks), case.training.matching, {}).pairs[0].added
    R = relatedness_of(case.relatedness[0], tasks)
    joint = JointLoss(list(tasks.values()), [RelatedPair(R, added=added)])
    draw = torch.Generator().manual_seed(0)
    logits = {name: torch.randn(9, len(task.outputs), generator=draw) for name, task in tasks.items()}
    labels = {
        "digit": torch.randint(-1, 10, (9,), generator=draw),
        "traits": torch.randint(-1, 2, (9, 6), generator=draw),
    }
    labels["traits"][:4] = -1  # the first piece has nothing that counts
    (counts,) = joint.begin_counts(labels).wait()
    whole = joint(logits, labels)
    pieces = [
        joint({n: z[part] for n, z in logits.items()}, {n: y[part] for n, y in labels.items()}, counts=counts)
        for part in (slice(0, 4), slice(4, 9))
    ]
    name = "agreement:digit->traits"
    assert float(pieces[0].parts[name]) == 0 < float(whole.parts[name])
    assert float(sum(piece.parts[name] for piece in pieces)) == pytest.approx(float(whole.parts[name]), rel=1e-6)
    assert joint.objective_names == ("digit", "traits", "matching")
    p = logits["digit"].double().softmax(1) @ R.table.double()
    known = labels["traits"] >= 0
    assert float(whole.parts[name]) == pytest.approx(float(((p - labels["traits"]) ** 2)[known].mean()), rel=1e-5)
    assert float(whole.objectives["matching"].share) == pytest.approx(0.1 * float(whole.parts[name]), rel=1e-6)


def test_another_primary_metric_is_compared_with_an_interval_of_its_own(case):
    digit, of_digit = tasks_of(case)["digit"], metrics_of(case)["digit"]
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (400,), generator=draw)
    second = torch.randn(400, 10, generator=draw)
    second[torch.arange(400), labels] = second.max(dim=1).values - 1e-3  # never the first, always the second
    random = torch.randn(400, 10, generator=draw)
    assert of_digit.scores(second, labels)["TopTwo"] == 1
    found = paired_difference([second], [random], labels, digit, replicates=50, metric=of_digit.metric)
    assert found.value == pytest.approx(1 - of_digit.scores(random, labels)["TopTwo"])
    assert 0.6 < found.low < found.value < found.high < 1
    assert metrics_of(load_case("digits"))["digit"].metric is None


@pytest.mark.parametrize("name", [n for n in SUMMED_METRICS.built_in if "multiclass" in SUMMED_METRICS[n].kinds])
@pytest.mark.parametrize("task", [Multiclass("c", tuple("abcde")), Multilabel("m", tuple("abcde"))])
def test_a_metric_of_sums_is_the_one_of_the_same_name(name, task):
    draw = torch.Generator().manual_seed(1)
    for rows in (1, 7, 60):
        z = torch.randn(rows, 5, generator=draw)
        if isinstance(task, Multiclass):
            y = torch.randint(-1, 4, (rows,), generator=draw)  # the last class never occurs
        else:
            y = torch.randint(-1, 2, (rows, 5), generator=draw)
            y[:, 2] = -1
        expected = task_metrics(z, y, task)[name]
        assert SUMMED_METRICS[name]()(z, y, task) == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_a_loss_whose_count_depends_on_predictions_is_refused(case):
    from mtlcore import LossTerm
    from mtlcore.losses.pair_loss import check_pair_loss

    def of_the_sure(logits, labels, relatedness, trust):
        sure = logits["digit"].softmax(1).max(1).values > 0.5
        return LossTerm(logits["digit"].sum(), sure.sum().float())

    with pytest.raises(ValueError, match=r"count is 0 with some logits and .* with others"):
        check_pair_loss(AddedPairLoss("sure", 1.0, of_the_sure), relatedness_of(case.relatedness[0], tasks_of(case)))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("datasets.digit_pictures.source.kind=csvv", r"source\.kind: found 'csvv', no such source; did you mean 'csv'"),
        ("datasets.digit_pictures.source.hight=8", r"unknown key 'hight'; did you mean 'height'\?"),
        ("datasets.digit_pictures.source.kind=kit.records:Recods", "has no 'Recods'; did you mean 'Records'"),
        ("datasets.digit_pictures.source.kind=kit.nets:conv_stem", "expected a subclass of .*SourceSettings"),
        ("network.backbone=kit.nets:conv_stm", r"network\.backbone: found .*did you mean 'conv_stem'"),
        (
            "training.matching.agreement.kind=kit.losses:agremnt",
            r"matching\.agreement\.kind: .*did you mean 'agreement'",
        ),
        ("training.matching.agreement.wight=1", r"matching\.agreement: unknown key 'wight'"),
        ("training.matching.agreement.options.pwer=1", "unexpected keyword argument 'pwer'"),
        ("training.matching.agreemnt={weight: 1}", "unknown key 'agreemnt'"),
        ("training.balancing.method=kit.balancing:Inverse", r"balancing\.method: .*did you mean 'InverseLosses'"),
        ("training.balancing.options.flor=1", r"balancing\.options: .*'flor'"),
        ("training.accumulate=2", "balancing 'kit.balancing:InverseLosses' needs more than that leaves"),
        ("training.optimizer.name=adam", r"optimizer\.name: found 'adam', no such optimizer; did you mean 'adamw'"),
        ("training.optimizer.options.bta=1", r"optimizer\.options: .*'bta'"),
        ("training.optimizer.name=torch.optim:LBFGS", "weight_decay"),
        ("training.schedule.kind=cosin", r"schedule\.kind: found 'cosin', no such schedule; did you mean 'cosine'"),
        ("training.schedule.kind=no_such_module:X", r"'no_such_module' cannot be imported .*PYTHONPATH"),
        ("training.schedule.flat_step=1", "unknown key 'flat_step'; did you mean 'flat_steps'"),
        ("evaluation.metrics.digit.primary=acuracy", r"metrics\.digit\.primary: .*did you mean 'accuracy'"),
        ("evaluation.metrics.digit.primary=calibration_error", "expected accuracy, balanced_accuracy, macro_f1"),
        ("evaluation.metrics.digit.primary=kit.metrics:TopTw", "did you mean 'TopTwo'"),
        ("evaluation.metrics.traits.primary=kit.metrics:TopTwo", r"traits\.primary: 'kit\.metrics:TopTwo' failed"),
        ("evaluation.metrics.digt={primary: accuracy}", r"evaluation\.metrics: found 'digt'.*did you mean 'digit'"),
        ("tuning.space=matchin", r"tuning\.space: found 'matchin', no such search space; did you mean 'matching'"),
    ],
)
def test_a_name_or_setting_that_is_wrong_is_told_before_anything_starts(case, kit, override, told):
    with pytest.raises(UserError, match=told):
        load_case(str(kit / "own.yaml"), [override])


def test_an_installed_packages_entry_point_is_a_name(tmp_path, monkeypatch):
    (tmp_path / "kit_of_things.py").write_text("thing = 'the thing'\n")
    info = tmp_path / "kit_of_things-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kit-of-things\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[kindred.things]\nmine = kit_of_things:thing\nbuilt_in = kit_of_things:no\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    things = Registry("thing", "kindred.things", {"built_in": 1})
    assert things.names() == ["built_in", "mine"]
    assert (things["mine"], things["built_in"], things["kit_of_things:thing"]) == ("the thing", 1, "the thing")
    with pytest.raises(ValueError, match="no such thing; did you mean 'mine'"):
        things["min"]
