"""Image backbones from Hugging Face transformers (`hf:NAME`)."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtlcore.networks.from_elsewhere import validate_backbone
from mtlcore.networks.hugging_face_files import check_configuration, check_weights, model_folder
from mtlcore.suggestions import did_you_mean

POOLS = ("auto", "pooler", "cls", "mean")


class PictureEncoder(nn.Module):
    """A transformers model of images as a backbone: (N, channels, height, width) to (N, features).

    Attributes:
        model: the transformers model.
        pool: what becomes the features: ``pooler``, the model's own pooled output; ``cls``, the first token of the
            last hidden state; ``mean``, the mean over its tokens or its map.
    """

    def __init__(self, model: nn.Module, pool: str, input_shape: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        self.pool = pool
        config: Any = model.config
        size = getattr(config, "image_size", None)
        sizes = (size, size) if isinstance(size, int) else tuple(size or input_shape[1:])
        takes = inspect.signature(model.forward).parameters
        # Position embeddings are of the images that the model was configured for.
        other_size = sizes != tuple(input_shape[1:]) and "interpolate_pos_encoding" in takes
        self._more: dict[str, bool] = {"interpolate_pos_encoding": True} if other_size else {}

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, shape (N, features)."""
        return pooled(self.model(pixel_values=x, **self._more), self.pool)


def pooled(output: Any, pool: str) -> Tensor:
    """Return features of a model's output, shape (N, features)."""
    if pool == "pooler":
        return torch.flatten(output.pooler_output, 1)
    hidden: Tensor = output.last_hidden_state  # (N, tokens, features), or a map: (N, features, height, width)
    if pool == "cls":
        return hidden[:, 0]
    return hidden.mean(dim=1) if hidden.dim() == 3 else hidden.mean(dim=(2, 3))


