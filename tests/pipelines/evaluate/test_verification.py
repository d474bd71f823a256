"""Verification of a case: pairs of people of whom none is a class, by the embedding that prediction writes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mtlcore import verification_scores
from pipelines.base.errors import UserError
from pipelines.case.load import load_case
from pipelines.commands import run
from pipelines.evaluate.evaluate import evaluate
from pipelines.evaluate.verification import draw_pairs, read_pairs, verify
from pipelines.ingest.decode_rows import decode_rows
from pipelines.ingest.ingest import ingested
from pipelines.report.report import write_tables
from pipelines.sources.list_source import list_source
from pipelines.use.choose import Choice
from pipelines.use.export import build_export
from tests.pipelines.use.conftest import case_of as case_of

FACES = "{kind: drawn_faces, rows: 40, size: 16, people: [0, 8]}"
VERIFY = f"evaluation.verification={{task: digit, source: {FACES}, column: identity, pairs: 60}}"


def test_pairs_are_of_their_kind_each_once_and_the_same_for_the_same_seed():
    names = np.array([f"p{i % 7}" for i in range(50)] + ["alone", None], dtype=object)
    usable = np.arange(51)
    pairs = draw_pairs(names, usable, 100, seed=1)
    drawn = np.stack([pairs.rows[pairs.first], pairs.rows[pairs.second]], axis=1)
    assert len({tuple(sorted(pair)) for pair in drawn.tolist()}) == len(drawn) == 200
    same = names[drawn[:, 0]] == names[drawn[:, 1]]
    assert same.sum() == 100
    assert (same == (pairs.identities[pairs.first] == pairs.identities[pairs.second])).all()
    again, other = draw_pairs(names, usable, 100, seed=1), draw_pairs(names, usable, 100, seed=2)
    assert np.array_equal(again.first, pairs.first)
    assert not np.array_equal(other.rows[other.first], drawn[:, 0])
    few = draw_pairs(names[:8], np.arange(8), 100, seed=1)  # p0 twice, the others once
    assert len(few.first) == 1 + 27
    with pytest.raises(UserError, match="two inputs"):
        draw_pairs(names[:7], np.arange(7), 10, seed=1)


def test_every_network_is_scored_by_the_embeddings_that_are_exported(case_of):
    case = case_of(VERIFY)
    results = evaluate(case, ingested(case))
    found = results.verification
    assert (found.task, found.identities, found.same, found.different) == ("digit", 8, 60, 60)
    assert set(found.arms) == {name for name in case.arms if case.trained_as(name) == name}
    settings = case.evaluation.verification
    listing = list_source(str(case.data_root), settings.source)
    names = np.array(listing.fields["identity"].to_pylist(), dtype=object)
    pairs = draw_pairs(names, np.arange(40), 60, 0)
    inputs, _, _ = decode_rows(listing.rows, settings.source, case.input)
    for arm in ("single-task", "co-trained"):
        model = build_export(case, ingested(case), Choice.of(case, arm, 3, None)).model()
        with torch.inference_mode():
            h = torch.nn.functional.normalize(model.embeddings(torch.from_numpy(inputs))["digit"], dim=1).numpy()
        alike = (h[pairs.rows[pairs.first]] * h[pairs.rows[pairs.second]]).sum(axis=1)
        people = [pairs.identities[of] for of in (pairs.first, pairs.second)]
        expected = verification_scores(alike, *people)
        assert found.arms[arm].auc == [pytest.approx(expected["auc"], abs=0.01)]
        assert found.arms[arm].eer == [pytest.approx(expected["eer"], abs=0.02)]
    assert found.arms["single-task"].difference is None
    (markdown,) = write_tables(case, results, ["md"])
    assert "Verification by digit" in Path(markdown).read_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("task: digits", "no such task 'digits'|'digits', no such task"),
        ("source: {kind: made_vectors, world: focus, rows: 9}", "source of vectors"),
        ("source: {kind: image_folder, path: test}", "expected folder"),
        ("colum: identity", "did you mean 'column'"),
    ],
)
def test_a_wrong_section_is_refused(tmp_path, change, words):
    key = change.partition(":")[0]
    sections = {"task": "task: digit", "source": f"source: {FACES}", "column": "column: identity"} | {key: change}
    with pytest.raises(UserError, match=words):
        load_case("digits", [f"storage.path={tmp_path}", f"evaluation.verification={{{', '.join(sections.values())}}}"])


def test_people_that_are_classes_are_refused_before_anything_starts(tmp_path):
    case = load_case("digits", [f"storage.path={tmp_path}", "tasks.digit.aliases={person0003: '1'}", VERIFY])
    with pytest.raises(UserError, match="person0003"):
        verify(case, [], "")
    with pytest.raises(UserError, match="person0003"):
        run(case, fresh=False)
    assert not list(tmp_path.iterdir())


def faces_in_files(folder):
    """Write 24 pictures of six people, one of them broken and one with a box outside; return the table's place."""
    rng = np.random.default_rng(0)
    lines = ["file,identity,x,y,w,h"]
    for i in range(24):
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        x = 50 if i == 5 else 2
        lines.append(f"{i}.png,person{i % 6},{x},2,16,16")
    (folder / "3.png").write_bytes(b"no picture")
    (folder / "faces.csv").write_text("\n".join(lines) + "\n")


def test_inputs_without_a_box_or_that_cannot_be_read_take_no_part(tmp_path, capsys):
    faces_in_files(tmp_path)
    box = "{left: x, top: y, width: w, height: h}"
    pairs = "task: digit, source: {kind: csv, path: faces.csv, file_column: file}, column: identity, pairs: 500"
    settings = [f"storage.path={tmp_path / 'store'}", f"data_root={tmp_path}"]
    whole = load_case("digits", [*settings, f"evaluation.verification={{{pairs}}}"])
    cut = load_case("digits", [*settings, f"evaluation.verification={{{pairs}, crop: {box}}}"])
    inputs, of_pairs = read_pairs(whole, whole.evaluation.verification)
    assert "1 inputs cannot be read" in capsys.readouterr().err
    assert len(inputs) == len(of_pairs.rows) == 23
    parts, of_parts = read_pairs(cut, cut.evaluation.verification)
    ids = sorted(list_source(str(tmp_path), whole.evaluation.verification.source).rows["id"].to_pylist())
    assert [ids[row] for row in set(of_pairs.rows) - set(of_parts.rows)] == ["5.png"]
    first = inputs[np.searchsorted(of_pairs.rows, of_parts.rows)]
    assert not torch.equal(first, parts)  # a part of each
    assert (of_parts.identities[of_parts.first] == of_parts.identities[of_parts.second]).any()
    (tmp_path / "0.png").write_bytes(b"no picture")
    few = load_case("digits", [*settings, f"evaluation.verification={{{pairs.replace('500', '1')}}}"])
    for i in range(24):  # one person can still be read, and another one's single picture
        if i % 6 != 1 and i != 2:
            (tmp_path / f"{i}.png").write_bytes(b"no picture")
    _, of_few = read_pairs(few, few.evaluation.verification)
    assert len(of_few.first) == 2
    (tmp_path / "2.png").write_bytes(b"no picture")
    assert read_pairs(few, few.evaluation.verification) is None
    assert "no verification" in capsys.readouterr().err
