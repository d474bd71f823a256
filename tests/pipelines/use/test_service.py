"""What a request may hold, and what is said where it holds something else."""

import base64
import io
import json

import jsonschema
import numpy as np
import pytest
import torch
from PIL import Image

from mtlcore import Multiclass, Multilabel
from mtlcore.exported import Description
from mtlcore.exported.folder import DESCRIPTION
from pipelines.base.errors import UserError
from pipelines.use.openapi import openapi
from pipelines.use.predict import input_of
from pipelines.use.serve import application
from pipelines.use.service import Limits, RefusedError, answers_of, check_token, inputs_of_request
from tests.pipelines.use.test_model import NUMBERS, PICTURES, files_of

LIMITS = Limits(most_bytes=10_000, most_inputs=3)


def described(given):
    return Description.from_json(files_of(given)[DESCRIPTION])


def png(size=(9, 7), fill=100):
    sink = io.BytesIO()
    Image.new("L", size, fill).save(sink, "PNG")
    return sink.getvalue()


def asked(given, body, kind="application/json"):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return inputs_of_request(body, kind, input_of(described(given)), LIMITS)


def test_pictures_and_vectors_and_rows_become_what_the_model_takes():
    assert asked(PICTURES, png(), "image/png").shape == (1, 1, 6, 6)
    several = {"pictures": [base64.b64encode(png(fill=fill)).decode() for fill in (0, 255)]}
    assert asked(PICTURES, several)[:, 0, 0, 0].tolist() == [0, 255]
    assert asked(PICTURES, {"pictures": ["data:image/png;base64," + several["pictures"][0]]}).dtype == np.uint8
    assert asked(NUMBERS, {"vectors": [[1, 2, 0, 1, 0]]}).tolist() == [[1, 2, 0, 1, 0]]
    rows = asked(NUMBERS, {"rows": [{"c": "y", "a": 1, "b": None, "more": 3}, {"c": "x", "a": "2", "b": 4}]})
    np.testing.assert_array_equal(rows, np.array([[1, np.nan, 1, 0, 1], [2, 4, 0, 1, 0]], np.float32))


@pytest.mark.parametrize(
    ("given", "body", "kind", "status", "words"),
    [
        (PICTURES, b"", "image/png", 400, "empty body"),
        (PICTURES, b"GIF89a?", "image/gif", 400, "pictures[0]: "),
        (PICTURES, png()[:50], "image/png", 400, "pictures[0]: truncated image"),
        (PICTURES, b"x" * 10_001, "image/png", 413, "10,001 bytes"),
        (PICTURES, b"a=b", "application/x-www-form-urlencoded", 415, "expected an image"),
        (PICTURES, b"{", "application/json", 400, "no JSON"),
        (PICTURES, b"[" * 9_000, "application/json", 400, "no JSON"),
        (PICTURES, {"vectors": [[1]]}, "application/json", 400, "a list 'pictures'"),
        (PICTURES, {"pictures": []}, "application/json", 400, "found 0"),
        (PICTURES, {"pictures": ["?"] * 4}, "application/json", 413, "found 4"),
        (PICTURES, {"pictures": ["not base64!"]}, "application/json", 400, "pictures[0]: no base64"),
        (PICTURES, {"pictures": [3]}, "application/json", 400, "pictures[0]: found int"),
        (NUMBERS, png(), "image/png", 415, "expected JSON"),
        (NUMBERS, {"vectors": [[1, 2, 3]]}, "application/json", 400, "vectors[0]: wrong width"),
        (NUMBERS, {"vectors": [[1, 2, 3, 4, "x"]]}, "application/json", 400, "vectors[0]: expected a list of numbers"),
        (NUMBERS, {"rows": [{"a": 1}]}, "application/json", 400, "rows[0]: there is no 'b'"),
        (NUMBERS, {"rows": [{"a": "x", "b": 1, "c": "x"}]}, "application/json", 400, "column 'a' holds 'x'"),
    ],
)
def test_a_request_that_is_wrong_is_refused_with_the_reason(given, body, kind, status, words):
    with pytest.raises(RefusedError) as refused:
        asked(given, body, kind)
    assert refused.value.status == status
    assert words in refused.value.why


def test_the_token_is_needed_where_there_is_one():
    check_token(None, None)
    check_token("secret", "Bearer secret")
    for header in (None, "", "Bearer", "Bearer secre", "Bearer sécret"):
        with pytest.raises(RefusedError) as refused:
            check_token("secret", header)
        assert refused.value.status == 401


def test_answers_fit_what_openapi_says():
    tasks = {"kind": Multiclass("kind", ("u", "v", "w")), "traits": Multilabel("traits", ("x", "y"))}
    probabilities = {"kind": torch.tensor([[0.2, 0.5, 0.3]]), "traits": torch.tensor([[0.4, 0.6]])}
    (said,) = answers_of(tasks, probabilities, {"traits": torch.tensor([0.3, 0.7])})
    assert (said["kind"]["label"], said["kind"]["probability"]) == ("v", 0.5)
    assert said["traits"]["labels"] == ["x"]
    api = openapi(described(PICTURES), LIMITS, needs_token=True)
    content = api["paths"]["/predict"]["post"]["responses"]["200"]["content"]["application/json"]
    jsonschema.validate({"predictions": [{"kind": said["kind"]}]}, content["schema"])
    body = openapi(described(NUMBERS), LIMITS, needs_token=False)["paths"]["/predict"]["post"]["requestBody"]
    schema = body["content"]["application/json"]["schema"]
    jsonschema.validate({"rows": [{"a": 1, "b": 2, "c": "x"}]}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"rows": [{"a": 1, "b": 2, "c": "z"}]}, schema)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({}, "found no 'model'"),
        ({"model": "m", "repliccas": 2}, "found 'repliccas'"),
        ({"model": "m"}, "either token_file or no_token"),
    ],
)
def test_a_rayservice_whose_arguments_are_wrong_is_told(args, words):
    with pytest.raises(UserError, match=words):
        application(args)
