"""A related pair of tasks, and what the joint loss does with it."""

from dataclasses import dataclass, field

from mtlcore.losses.co_annotated_classes import SourceForm
from mtlcore.losses.co_annotation import LabelForm
from mtlcore.losses.distribution_matching import Direction
from mtlcore.losses.pair_loss import AddedPairLoss
from mtlcore.relatedness.relatedness import Relatedness


@dataclass(frozen=True)
class DistributionMatching:
    """lambda_DM and the settings of :func:`mtlcore.distribution_matching_loss`.

    Example:
        >>> DistributionMatching(0.3, tau=2.0).direction
        'own_is_target'
    """

    weight: float = 0.0
    tau: float = 1.0
    direction: Direction = "own_is_target"
    stop_gradient: bool = False
    form: LabelForm = "full"


@dataclass(frozen=True)
class SoftCoAnnotation:
    """lambda_SCA and the settings of the two co-annotation losses; ``to_source`` and ``to_target`` switch each.

    ``source_form`` and ``clip`` are those of what B's labels teach A, ``form`` of what A's teach B. ``prior`` is A's
    class prior, C numbers; uniform where not given.

    Example:
        >>> SoftCoAnnotation(1.0, tau_co=0.1, to_target=False).to_source
        True
    """

    weight: float = 0.0
    tau_co: float = 1.0
    form: LabelForm = "positive"
    source_form: SourceForm = "bayes"
    clip: float = 0.05
    to_source: bool = True
    to_target: bool = True
    prior: tuple[float, ...] | None = None


@dataclass(frozen=True)
class ImpliedLikelihood:
    """lambda_ILL of :func:`mtlcore.implied_likelihood_loss`.

    Example:
        >>> ImpliedLikelihood(0.5).weight
        0.5
    """

    weight: float = 0.0


@dataclass(frozen=True)
class RelatedPair:
    """A relatedness edge and what the objective does with it. A loss of weight 0 is not computed.

    Example:
        >>> from mtlcore import Multiclass, Multilabel, Relatedness
        >>> mood, units = Multiclass("mood", ("happy",)), Multilabel("units", ("smile",))
        >>> R = Relatedness.from_rows(mood, units, {"happy": "smile"})
        >>> RelatedPair(R, dm=DistributionMatching(0.3)).sca.weight
        0.0
    """

    relatedness: Relatedness
    dm: DistributionMatching = field(default_factory=DistributionMatching)
    sca: SoftCoAnnotation = field(default_factory=SoftCoAnnotation)
    ill: ImpliedLikelihood = field(default_factory=ImpliedLikelihood)
    added: tuple[AddedPairLoss, ...] = ()

    @property
    def has_loss(self) -> bool:
        """Whether any of its losses has a weight."""
        built_in = self.dm.weight or self.sca.weight or self.ill.weight
        return bool(built_in or any(added.weight for added in self.added))
