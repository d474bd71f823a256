"""The case file's network section: what it builds, where its paths lead, and how a mistake is told."""

import pytest
import safetensors.torch
import torch
import yaml

from mtlcore import (
    AttentionTrunk,
    CrossStitch,
    DSelectK,
    LearnedBranching,
    MultiGateMixtureOfExperts,
    MultiTaskNetwork,
    ProgressiveLayeredExtraction,
    mlp,
    seeded_init,
)
from pipelines.base.errors import UserError
from pipelines.case.build import build_network, tasks_of
from pipelines.case.load import as_yaml, find_case_file, load_case

TASKS = ["digit", "traits"]
VIT = "{hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16, patch_size: 4}"


def case_of(tmp_path, *overrides):
    return load_case("digits", [f"storage.path={tmp_path}", *overrides])


def test_a_case_without_new_keys_builds_what_it_always_built(tmp_path):
    case = case_of(tmp_path)
    with seeded_init(3):
        backbone, features = mlp((1, 8, 8), (256, 256))
        expected = MultiTaskNetwork(backbone, features, list(tasks_of(case).values())).state_dict()
    built = build_network(case, TASKS, 3).state_dict()
    assert list(built) == list(expected)
    assert all(torch.equal(built[name], weight) for name, weight in expected.items())


def test_widths_that_are_not_given_are_as_they_were(tmp_path):
    network = build_network(case_of(tmp_path, "network={backbone: mlp}"), TASKS, 0)
    assert [layer.out_features for layer in network.backbone if hasattr(layer, "out_features")] == [32, 64, 128]


@pytest.mark.parametrize(
    ("sharing", "kind"),
    [
        ("cross_stitch", CrossStitch),
        ("mtan", AttentionTrunk),
        ("{kind: ltb, cooling_steps: 9}", LearnedBranching),
        ("{kind: dselect_k, experts: 8}", DSelectK),
        ("mmoe", MultiGateMixtureOfExperts),
        ("{kind: mmoe, experts: 3, expert_widths: [8]}", MultiGateMixtureOfExperts),
        ("cgc", ProgressiveLayeredExtraction),
        ("{kind: ple, levels: 3}", ProgressiveLayeredExtraction),
    ],
)
def test_sharing_stands_between_backbone_and_heads_and_a_network_of_one_task_shares_nothing(tmp_path, sharing, kind):
    case = case_of(tmp_path, f"network.sharing={sharing}", "network.head={hidden: [16]}")
    shared, alone = build_network(case, TASKS, 3), build_network(case, ["traits"], 3)
    assert isinstance(shared.backbone, kind)
    assert {name: len(head) for name, head in shared.heads.items()} == {"digit_head": 3, "traits_head": 3}
    assert len(shared.shared_parameters()) > 0
    # The same seed draws the same backbone, whatever the sharing and the tasks.
    drawn = alone.backbone.state_dict()
    plain = build_network(case_of(tmp_path), TASKS, 3).backbone.state_dict()
    assert all(torch.equal(drawn[name], plain[name]) for name in plain)
    trunk = shared.backbone
    if isinstance(trunk, CrossStitch):
        stages = list(trunk.stages[0])
    else:
        stages = [trunk.stages[0] if kind is AttentionTrunk else trunk.backbone]
    for stage in stages:
        assert torch.equal(next(stage.parameters()), next(alone.backbone.parameters()))
    again = load_case(str(write(tmp_path, as_yaml(case))), [])
    assert again.network == case.network


