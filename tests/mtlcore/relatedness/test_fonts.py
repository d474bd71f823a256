"""A character that matplotlib's own font lacks is drawn with a font that has it."""

import warnings

import torch
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ft2font import FT2Font

from mtlcore.relatedness.fonts import font_families
from mtlcore.relatedness.plot import heat_map


def only_in(family):
    """A character that a font has and DejaVu Sans has not; matplotlib brings both."""
    own, other = (set(FT2Font(font_manager.findfont(name)).get_charmap()) for name in ("DejaVu Sans", family))
    return next(chr(code) for code in sorted(other - own) if chr(code).isprintable())


def test_a_font_is_looked_for_that_has_what_is_lacking():
    rare = only_in("STIXGeneral")
    families = font_families(["crow", rare])
    assert families[0] == "DejaVu Sans"
    assert any(ord(rare) in FT2Font(font_manager.findfont(name)).get_charmap() for name in families[1:])


def test_a_heat_map_draws_it():
    figure = heat_map(torch.eye(2), ["crow", only_in("STIXGeneral")], ["a", "b"], "R")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a box in the place of a character
        FigureCanvasAgg(figure).draw()


def test_what_no_font_has_costs_no_drawing():
    assert font_families([chr(0x10FFFD)])[0] == "DejaVu Sans"
