"""The network section of a case file."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer

from pipelines.base.section import Number, Positive, Section, kind_alone


class Head(Section):
    """The heads: linear, or an MLP with these ``hidden`` widths."""

    hidden: tuple[Positive, ...] = ()
    """Widths of hidden layers; empty: linear heads."""


class HardSharing(Section):
    """One backbone; every task gets the same features."""

    kind: Literal["hard"] = "hard"


class CrossStitchSharing(Section):
    """One backbone per task, mixed after every stage; see mtlcore.CrossStitch."""

    kind: Literal["cross_stitch"]
    own: Annotated[float, Field(gt=0, le=1), Number] = 0.9
    """How much of its own features a task starts with."""


Widths = Annotated[tuple[Positive, ...], Field(min_length=1)]


class MixtureOfExpertsSharing(Section):
    """Shared experts over the backbone's features, one gate per task; see mtlcore.MultiGateMixtureOfExperts."""

    kind: Literal["mmoe"]
    experts: Positive = 4
    """How many."""
    expert_widths: Widths = (128,)
    """Layers of an expert."""


class AttentionSharing(Section):
    """One backbone, of whose maps every task attends to its own parts; see mtlcore.AttentionTrunk."""

    kind: Literal["mtan"]


class BranchingSharing(Section):
    """One backbone per task; each chooses, stage by stage, whose it continues; see mtlcore.LearnedBranching."""

    kind: Literal["ltb"]
    cooling_steps: Positive = 1000
    """After how many passes the choices are all but made."""


class SparseGatesSharing(Section):
    """Shared experts, of which every task chooses a few; see mtlcore.DSelectK."""

    kind: Literal["dselect_k"]
    experts: Positive = 4
    """How many, a power of two."""
    chosen: Positive = 2
    """How many a task chooses at most."""
    expert_widths: Widths = (128,)
    """Layers of an expert."""


class CustomizedGateControlSharing(Section):
    """Shared experts beside each task's own; see mtlcore.ProgressiveLayeredExtraction, with one level."""

    kind: Literal["cgc"]
    shared_experts: Positive = 2
    """Experts for all tasks."""
    task_experts: Positive = 2
    """Experts of each task."""
    expert_widths: Widths = (128,)
    """Layers of an expert."""


class LayeredExtractionSharing(Section):
    """CGC in several levels; see mtlcore.ProgressiveLayeredExtraction."""

    kind: Literal["ple"]
    levels: Positive = 2
    """How many levels."""
    shared_experts: Positive = 2
    """Experts for all tasks, a level."""
    task_experts: Positive = 2
    """Experts of each task, a level."""
    expert_widths: Widths = (128,)
    """Layers of an expert."""


Sharing = Annotated[
    HardSharing
    | CrossStitchSharing
    | AttentionSharing
    | BranchingSharing
    | SparseGatesSharing
    | MixtureOfExpertsSharing
    | CustomizedGateControlSharing
    | LayeredExtractionSharing,
    Field(discriminator="kind"),
    BeforeValidator(kind_alone),
]


def _backbone_name(name: str) -> str:
    from mtlcore.networks.named_backbone import check_backbone_name

    check_backbone_name(name)
    return name


def without_place(section: dict[str, Any]) -> dict[str, Any]:
    """Return a dumped network, or an arm, without where its first weights lie, if their digest says which they are."""
    return section | {"pretrained": None} if section.get("pretrained_sha256") else section


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Network(Section):
    """The network of every arm; a network of one task is the backbone and its head, whatever the sharing.

    ``backbone``: mlp, small_cnn, resnet_small, flatten, hf:NAME, timm:NAME, or package.module:callable; ``widths``
    are hidden sizes (mlp) or channels by stage; ``options`` are the backbone's further arguments; ``pretrained`` is the
    folder of an export, whose network is the default then, a .safetensors file, or true for the weights of an hf: or
    timm: name; see mtlcore.build_backbone. Paths are relative to the case file. ``sharing`` is a kind alone, or a
    section with its settings. ``freeze_steps`` and ``layer_decay`` are of networks that start from ``pretrained``
    alone: one that is drawn learns with all of its layers.
    """

    backbone: Annotated[str, AfterValidator(_backbone_name)] = "small_cnn"
    """mlp, small_cnn, resnet_small, flatten, hf:NAME, timm:NAME or package.module:callable; by default small_cnn
    for images, mlp for vectors."""
    widths: Widths | None = None
    """Hidden sizes (mlp) or channels by stage."""
    options: dict[str, Any] = {}
    """Further arguments of the backbone."""
    pretrained: bool | str | None = None
    """An export's folder, a .safetensors file, or true for a hub's weights."""
    pretrained_sha256: Sha256 | None = None
    """Of the weights' file, which then has to be that one; a case that is loaded gets it by itself."""
    freeze_steps: Annotated[int, Field(ge=0), Number] = 0
    """Steps at first in which a backbone that starts from ``pretrained`` stays as it is: heads learn alone."""
    layer_decay: Annotated[float, Field(gt=0, le=1), Number] = 1.0
    """What a layer's learning rate is multiplied by, once a layer from the heads down to the input."""
    sharing: Sharing = HardSharing()
    """What tasks share."""
    head: Head = Head()
    """What each task has of its own."""

    @model_serializer(mode="wrap")
    def _as_before_there_were_starts(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what says nothing: runs are named by what a section holds."""
        content: dict[str, Any] = plain(self)
        says_nothing = {"pretrained_sha256": None, "freeze_steps": 0, "layer_decay": 1.0}
        return {key: v for key, v in content.items() if key not in says_nothing or v != says_nothing[key]}
