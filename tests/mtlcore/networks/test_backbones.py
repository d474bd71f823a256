"""A backbone by its name: built in, from transformers, timm, or anybody's; weights from a file; what is refused."""

import hashlib
import json
import os
import pickle
import socket
import subprocess
import sys
import threading

import pytest
import safetensors.torch
import torch
from torch import nn

from mtlcore import (
    Multiclass,
    MultiTaskNetwork,
    build_backbone,
    load_pretrained,
    mlp,
    resnet_small,
    seeded_init,
)

VIT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "patch_size": 4}
CONVNEXT = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "patch_size": 2}
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
HERE = __name__  # the callables below as a case file could name them


def pair(input_shape, width=5):
    return nn.Sequential(nn.Flatten(), nn.Linear(input_shape[0], width)), width


class OwnNumber(nn.Linear):
    """A module that says how many features it has, and holds a parameter that nothing depends on."""

    def __init__(self, input_shape, num_features=3):
        super().__init__(input_shape[0], num_features)
        self.num_features = num_features
        self.idle = nn.Parameter(torch.zeros(2))


def normalised(input_shape):
    return nn.Sequential(nn.Linear(input_shape[0], 4), nn.BatchNorm1d(4)), 4


def wrong_number(input_shape):
    return nn.Linear(input_shape[0], 4), 5


def no_features(input_shape):
    return nn.Unflatten(1, (1, input_shape[0])), 1


def no_number(input_shape):
    return nn.Linear(input_shape[0], 4)


def no_module(input_shape):
    return "network"


def failing(input_shape):
    raise RuntimeError("no luck")


@pytest.mark.parametrize(
    ("name", "more", "shape", "features"),
    [
        ("flatten", {}, (3, 4, 4), 48),
        ("mlp", {"widths": (8, 6)}, (3, 4, 4), 6),
        ("small_cnn", {"widths": (8,)}, (1, 4, 4), 32),
        ("resnet_small", {"widths": (8, 16), "options": {"blocks": 1}}, (1, 5, 7), 16),
        ("hf:vit", {"options": VIT}, (1, 8, 8), 16),
        ("hf:vit", {"options": VIT | {"pool": "mean"}}, (3, 8, 12), 16),
        ("hf:convnext", {"options": CONVNEXT}, (3, 9, 8), 16),
        (f"{HERE}:pair", {"options": {"width": 7}}, (6,), 7),
        (f"{HERE}:OwnNumber", {}, (6,), 3),
    ],
)
def test_a_name_gives_a_backbone_with_the_features_that_it_says(name, more, shape, features):
    backbone, said = build_backbone(name, shape, **more)
    network = MultiTaskNetwork(backbone, said, [Multiclass("a", ("x", "y"))])
    assert said == features
    assert backbone(torch.randn(3, *shape)).shape == (3, features)
    network(torch.randn(3, *shape))["a"].sum().backward()
    lacking = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert lacking == [], "data-parallel training would wait for these"
    assert backbone.training


def test_a_workers_empty_part_of_a_batch_goes_through_and_every_parameter_takes_part():
    backbone, features = build_backbone("hf:vit", (1, 8, 8), options=VIT)
    network = MultiTaskNetwork(backbone, features, [Multiclass("a", ("x", "y"))])
    logits = network(torch.zeros(0, 1, 8, 8))["a"]
    assert logits.shape == (0, 2)
    logits.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in network.parameters() if p.requires_grad)


@pytest.mark.parametrize(("pool", "options"), [("pooler", {}), ("cls", {"pool": "cls"}), ("mean", {"pool": "mean"})])
def test_what_becomes_the_features_of_a_transformer_is_said_and_so(pool, options):
    with seeded_init(0):
        encoder, _ = build_backbone("hf:vit", (1, 8, 8), options=VIT | options)
    assert encoder.pool == pool
    x = torch.randn(2, 1, 8, 8)
    output = encoder.eval().model(pixel_values=x)
    tokens = output.last_hidden_state
    expected = {"pooler": output.pooler_output, "cls": tokens[:, 0], "mean": tokens.mean(dim=1)}[pool]
    torch.testing.assert_close(encoder(x), expected)


