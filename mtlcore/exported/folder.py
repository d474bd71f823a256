"""An exported model as a folder: weights in safetensors beside network.json, loaded with torch alone."""

from collections.abc import Sequence
from pathlib import Path

from mtlcore.exported.description import Description
from mtlcore.exported.model import ExportedModel
from mtlcore.networks.assembled import build_multi_task_network
from mtlcore.networks.multi_task_network import MultiTaskNetwork
from mtlcore.networks.seeding import seeded_init
from mtlcore.tasks import Multiclass

WEIGHTS, DESCRIPTION, BACKBONE = "model.safetensors", "network.json", "backbone"


def exported_files(
    description: Description, networks: Sequence[MultiTaskNetwork], backbone_configuration: str | None = None
) -> dict[str, bytes]:
    """Return the files of a model by name, network.json last: where it stands the folder is whole.

    Args:
        description: network.json.
        networks: as many as it says, in its order.
        backbone_configuration: of an ``hf:`` backbone, its config.json.
    """
    import safetensors.torch

    weights = {
        part.prefix + name: tensor.contiguous()
        for part, network in zip(description.networks, networks, strict=True)
        for name, tensor in network.state_dict().items()
    }
    files = {WEIGHTS: safetensors.torch.save(weights, metadata={"format": "pt"})}
    if backbone_configuration is not None:
        files[f"{BACKBONE}/config.json"] = backbone_configuration.encode()
    return files | {DESCRIPTION: description.to_json().encode()}


def save_exported(folder: str | Path, description: Description, networks: Sequence[MultiTaskNetwork]) -> None:
    """Write a model's folder, which is made where it is not there; the arguments of :func:`exported_files`.

    Raises:
        OSError: the folder cannot be written.
    """
    for name, content in exported_files(description, networks).items():
        (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
        (Path(folder) / name).write_bytes(content)


def load_exported(folder: str | Path, *, run_code: bool = False) -> ExportedModel:
    """Load what `kindred export` wrote, in evaluation mode. Nothing is unpickled, and nothing is fetched.

    Args:
        folder: the folder.
        run_code: whether a backbone ``package.module:callable`` may be imported and called. The folder names it: say
            so only where you trust who made the folder.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is broken, or the backbone is somebody's callable and ``run_code`` is False.

    Example:
        >>> import tempfile, torch
        >>> from mtlcore import Multiclass, build_multi_task_network, load_exported
        >>> from mtlcore.exported import Description, ExportedNetwork, ExportedTask, save_exported
        >>> network = build_multi_task_network((4,), [Multiclass("kind", ("a", "b"))], backbone="mlp", widths=(8,))
        >>> described = Description(
        ...     case="toy", arm="co-trained", seed=0,
        ...     input={"kind": "vector", "size": 4, "mean": 0.0, "std": 1.0},
        ...     tasks={"kind": ExportedTask("multiclass", ("a", "b"), temperature=2.0)},
        ...     networks=(ExportedNetwork("", ("kind",), ("kind",)),),
        ...     network={"backbone": "mlp", "widths": [8]},
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_exported(folder, described, [network])
        ...     model = load_exported(folder)
        >>> model.predict(torch.zeros(3, 4))["kind"].shape
        torch.Size([3, 2])
    """
    import safetensors
    import safetensors.torch

    folder = Path(folder)
    for name in (DESCRIPTION, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: no such file; expected what `kindred export` writes")
    try:
        description = Description.from_json((folder / DESCRIPTION).read_bytes())
        weights = safetensors.torch.load_file(folder / WEIGHTS)
    except (ValueError, safetensors.SafetensorError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise ValueError(f"{folder}: not what `kindred export` writes: {first}") from None
    settings = dict(description.network)
    kind, colon, _ = str(settings.get("backbone")).partition(":")
    if colon and kind not in ("hf", "timm") and not run_code:
        raise ValueError(
            f"{folder / DESCRIPTION}: the backbone is {settings['backbone']!r}, code that is run when the network is "
            "built; expected load_exported(folder, run_code=True) where you trust it"
        )
    # Nothing outside the folder is read, whatever network.json says.
    settings["pretrained"] = None
    if kind == "hf":
        settings["backbone"] = f"hf:{folder.absolute() / BACKBONE}"
    tasks = {name: task.task(name) for name, task in description.tasks.items()}
    networks = []
    try:
        for part in description.networks:
            # Auxiliary tasks were removed at export; placeholders rebuild the network as it was trained.
            trained = [tasks.get(name, Multiclass(name, ("-",))) for name in part.trained_with]
            with seeded_init(0):
                network = build_multi_task_network(description.input_shape, trained, **settings)
            network = network.restrict_to_tasks(list(part.tasks))
            below = {name.removeprefix(part.prefix): w for name, w in weights.items() if name.startswith(part.prefix)}
            network.load_state_dict(below)
            networks.append(network)
        model = ExportedModel(description, networks)
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{folder}: the network cannot be built: {' '.join(str(error).split())[:300]}") from None
    return model.eval()
