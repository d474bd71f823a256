"""The section ``training.unlabelled``: what rows teach the tasks that they are not labelled for."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field

from pipelines.base.section import Number, Probability, Section, Weight

W = TypeVar("W", bound=BaseModel)


class PseudoLabelSettings(Section):
    """Pseudo-labels: what the network is sure of on the weak view teaches the strong view; see mtlcore.pseudo_labels.

    ``relatedness``: whether they ``ignore`` what another task's label of the same row implies through the table, have
    to ``agree`` with it, or are read after it is ``join``ed with the prediction; of tables that have a loss in the arm.
    """

    weight: Weight = 0.0
    """Of the loss, beside the task's own weight; 0: off."""
    threshold: Annotated[float, Field(gt=0, le=1), Number] = 0.95
    """How sure the network has to be."""
    thresholds: Literal["fixed", "flexible"] = "fixed"
    """The same for all classes, or lower for those that the network is seldom sure of (FlexMatch)."""
    relatedness: Literal["ignore", "agree", "join"] = "ignore"
    """What other tasks' labels of the row do."""
    least_agreement: Probability = 0.1
    """agree: a label goes that is less than this part as likely as the likeliest."""
    read_from: Literal["network", "average"] = "network"
    """Whose predictions they are: the network's, or its moving average's."""


class ConsistencySettings(Section):
    """Consistency of the strong view with what the moving average predicts of the weak one (mean teacher)."""

    weight: Weight = 0.0
    """Of the loss, beside the task's own weight; 0: off."""


class StrongView(Section):
    """How the strong view of an input is altered; the weak one is what ``training.augmentation`` makes of it.

    ``noise`` and ``dropout`` are for vectors, in units of the normalized input; all other keys for images.
    """

    flip: Probability | None = None
    """As in training.augmentation; by default the weak view's."""
    crop: Annotated[int, Field(ge=0), Number] | None = None
    """As in training.augmentation; by default the weak view's."""
    brightness: Probability = 0.4
    """How far its factor may lie from 1."""
    contrast: Probability = 0.4
    """How far its factor may lie from 1."""
    saturation: Probability = 0.4
    """How far its factor may lie from 1."""
    erasing: Probability = 0.5
    """How likely an image loses a rectangle."""
    noise: Weight = 0.1
    """The deviation of what is added to each feature."""
    dropout: Annotated[float, Field(ge=0, lt=1), Number] = 0.2
    """How likely a feature becomes 0."""

    def over(self, weak: W) -> W:
        """Return the weak view's augmentation with what the strong one changes."""
        changes: dict[str, Any] = self.model_dump(exclude={"noise", "dropout"}, exclude_none=True)
        return weak.model_copy(update=changes)


class Unlabelled(Section):
    """What rows teach the tasks that they are not labelled for; off by default. See docs/unlabelled.md.

    In a mixed batch the rows of one dataset are the unlabelled rows of all other tasks. Either loss takes a second,
    strong view of every row through the network. A moving average of the weights (EMA) is kept where something reads
    it: consistency, pseudo-labels that are ``read_from`` it, or ``evaluated``.
    """

    pseudo_labels: PseudoLabelSettings = PseudoLabelSettings()
    """Pseudo-labels."""
    consistency: ConsistencySettings = ConsistencySettings()
    """Consistency with a mean teacher."""
    strong: StrongView = StrongView()
    """The strong view."""
    decay: Annotated[float, Field(ge=0, lt=1), Number] = 0.99
    """Of the moving average, a step."""
    evaluated: Literal["network", "average"] = "network"
    """What is validated and kept: the network's weights, or their moving average."""
    warmup_steps: Annotated[int, Field(ge=0), Number] = 0
    """Steps over which both weights rise, linearly, to what they are."""

    @property
    def has_losses(self) -> bool:
        """Whether either loss has a weight; then there is a strong view."""
        return bool(self.pseudo_labels.weight or self.consistency.weight)

    @property
    def has_average(self) -> bool:
        """Whether the moving average is kept."""
        reads = self.pseudo_labels.weight > 0 and self.pseudo_labels.read_from == "average"
        return reads or self.consistency.weight > 0 or self.evaluated == "average"

    def ramp(self, step: int) -> float:
        """Return by what the weights are multiplied in a step, counted from 0."""
        return min(1.0, (step + 1) / (self.warmup_steps + 1))
