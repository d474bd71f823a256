"""Which files transformers is to read of a model: from a folder or the hub's local cache, safetensors alone.

transformers follows what a model's own files name: an index may name shards that are pickles, a configuration another
file of weights, an adapter another model. So the files are looked at before it sees them, and it is given a folder.
"""

import json
from pathlib import Path
from typing import Any

_CONFIG, _WHOLE, _INDEX, _ADAPTER = (
    *("config.json", "model.safetensors", "model.safetensors.index.json"),
    "adapter_config.json",
)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_MOST_BYTES = 64 << 20  # of a JSON file
_PATIENCE_S = 5.0
_CONVERT = (
    "convert it where you trust it: transformers.AutoModel.from_pretrained(FOLDER).save_pretrained(OTHER) writes "
    "model.safetensors"
)


def model_folder(name: str, *, weights: bool, explicit: str | None = None) -> Path:
    """Return the folder of a model on the hub in this machine's cache, fetched where it is not there.

    What is in the cache is used as it is, without asking the network. Without a network the answer comes at once.

    Args:
        name: on Hugging Face's hub.
        weights: whether its weights are wanted, beside its configuration.
        explicit: the file of weights that the configuration names, if any.

    Raises:
        OSError: there is no such model, or it is not in the cache and the hub cannot be asked.
        ValueError: its weights are not whole safetensors files.
    """
    config = hub_file(name, _CONFIG, "main")
    if config is None:
        raise FileNotFoundError(f"{name!r} has no {_CONFIG} on the hub")
    folder, revision = config.parent, config.parent.name  # the folder's name is the commit: all files are of one
    if not weights:
        return folder
    wanted = [explicit] if explicit else [_WHOLE, _INDEX]
    cached = (file for file in wanted if (folder / file).is_file())
    found = next(cached, None) or next((file for file in wanted if hub_file(name, file, revision)), None)
    if found is not None and found.endswith(".index.json"):
        for shard in _shards(folder / found):
            hub_file(name, shard, revision)
    check_weights(folder, explicit)
    return folder


def check_weights(folder: Path, explicit: str | None = None) -> None:
    """Check that what transformers would read of a folder's weights are safetensors files in it.

    Args:
        folder: of the model.
        explicit: the file of weights that the configuration names, if any.

    Raises:
        ValueError: there are none, or a file that is read, or would be, is something else; says which, and what to do.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file; expected a folder with {_WHOLE}")
    if (folder / _ADAPTER).exists():
        raise ValueError(
            f"{folder / _ADAPTER}: found an adapter, whose weights go with another model; expected a whole one"
        )
    if (
        explicit is not None
        and not _is_safe(explicit)
        and not (explicit.endswith(".index.json") and "/" not in explicit)
    ):
        raise ValueError(
            f"{folder / _CONFIG}: transformers_weights: found {explicit!r}; expected a .safetensors file beside it"
        )
    for name in [explicit] if explicit else [_WHOLE, _INDEX]:
        if (folder / name).is_file():
            missing = [shard for shard in _shards(folder / name) if not (folder / shard).is_file()]
            if missing:
                raise ValueError(
                    f"{folder / name}: names {missing[0]!r}, which is not there; expected all of its files"
                )
            return
    pickled = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
    if pickled:
        raise ValueError(
            f"{folder / pickled[0]}: found weights as a pickle, which can run code when it is read; expected {_WHOLE}; "
            f"{_CONVERT}"
        )
    raise ValueError(f"{folder}: found no weights; expected {explicit or _WHOLE}")


def check_configuration(config: Any, called: str) -> None:
    """Check that a configuration names no code of a hub, and no weights in a form that a library of its own reads.

    Raises:
        ValueError: it does.
    """
    for key in ("_attn_implementation", "_experts_implementation"):
        if "/" in str(getattr(config, key, None)):
            raise ValueError(
                f"backbone: {called!r} names the kernel {getattr(config, key)!r}, code of a hub; expected none"
            )
    if getattr(config, "quantization_config", None) is not None:
        raise ValueError(f"backbone: {called!r} has a quantization_config; expected weights as plain numbers")


def _shards(file: Path) -> list[str]:
    """Return the files that an index names; none of a file that is no index."""
    if not file.name.endswith(".index.json"):
        return []
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES:,} bytes")
        named = json.loads(file.read_bytes())["weight_map"].values()
        shards = sorted({str(shard) for shard in named})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{file}: cannot be read as an index of weights: {type(error).__name__}: {error}") from None
    for shard in shards:
        if not _is_safe(shard):
            raise ValueError(
                f"{file}: names {shard!r}, a pickle, which can run code when it is read, or a file elsewhere; expected "
                f".safetensors files beside it; {_CONVERT}"
            )
    return shards


def _is_safe(name: str) -> bool:
    return name.endswith(".safetensors") and "/" not in name and "\\" not in name


def hub_file(name: str, file: str, revision: str = "main") -> Path | None:
    """Return a file of a model on the hub, from this machine's cache or fetched; None where the model has none.

    Raises:
        OSError: it is not in the cache, and the hub cannot be asked or has no such model.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    cached = try_to_load_from_cache(name, file, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    if cached is not None:
        return None  # the hub has said so before
    _ask_the_hub(name, file)
    try:
        return Path(hf_hub_download(name, file, revision=revision))
    except LocalEntryNotFoundError:  # the hub cannot be asked
        raise
    except EntryNotFoundError:
        return None


def _ask_the_hub(name: str, file: str) -> None:
    """Raise OSError where the hub does not answer: its own client asks six times, for half a minute."""
    from huggingface_hub import HfApi, get_session, is_offline_mode

    endpoint = HfApi().endpoint
    if is_offline_mode():
        raise OSError(f"{file} of it is not in this machine's cache, and HF_HUB_OFFLINE is set")
    try:
        get_session().head(f"{endpoint}/{name}/resolve/main/{file}", timeout=_PATIENCE_S)
    except Exception as error:  # of whichever client the hub's library has
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise OSError(
            f"{file} of it is not in this machine's cache, and {endpoint} does not answer: {reason}"
        ) from None