def test_a_transformer_is_drawn_from_the_seed():
    def built(seed):
        with seeded_init(seed):
            return build_backbone("hf:vit", (1, 8, 8), options=VIT)[0].state_dict()

    first, again, other = built(1), built(1), built(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_folder_of_transformers_gives_its_model_and_its_weights_without_a_network(tmp_path):
    with seeded_init(0):
        made, _ = build_backbone("hf:vit", (1, 8, 8), options=VIT)
    made.model.save_pretrained(tmp_path)
    x = torch.randn(2, 1, 8, 8)
    same, features = build_backbone(f"hf:{tmp_path}", (1, 8, 8), pretrained=True)
    torch.testing.assert_close(same.eval()(x), made.eval()(x))
    fresh, _ = build_backbone(f"hf:{tmp_path}", (1, 8, 8))
    config_alone, _ = build_backbone(f"hf:{tmp_path / 'config.json'}", (1, 8, 8))
    assert not torch.allclose(fresh.eval()(x), made(x))
    assert features == config_alone(x).shape[1]
    # A model that was trained for another size takes this one by interpolating its positions.
    assert build_backbone(f"hf:{tmp_path}", (1, 12, 12), pretrained=True)[1] == 16
    with pytest.raises(ValueError, match="does not take inputs of shape"):
        build_backbone(f"hf:{tmp_path}", (3, 8, 8), pretrained=True)


def test_an_untrained_pooler_is_not_used_and_other_missing_weights_are_refused(tmp_path):
    with seeded_init(0):
        made, _ = build_backbone("hf:vit", (1, 8, 8), options=VIT)
    made.model.save_pretrained(tmp_path)
    weights = safetensors.torch.load_file(tmp_path / "model.safetensors")
    headless = {name: tensor for name, tensor in weights.items() if not name.startswith("pooler.")}
    safetensors.torch.save_file(headless, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert build_backbone(f"hf:{tmp_path}", (1, 8, 8), pretrained=True)[0].pool == "cls"
    headless.pop(next(name for name in headless if name.endswith("weight")))
    safetensors.torch.save_file(headless, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="pretrained: the weights lack 1 of"):
        build_backbone(f"hf:{tmp_path}", (1, 8, 8), pretrained=True)


def test_pickled_weights_of_a_transformer_are_not_read(tmp_path):
    made, _ = build_backbone("hf:vit", (1, 8, 8), options=VIT)
    made.model.save_pretrained(tmp_path)
    torch.save(made.model.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"pretrained: 'hf:.*safetensors"):
        build_backbone(f"hf:{tmp_path}", (1, 8, 8), pretrained=True)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            {"model.safetensors.index.json": {"weight_map": {"a": "pytorch_model.bin"}}},
            r"index\.json: names 'pytorch_mo",
        ),
        (
            {"model.safetensors.index.json": {"weight_map": {"a": "../b.safetensors"}}},
            r"names '\.\./b\.safetensors', a p",
        ),
        (
            {"model.safetensors.index.json": {"weight_map": {"a": "b.safetensors"}}},
            r"b\.safetensors', which is not ther",
        ),
        ({"model.safetensors.index.json": []}, "cannot be read as an index"),
        (
            {"config.json": {"transformers_weights": "pytorch_model.bin"}},
            "transformers_weights: found 'pytorch_model.b",
        ),
        (
            {"config.json": {"transformers_weights": "adapter_model.bin"}},
            "transformers_weights: found 'adapter_model.b",
        ),
        ({"adapter_config.json": {}}, "adapter_config.json: found an adapter"),
        ({"config.json": {"quantization_config": {"quant_method": "bitsandbytes"}}}, "has a quantization_config"),
        ({}, r"_model\.bin: found weights as a pickle.*model\.safetensors.*save_pretrained"),
    ],
)
def test_no_file_of_a_model_leads_to_a_pickle(files, told, tmp_path):
    """``pytorch_model.bin`` leaves a mark when it is unpickled, with whatever leads to it."""
    mark = tmp_path / "ran"
    build_backbone("hf:vit", (1, 8, 8), options=VIT)[0].model.save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").unlink()

    class Planted:
        def __reduce__(self):
            return open, (str(mark), "w")

    for name in ("pytorch_model.bin", "adapter_model.bin"):
        (tmp_path / "m" / name).write_bytes(pickle.dumps(Planted()))
    for name, content in files.items():
        if name == "config.json":
            content = json.loads((tmp_path / "m" / name).read_text()) | content
        (tmp_path / "m" / name).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=told):
        build_backbone(f"hf:{tmp_path / 'm'}", (1, 8, 8), pretrained=True)
    assert not mark.exists()


def test_code_beside_a_configuration_is_not_run(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.OwnModel"}})
    )
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    with pytest.raises(ValueError, match="no configuration of that name can be read"):
        build_backbone(f"hf:{tmp_path}", (1, 8, 8))
    assert not (tmp_path / "ran").exists()


