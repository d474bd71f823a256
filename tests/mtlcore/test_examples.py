"""Every public function and class of mtlcore is documented, functions with an example that the doctests run."""

import inspect

import pytest

import mtlcore

PUBLIC = {name: getattr(mtlcore, name) for name in mtlcore.__all__}
# Examples of what these are stand where they are given or returned.
PARTS = {
    "AnnotationCounts", "ExportedModel", "FusionWeights", "HeldOut", "JointLossValue", "ObservedCells", "PairMeasured",
    "TaskTrunk",
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name, of in PUBLIC.items() if inspect.isroutine(of) or inspect.isclass(of)])
def test_what_is_public_has_a_docstring_with_an_example(name):
    words = inspect.getdoc(PUBLIC[name]) or ""
    assert len(words) > 30
    assert (">>> " in words) != (name in PARTS)
