"""Multi-task networks: a backbone, what the tasks share of it, and one head per task.

======================================  ====================================================================
file                                    what it holds
======================================  ====================================================================
multi_task_network                      the network: a backbone (or a trunk) with one head per task
backbones, residual                     mlp, small_cnn, flatten; resnet_small
named_backbone                          a backbone by its name: built in, ``hf:``, ``timm:``, ``module:callable``
hugging_face, timm_models, callables    the last three
from_elsewhere                          what is checked of a network that is not built in
pretrained                              weights from a safetensors file
heads                                   linear, MLP
trunk                                   what a trunk, shared in part, has to offer
cross_stitch, branching, attention,     the trunks
mixture_of_experts, sparse_gates,
progressive_layered_extraction
moving_average                          the average of a network's weights over steps
assembled                               all of it from plain settings
auxiliary                               the network for use: without its auxiliary tasks
seeding                                 parameters drawn from a seed
======================================  ====================================================================
"""

from mtlcore.networks.assembled import build_multi_task_network
from mtlcore.networks.attention import AttentionTrunk
from mtlcore.networks.auxiliary import without_auxiliary
from mtlcore.networks.backbones import flatten, mlp, small_cnn
from mtlcore.networks.branching import LearnedBranching
from mtlcore.networks.cross_stitch import CrossStitch
from mtlcore.networks.mixture_of_experts import MultiGateMixtureOfExperts
from mtlcore.networks.moving_average import MovingAverage
from mtlcore.networks.multi_task_network import MultiTaskNetwork
from mtlcore.networks.named_backbone import build_backbone
from mtlcore.networks.pretrained import load_pretrained
from mtlcore.networks.progressive_layered_extraction import ProgressiveLayeredExtraction
from mtlcore.networks.residual import resnet_small
from mtlcore.networks.seeding import seeded_init
from mtlcore.networks.sparse_gates import DSelectK
from mtlcore.networks.trunk import TaskTrunk

__all__ = [
    "AttentionTrunk",
    "CrossStitch",
    "DSelectK",
    "LearnedBranching",
    "MovingAverage",
    "MultiGateMixtureOfExperts",
    "MultiTaskNetwork",
    "ProgressiveLayeredExtraction",
    "TaskTrunk",
    "build_backbone",
    "build_multi_task_network",
    "flatten",
    "load_pretrained",
    "mlp",
    "resnet_small",
    "seeded_init",
    "small_cnn",
    "without_auxiliary",
]
