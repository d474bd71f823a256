"""What becomes of a training row is a function of (seed, step, row): the right images, the same on any workers."""

import zlib

import numpy as np
import pytest
import torch

from pipelines.base.errors import UserError
from pipelines.batches.augmentation import RowDraws, draws_of, own_share, partner_rows
from pipelines.batches.batch import finish_batch, resident_bytes, resident_inputs, stored_batch
from pipelines.batches.counter_random import key_of, uniform_draws
from pipelines.batches.sampler import BatchSampler
from pipelines.blocks.cache import local_blocks
from pipelines.blocks.reader import BlockReader
from pipelines.case.build import tasks_of
from pipelines.case.data import PictureInput, VectorInput
from pipelines.case.load import load_case
from pipelines.case.training import Augmentation
from pipelines.evaluate.predict_split import predict_with
from tests.benchmarks.host_batch import augmented, gather_batch, training_batch
from tests.pipelines.blocks.block_files import block_table, write_blocks

FLIP, TOP, LEFT, BRIGHTNESS, CONTRAST, SATURATION = range(6)
ERASE, AREA, RATIO, ERASED_TOP, ERASED_LEFT, PARTNER = range(6, 12)
ALL = Augmentation(flip=0.5, crop=2, brightness=0.4, contrast=0.3, saturation=0.9, erasing=0.5, mixup=0.4)


def picture_input(height, width, channels=3):
    return PictureInput(height=height, width=width, channels=channels)


def draws(n=1, **of):
    """Draws that leave an image as it is but for those that are given: no flip, the middle crop, factors of 1."""
    found = np.full((n, 12), 0.5)
    found[:, [FLIP, ERASE]] = 0.999
    for name, value in of.items():
        found[:, globals()[name]] = value
    return found


def unscaled(values, scale):
    return (values * scale.std + scale.mean) * 255


def test_a_flip_mirrors_left_and_right_of_the_chosen_rows_alone():
    pictures = np.arange(2 * 3 * 2 * 4, dtype=np.uint8).reshape(2, 3, 2, 4)
    scale, chosen = picture_input(2, 4), draws(2)
    chosen[1, FLIP] = 0.0
    before = pictures.copy()
    found = unscaled(augmented(pictures, chosen, Augmentation(flip=0.3), scale), scale)
    np.testing.assert_allclose(found[0], pictures[0], atol=1e-4)
    np.testing.assert_allclose(found[1, 0], [[27, 26, 25, 24], [31, 30, 29, 28]], atol=1e-4)
    assert np.array_equal(pictures, before)


def test_a_crop_moves_a_picture_with_its_mirror_image_around_it():
    picture = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], dtype=np.uint8)[None, None]
    scale = picture_input(3, 3, 1)

    def crop(top, left):
        chosen = draws(TOP=top, LEFT=left)
        return unscaled(augmented(picture, chosen, Augmentation(crop=1), scale), scale)[0, 0].round().int().tolist()

    assert crop(0.5, 0.5) == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert crop(0.0, 0.0) == [[5, 4, 5], [2, 1, 2], [5, 4, 5]]
    assert crop(0.99, 0.5) == [[4, 5, 6], [7, 8, 9], [4, 5, 6]]
    assert crop(0.5, 0.99) == [[2, 3, 2], [5, 6, 5], [8, 9, 8]]


