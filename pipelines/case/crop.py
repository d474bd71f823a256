"""The section ``input.crop``: which part of an image is the input, by columns of its table."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, SerializerFunctionWrapHandler, Tag, model_serializer, model_validator
from pydantic_core import PydanticCustomError

from pipelines.base.section import Number, Section

_FORMS = (
    ("left", "top", "width", "height"),
    ("left", "top", "right", "bottom"),
    ("left_eye", "right_eye"),
)
_Pair = tuple[str, str]
_Share = Annotated[float, Field(gt=0, lt=1), Number]


class Crop(Section):
    """Columns that say which part of an image is the input, such as a face.

    Of a box ``left``, ``top``, ``width`` and ``height``, or ``left``, ``top``, ``right`` and ``bottom``: it grows on
    each side by ``margin`` of its width or height, and what lies beyond the image is cut off. Or of two points
    ``left_eye`` and ``right_eye``, the x and y of each: the image is turned, scaled and moved until the eyes lie at
    ``eyes_at``. The left eye is the one at the left of the image. Columns count from the upper left corner of the image
    as viewers show it, in pixels, or, with ``unit: share``, as shares of its width and height.

    A row whose box is missing, is no box, or lies outside of its image is set aside and counted; so is one with an eye
    outside. A box that reaches beyond its image is cut there and counted.
    """

    left: str | None = None
    """The column with the box's left side."""
    top: str | None = None
    """Its upper side."""
    width: str | None = None
    """Its width; or ``right``."""
    height: str | None = None
    """Its height; or ``bottom``."""
    right: str | None = None
    """Its right side."""
    bottom: str | None = None
    """Its lower side."""
    left_eye: _Pair | None = None
    """The columns with x and y of the eye at the left of the image."""
    right_eye: _Pair | None = None
    """Of the eye at the right."""
    eyes_at: tuple[_Share, _Share] = (0.35, 0.4)
    """Where the left eye comes to lie, as shares of the input's width and height; the right eye lies opposite."""
    margin: Annotated[float, Field(ge=0, le=10), Number] = 0.0
    """How much of its width and height a box grows on each side."""
    unit: Literal["pixels", "share"] = "pixels"
    """What the columns count."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        named = {key for form in _FORMS for key in form if getattr(self, key) is not None}
        if not any(named == set(form) for form in _FORMS):
            raise PydanticCustomError(
                "crop",
                "found {found}; expected the columns of left, top, width and height, of left, top, right and bottom, "
                "or of left_eye and right_eye",
                {"found": ", ".join(sorted(named)) or "no column"},
            )
        if self.is_aligned and self.margin:
            raise PydanticCustomError(
                "crop", "margin: found with eyes; expected it only of a box (eyes_at says how far)"
            )
        if self.is_aligned and self.eyes_at[0] >= 0.5:
            raise PydanticCustomError("crop", "eyes_at: found the left eye at the right; expected its x below 0.5")
        return self

    @model_serializer(mode="wrap")
    def _only_what_counts(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = plain(self)
        unused = {"margin"} if self.is_aligned else {"eyes_at"}
        return {key: value for key, value in content.items() if value is not None and key not in unused}

    @property
    def is_aligned(self) -> bool:
        """Whether images are aligned by two points."""
        return self.left_eye is not None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns: of left, top, width and height, of left, top, right and bottom, or x, y, x, y of two eyes."""
        if self.left_eye is not None and self.right_eye is not None:
            return self.left_eye + self.right_eye
        form = _FORMS[0] if self.width is not None else _FORMS[1]
        return tuple(getattr(self, key) for key in form)


def _crop_form(value: Any) -> str:
    return "section" if isinstance(value, dict | Crop) else "false"


# In the place of input.crop for one source: other columns, or false where its images are cropped already.
OwnCrop = Annotated[
    Annotated[Crop, Tag("section")] | Annotated[Literal[False], Tag("false")], Discriminator(_crop_form)
]
