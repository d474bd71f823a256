"""Where annotators differ, a network trains on their shares: every step draws a label, and the mean is the soft one."""

import json

import numpy as np
import pytest
import torch

from mtlcore import Multiclass, Multilabel, supervised_loss
from pipelines.base.errors import UserError
from pipelines.batches.batch import batch_sampler, stored_batch
from pipelines.batches.shuffled_labels import shuffled
from pipelines.batches.votes import with_drawn_votes
from pipelines.blocks.cache import BlockFiles
from pipelines.blocks.reader import BlockReader
from pipelines.blocks.schema import block_schema
from pipelines.case.build import tasks_of
from pipelines.case.data import DataSet
from pipelines.case.load import load_case
from pipelines.ingest.list_rows import list_data_set
from pipelines.ingest.make_block import BlockBuffers, Recipe, make_block
from tests.pipelines.ingest_case import REST, case_of, picture, write, write_what_every_case_needs

TABLE = """file,x,y,z,one,other
a.png,cat,cat,dog,furry|flies,furry
b.png,dog,dog,dog,furry,furry
c.png,cat,dog,,flies,
d.png,,,,,
"""
KIND = {"from": "annotators", "columns": ["x", "y", "z"]}
BY_TRAIT = {"from": "annotators", "columns": ["one", "other"]}


def case_with(tmp_path, soft):
    root = tmp_path / "data"
    write_what_every_case_needs(root)
    for i, name in enumerate("abcd"):
        write(root / "pets" / f"{name}.png", picture(i))
    write(root / "pets" / "pets.csv", TABLE)
    labels = {"kind": KIND, "traits": BY_TRAIT}
    labels = {task: rule | ({"soft": True} if soft else {}) for task, rule in labels.items()}
    pets = {"source": {"kind": "csv", "path": "pets/pets.csv"}, "labels": labels}
    return case_of(root, tmp_path, REST | {"pets": pets}, training={"steps": 1, "batch_size": 4})


def reader_of(case, folder):
    """The dataset's rows in a block, as an ingest writes them."""
    folder.mkdir()
    tasks = list(tasks_of(case).values())
    recipe = Recipe(dict(case.datasets), case.input, block_schema(case.input.shape, tasks))
    job = json.dumps({"data_set": "pets", "folder": str(folder), "key": "k", "older": []})
    make_block(job, list_data_set(case, "pets").rows.combine_chunks(), recipe, BlockBuffers())
    return BlockReader(BlockFiles((folder / "k.arrow",)), tasks)


def test_shares_stand_beside_the_majority_where_annotators_differ(tmp_path):
    case = case_with(tmp_path, soft=True)
    rows = list_data_set(case, "pets").rows
    assert rows["kind"].to_pylist() == [0, 1, None, None]
    np.testing.assert_allclose(rows["kind.shares"][0].as_py(), [2 / 3, 1 / 3])
    assert rows["kind.shares"][2].as_py() == [0.5, 0.5]
    assert [row.is_valid for row in rows["kind.shares"]] == [True, False, True, False]
    np.testing.assert_array_equal(rows["traits.shares"][0].as_py(), [np.nan, 0.5])  # both say furry
    plain = list_data_set(case_with(tmp_path, soft=False), "pets").rows
    assert not [name for name in plain.column_names if name.endswith("shares")]
    assert plain["traits"].to_pylist() == rows["traits"].to_pylist()


def test_what_a_step_trains_on_is_drawn_and_what_is_measured_is_the_majority(tmp_path):
    case = case_with(tmp_path, soft=True)
    reader = reader_of(case, tmp_path / "soft")
    assert reader.labels("kind").tolist() == [0, 1, -1, -1]
    tasks, readers = list(tasks_of(case).values()), {"pets": reader}
    only = case.model_copy(update={"datasets": {"pets": case.datasets["pets"]}})
    plan = batch_sampler(only, {"pets": len(reader)}, seed=3, tasks=["kind", "traits"], batch="own")
    steps = 600

    def labels_of(readers):
        found = {"kind": [], "traits": []}
        for step in range(steps):
            rows = plan.worker_rows(step, 0, 1)["pets"]
            labels = stored_batch(case, readers, plan, step, 0, 1, tasks).own.labels
            order = np.argsort(rows)
            assert sorted(rows.tolist()) == [0, 1, 2, 3]
            for task in found:
                found[task].append(labels[task].numpy()[order])
        return {task: np.stack(of) for task, of in found.items()}

    drawn, again = labels_of(readers), labels_of(readers)
    for task in drawn:
        np.testing.assert_array_equal(drawn[task], again[task])
    within = 4 * np.sqrt(0.25 / steps)  # four standard errors
    shares = (drawn["kind"] == 1).mean(axis=0)
    np.testing.assert_allclose(shares[[0, 2]], [1 / 3, 1 / 2], atol=within)
    assert set(drawn["kind"][:, 1]) == {1}
    assert set(drawn["kind"][:, 3]) == {-1}
    of_traits = drawn["traits"]
    assert set(of_traits[:, 0, 0]) == {1}
    np.testing.assert_allclose((of_traits[:, 0, 1] == 1).mean(), 0.5, atol=within)
    assert set(of_traits[:, 3].ravel()) == {-1}

    dealt = labels_of(shuffled(readers, ["kind"], 1))["kind"]
    assert all(len(set(of_row)) == 1 for of_row in dealt.T), "permuted labels are those of the majority"


def test_the_mean_loss_over_drawn_labels_is_the_loss_to_the_shares():
    task, shares = Multiclass("kind", ("a", "b", "c")), torch.tensor([0.5, 0.3, 0.2])
    z = torch.randn(1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    by_class = [supervised_loss(z, torch.tensor([k]), task).total for k in range(3)]
    mean = sum(share * loss for share, loss in zip(shares, by_class, strict=True))
    torch.testing.assert_close(mean, -(shares * z[0].log_softmax(0)).sum())
    labels = Multilabel("traits", ("a",))
    of_one, of_none = (supervised_loss(z[:, :1], torch.tensor([[y]]), labels).total for y in (1, 0))
    expected = torch.nn.functional.binary_cross_entropy_with_logits(z[:, :1], torch.tensor([[0.3]], dtype=z.dtype))
    torch.testing.assert_close(0.3 * of_one + 0.7 * of_none, expected, atol=1e-7, rtol=1e-6)


def test_what_is_drawn_for_a_row_depends_on_no_other_row():
    shares = np.random.default_rng(0).dirichlet(np.ones(4), 50).astype(np.float32)
    labels, rows = {"kind": np.zeros(50, np.int64)}, np.arange(50)
    whole = with_drawn_votes(labels, {"kind": shares}, rows, (1, 2))["kind"]
    some = np.array([40, 3, 17])
    part = with_drawn_votes({"kind": labels["kind"][some]}, {"kind": shares[some]}, rows[some], (1, 2))["kind"]
    np.testing.assert_array_equal(part, whole[some])
    assert not np.array_equal(whole, with_drawn_votes(labels, {"kind": shares}, rows, (1, 3))["kind"])
    assert whole.min() >= 0
    assert whole.max() <= 3


def test_shares_of_numbers_or_of_anything_but_annotators_are_refused(tmp_path):
    rule = DataSet.model_validate({"source": {"kind": "csv", "path": "a.csv"}, "labels": {"kind": KIND}}).labels["kind"]
    assert "soft" not in rule.model_dump()  # other cases keep the names of their blocks
    with pytest.raises(UserError, match=r"labels.digit.soft: found; expected only with from: model, or from: annot"):
        load_case("digits", ["datasets.test_pictures.labels.digit.soft=true"])