def write(folder, text):
    file = folder / "again.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("network.backbone=resnet_smal", ["network.backbone: found 'resnet_smal'", "did you mean 'resnet_small'"]),
        ("network.sharing=mmo", ["network.sharing.kind: found 'mmo'", "did you mean 'mmoe'"]),
        ("network.sharing={kind: mmoe, expert: 3}", ["network.sharing", "unknown key 'expert'", "'experts'"]),
        ("network.sharing={kind: ple, levels: 0}", ["levels: found 0", "greater than or equal to 1"]),
        ("network.head={hiden: [3]}", ["network.head: unknown key 'hiden'", "did you mean 'hidden'"]),
        ("network={backbone: resnet_small, widths: [12]}", ["network.widths: found 12; expected a multiple of 8"]),
        ("network={backbone: resnet_small, options: {block: 1}}", ["network.options: found 'block'", "'blocks'"]),
        ("network={backbone: 'hf:vit', widths: [8]}", ["network.widths: found [8] for the backbone 'hf:vit'"]),
        ("network={backbone: 'nobody.here:build'}", ["network.backbone: found 'nobody.here:build'", "PYTHONPATH"]),
        ("network={backbone: mlp, pretrained: weights.safetensors}", ["network.pretrained: found", "no such file"]),
        ("tasks.digit.auxiliary=true", []),
        ("tasks.traits.auxiliary=maybe", ["tasks.traits.auxiliary: found 'maybe'"]),
    ],
)
def test_a_mistake_is_told_by_file_key_found_and_right(tmp_path, override, words):
    if not words:
        assert case_of(tmp_path, override).tasks["digit"].auxiliary
        words, override = (
            ["tasks: found all of them auxiliary"],
            ["tasks.digit.auxiliary=true", "tasks.traits.auxiliary=true"],
        )
    with pytest.raises(UserError) as caught:
        case_of(tmp_path, *([override] if isinstance(override, str) else override))
    for word in ["digits.yaml", *words]:
        assert word in str(caught.value)


def test_paths_are_relative_to_the_case_file_and_with_set_to_the_working_directory(tmp_path, monkeypatch):
    beside, elsewhere = tmp_path / "beside", tmp_path / "elsewhere"
    for folder, fill in ((beside, 1.0), (elsewhere, 2.0)):
        folder.mkdir()
        weights = mlp((64,), (8,))[0].state_dict()
        safetensors.torch.save_file(
            {name: torch.full_like(weight, fill) for name, weight in weights.items()}, folder / "w.safetensors"
        )
    content = yaml.safe_load(find_case_file("digits").read_text())
    content["network"] = {"backbone": "mlp", "widths": [8], "pretrained": "w.safetensors"}
    file = beside / "case.yaml"
    file.write_text(yaml.safe_dump(content))
    monkeypatch.chdir(elsewhere)
    for overrides, value in (([], 1.0), (["network.pretrained=w.safetensors"], 2.0)):
        case = load_case(str(file), [f"storage.path={tmp_path}", *overrides])
        assert next(build_network(case, TASKS, 0).backbone.parameters())[0, 0] == value


def test_a_folder_of_transformers_is_found_beside_the_case_and_a_hub_name_stays(tmp_path):
    from pipelines.case.network_paths import absolute_network_path

    (tmp_path / "model").mkdir()
    for given, expected in [
        ("hf:model", f"hf:{tmp_path / 'model'}"),
        ("hf:./there", f"hf:{tmp_path / 'there'}"),
        ("hf:google/vit-base-patch16-224", "hf:google/vit-base-patch16-224"),
        ("timm:resnet18", "timm:resnet18"),
        ("mlp", "mlp"),
    ]:
        assert absolute_network_path("network.backbone", given, tmp_path) == expected
    assert absolute_network_path("network.pretrained", True, tmp_path) is True
    assert absolute_network_path("network.pretrained", "google/vit", tmp_path) == "google/vit"


def test_another_machines_packages_and_files_are_not_looked_for_here():
    overrides = ["network={backbone: 'nobody.here:build'}"]
    assert load_case("digits", overrides, check_paths=False).network.backbone == "nobody.here:build"
    with pytest.raises(UserError, match=r"network\.widths"):
        load_case("digits", ["network={backbone: small_cnn, widths: [8, 8, 8, 8]}"], check_paths=False)


def test_a_model_of_transformers_is_named_in_a_case(tmp_path):
    case = case_of(tmp_path, f"network={{backbone: 'hf:vit', options: {VIT}, sharing: cgc}}")
    assert build_network(case, TASKS, 0)(torch.zeros(2, 1, 8, 8))["digit"].shape == (2, 10)
