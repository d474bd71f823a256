"""Fonts for names in any script: those of this machine that have what matplotlib's own lacks."""

from collections.abc import Iterable
from functools import cache

_OWN = "DejaVu Sans"
# Boxes in the place of every character, and pictures that matplotlib cannot draw.
_NO_FONTS = ("Last Resort", "Noto Color Emoji", "Apple Color Emoji")


def font_families(texts: Iterable[str]) -> list[str]:
    """Return font families that together have the characters of some texts, as far as this machine has any.

    Args:
        texts: what is to be drawn.

    Returns:
        names for matplotlib's ``family``: DejaVu Sans, and others where it lacks a character.

    Example:
        >>> font_families(["crow", "Vögel"])
        ['DejaVu Sans']
    """
    from matplotlib import font_manager  # only who draws needs matplotlib

    families = [_OWN]
    lacking = {ord(one) for text in texts for one in text if one.isprintable() and not one.isspace()}
    lacking -= _characters(font_manager.findfont(_OWN))
    if not lacking:
        return families
    for font in sorted(font_manager.fontManager.ttflist, key=lambda font: (font.name, font.fname)):
        if font.name in families or font.name.startswith(_NO_FONTS):
            continue
        if there := lacking & _characters(font.fname):
            families.append(font.name)
            lacking -= there
        if not lacking:
            break
    return families


@cache
def _characters(file: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):  # gone, or a format that matplotlib does not read
        return frozenset()
