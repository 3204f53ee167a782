import numpy as np
import pytest
import torch

from wsolbench.data.augment import MEAN, STD, Augmentation, augment, draw_augmentation, normalize
from wsolbench.data.bank import ImageBank
from wsolbench.errors import UserError

CPU = torch.device("cpu")


def pictures(n, side, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def slow(images, draws, crop):
    """Crop, flip and normalise pixel by pixel, in float64."""
    out = np.zeros((len(images), 3, crop, crop))
    for n, image in enumerate(images.numpy()):
        for i in range(crop):
            for j in range(crop):
                column = crop - 1 - j if draws.flip[n] else j
                pixel = image[int(draws.top[n]) + i, int(draws.left[n]) + column].astype(float)
                out[n, :, i, j] = (pixel / 255 - np.array(MEAN)) / np.array(STD)
    return torch.from_numpy(out)


def test_it_equals_the_loop():
    images = pictures(6, 11)
    draws = draw_augmentation(6, 11, 8, generator(1))
    assert draws.flip.any()
    assert not draws.flip.all()
    before = images.clone(), draws.top.clone(), draws.left.clone(), draws.flip.clone()
    result = augment(images, draws, 8)
    assert result.dtype == torch.float32
    assert result.shape == (6, 3, 8, 8)
    torch.testing.assert_close(result.double(), slow(images, draws, 8), rtol=1e-6, atol=1e-6)
    assert all(torch.equal(*pair) for pair in zip(before, (images, draws.top, draws.left, draws.flip), strict=True))


@pytest.mark.parametrize(("channels", "crop"), [(3, 8), (4, 8), (3, 11)])
def test_it_equals_slices_to_the_last_bit(channels, crop):
    images = torch.cat([pictures(7, 11), pictures(7, 11, seed=1)[..., : channels - 3]], dim=3)
    draws = draw_augmentation(7, 11, crop, generator(2))
    mean = torch.tensor(MEAN + (0.0,) * (channels - 3))
    std = torch.tensor(STD + (1.0,) * (channels - 3))
    result = augment(images, draws, crop)
    for index, image in enumerate(images):
        top, left = int(draws.top[index]), int(draws.left[index])
        cut = image[top : top + crop, left : left + crop]
        cut = cut.flip(1) if draws.flip[index] else cut
        assert torch.equal(result[index], ((cut.to(torch.float32) / 255 - mean) / std).permute(2, 0, 1))


def test_crop_and_flip_by_hand():
    images = torch.arange(9, dtype=torch.uint8).view(1, 3, 3, 1).expand(1, 3, 3, 3)
    kept = {}
    for flip in (False, True):
        draws = Augmentation(top=torch.tensor([1]), left=torch.tensor([0]), flip=torch.tensor([flip]))
        red = augment(images, draws, 2)[0, 0]
        kept[flip] = (255 * (red * STD[0] + MEAN[0])).round().int().tolist()
    assert kept == {False: [[3, 4], [6, 7]], True: [[4, 3], [7, 6]]}


def test_the_result_is_channels_last_in_memory():
    result = augment(pictures(2, 7), draw_augmentation(2, 7, 5, generator()), 5)
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert result.stride() == (75, 1, 15, 3)
    assert normalize(pictures(2, 4)).is_contiguous(memory_format=torch.channels_last)


def test_normalisation_of_black_and_white():
    image = torch.tensor([[[[0, 0, 0], [255, 255, 255]]]], dtype=torch.uint8)
    result = normalize(image)
    black = [-mean / std for mean, std in zip(MEAN, STD, strict=True)]
    white = [(1 - mean) / std for mean, std in zip(MEAN, STD, strict=True)]
    assert result[0, :, 0, 0].tolist() == pytest.approx(black, rel=1e-6)
    assert result[0, :, 0, 1].tolist() == pytest.approx(white, rel=1e-6)


def test_a_fourth_channel_is_a_mask_of_zeros_and_ones():
    rgb = pictures(3, 5)
    mask = torch.from_numpy(np.random.default_rng(1).integers(0, 2, (3, 5, 5, 1), dtype=np.uint8)) * 255
    result = normalize(torch.cat([rgb, mask], dim=3))
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(result[:, :3], normalize(rgb))
    assert torch.equal(result[:, 3], (mask[..., 0] == 255).float())


def test_positions_are_uniform_over_all_that_fit_and_half_are_flipped():
    n = 12_000
    draws = draw_augmentation(n, 9, 6, generator(3))
    for positions in (draws.top, draws.left):
        counts = torch.bincount(positions, minlength=4)
        assert len(counts) == 4  # 0 to 3, both included
        assert (counts - n / 4).abs().max() < 4.5 * (n * 0.25 * 0.75) ** 0.5
    assert abs(draws.flip.double().mean() - 0.5) < 4.5 * (0.25 / n) ** 0.5
    joint = torch.stack([draws.top.double(), draws.left.double(), draws.flip.double()])
    assert (torch.corrcoef(joint) - torch.eye(3)).abs().max() < 4.5 / n**0.5


def test_a_crop_as_large_as_the_image_stays_in_place():
    draws = draw_augmentation(5, 8, 8, generator())
    assert not draws.top.any()
    assert not draws.left.any()
    images = pictures(5, 8)
    plain = normalize(images)
    flipped = draws.flip[:, None, None, None]
    assert torch.equal(augment(images, draws, 8), torch.where(flipped, plain.flip(3), plain))


def test_draws_follow_from_the_generator():
    first, again, other = (draw_augmentation(50, 73, 64, generator(seed)) for seed in (4, 4, 5))
    for name in ("top", "left", "flip"):
        assert torch.equal(getattr(first, name), getattr(again, name))
        assert not torch.equal(getattr(first, name), getattr(other, name))


def test_a_bank_gathers_images_in_the_order_asked_for_from_a_read_only_map(tmp_path):
    images = pictures(5, 4).numpy()
    np.save(tmp_path / "images.npy", images)
    bank = ImageBank(np.load(tmp_path / "images.npy", mmap_mode="r"), CPU)
    indices = torch.tensor([3, 0, 3])
    batch = bank.batch(indices)
    assert (len(bank), bank.side) == (5, 4)
    assert batch.dtype == torch.uint8
    assert np.array_equal(batch.numpy(), images[[3, 0, 3]])
    batch.zero_()  # a copy: the bank is untouched
    assert np.array_equal(bank.batch(indices).numpy(), images[[3, 0, 3]])


def test_an_empty_split_is_refused():
    with pytest.raises(UserError, match="a split has no images; expected at least one"):
        ImageBank(np.zeros((0, 4, 4, 3), np.uint8), CPU)
