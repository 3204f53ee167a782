"""The decoded-image cache: right pixels, complete or absent, one sentence when the disk refuses."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from wsolbench.data import cache
from wsolbench.data.cache import cached_images, default_cache_dir
from wsolbench.data.splits import ImageSplit
from wsolbench.errors import UserError

SIZES = ((64, 64), (40, 30), (100, 20))  # width, height


def _picture(index):
    width, height = SIZES[index % 3]
    pixels = np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _split(count=7, read=_picture):
    return ImageSplit(
        name="test",
        ids=tuple(f"image {i}" for i in range(count)),
        labels=np.zeros(count, np.int64),
        content_key="k",
        read=read,
    )


def _refuse(_index):
    raise AssertionError("decoded again")


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(cache, "_CHUNK", 3)


def test_pixels_are_pils(tmp_path):
    got = cached_images(_split(), 64, tmp_path / "new" / "folder")
    assert got.shape == (7, 64, 64, 3)
    assert got.dtype == np.uint8
    for index in range(7):
        expected = np.asarray(_picture(index).resize((64, 64), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(got[index], expected)
    np.testing.assert_array_equal(got[0], np.asarray(_picture(0)))  # already 64x64: untouched


def test_read_only_memory_map_decoded_once(tmp_path):
    first = cached_images(_split(), 16, tmp_path)
    again = cached_images(_split(read=_refuse), 16, tmp_path)
    assert isinstance(again, np.memmap)
    assert not again.flags.writeable
    np.testing.assert_array_equal(first, again)
    assert len(list(tmp_path.iterdir())) == 1


def test_key_follows_content_ids_side_and_decoder(tmp_path, monkeypatch):
    split = _split()
    cached_images(split, 16, tmp_path)
    cached_images(split, 17, tmp_path)
    cached_images(replace(split, content_key="l"), 16, tmp_path)
    cached_images(replace(split, ids=split.ids[::-1]), 16, tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
    monkeypatch.setattr(PIL, "__version__", "0.0")
    cached_images(split, 16, tmp_path)
    monkeypatch.setattr(cache, "CACHE_VERSION", -1)
    cached_images(split, 16, tmp_path)
    assert len(list(tmp_path.iterdir())) == 6
    cached_images(replace(split, labels=split.labels + 1, read=_refuse), 16, tmp_path)  # labels are not pixels


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-1], lambda raw: raw + b"x", lambda raw: b"x" * len(raw), lambda _: b""]
)
def test_a_file_that_is_not_complete_is_rebuilt(tmp_path, damage):
    expected = np.array(cached_images(_split(), 16, tmp_path))
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    np.testing.assert_array_equal(cached_images(_split(), 16, tmp_path), expected)


def test_an_error_while_decoding_leaves_nothing(tmp_path):
    def read(index):
        if index == 5:
            raise UserError("image 5 is truncated")
        return _picture(index)

    with pytest.raises(UserError, match="image 5 is truncated"):
        cached_images(_split(read=read), 16, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(tmp_path):
    def read(index):
        if index == 4:
            raise KeyboardInterrupt
        return _picture(index)

    with pytest.raises(KeyboardInterrupt):
        cached_images(_split(read=read), 16, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_builder_that_comes_last_does_no_harm(tmp_path):
    """While one builds, another builds the same file to the end; both see right pixels."""
    inner = []

    def read(index):
        if index == 6:
            inner.append(np.array(cached_images(_split(), 16, tmp_path)))
            assert len(list(tmp_path.glob(".*.tmp"))) == 1  # the other's, which lives and was not cleaned up
        return _picture(index)

    outer = cached_images(_split(read=read), 16, tmp_path)
    np.testing.assert_array_equal(outer, inner[0])
    assert len(list(tmp_path.iterdir())) == 1


def test_a_killed_build_leaves_no_file_and_its_rest_is_cleaned_up(tmp_path):
    program = textwrap.dedent(f"""
        import os, signal
        import numpy as np
        from pathlib import Path
        from PIL import Image
        from wsolbench.data import cache
        from wsolbench.data.splits import ImageSplit

        cache._CHUNK = 3

        def read(index):
            if index == 6:
                os.kill(os.getpid(), signal.SIGKILL)
            return Image.new("RGB", (16, 16))

        ids = tuple(map(str, range(7)))
        split = ImageSplit(name="test", ids=ids, labels=np.zeros(7, np.int64), content_key="k", read=read)
        cache.cached_images(split, 16, Path({str(tmp_path)!r}))
    """)
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    (rest,) = tmp_path.iterdir()
    assert rest.name.endswith(".tmp")
    assert rest.stat().st_size > 6 * 16 * 16 * 3
    cached_images(_split(), 16, tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache.os, "fsync", full)
    with pytest.raises(UserError, match=r"No space left on device.*choose another one with --cache"):
        cached_images(_split(), 64, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_write_that_fails_is_one_sentence(tmp_path, monkeypatch):
    opened = cache._open_locked

    def open_full(path):
        opened(path).close()
        return open("/dev/full", "wb", buffering=0)

    monkeypatch.setattr(cache, "_open_locked", open_full)
    with pytest.raises(UserError, match="No space left on device"):
        cached_images(_split(), 64, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_write_in_pieces_is_whole():
    class Slow:
        def __init__(self):
            self.data = b""

        def write(self, data):
            self.data += bytes(data[:5])
            return len(data[:5])

    slow = Slow()
    cache._write(slow, b"0123456789abc")
    assert slow.data == b"0123456789abc"


def test_a_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot use the image cache .*file \(Not a directory\)"):
        cached_images(_split(), 16, tmp_path / "file")


def test_default_folder(monkeypatch):
    monkeypatch.setenv("WSOLBENCH_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert default_cache_dir() == Path("/a")
    monkeypatch.delenv("WSOLBENCH_CACHE")
    assert default_cache_dir() == Path("/b/wsolbench")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "/h")
    assert default_cache_dir() == Path("/h/.cache/wsolbench")
