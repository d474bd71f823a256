"""ResNet-50 and ViT-S as backbones in plain torch, for a GPU machine that has neither timm nor transformers."""

import torch
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """A residual block of three convolutions (K. He et al., "Deep residual learning", CVPR 2016)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = 4 * width
        self.branch = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        changes = stride > 1 or channels != out
        self.shortcut = (
            nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
            if changes
            else nn.Identity()
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to its input."""
        out: Tensor = self.relu(self.branch(x) + self.shortcut(x))
        return out


def resnet(shape: tuple[int, ...], depths: tuple[int, ...] = (3, 4, 6, 3), width: int = 64) -> tuple[nn.Module, int]:
    """Return a ResNet of bottlenecks: with these depths, ResNet-50."""
    stem = [nn.Conv2d(shape[0], width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    layers: list[nn.Module] = [*stem, nn.MaxPool2d(3, 2, 1)]
    channels = width
    for stage, depth in enumerate(depths):
        for block in range(depth):
            layers.append(Bottleneck(channels, width << stage, 2 if stage and not block else 1))
            channels = 4 * (width << stage)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), channels


class VisionTransformer(nn.Module):
    """A vision transformer (A. Dosovitskiy et al., ICLR 2021) whose feature is the mean of its patches."""

    def __init__(self, shape: tuple[int, ...], width: int, layers: int, heads: int, patch: int) -> None:
        super().__init__()
        patches = (shape[1] // patch) * (shape[2] // patch)
        self.patches = nn.Conv2d(shape[0], width, patch, patch)
        self.position = nn.Parameter(torch.empty(1, patches, width))
        nn.init.trunc_normal_(self.position, std=0.02)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return features, shape (N, width)."""
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.position
        out: Tensor = self.encoder(tokens).mean(dim=1)
        return out


def resnet50(shape: tuple[int, ...]) -> tuple[nn.Module, int]:
    """Return ResNet-50: 23.5 M parameters."""
    return resnet(shape)


def vit_small(shape: tuple[int, ...]) -> tuple[nn.Module, int]:
    """Return ViT-S/16: 22 M parameters."""
    return VisionTransformer(shape, 384, 12, 6, 16), 384


def tiny_resnet(shape: tuple[int, ...]) -> tuple[nn.Module, int]:
    """Return a ResNet of a few thousand parameters, to try the benchmark with."""
    return resnet(shape, (1, 1), 4)


def tiny_vit(shape: tuple[int, ...]) -> tuple[nn.Module, int]:
    """Return a vision transformer of a few thousand parameters, to try the benchmark with."""
    return VisionTransformer(shape, 16, 1, 2, 16), 16