def test_weights_come_from_a_file_of_the_backbone_or_of_a_whole_network(tmp_path):
    trained, features = resnet_small((1, 8, 8), (8, 16), 1)
    network = MultiTaskNetwork(trained, features, [Multiclass("a", ("x", "y"))])
    for name, module in (("backbone", trained), ("network", network)):
        file = tmp_path / f"{name}.safetensors"
        safetensors.torch.save_file(module.state_dict(), file)
        given = {"widths": (8, 16), "options": {"blocks": 1}, "pretrained": str(file)}
        loaded, _ = build_backbone("resnet_small", (1, 8, 8), **given)
        assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in trained.state_dict().items())


def test_weights_that_do_not_fit_are_named(tmp_path):
    file = tmp_path / "weights.safetensors"
    weights = mlp((4,), (8, 8))[0].state_dict()
    weights["extra"] = weights.pop("1.bias")
    weights["3.weight"] = torch.zeros(8, 9)
    safetensors.torch.save_file(weights, file)
    with pytest.raises(
        ValueError, match=r"1 missing: 1.bias; 1 unexpected: extra; 1 of another shape: 3.weight \(8, 9\)"
    ):
        load_pretrained(mlp((4,), (8, 8))[0], file)
    file.write_bytes(b"not at all")
    with pytest.raises(ValueError, match="no safetensors file"):
        load_pretrained(mlp((4,), (8, 8))[0], file)
    with pytest.raises(ValueError, match="no such file"):
        load_pretrained(mlp((4,), (8, 8))[0], tmp_path / "elsewhere.safetensors")
    file = tmp_path / "right.safetensors"
    safetensors.torch.save_file(mlp((4,), (8,))[0].state_dict(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    build_backbone("mlp", (4,), widths=(8,), pretrained=str(file), pretrained_sha256=digest)
    with pytest.raises(ValueError, match=f"pretrained: .*found other weights, sha256 {digest}; expected {'0' * 64}"):
        build_backbone("mlp", (4,), widths=(8,), pretrained=str(file), pretrained_sha256="0" * 64)


def test_a_parameter_that_nothing_depends_on_is_frozen():
    backbone, _ = build_backbone(f"{HERE}:OwnNumber", (6,))
    assert [name for name, p in backbone.named_parameters() if not p.requires_grad] == ["idle"]


@pytest.mark.parametrize(
    ("name", "more", "shape"), [(f"{HERE}:normalised", {}, (6,)), ("hf:resnet", {"options": RESNET}, (3, 16, 16))]
)
def test_batch_norm_is_told_of(name, more, shape):
    with pytest.warns(UserWarning, match=f"backbone '{name}' has BatchNorm"):
        build_backbone(name, shape, **more)


def test_built_in_backbones_have_no_batch_statistics():
    for name in ("mlp", "small_cnn", "resnet_small"):
        backbone, _ = build_backbone(name, (1, 8, 8), widths=(8, 16))
        assert not list(backbone.buffers())
        x = torch.randn(6, 1, 8, 8)
        torch.testing.assert_close(backbone(x)[:2], backbone(x[:2]))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "resnet_smal"}, "backbone: found 'resnet_smal'; expected one of .* did you mean 'resnet_small'"),
        ({"name": "mlp", "options": {"hiden": 3}}, "options: found 'hiden', no option of mlp"),
        ({"name": "resnet_small", "options": {"block": 3}}, "options: found 'block'.*did you mean 'blocks'"),
        ({"name": "resnet_small", "widths": (8,) * 5}, "widths: found 5 stages for images of 8x8.* 1 to 4 fit"),
        ({"name": "resnet_small", "widths": (12,)}, "widths: found 12; expected a multiple of 8"),
        ({"name": "resnet_small", "input_shape": (4,)}, "backbone: resnet_small takes images"),
        (
            {"name": "mlp", "pretrained": True},
            "pretrained: found True for the backbone 'mlp'; expected a .safetensors file",
        ),
        ({"name": "hf:vit", "widths": (8,)}, r"widths: found \[8\] for the backbone 'hf:vit', which takes none"),
        ({"name": "hf:vit", "options": {"hiden_size": 8}}, "options: found 'hiden_size'.*did you mean 'hidden_size'"),
        ({"name": "hf:vit", "options": VIT | {"hidden_size": -1}}, "'hf:vit' cannot be (built|configured)"),
        ({"name": "hf:vit", "options": VIT | {"pool": "max"}}, "options.pool: found 'max'"),
        ({"name": "hf:vit", "options": VIT | {"patch_size": 16}}, "'hf:vit' does not take inputs of shape"),
        ({"name": "hf:bert"}, "'hf:bert' is a BertModel; expected a model of images"),
        ({"name": "hf:./nowhere"}, "backbone: found 'hf:./nowhere', no such file or folder"),
        ({"name": "hf:vit", "input_shape": (64,)}, "'hf:vit' takes images"),
        ({"name": "no_such_module:f"}, "'no_such_module' cannot be imported"),
        ({"name": f"{HERE}:pear"}, "has no 'pear'.*did you mean 'pair'"),
        ({"name": f"{HERE}:failing"}, "failed: RuntimeError: no luck"),
        ({"name": f"{HERE}:pair", "options": {"depth": 2}}, "failed: TypeError: .*depth"),
        ({"name": f"{HERE}:no_module"}, "returned str; expected a torch.nn.Module"),
        ({"name": f"{HERE}:no_number", "input_shape": (4,)}, "without a number `features` or `num_features`"),
        ({"name": f"{HERE}:wrong_number", "input_shape": (4,)}, "says it has 5 features and returns 4"),
        ({"name": f"{HERE}:no_features", "input_shape": (4,)}, r"makes a tensor of shape \(2, 1, 4\) of 2 inputs"),
        ({"name": f"{HERE}:pair", "input_shape": (4, 2)}, r"does not take inputs of shape \(4, 2\)"),
    ],
)
def test_what_cannot_be_built_is_refused_by_the_argument_that_is_wrong(given, words):
    with pytest.raises(ValueError, match=words):
        build_backbone(**({"input_shape": (1, 8, 8)} | given))


