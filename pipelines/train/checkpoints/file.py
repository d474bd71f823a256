"""The checkpoint file: the whole training state of a run as one safetensors file.

The file is a safetensors file, so nothing is unpickled when it is read; what is not a tensor stands in its header as
JSON. Its name holds the step and the hash of its bytes: ``step-000000300-<xxh3>.safetensors``. A file that is cut
short, was changed, or is only half uploaded does not bear its own name and is no checkpoint.
"""

import json
import re
from typing import Any

import safetensors
import safetensors.torch
import xxhash
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from mtlcore import PairMeasured

FORMAT = 1
_ABOUT = "kindred"
PREFIX = "step-"
_NAME = re.compile(rf"{PREFIX}(\d{{9,}})-([0-9a-f]{{32}})\.safetensors")


class NotACheckpointError(ValueError):
    """A file is no checkpoint, or not whole; the message says which and why."""


class Event(BaseModel):
    """Something that happened to a run and is worth knowing when its numbers are read."""

    model_config = ConfigDict(frozen=True)
    step: int
    what: str


class About(BaseModel):
    """What a checkpoint holds beside tensors.

    Attributes:
        run: the run's name.
        step: the number of steps that are done.
        provenance: code, torch and data, as :func:`pipelines.experiment.provenance.provenance` gives them.
        versions: of the libraries that made it.
        seconds: spent in steps so far, over all attempts.
        waited_for_data_s: of these, spent waiting for data.
        columns: the names of the history's columns.
        measured: what was seen of how tasks relate.
        events: what happened to the run so far.
        validation_columns: the names of the validations' columns.
        validation_s: seconds spent validating so far.
        log_id: names the run in logs, the same after it resumes.
        went_on_from: the steps at which it went on from a shorter run, whose learning rates were others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")
    format: int = FORMAT
    run: str
    step: int
    provenance: dict[str, Any]
    versions: dict[str, str]
    seconds: float
    waited_for_data_s: float
    columns: tuple[str, ...]
    measured: tuple[PairMeasured, ...] = ()
    events: tuple[Event, ...] = ()
    validation_columns: tuple[str, ...] = ()
    validation_s: float = 0.0
    log_id: str = ""
    went_on_from: tuple[int, ...] = ()


class Checkpoint(BaseModel):
    """Tensors on the CPU by name (``network.*``, ``optimizer.*``, ``balancer.*``, ``trust.*``, ...), and the rest."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)
    about: About
    tensors: dict[str, Tensor]


def pack(checkpoint: Checkpoint) -> tuple[str, bytes]:
    """Return a checkpoint's file: its name and its bytes."""
    content = safetensors.torch.save(checkpoint.tensors, {_ABOUT: checkpoint.about.model_dump_json()})
    return f"{PREFIX}{checkpoint.about.step:09d}-{xxhash.xxh3_128_hexdigest(content)}.safetensors", content


def unpack(name: str, content: bytes) -> Checkpoint:
    """Return the checkpoint that a file holds.

    Raises:
        NotACheckpointError: the bytes are not those that were written under this name, or of an unknown format.
    """
    about = about_in(name, content)
    # In one order on all workers, who go through them together; safetensors has another in every process.
    try:
        tensors = dict(sorted(safetensors.torch.load(content).items()))
    except safetensors.SafetensorError as error:
        raise NotACheckpointError(f"{name}: its tensors cannot be read: {error}") from None
    return Checkpoint(about=about, tensors=tensors)


def about_in(name: str, content: bytes) -> About:
    """Return what a checkpoint's file says of itself, once its bytes are found to be those that were written.

    Raises:
        NotACheckpointError: they are not, they say nothing, or are of an unknown format.
    """
    # Before anything is made of them: a flipped bit in the header can leave it readable, and wrong.
    named = _NAME.fullmatch(name)
    if named is None:
        raise NotACheckpointError(f"{name}: not a checkpoint's name")
    if xxhash.xxh3_128_hexdigest(content) != named[2]:
        raise NotACheckpointError(f"{name}: its bytes are not those that were written (cut short, or changed since)")
    size = int.from_bytes(content[:8], "little")
    try:
        text = json.loads(content[8 : 8 + size])["__metadata__"][_ABOUT]
        file_format = json.loads(text)["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise NotACheckpointError(f"{name}: not a checkpoint of Kindred") from None
    if file_format != FORMAT:
        raise NotACheckpointError(f"{name}: found format {file_format}; expected format {FORMAT}")
    try:
        return About.model_validate_json(text)
    except ValidationError as error:
        raise NotACheckpointError(f"{name}: not what a checkpoint says of itself: {error.errors()[0]['msg']}") from None


def step_of(name: str) -> int | None:
    """Return the step in a checkpoint's name, or None for another file's."""
    match = _NAME.fullmatch(name)
    return None if match is None else int(match[1])
