"""Drawn data: the same settings draw the same, labels say what is drawn, and the shipped tables are the renderers'."""

import csv
import re
from itertools import pairwise

import numpy as np
import pyarrow.compute as pc
import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from mtlcore import Multiclass, Multilabel, expression_to_au
from pipelines.case.build import relatedness_of, tasks_of
from pipelines.case.data import DataSet
from pipelines.case.load import SHIPPED_CASES, load_case
from pipelines.ingest.make_block import read_inputs
from pipelines.sources.embedded.drawn.bird_species import FAMILIES, SPECIES, TRAITS, traits_of
from pipelines.sources.embedded.drawn.expressions import EXPRESSIONS, NUMBERS, probabilities
from pipelines.sources.embedded.drawn.faces import draw_face
from pipelines.sources.embedded.drawn.people import ATTRIBUTES, person
from pipelines.sources.embedded.drawn.shoe_styles import CLOSURES, GENDERS, KINDS, TYPES
from pipelines.sources.embedded.drawn.styles import STYLES
from pipelines.sources.list_source import list_source
from pipelines.sources.registry import Source

SOURCE = TypeAdapter(Source)
KINDS_OF_SOURCE = ("drawn_faces", "drawn_birds", "drawn_shoes")


def drawn(kind, rows=3, **settings):
    return SOURCE.validate_python({"kind": kind, "rows": rows, "size": 24, **settings})


def pictures(source):
    return np.stack([source.picture(row) for row in range(source.rows)])


@pytest.mark.parametrize("kind", KINDS_OF_SOURCE)
def test_the_same_settings_draw_the_same_pixels_and_another_seed_others(kind):
    first, again, other = (pictures(drawn(kind, seed=seed)) for seed in (1, 1, 2))
    assert first.shape == (3, 24, 24, 3)
    assert first.dtype == np.uint8
    assert (first == again).all()
    assert all((a != b).any() for a, b in zip(first, other, strict=True))
    assert (pictures(drawn(kind, rows=5, seed=1))[:3] == first).all(), "more rows draw the first ones as before"


@pytest.mark.parametrize("kind", KINDS_OF_SOURCE)
def test_every_style_draws_the_same_rows_in_its_own_way(kind):
    seen = {}
    for style in STYLES:
        source = drawn(kind, seed=3, style=style)
        seen[style] = pictures(source)
        assert source.columns() == drawn(kind, seed=3).columns()
        assert seen[style].std() > 10, "something can be seen"
    assert (seen["film"] == seen["film"][..., :1]).all(), "films are grey"
    assert (seen["studio"] != seen["outdoors"]).any()


@pytest.mark.parametrize("kind", KINDS_OF_SOURCE)
def test_a_source_lists_every_row_once_and_reads_what_it_draws(kind, tmp_path):
    source = drawn(kind, rows=4, seed=5)
    listing = list_source(str(tmp_path), source)
    assert len(listing) == 4
    assert len(set(listing.rows["id"].to_pylist())) == 4
    data_set = DataSet.model_validate({"source": source, "labels": {"x": {"from": "column", "column": "x"}}})
    backwards = listing.rows.take(pc.sort_indices(listing.rows["id"], sort_keys=[("id", "descending")]))
    read = list(read_inputs(backwards, data_set))
    assert (np.stack(read)[::-1] == pictures(source)).all()
    other = list_source(str(tmp_path), drawn(kind, rows=4, seed=6))
    assert not set(listing.rows["stamp"].to_pylist()) & set(other.rows["stamp"].to_pylist()), "it is read again"


def test_units_are_shown_as_often_as_the_published_table_says():
    table = expression_to_au(Multiclass("e", EXPRESSIONS[1:]), Multilabel("u", tuple(f"AU{n}" for n in NUMBERS))).table
    for row, expression in zip(table.tolist(), EXPRESSIONS[1:], strict=True):
        stated = probabilities(expression)
        assert all(
            stated[unit] == share or (share == 0 and stated[unit] <= 0.05)
            for unit, share in zip(NUMBERS, row, strict=True)
        )
    columns = drawn("drawn_faces", rows=1200, seed=1).columns()
    sad = columns.filter(pc.equal(columns["expression"], "sadness"))
    assert sad["AU15"].to_pylist() == [True] * len(sad)
    assert abs(pc.mean(sad["AU17"].cast("int8")).as_py() - 0.67) < 0.12
    assert pc.equal(pc.greater(columns["AU12_intensity"], 0), columns["AU12"]).to_pylist() == [True] * len(columns)
    assert pc.mean(columns.filter(pc.equal(columns["expression"], "happiness"))["valence"]).as_py() > 0.4


