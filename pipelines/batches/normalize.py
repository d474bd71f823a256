"""Input normalisation: from uint8 or float inputs of a block to the network's float32."""

from torch import Tensor

from pipelines.case.data import PictureInput, VectorInput


def normalize(inputs: Tensor, scale: PictureInput | VectorInput) -> Tensor:
    """Turn inputs into the network's: (value - mean) / std in float32, where an image's value is pixel / 255."""
    values = inputs.float()
    if isinstance(scale, PictureInput):
        values = values.div_(255)
    return values.sub_(scale.mean).div_(scale.std)