def test_an_erased_rectangle_is_the_mean_has_the_drawn_size_and_lies_within():
    scale = PictureInput(height=20, width=30, channels=3, mean=0.25)
    pictures = np.full((1, 3, 20, 30), 200, dtype=np.uint8)
    area, ratio = 0.02 + 0.4 * (1 / 3 - 0.02), 0.3 * (10 / 0.9) ** 0.7
    chosen = draws(ERASE=0.0, AREA=0.4, RATIO=0.7, ERASED_TOP=0.999, ERASED_LEFT=0.0)
    found = augmented(pictures, chosen, Augmentation(erasing=0.1), scale)
    high, wide = round((600 * area * ratio) ** 0.5), round((600 * area / ratio) ** 0.5)
    expected = torch.full((1, 3, 20, 30), (200 / 255 - 0.25) / scale.std)
    expected[:, :, 20 - high :, :wide] = 0
    assert high > wide > 1
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_are_those_of_a_float64_reference(channels):
    rng = np.random.Generator(np.random.PCG64(channels))
    pictures, chosen = rng.integers(0, 256, (6, channels, 5, 7), dtype=np.uint8), rng.random((6, 12))
    scale = picture_input(5, 7, channels)
    settings = Augmentation(brightness=0.5, contrast=0.6, saturation=0.8)
    found = unscaled(augmented(pictures, chosen, settings, scale).double(), scale) / 255
    for picture, row, result in zip(pictures / 255, chosen, found.numpy(), strict=True):
        b, c, s = (
            1 + strength * (2 * row[at] - 1) for at, strength in ((BRIGHTNESS, 0.5), (CONTRAST, 0.6), (SATURATION, 0.8))
        )
        bright = picture * b

        def grey(of):
            return of[0] if channels == 1 else 0.299 * of[0] + 0.587 * of[1] + 0.114 * of[2]

        contrasted = c * bright + (1 - c) * grey(bright).mean()
        saturated = s * contrasted + (1 - s) * grey(contrasted)
        np.testing.assert_allclose(result, np.clip(saturated, 0, 1), atol=2e-6)


def test_each_alteration_has_draws_of_its_own():
    """Flips stay the same ones whatever else is switched on, and every draw is uniform and like no other."""
    found = draws_of(3, 5, 7, np.arange(20_000))
    both = np.concatenate([found.own, found.of_partner], axis=1)
    counts = np.stack([np.bincount((column * 16).astype(int), minlength=16) for column in both.T])
    assert (((counts - 1250) ** 2 / 1250).sum(axis=1) < 50).all(), "chi-square, 15 degrees, 1e-5"
    assert np.abs(np.corrcoef(both.T) - np.eye(24)).max() < 0.04
    assert np.abs(np.corrcoef(both[:-1, 0], both[1:, 0])[0, 1]) < 0.04, "neighbouring rows"
    of_next_step = draws_of(3, 6, 7, np.arange(20_000)).own
    assert np.abs(np.corrcoef(both[:, 0], of_next_step[:, 0])[0, 1]) < 0.04


def test_draws_depend_on_key_and_row_alone():
    rows = np.array([5, 0, 2**40, 5])
    found = uniform_draws(key_of(1, 2), rows, 3)
    assert np.array_equal(found[0], found[3])
    assert np.array_equal(found[[2]], uniform_draws(key_of(1, 2), rows[[2]], 3))
    assert np.array_equal(found[:, :2], uniform_draws(key_of(1, 2), rows, 2))
    others = [key_of(2, 1), key_of(1, 3), key_of(1, 2, 0), key_of(0, 2)]
    assert all((uniform_draws(other, rows, 3) != found).all() for other in others)


def test_a_partner_is_another_row_any_as_likely():
    rows = np.repeat(np.arange(8), 1)
    counts = np.zeros((8, 8))
    for step in range(4000):
        counts[rows, partner_rows(draws_of(0, step, 1, rows), rows, 8)] += 1
    assert not np.diag(counts).any()
    expected = 4000 / 7
    off = counts[~np.eye(8, dtype=bool)]
    assert ((off - expected) ** 2 / expected).sum() < 100, "chi-square, 48 degrees, 1e-5"
    assert partner_rows(RowDraws(np.zeros((1, 12)), np.zeros((1, 12))), np.zeros(1, dtype=int), 1).tolist() == [0]


