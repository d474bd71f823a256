"""What a case names as code, ``package.module:object``: to be asked about before any of it is imported.

Whoever writes a case file runs code by design. A case that lies in a storage was perhaps written by somebody else, and
its reader has not seen it: what it names is looked for in the plain content, before validation imports anything.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.base.errors import UserError

# By the registry's group of entry points, where a case names an entry; ``*`` is any key, or a place in a list. A name
# without a colon is built in, or of a package that is installed here.
PLACES: dict[str, tuple[str, ...]] = {
    "kindred.sources": ("datasets.*.source.kind", "evaluation.verification.source.kind"),
    "kindred.backbones": ("network.backbone", "arms.*.network.backbone"),
    "kindred.pair_losses": ("training.matching.*.kind", "arms.*.matching.*.kind"),
    "kindred.balancing": (
        *("training.balancing", "training.balancing.method"),
        *("arms.*.balancing", "arms.*.balancing.method"),
    ),
    "kindred.metrics": (*("evaluation.metrics.*.primary", "evaluation.metrics.*.add", "evaluation.metrics.*.add.*"),),
    "kindred.optimizers": ("training.optimizer.name",),
    "kindred.schedules": ("training.schedule", "training.schedule.kind"),
    "kindred.search_spaces": ("tuning.space",),
    "kindred.searchers": ("tuning.search",),
}
_MODELS_OF_LIBRARIES = ("hf", "timm")
_TOLD = 4  # names at most


def refuse_named_code(content: Mapping[str, Any], where: str) -> None:
    """Refuse what lies in a storage or an export and names code, before anything that it names is imported.

    Args:
        content: what a case file holds.
        where: the file, for the message.

    Raises:
        UserError: says what is named, and the way on.
    """
    if found := named_code(content):
        told = ", ".join(f"{key} {name!r}" for key, name in found[:_TOLD]) + ", ..." * (len(found) > _TOLD)
        raise UserError(
            f"{where}: found code that would be imported and run: {told}; expected --run-code where you trust who "
            "wrote it (in Python: run_code=True)"
        )


def named_code(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a case names as code: its key and the name, each once, in the order of the keys above.

    Args:
        content: what a case file holds, before or after its validation.

    Example:
        >>> named_code({"network": {"backbone": "kit.nets:conv"}, "training": {"optimizer": {"name": "adamw"}}})
        [('network.backbone', 'kit.nets:conv')]
        >>> named_code({"network": {"backbone": "hf:vit"}, "training": {"optimizer": {"name": "torch.optim:NAdam"}}})
        []
    """
    found = [
        (key, name)
        for group, places in PLACES.items()
        for place in places
        for key, name in _at(content, place.split("."), ())
        if _is_code(group, name)
    ]
    return list(dict.fromkeys(found))


def _is_code(group: str, name: str) -> bool:
    module, colon, attribute = name.partition(":")
    if group == "kindred.backbones" and module in _MODELS_OF_LIBRARIES:
        return False
    # PyTorch's own optimisers; a dot would lead on into what that module imports.
    return bool(colon) and not (group == "kindred.optimizers" and module == "torch.optim" and attribute.isalpha())


def _at(content: Any, way: Sequence[str], before: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if not way:
        if isinstance(content, str):
            yield ".".join(before), content
        return
    first, *rest = way
    items: Iterator[tuple[Any, Any]]
    if isinstance(content, Mapping):
        items = iter(content.items())
    elif isinstance(content, list | tuple):
        items = iter(enumerate(content))
    else:
        return
    for key, value in items:
        if first in ("*", str(key)):
            yield from _at(value, rest, (*before, str(key)))