def hugging_face_model(
    name: str,
    input_shape: Sequence[int],
    options: Mapping[str, Any] | None = None,
    *,
    pretrained: bool | str = False,
) -> tuple[nn.Module, int]:
    """Build a backbone from a transformers model of images; returns it and its number of features.

    Wolf et al., "Transformers: state-of-the-art natural language processing", EMNLP 2020. No code from the hub is
    run, weights are read from safetensors files alone, and a local path asks no network. Without weights the number
    of channels and the size of images follow the input.

    Args:
        name: a name on Hugging Face's hub, a folder with config.json, such a file, or a kind of model (``vit``).
        input_shape: (channels, height, width) of one input.
        options: keys of the model's configuration, and ``pool``: ``pooler``, ``cls``, ``mean`` as in
            :class:`PictureEncoder`, or ``auto``: the model's own pooled output where it has a trained one, else the
            first token where the model has a class token, else the mean.
        pretrained: True for the weights of ``name``; or another name on the hub, or a folder, to take them from.

    Raises:
        ValueError: transformers is not installed, there is no such model or option, weights are missing, or the
            model does not take such inputs.

    Example:
        >>> from mtlcore import build_backbone
        >>> tiny = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        >>> build_backbone("hf:vit", (3, 16, 16), options=tiny | {"patch_size": 8})[1]
        16
    """
    called = f"hf:{name}"
    if len(input_shape) != 3:
        raise ValueError(f"backbone: {called!r} takes images, and an input has shape {tuple(input_shape)}")
    try:
        import transformers
    except ImportError as error:
        raise ValueError(
            f"backbone: found {called!r}, and transformers cannot be imported here ({error}); the extra "
            "kindred-mtl[transformers] brings it"
        ) from None
    options = dict(options or {})
    pool = options.pop("pool", "auto")
    if pool not in POOLS:
        raise ValueError(f"options.pool: found {pool!r}; expected one of {', '.join(POOLS)}")
    config = _configuration(name, called, input_shape, options, transformers, sized=not pretrained)
    check_configuration(config, called)
    missing: set[str] = set()
    try:
        if pretrained:
            explicit = getattr(config, "transformers_weights", None)
            source = Path(name if pretrained is True else pretrained)
            if not source.exists():
                source = model_folder(str(source), weights=True, explicit=explicit)
            else:
                check_weights(source, explicit)
            model, report = transformers.AutoModel.from_pretrained(
                str(source),
                config=config,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
            missing = set(report["missing_keys"])
        else:
            model = transformers.AutoModel.from_config(config, trust_remote_code=False)
    except Exception as error:  # transformers raises errors of a dozen kinds for a user's mistake
        key = "pretrained" if pretrained else "backbone"
        raise ValueError(f"{key}: {called!r} cannot be built: {str(error).strip().splitlines()[0]}") from None
    if getattr(model, "main_input_name", None) != "pixel_values":
        raise ValueError(f"backbone: {called!r} is a {type(model).__name__}; expected a model of images")
    # Many checkpoints leave the pooler out, which is only used where it is asked for.
    lacking = sorted(key for key in missing if not key.startswith("pooler."))
    if lacking:
        raise ValueError(f"pretrained: the weights lack {len(lacking)} of {called!r}: {', '.join(lacking[:3])}, ...")
    model.float()  # half-precision weights are for autocast to make, not for an optimiser to change
    if pool == "auto":
        pool = _pool_of(model, input_shape, called, trained_pooler=not missing)
    encoder = PictureEncoder(model, pool, input_shape)
    return encoder, validate_backbone(encoder, input_shape, called)


def _configuration(
    name: str, called: str, input_shape: Sequence[int], options: dict[str, Any], transformers: Any, *, sized: bool
) -> Any:
    """Return the model's configuration with the options; ``sized``: for the input, where the options do not say."""
    local = Path(name).exists()
    kinds = transformers.models.auto.configuration_auto.CONFIG_MAPPING
    kind_alone = not local and name in kinds

    def configured(settings: dict[str, Any]) -> Any:
        if kind_alone:
            return kinds[name](**settings)
        place = name if local else str(model_folder(name, weights=False))
        return transformers.AutoConfig.from_pretrained(
            place, trust_remote_code=False, local_files_only=True, **settings
        )

    if not local and name.startswith((".", "/", "~")):
        raise ValueError(f"backbone: found {called!r}, no such file or folder; expected one with a config.json")
    try:
        plain = configured({})
    except Exception as error:  # OSError, ValueError, JSON's, the hub client's
        raise ValueError(
            f"backbone: found {called!r}, and no configuration of that name can be read "
            f"({str(error).strip().splitlines()[0]}); expected a name on Hugging Face's hub, a folder with "
            f"config.json, or a kind of model{did_you_mean(name, kinds)}"
        ) from None
    for option in options:
        if not hasattr(plain, option):
            raise ValueError(
                f"options: found {option!r}, no key of {type(plain).__name__}{did_you_mean(option, plain.to_dict())}"
            )
    if sized:
        channels, height, width = input_shape
        fitting = {"num_channels": channels, "image_size": height if height == width else [height, width]}
        options = {key: value for key, value in fitting.items() if hasattr(plain, key)} | options
    try:
        return configured(options)
    except Exception as error:
        raise ValueError(f"options: {called!r} cannot be configured so: {str(error).strip().splitlines()[0]}") from None


def _pool_of(model: nn.Module, input_shape: Sequence[int], called: str, *, trained_pooler: bool) -> str:
    # What a model returns is known only once it has returned it: configurations do not tell.
    trial = PictureEncoder(model, "mean", input_shape)
    model.eval()
    try:
        with torch.no_grad():
            output = trial.model(pixel_values=torch.zeros(1, *input_shape), **trial._more)
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"backbone: {called!r} does not take inputs of shape {tuple(input_shape)}: {first}") from None
    if trained_pooler and getattr(output, "pooler_output", None) is not None:
        return "pooler"
    if not isinstance(getattr(output, "last_hidden_state", None), Tensor):
        raise ValueError(f"backbone: {called!r} returns neither a pooled output nor a last hidden state")
    has_class_token = any(key.endswith("cls_token") for key, _ in model.named_parameters())
    return "cls" if has_class_token and output.last_hidden_state.dim() == 3 else "mean"
