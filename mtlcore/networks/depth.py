"""How deep each parameter of a backbone lies: for learning rates that fall towards the input."""

from collections.abc import Iterator

from torch import nn


def layer_depths(backbone: nn.Module) -> dict[str, int]:
    """Return the layer of every parameter by name, 0 next to the input, counting up without gaps.

    A layer is a part of the outermost lists and sequences of modules: a block of a transformer, a stage of a residual
    network. One without a matrix (a norm) belongs to the layer before it, as do parameters beside the lists; those
    that come before all lists (an embedding, a stem) are the first layer. The order is that of registration.

    Args:
        backbone: any module.

    Example:
        >>> from mtlcore import mlp
        >>> layer_depths(mlp((4,), hidden=(8, 8))[0])
        {'1.weight': 0, '1.bias': 0, '3.weight': 1, '3.bias': 1}
    """
    owner = {id(p): number for number, layer in enumerate(_layers(backbone)) for p in layer.parameters()}
    of_matrices = {owner[id(p)] for p in backbone.parameters() if id(p) in owner and p.dim() > 1}
    depths: dict[str, int] = {}
    depth, begun = -1, set[int]()
    for name, parameter in backbone.named_parameters():
        layer = owner.get(id(parameter))
        if depth < 0 or (layer in of_matrices and layer not in begun):
            depth += 1
        if layer is not None:
            begun.add(layer)
        depths[name] = depth
    return depths


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, nn.ModuleList | nn.Sequential):
        for child in module:
            if isinstance(child, nn.ModuleList | nn.Sequential):
                yield from _layers(child)
            else:
                yield child
    else:
        for child in module.children():
            yield from _layers(child)
