"""A loaded model takes data as people have them, by name, and says the same of the same input."""

import io
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image

from mtlcore import Multiclass, build_multi_task_network
from mtlcore.exported import Description, ExportedNetwork, ExportedTask, exported_files
from pipelines.base.errors import UserError
from pipelines.use.model import Model, load_model

PICTURES = {"kind": "picture", "height": 6, "width": 6, "channels": 1, "mean": 0.5, "std": 0.25}
NUMBERS = {
    "kind": "vector",
    "size": 5,
    "columns": [
        {"name": "a", "categories": [], "missing": "refuse"},
        {"name": "b", "categories": [], "missing": "mean"},
        {"name": "c", "categories": ["x", "y"], "missing": "refuse"},
    ],
    "missing": "mean",
    "mean": [1.0, 2.0, 0.0, 0.0, 0.0],
    "std": 1.0,
}


def files_of(given, seed=0):
    task = Multiclass("kind", ("u", "v", "w"))
    description = Description(
        case="toy",
        arm="co-trained",
        seed=seed,
        input=given,
        tasks={"kind": ExportedTask("multiclass", task.classes, temperature=2.0)},
        networks=(ExportedNetwork("", ("kind",), ("kind",)),),
        network={"backbone": "mlp", "widths": [8]},
    )
    torch.manual_seed(seed)
    network = build_multi_task_network(description.input_shape, [task], backbone="mlp", widths=(8,))
    return exported_files(description, [network])


def test_rows_are_taken_by_the_names_of_their_columns():
    model = Model([files_of(NUMBERS)])
    frame = pd.DataFrame(
        {"a": [1.0, 5.0, 2.0], "b": [2.0, None, 1.0], "c": ["x", "y", "z"], "more": 1}, index=[7, 8, 9]
    )
    said = model.predict(frame, full=True)
    assert said.index.tolist() == [7, 8, 9]
    assert said["kind"].isna().tolist() == [False, False, True]
    assert "unknown category: column 'c' holds 'z'" in said["problem"][9]
    shuffled = model.predict(frame[["c", "more", "b", "a"]], full=True)
    pd.testing.assert_frame_equal(said, shuffled)
    of_table = model.predict(pa.Table.from_pandas(frame, preserve_index=False))
    assert of_table["kind"].tolist()[:2] == said["kind"].tolist()[:2]
    vectors = np.array([[1, 2, 0, 1, 0], [5, np.nan, 1, 0, 1]], np.float32)
    of_arrays = model.predict(vectors, full=True)
    np.testing.assert_array_equal(np.stack(of_arrays["kind.probabilities"]), np.stack(said["kind.probabilities"][:2]))
    with pytest.raises(UserError, match="there is no column 'b'"):
        model.predict(frame.drop(columns="b"))


def test_pictures_come_as_paths_bytes_pillow_images_and_arrays(tmp_path):
    model = Model([files_of(PICTURES)])
    pixels = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (4, 6, 6), dtype=np.uint8)
    images = [Image.fromarray(one) for one in pixels]
    paths = []
    for i, image in enumerate(images):
        image.save(tmp_path / f"{i}.png")
        paths.append(tmp_path / f"{i}.png")
    expected = model.predict(pixels, full=True)
    for data in (
        images,
        [path.read_bytes() for path in paths],
        paths,
        tmp_path,
        torch.from_numpy(pixels[:, None]),
        pd.DataFrame({"file": [str(path) for path in paths]}),
        pd.DataFrame({"image": images}),
        pa.table({"image": [path.read_bytes() for path in paths]}),
    ):
        said = model.predict(data, full=True)
        np.testing.assert_array_equal(np.stack(said["kind.probabilities"]), np.stack(expected["kind.probabilities"]))
    sink = io.BytesIO()
    images[0].save(sink, "PNG")
    broken = model.predict([sink.getvalue(), sink.getvalue()[:40]])
    assert broken["kind"].notna().tolist() == [True, False]
    assert broken["problem"].notna().tolist() == [False, True]
    with pytest.raises(UserError, match="none of 1 inputs can be read"):
        model.predict(b"no image")
    with pytest.raises(UserError, match="expected uint8 of shape"):
        model.predict(torch.zeros(2, 3, 6, 6))


def test_embeddings_ensembles_and_calibration(tmp_path):
    one, both = Model([files_of(PICTURES)]), Model([files_of(PICTURES), files_of(PICTURES, 1)])
    other, inputs = Model([files_of(PICTURES, 1)]), np.zeros((3, 6, 6), np.uint8)
    p = [np.stack(model.predict(inputs, full=True)["kind.probabilities"]) for model in (one, other, both)]
    np.testing.assert_allclose(p[2], (p[0] + p[1]) / 2, rtol=1e-6)
    sharp = np.stack(one.predict(inputs, full=True, calibrated=False)["kind.probabilities"])
    np.testing.assert_allclose(np.log(sharp / sharp[:, :1]), 2 * np.log(p[0] / p[0][:, :1]), rtol=1e-4, atol=1e-6)
    assert len(one.predict(inputs, embeddings=True)["embedding"][0]) == 8
    assert (
        load_model(one.save(tmp_path / "kept")).predict(inputs)["kind"].tolist() == one.predict(inputs)["kind"].tolist()
    )
    with pytest.raises(UserError, match="ensemble"):
        both.save(tmp_path / "both")
    with pytest.raises(UserError, match="different inputs"):
        Model([files_of(PICTURES), files_of(NUMBERS)])


def test_a_model_predicts_without_ray(tmp_path):
    Model([files_of(PICTURES)]).save(tmp_path / "model")
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    code = f"""
import sys
sys.modules["ray"] = None
import pipelines
print(len(pipelines.load_model({str(tmp_path / "model")!r}).predict([{str(tmp_path / "a.png")!r}])))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "1", done.stderr
