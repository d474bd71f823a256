"""An exported model as one program, inputs to answers: ONNX, and torch.export. The size of a batch stays open."""

import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtlcore.exported import ExportedModel
from mtlcore.exported.model import Answers
from pipelines.base.errors import UserError

FORMATS = {"onnx": "model.onnx", "torch_export": "model.pt2"}
_FURTHEST = 1e-4  # of two probabilities: the programs' kernels differ in the last digits


def programs(model: ExportedModel, formats: Sequence[str], inputs: Tensor) -> dict[str, bytes]:
    """Return the programs asked for, by file name, each checked against torch on some inputs.

    Args:
        model: the model, in evaluation mode.
        formats: of :data:`FORMATS`.
        inputs: as the model takes them, at least two.

    Raises:
        UserError: what a format needs is not installed, or the network cannot be written in it.
        RuntimeError: a program says something else than the model.
    """
    files = {}
    for name in formats:
        whole = Answers(model).eval()
        try:
            with _quiet(), torch.no_grad():
                content = _to_onnx(whole, inputs, list(model.tasks)) if name == "onnx" else _to_program(whole, inputs)
        except ImportError as error:
            raise UserError(f"--format {name}: {error}; pip install 'kindred-mtl[onnx]' brings what it needs") from None
        except UserError:
            raise
        except Exception as error:  # torch's exporters raise errors of a dozen kinds
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"--format {name}: this network cannot be written so: {first[:300]}") from error
        _check(name, content, whole, inputs)
        files[FORMATS[name]] = content
    return files


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's exporters from telling which optional packages they have not found."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def run_onnx(content: bytes, inputs: Tensor) -> list[np.ndarray]:
    """Return what an ONNX program makes of inputs, with onnxruntime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return [np.asarray(out) for out in session.run(None, {"input": inputs.numpy()})]


def run_program(content: bytes, inputs: Tensor) -> list[np.ndarray]:
    """Return what a torch.export program makes of inputs."""
    loaded = torch.export.load(io.BytesIO(content))
    return [out.detach().numpy() for out in loaded.module()(inputs)]


def _to_onnx(whole: Answers, inputs: Tensor, tasks: list[str]) -> bytes:
    import onnxruntime  # noqa: F401 - what is written is checked with it
    import onnxscript  # noqa: F401 - torch asks for it late, in other words

    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "model.onnx"
        written: Any = torch.onnx.export(
            whole,
            (inputs[:2],),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["input"],
            output_names=tasks,
            verbose=False,
        )
        written.save(str(file), external_data=False)
        return file.read_bytes()


def _to_program(whole: Answers, inputs: Tensor) -> bytes:
    program = torch.export.export(whole, (inputs[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    sink = io.BytesIO()
    torch.export.save(program, sink)
    return sink.getvalue()


def _check(name: str, content: bytes, whole: Answers, inputs: Tensor) -> None:
    run = run_onnx if name == "onnx" else run_program
    with torch.inference_mode():
        expected = [out.numpy() for out in whole(inputs)]
    for said, right in zip(run(content, inputs), expected, strict=True):
        if said.shape != right.shape or not np.allclose(said, right, atol=_FURTHEST, rtol=0):
            raise RuntimeError(
                f"--format {name}: the program says something else than the network; nothing was written"
            )
