"""How close a prediction comes to what decoding alone would take, in one process: an actor of `kindred predict`.

python -m tests.benchmarks.predict_speed [IMAGES] [mlp|small_cnn|resnet_small]
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from mtlcore import Multiclass, build_multi_task_network
from mtlcore.exported import Description, ExportedNetwork, ExportedTask, exported_files
from pipelines.ingest.decode_rows import decode_rows
from pipelines.use.answers import Asked
from pipelines.use.inputs import list_inputs
from pipelines.use.predict import input_of
from pipelines.use.predict_part import Predictor, Recipe

ROUNDS = 5


def model_files(backbone):
    """Return a small network for images of 32 x 32."""
    task = Multiclass("kind", tuple("abcdefghij"))
    network = build_multi_task_network((3, 32, 32), [task], backbone=backbone, widths=(16, 32, 64))
    description = Description(
        case="speed",
        arm="naive",
        seed=0,
        input={"kind": "picture", "height": 32, "width": 32, "channels": 3, "mean": 0.5, "std": 0.25},
        tasks={"kind": ExportedTask("multiclass", task.classes)},
        networks=(ExportedNetwork("", ("kind",), ("kind",)),),
        network={"backbone": backbone, "widths": [16, 32, 64]},
    )
    return exported_files(description, [network]), description


def main(images: int, backbone: str) -> None:
    """Compare in pairs; print the median ratio."""
    torch.set_num_threads(1)
    files, description = model_files(backbone)
    with tempfile.TemporaryDirectory() as folder:
        generator = np.random.Generator(np.random.PCG64(0))
        for i in range(images):
            coarse = Image.fromarray(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8))
            (Path(folder) / "in").mkdir(exist_ok=True)
            coarse.resize((500, 375), Image.Resampling.BICUBIC).save(Path(folder) / "in" / f"{i}.jpg", quality=90)
        declared = input_of(description)
        (listed,) = list_inputs([f"{folder}/in"], declared)
        rows = listed.listing.rows.combine_chunks()
        predictor = Predictor(Recipe((listed.source,), declared, Asked(), f"{folder}/out"), [files])
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        item = {"key": "k", "source": 0, "rows": sink.getvalue().to_pybytes()}
        decode_rows(rows, listed.source, declared)
        ratios = []
        for _ in range(ROUNDS):
            start = time.process_time()
            decode_rows(rows, listed.source, declared)
            middle = time.process_time()
            predictor(item)
            end = time.process_time()
            ratios.append((middle - start) / (end - middle))
            print(f"decode {images / (middle - start):,.0f}/s, predict {images / (end - middle):,.0f}/s")
        print(f"of the decoder's rate: {np.median(ratios):.2f} (processor time, median of {ROUNDS} pairs)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 512, sys.argv[2] if len(sys.argv) > 2 else "small_cnn")