def test_a_name_that_no_hub_can_be_asked_for_is_told():
    code = (
        "from mtlcore import build_backbone\n"
        "try: build_backbone('hf:nobody/nothing', (1, 8, 8))\n"
        "except ValueError as error: print(error)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert "backbone: found 'hf:nobody/nothing', and no configuration of that name can be read" in shown.stdout


def test_a_hub_that_does_not_answer_is_asked_once(tmp_path):
    """Its own client asks six times, with pauses that grow: half a minute."""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as hub:

        def refuse():
            while True:
                try:
                    connection, _ = hub.accept()
                except OSError:
                    return
                asked.append(connection.close())

        listening = threading.Thread(target=refuse, daemon=True)
        listening.start()
        shown = subprocess.run(
            [sys.executable, "-c", "from mtlcore import build_backbone\n"
             "try: build_backbone('hf:nobody/nothing', (1, 8, 8))\n"
             "except ValueError as error: print(error)"],
            capture_output=True, text=True, check=True,
            env={**os.environ, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path), "HF_ENDPOINT":
                 f"http://127.0.0.1:{hub.getsockname()[1]}"},
        )  # fmt: skip
        hub.shutdown(socket.SHUT_RDWR)
    listening.join()
    assert "not in this machine's cache, and http://127.0.0.1" in shown.stdout
    assert len(asked) == 1


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"timm cannot be imported here .*kindred-mtl\[timm\]"):
        build_backbone("timm:resnet18", (3, 8, 8))


def test_importing_mtlcore_imports_none_of_the_extras():
    code = "import sys, mtlcore; print({name.split('.')[0] for name in sys.modules} & {'transformers', 'timm'})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.parametrize("shard", ["1GB", "8KB"], ids=["one file", "shards"])
def test_a_hubs_name_gives_the_hubs_weights_from_what_was_fetched_of_it_before(tmp_path, shard):
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=8, patch_size=4
    )
    with seeded_init(5):
        saved = ViTModel(config, add_pooling_layer=False)
    fetched = tmp_path / "hub" / "models--somebody--small-vit"
    (fetched / "refs").mkdir(parents=True)
    (fetched / "refs" / "main").write_text("0" * 40)
    saved.save_pretrained(fetched / "snapshots" / ("0" * 40), max_shard_size=shard)
    code = (
        "import sys, torch\n"
        "from mtlcore import build_backbone\n"
        "backbone, features = build_backbone('hf:somebody/small-vit', (3, 8, 8), pretrained=True)\n"
        "with torch.no_grad():\n"
        "    torch.save(backbone.eval()(torch.ones(2, 3, 8, 8)), sys.argv[1])\n"
        "print(features)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out.pt")],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "24"
    with torch.no_grad():
        expected = saved.eval()(torch.ones(2, 3, 8, 8)).last_hidden_state
    found = torch.load(tmp_path / "out.pt", weights_only=True)
    assert any(torch.allclose(found, one, atol=1e-5) for one in (expected[:, 0], expected.mean(dim=1)))
