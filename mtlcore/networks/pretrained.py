"""Pretrained weights from a safetensors file, all of them or none."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

# What may stand before a backbone's own names: nothing, or a run's whole network around it.
_PREFIXES = ("", "backbone.", "backbone.backbone.", "model.", "backbone.model.")


def load_pretrained(backbone: nn.Module, file: str | Path, *, sha256: str | None = None) -> None:
    """Load a backbone's weights from a safetensors file, strictly. Nothing is unpickled.

    The file holds the backbone's own weights, or a whole :class:`mtlcore.MultiTaskNetwork` around it
    (``backbone.*`` beside ``heads.*``, as a run of `kindred` leaves it), of which the heads are left behind.

    Args:
        backbone: any module; changed in place.
        file: the file.
        sha256: of the file, where it has to be that one.

    Raises:
        ValueError: there is no such file, it is no safetensors file or another than ``sha256`` says, or a weight is
            missing, unexpected or of another shape; the message names it.

    Example:
        >>> import tempfile
        >>> import torch, safetensors.torch
        >>> from mtlcore import load_pretrained, mlp
        >>> trained, fresh = mlp((4,), (8,))[0], mlp((4,), (8,))[0]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     safetensors.torch.save_file(trained.state_dict(), f"{folder}/model.safetensors")
        ...     load_pretrained(fresh, f"{folder}/model.safetensors")
        >>> torch.equal(trained[1].weight, fresh[1].weight)
        True
    """
    import safetensors
    import safetensors.torch

    if not Path(file).is_file():
        raise ValueError(f"pretrained: found {str(file)!r}, no such file; expected a safetensors file")
    try:
        if sha256 is None:
            weights = safetensors.torch.load_file(file)
        else:
            content = Path(file).read_bytes()  # once: what is hashed is what is loaded
            if (found := hashlib.sha256(content).hexdigest()) != sha256:
                raise ValueError(f"pretrained: {str(file)!r}: found other weights, sha256 {found}; expected {sha256}")
            weights = safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise ValueError(f"pretrained: found {str(file)!r}, no safetensors file ({error})") from None
    load_whole(backbone, weights, str(file), _PREFIXES)


def load_whole(
    module: nn.Module, weights: Mapping[str, Tensor], origin: str, prefixes: Sequence[str], what: str = "the backbone"
) -> None:
    """Load a module's weights from those of a file, all of them or none.

    Args:
        module: changed in place.
        weights: by name; those below other prefixes are left behind.
        origin: where they come from, for the message.
        prefixes: what may stand before the module's own names; the one below which most fit counts.
        what: what the module is, for the message.

    Raises:
        ValueError: a weight is missing, unexpected or of another shape; the message names it.
    """
    wanted = module.state_dict()

    def below(prefix: str) -> set[str]:
        return {name.removeprefix(prefix) for name in weights if name.startswith(prefix)}

    # Where most names fit: one name may fit below several prefixes.
    prefix = max(prefixes, key=lambda prefix: len(below(prefix) & set(wanted)))
    names = below(prefix)
    shapes = [
        f"{name} {tuple(weights[prefix + name].shape)} for {tuple(wanted[name].shape)}"
        for name in sorted(names & set(wanted))
        if weights[prefix + name].shape != wanted[name].shape
    ]
    # All or none: a backbone that is pretrained in part trains like a poor one, and nobody sees why.
    wrong = {"missing": set(wanted) - names, "unexpected": names - set(wanted), "of another shape": shapes}
    if any(wrong.values()):
        told = "; ".join(f"{len(keys)} {kind}: {_few(keys)}" for kind, keys in wrong.items() if keys)
        raise ValueError(f"pretrained: {origin!r} does not fit {what}: {told}")
    module.load_state_dict({name: weights[prefix + name] for name in wanted})


def tasks_in_weights(file: str | Path) -> tuple[str, ...]:
    """Return the tasks whose heads a safetensors file holds beside a backbone; none where it holds a backbone alone.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no safetensors file.
    """
    import safetensors

    try:
        with safetensors.safe_open(str(file), framework="pt") as opened:
            names = list(opened.keys())
    except safetensors.SafetensorError as error:
        raise ValueError(f"found {str(file)!r}, no safetensors file ({error})") from None
    heads = [name.split(".")[1].removesuffix("_head") for name in names if name.startswith("heads.")]
    return tuple(dict.fromkeys(heads))


def _few(names: Iterable[str]) -> str:
    some = sorted(names)
    return ", ".join(some[:3]) + (", ..." if len(some) > 3 else "")
