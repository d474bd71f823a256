"""Input normalisation: from uint8 or float inputs of a block to the network's float32."""

from torch import Tensor

from pipelines.case.data import PictureInput, VectorInput


def normalize(inputs: Tensor, scale: PictureInput | VectorInput) -> Tensor:
    """Turn inputs into the network's: (value - mean) / std in float32, where an image's value is pixel / 255."""
    values = inputs.float()
    return standardize(values.div_(255) if isinstance(scale, PictureInput) else values, scale)


def standardize(values: Tensor, scale: PictureInput | VectorInput) -> Tensor:
    """Turn values into (value - mean) / std, in place; these are one number, or one a channel or feature.

    Args:
        values: float32, (n, channels, height, width) from 0 to 1, or (n, size).
        scale: the case's ``input``.
    """
    for way, number in ((values.sub_, scale.mean), (values.div_, scale.std)):
        assert not isinstance(number, str), f"{number}: not resolved"
        way(values.new_tensor(number).reshape(-1, *(1,) * (values.ndim - 2)) if isinstance(number, tuple) else number)
    if isinstance(scale, VectorInput) and scale.fills_missing:
        values.nan_to_num_(nan=0.0)  # a value that is missing becomes the mean
    return values