@pytest.mark.parametrize("unit", NUMBERS)
def test_every_action_unit_can_be_seen(unit):
    def face(units):
        return draw_face(person(0, 4), units, frozenset(), STYLES["studio"], 48, np.random.default_rng(0)).astype(int)

    assert (abs(face({unit: 1.0}) - face({})) > 8).any(axis=-1).sum() >= 3


def test_a_person_looks_the_same_everywhere_and_people_differ():
    assert person(0, 7) == person(0, 7)
    assert len({person(0, number).has for number in range(40)}) > 35
    source = drawn("drawn_faces", rows=200, people=(3, 6))
    columns = source.columns()
    assert set(columns["identity"].to_pylist()) == {"person0003", "person0004", "person0005"}
    male = dict(zip(columns["identity"].to_pylist(), columns["Male"].to_pylist(), strict=True))
    assert male == {f"person{n:04d}": "Male" in person(0, n).has for n in (3, 4, 5)}
    with pytest.raises(ValidationError, match="found nobody"):
        drawn("drawn_faces", people=(3, 3))


def test_fifty_species_differ_by_their_traits_and_shares_of_kinds_of_shoes_are_whole():
    assert len(SPECIES) == 50
    assert len({traits_of(species) for species in SPECIES.values()}) == 50
    assert set(TRAITS) == {trait for species in SPECIES.values() for trait in traits_of(species)}
    assert {species.family for species in SPECIES.values()} == set(FAMILIES)
    for kind in KINDS.values():
        assert kind.type in TYPES
        assert sum(kind.closures) == pytest.approx(1)
        assert sum(kind.genders) == pytest.approx(1)


def table_of(case, source, target):
    edge = next(edge for edge in case.relatedness if (edge.source, edge.target) == (source, target))
    return relatedness_of(edge, tasks_of(case)).table


def test_the_table_of_the_shipped_species_is_what_the_renderer_draws():
    case = load_case("species")
    traits = table_of(case, "species", "traits")
    assert traits.tolist() == [
        [float(t in traits_of(SPECIES[s])) for t in TRAITS] for s in case.tasks["species"].classes
    ]
    family = table_of(case, "species", "family").argmax(dim=1).tolist()
    assert [case.tasks["family"].classes[f] for f in family] == [s.family for s in SPECIES.values()]
    order = table_of(case, "species", "order").argmax(dim=1).tolist()
    assert [case.tasks["order"].classes[o] for o in order] == [s.build.order for s in SPECIES.values()]


def test_the_table_of_the_shipped_shoes_is_what_the_renderer_draws():
    case = load_case("shopping")
    assert case.tasks["subtype"].classes == tuple(KINDS)
    assert table_of(case, "subtype", "closure").tolist() == [list(kind.closures) for kind in KINDS.values()]
    assert table_of(case, "subtype", "gender").tolist() == [list(kind.genders) for kind in KINDS.values()]
    assert (case.tasks["closure"].classes, case.tasks["gender"].classes) == (CLOSURES, GENDERS)


def test_the_table_of_the_shipped_people_is_what_the_renderer_draws():
    with (SHIPPED_CASES / "faces_attributes.csv").open() as file:
        rows = {row.pop("class"): row for row in csv.DictReader(file)}
    assert list(rows) == [f"person{number:04d}" for number in range(50)]
    for number in range(50):
        stated = rows[f"person{number:04d}"]
        assert set(stated) == set(ATTRIBUTES)
        who = person(0, number)
        for name in ATTRIBUTES:
            if name in who.habits:
                assert float(stated[name]) == who.habits[name]
            elif stated[name] in ("0", "1"):
                assert (stated[name] == "1") == (name in who.has)


def test_no_person_of_the_affective_case_stands_in_training_and_test():
    text = yaml.safe_load((SHIPPED_CASES / "affective.yaml").read_text())
    ranges = sorted(tuple(one["source"]["people"]) for one in text["datasets"].values())
    assert all(a[1] <= b[0] for a, b in pairwise(ranges))


@pytest.mark.parametrize("name", ["affective", "faces", "species", "shopping"])
def test_no_two_datasets_of_a_shipped_case_are_drawn_from_the_same_seed(name):
    seeds = re.findall(r"seed: (\d+)", (SHIPPED_CASES / f"{name}.yaml").read_text())
    assert len(set(seeds)) == len(seeds) >= 4
