"""Decoding as needed: the same batches for any number of threads and as from a cache, in order, bounded, ended."""

import threading
import time
from contextlib import closing

import numpy as np
import pytest
import torch
from PIL import Image

from wsolbench.data import bank as bank_module
from wsolbench.data.bank import ImageBank
from wsolbench.data.cache import cached_images
from wsolbench.data.decoded import NO_CACHE, decoded_images
from wsolbench.data.splits import ImageSplit
from wsolbench.data.streaming import Stream, ahead, decode, usable_cores
from wsolbench.errors import UserError

CPU = torch.device("cpu")
COUNT, SIDE = 23, 12


def picture(index):
    size = ((12, 12), (40, 30), (9, 20))[index % 3]
    pixels = np.random.default_rng(index).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def restless(index):
    """Take longer for some pictures than for others, so that threads overtake each other."""
    time.sleep(index * 7 % 5 / 2000)
    return picture(index)


def split(read=restless):
    ids = tuple(map(str, range(COUNT)))
    return ImageSplit(name="test", ids=ids, labels=np.zeros(COUNT, np.int64), content_key="k", read=read)


def stream(threads, read=restless):
    return Stream(read, COUNT, SIDE, threads)


def our_threads():
    return [thread for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name]


# --- batches ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def cached(tmp_path):
    return cached_images(split(picture), SIDE, tmp_path)


def test_batches_are_those_of_the_cache_for_any_number_of_threads(cached):
    order = torch.from_numpy(np.random.default_rng(0).integers(0, COUNT, 50))  # repeats, and a short last batch
    expected = list(ImageBank(cached, CPU).batches(order, 8))
    assert [len(images) for _, images in expected] == [8] * 6 + [2]
    for index, image in zip(order, torch.cat([images for _, images in expected]), strict=True):
        assert np.array_equal(image.numpy(), cached[index])
    for threads in (0, 1, 3):
        found = list(ImageBank(stream(threads), CPU).batches(order, 8))
        for (indices, images), (wanted, plain) in zip(found, expected, strict=True):
            assert torch.equal(indices, wanted)
            assert torch.equal(images, plain)
            assert images.dtype == torch.uint8


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_one_batch_and_everything(cached, threads):
    pictures = stream(threads)
    assert (len(pictures), pictures.shape, pictures.nbytes) == (COUNT, cached.shape, cached.nbytes)
    bank = ImageBank(pictures, CPU)
    assert (len(bank), bank.side) == (COUNT, SIDE)
    assert np.array_equal(bank.batch(torch.tensor([22, 0, 22])).numpy(), cached[[22, 0, 22]])
    assert bank.batch(torch.tensor([], dtype=torch.int64)).shape == (0, SIDE, SIDE, 3)
    assert np.array_equal(np.asarray(pictures), cached)


@pytest.mark.parametrize("prefetched", [False, True])
def test_a_bank_on_the_device_gives_the_same_batches(cached, monkeypatch, prefetched):
    """A device with memory of its own, played by the CPU."""
    monkeypatch.setattr(bank_module, "_UPLOAD", 5)
    monkeypatch.setattr(bank_module, "_fits", lambda size, device: size == cached.nbytes)
    decoded = []
    pictures = Stream(lambda index: decoded.append(index) or picture(index), COUNT, SIDE, 2) if prefetched else cached
    bank = ImageBank(pictures, CPU, quiet=True)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        for indices, images in bank.batches(order, 4):
            assert np.array_equal(images.numpy(), cached[indices.numpy()])
            images.zero_()  # a copy
    assert sorted(decoded) == list(range(COUNT)) * prefetched  # once, not once an epoch


@pytest.mark.parametrize("bad", [-1, COUNT])
def test_an_index_outside_the_split_is_refused(cached, bad):
    for pictures in (cached, stream(0)):
        with pytest.raises(AssertionError):
            ImageBank(pictures, CPU).batch(torch.tensor([0, bad]))


def test_few_batches_are_begun_ahead_and_stopping_ends_the_threads():
    begun = []
    bank = ImageBank(Stream(lambda index: begun.append(index) or picture(index), COUNT, SIDE, 0), CPU)
    before = len(our_threads())
    with closing(bank.batches(torch.arange(COUNT), 2)) as batches:
        next(batches)
        while len(begun) < 6:
            time.sleep(0.01)
        time.sleep(0.05)
        assert sorted(begun) == list(range(6))  # the one that was asked for, and two
        assert len(our_threads()) > before
    assert len(our_threads()) == before


