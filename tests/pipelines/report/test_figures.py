"""Figures hold whatever a person may call a class."""

import numpy as np
import pytest

from pipelines.report.figures import relatedness_figure


@pytest.mark.parametrize("name", ["$", "$0-$50", "$^$", "a & b", "<script>alert(1)</script>", "100 %", "größe"])
def test_a_label_may_hold_any_characters(name):
    svg = relatedness_figure("price", "traits", [name, "other"], [name], np.array([[1.0], [np.nan]]))
    assert svg.startswith("<svg")
    assert "<script" not in svg