def test_the_own_share_is_the_larger_part_of_a_beta_draw():
    shares = np.array([own_share(1, step, 0.3) for step in range(3000)])
    assert shares.min() >= 0.5
    assert shares.max() <= 1
    # mean and variance of |share - 1/2| about 1/2: those of Beta(0.3, 0.3), variance 1 / (4 (2 alpha + 1))
    assert ((shares - 0.5) ** 2).mean() == pytest.approx(1 / (4 * 1.6), rel=0.05)
    assert own_share(1, 7, 0.3) == own_share(1, 7, 0.3) != own_share(2, 7, 0.3)


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Two small datasets of images, or of vectors: the case, its tasks, its readers, and a plan."""
    monkeypatch.setenv("KINDRED_BLOCK_CACHE", str(tmp_path / "cache"))

    def open_with(augmentation, vectors=False):
        case = load_case("digits", [f"training.augmentation={augmentation}"])
        shape = (6,) if vectors else case.input.shape
        if vectors:
            case = case.model_copy(update={"input": VectorInput(kind="vector", size=6)})
        tasks = list(tasks_of(case).values())
        rng = np.random.Generator(np.random.PCG64(1))
        readers = {}
        for name, rows in (("digit_pictures", 30), ("trait_pictures", 90)):
            folder = tmp_path / name / str(vectors)
            manifest = write_blocks(folder, [block_table(rows // 2, tasks, shape, rng) for _ in range(2)])
            readers[name] = BlockReader(local_blocks(str(folder), manifest), tasks)
        sizes = {name: len(reader) for name, reader in readers.items()}
        return case, tasks, readers, BatchSampler(5, sizes, {"digit_pictures": 7, "trait_pictures": 21})

    return open_with


@pytest.mark.parametrize("vectors", [False, True])
@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_workers_together_have_the_batch_that_one_has_bit_for_bit(opened, world_size, vectors):
    on = "{mixup: 0.4}" if vectors else "{flip: 0.5, crop: 2, brightness: 0.4, contrast: 0.3, erasing: 0.5, mixup: 0.4}"
    case, tasks, readers, plan = opened(on, vectors)
    for step in (0, 1, 12):
        whole = training_batch(case, readers, plan, step, 0, 1, tasks)
        parts = [training_batch(case, readers, plan, step, rank, world_size, tasks) for rank in range(world_size)]
        # a worker has every world_size-th row of each dataset, the first of the second set by where the first ends
        for rank, part in enumerate(parts):
            mine = np.arange(28)[rank::world_size]
            assert torch.equal(part.x, whole.x[mine])
            assert part.mixed.own == whole.mixed.own
            for name in whole.labels:
                assert torch.equal(part.labels[name], whole.labels[name][mine])
                assert torch.equal(part.mixed.labels[name], whole.mixed.labels[name][mine])


def test_images_stay_bytes_until_they_are_on_the_device_and_may_wait_there(opened):
    on = "{flip: 0.5, crop: 2, brightness: 0.4, erasing: 0.5, mixup: 0.4}"
    case, tasks, readers, plan = opened(on)
    stored = stored_batch(case, readers, plan, 2, 0, 1, tasks)
    assert stored.own.inputs.dtype == stored.partners.inputs.dtype == torch.uint8
    held = resident_inputs(readers, torch.device("cpu"))
    assert held.nbytes == resident_bytes(readers)
    places = stored_batch(case, readers, plan, 2, 0, 1, tasks, resident=True)
    assert places.own.inputs.dtype == torch.int64
    whole = training_batch(case, readers, plan, 2, 0, 1, tasks)
    for batch in (finish_batch(stored, case), finish_batch(places, case, held)):
        assert torch.equal(batch.x, whole.x)
        assert all(torch.equal(batch.labels[name], whole.labels[name]) for name in whole.labels)


def test_a_step_again_gives_the_same_and_another_step_or_seed_gives_another(opened):
    case, tasks, readers, plan = opened("{flip: 0.5, crop: 2, mixup: 0.4}")
    first = training_batch(case, readers, plan, 3, 0, 1, tasks)
    training_batch(case, readers, plan, 4, 0, 1, tasks)
    assert torch.equal(training_batch(case, readers, plan, 3, 0, 1, tasks).x, first.x)
    rows = np.arange(30)
    assert not np.array_equal(draws_of(5, 3, 1, rows).own, draws_of(6, 3, 1, rows).own)
    assert not np.array_equal(draws_of(5, 3, 1, rows).own, draws_of(5, 3, 2, rows).own)


def test_a_network_of_one_task_sees_the_joint_networks_altered_rows(opened):
    case, tasks, readers, plan = opened("{flip: 0.5, crop: 2, erasing: 0.5, mixup: 0.4}")
    joint = training_batch(case, readers, plan, 3, 0, 1, tasks)
    alone = BatchSampler(5, {"trait_pictures": 90}, {"trait_pictures": 21})
    assert torch.equal(training_batch(case, readers, alone, 3, 0, 1, tasks).x, joint.x[7:])


@pytest.mark.parametrize("vectors", [False, True])
def test_mixup_blends_a_row_with_its_partner_and_brings_both_labels(opened, vectors):
    case, tasks, readers, plan = opened("{mixup: 0.4}", vectors)
    batch, rows = training_batch(case, readers, plan, 2, 0, 1, tasks), plan.rows(2)
    partners = {
        name: partner_rows(draws_of(5, 2, zlib.crc32(name.encode()), of), of, plan.sizes[name])
        for name, of in rows.items()
    }
    own, other = (gather_batch(readers, of, tasks, case.input) for of in (rows, partners))
    assert batch.mixed.own == own_share(5, 2, 0.4) < 1
    expected = batch.mixed.own * own.x.double() + (1 - batch.mixed.own) * other.x.double()
    torch.testing.assert_close(batch.x.double(), expected, atol=1e-5, rtol=1e-5)
    for name in own.labels:
        assert torch.equal(batch.labels[name], own.labels[name])
        assert torch.equal(batch.mixed.labels[name], other.labels[name])


def test_evaluation_sees_inputs_as_they_are(opened):
    case, _, readers, _ = opened("{flip: 1, crop: 2, brightness: 0.4, erasing: 1, mixup: 0.4}")
    rows = [(name, 0, len(reader)) for name, reader in readers.items()]
    seen = predict_with(lambda x: {"x": x}, case, readers, rows, "cpu")["x"]
    stored = np.concatenate([reader.gather(np.arange(len(reader))).inputs for reader in readers.values()])
    assert torch.equal(seen, (torch.from_numpy(stored) / 255 - case.input.mean) / case.input.std)


def test_nothing_is_altered_where_nothing_is_asked_for(opened):
    case, tasks, readers, plan = opened("{}")
    batch = training_batch(case, readers, plan, 2, 0, 1, tasks)
    assert torch.equal(batch.x, gather_batch(readers, plan.rows(2), tasks, case.input).x)
    assert batch.mixed is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("{flip: 2}", "training.augmentation.flip: found 2; input should be less than or equal to 1"),
        ("{crop: 8}", "training.augmentation.crop: found 8; expected less than 8, the image's size,"),
        ("{mixup: yes}", "training.augmentation.mixup: found True; expected a number"),
        ("{flips: 0.5}", "training.augmentation: unknown key 'flips'; did you mean 'flip'"),
    ],
)
def test_a_wrong_setting_is_told(settings, words):
    with pytest.raises(UserError) as caught:
        load_case("digits", [f"training.augmentation={settings}"])
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_alterations_of_pictures_are_one_mistake_where_inputs_are_vectors():
    with pytest.raises(UserError) as caught:
        load_case("digits", ["input={kind: vector, size: 3}", "training.augmentation={flip: 1, crop: 2, mixup: 1}"])
    (told,) = (line for line in str(caught.value).splitlines() if "augmentation" in line)
    assert told.endswith("training.augmentation: found flip, crop; inputs are vectors; expected mixup alone")