def test_batches_at_hand_need_no_thread(cached):
    before = len(our_threads())
    for _ in ImageBank(cached, CPU).batches(torch.arange(COUNT), 4):
        assert len(our_threads()) == before


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_a_damaged_picture_is_named_at_its_batch(threads):
    def read(index):
        if index == 13:
            raise UserError("image 13 is truncated")
        return picture(index)

    seen = []
    with pytest.raises(UserError, match="image 13 is truncated"):
        seen.extend(len(images) for _, images in ImageBank(stream(threads, read), CPU).batches(torch.arange(COUNT), 4))
    assert seen == [4, 4, 4]


# --- the helpers ------------------------------------------------------------------------------------------------------


def test_ahead_keeps_order_and_works_at_the_same_time():
    together = threading.Barrier(3, timeout=10)

    def make(item):
        together.wait()  # passes only if three are in the making at once
        return item * 2

    assert list(ahead(make, range(12), threads=3, waiting=3)) == list(range(0, 24, 2))


def test_ahead_raises_in_order():
    def make(item):
        if item == 2:
            raise ValueError("two")
        return item

    got = []
    with pytest.raises(ValueError, match="two"):
        got.extend(ahead(make, range(5), threads=2, waiting=4))
    made = ahead(make, range(5), threads=2, waiting=4)
    assert [next(made), next(made)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(made)


def test_decode_is_pils_bilinear_resize():
    out = np.empty((3, SIDE, SIDE, 3), dtype=np.uint8)
    decode(picture, [0, 1, 5], out)
    for row, index in enumerate((0, 1, 5)):
        expected = picture(index).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        assert np.array_equal(out[row], np.asarray(expected))
    assert np.array_equal(out[0], np.asarray(picture(0)))  # has the size already


def test_the_cores_that_may_be_used():
    assert 1 <= usable_cores() <= 4096


# --- cache or stream --------------------------------------------------------------------------------------------------


@pytest.fixture
def free(monkeypatch):
    """Return a function that sets how many bytes every disk has free."""

    def set_free(count):
        usage = type("Usage", (), {"free": count})
        monkeypatch.setattr("shutil.disk_usage", lambda _path: usage)

    return set_free


def test_a_cache_where_there_is_room(tmp_path, capsys):
    found = decoded_images(split(picture), SIDE, tmp_path / "new", quiet=True)
    assert isinstance(found, np.memmap)
    assert capsys.readouterr().err == ""


def test_no_cache_is_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = decoded_images(split(picture), SIDE, NO_CACHE)
    assert isinstance(found, Stream)
    assert list(tmp_path.iterdir()) == []
    cores = usable_cores()
    assert capsys.readouterr().err == (
        f"decoding the 23 images of test each time they are needed, on {cores} thread{'s' * (cores > 1)}: "
        "--cache none keeps no decoded images\n"
    )


def test_half_of_what_is_free_decides(tmp_path, free, capsys):
    size = 128 + COUNT * SIDE * SIDE * 3
    free(2 * size - 1)
    assert isinstance(decoded_images(split(picture), SIDE, tmp_path / "a" / "b"), Stream)
    said = capsys.readouterr().err
    assert f"a cache needs 0.0 GB, more than half of the 0.0 GB free in {tmp_path / 'a' / 'b'}" in said
    assert not (tmp_path / "a").exists()
    free(2 * size)
    assert isinstance(decoded_images(split(picture), SIDE, tmp_path / "a" / "b"), np.memmap)
    free(0)
    assert isinstance(decoded_images(split(picture), SIDE, tmp_path / "a" / "b"), np.memmap)  # it is there


def test_an_interrupted_build_counts_for_what_it_lacks(tmp_path, free):
    """What was room enough to begin is room enough to go on."""

    def read(index):
        if index == 8000:
            raise KeyboardInterrupt
        return Image.new("RGB", (SIDE, SIDE))

    ids = tuple(map(str, range(9000)))
    many = ImageSplit(name="test", ids=ids, labels=np.zeros(9000, np.int64), content_key="k", read=read)
    with pytest.raises(KeyboardInterrupt):
        decoded_images(many, SIDE, tmp_path)
    size, written = 9000 * SIDE * SIDE * 3, 7900 * SIDE * SIDE * 3
    free(2 * size - written)
    read_again = ImageSplit(name="test", ids=ids, labels=many.labels, content_key="k", read=picture)
    assert isinstance(decoded_images(read_again, SIDE, tmp_path), np.memmap)


def test_a_folder_that_cannot_be_used_is_an_error_not_a_stream(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot use the image cache .*--cache none"):
        decoded_images(split(picture), SIDE, tmp_path / "file")
