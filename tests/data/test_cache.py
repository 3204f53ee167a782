"""The decoded-image cache: right pixels, complete or absent, resumed, one sentence for a full disk."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import FileIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL
import pytest
from PIL import Image

from wsolbench.data import cache
from wsolbench.data.cache import cached_images, default_cache_dir, missing_bytes
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


# --- a build that was interrupted -------------------------------------------------------------------------------------

COUNT = 13  # five chunks of three


def interrupted(folder, index=12):
    """Leave a build that was interrupted while it decoded an image; the chunks before that image's are written."""

    def read(wanted):
        if wanted == index:
            raise KeyboardInterrupt
        return _picture(wanted)

    with pytest.raises(KeyboardInterrupt):
        cached_images(_split(COUNT, read), 16, folder)
    (left,) = folder.iterdir()
    assert left.suffix == ".tmp"
    return left


def finished(folder):
    """Finish a build; return its pixels and the images that were decoded for it."""
    decoded = []
    got = cached_images(_split(COUNT, lambda index: decoded.append(index) or _picture(index)), 16, folder)
    assert [path.suffix for path in folder.iterdir()] == [".npy"]
    return np.array(got), sorted(decoded)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return np.array(cached_images(_split(COUNT), 16, tmp_path_factory.mktemp("undisturbed")))


@pytest.mark.parametrize(("index", "kept"), [(2, 0), (3, 3), (11, 9), (12, 12)])
def test_an_interrupted_build_is_taken_up_where_it_stopped(tmp_path, undisturbed, monkeypatch, index, kept):
    interrupted(tmp_path, index)
    shown, plain = [], cache.progress
    monkeypatch.setattr(cache, "progress", lambda *args, **options: shown.append(args) or plain(*args, **options))
    got, decoded = finished(tmp_path)
    np.testing.assert_array_equal(got, undisturbed)
    assert decoded == list(range(kept, COUNT))
    note = f", {kept} of 13 kept" if kept else ""
    assert shown == [
        ("checking what an interrupted build of test-16 left", COUNT),
        (f"decoding test at 16x16{note}", COUNT - kept),
    ]


CHUNK, HEADER, SIZE = 3 * 16 * 16 * 3, 128, 128 + COUNT * 16 * 16 * 3


@pytest.mark.parametrize(
    ("damage", "first"),
    [
        (lambda file: file.truncate(0), 0),
        (lambda file: file.truncate(HEADER + CHUNK + 5), 0),  # the table is gone
        (lambda file: os.pwrite(file.fileno(), bytes(CHUNK), HEADER), 0),  # pixels that a power cut left unwritten
        (lambda file: os.pwrite(file.fileno(), b"!", HEADER + CHUNK), 3),
        (lambda file: os.pwrite(file.fileno(), b"!", HEADER + 2 * CHUNK - 1), 3),
        (lambda file: os.pwrite(file.fileno(), bytes(8), SIZE + 8), 3),  # a digest that was not written
        (lambda file: os.pwrite(file.fileno(), b"!" * 128, 0), 12),  # the header is written anew anyway
    ],
)
def test_only_what_has_its_digest_is_kept(tmp_path, undisturbed, damage, first):
    with interrupted(tmp_path).open("rb+", buffering=0) as file:
        damage(file)
    got, decoded = finished(tmp_path)
    np.testing.assert_array_equal(got, undisturbed)
    assert decoded == list(range(first, COUNT))


def test_a_build_interrupted_twice(tmp_path, undisturbed):
    interrupted(tmp_path, index=9)
    interrupted(tmp_path, index=12)
    np.testing.assert_array_equal(finished(tmp_path)[0], undisturbed)


def test_a_build_that_only_lacked_its_name(tmp_path, undisturbed, monkeypatch):
    def interrupt(_source, _target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cache.os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            cached_images(_split(COUNT), 16, tmp_path)
    (left,) = tmp_path.iterdir()
    assert left.stat().st_size == SIZE  # without its table it is nothing but bytes
    np.testing.assert_array_equal(finished(tmp_path)[0], undisturbed)


def test_another_content_takes_nothing_over(tmp_path):
    interrupted(tmp_path)
    decoded = []
    other = _split(COUNT, lambda index: decoded.append(index) or _picture(index))
    cached_images(replace(other, content_key="l"), 16, tmp_path)
    assert sorted(decoded) == list(range(COUNT))


def test_what_nobody_came_back_for_is_removed_after_a_week(tmp_path):
    left = interrupted(tmp_path)
    old = tmp_path / ".of an older version-0123.tmp"
    old.write_bytes(b"x")
    for days, remaining in ((6.9, 2), (7.1, 0)):
        for path in (left, old):
            if path.exists():
                os.utime(path, (time.time() - days * 86400,) * 2)
        cached_images(_split(1), 16, tmp_path)
        assert len(list(tmp_path.glob(".*"))) == remaining
        next(tmp_path.glob("*.npy")).unlink()


def test_missing_bytes_shrink_as_a_build_goes_on(tmp_path):
    split, whole = _split(COUNT), 128 + COUNT * 64 * 64 * 3
    assert missing_bytes(split, 64, tmp_path / "not there") == whole

    def read(index):
        if index == 12:
            raise KeyboardInterrupt
        return _picture(index)

    with pytest.raises(KeyboardInterrupt):
        cached_images(replace(split, read=read), 64, tmp_path)
    assert 0 < missing_bytes(split, 64, tmp_path) <= whole
    cached_images(split, 64, tmp_path)
    assert missing_bytes(split, 64, tmp_path) == 0


# --- several builders -------------------------------------------------------------------------------------------------


def builder(folder, do):
    """Start a process that builds what ``_split(COUNT)`` would, and does something when it comes to image 12."""
    program = textwrap.dedent(f"""
        import os, signal, sys, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        import test_cache
        from wsolbench.data import cache

        def read(index):
            if index == 12:
                {do}
            return test_cache._picture(index)

        cache._CHUNK, cache.usable_cores = 3, lambda: 1
        cache.cached_images(test_cache._split(13, read), 16, Path({str(folder)!r}))
    """)
    return subprocess.Popen([sys.executable, "-c", program])


def test_a_killed_build_goes_on_where_it_was_killed(tmp_path, undisturbed):
    assert builder(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)").wait() == -signal.SIGKILL
    (rest,) = tmp_path.iterdir()
    assert rest.name.endswith(".tmp")
    got, decoded = finished(tmp_path)
    np.testing.assert_array_equal(got, undisturbed)
    assert decoded[0] >= 6


def test_the_one_that_waits_goes_on_where_the_other_was_killed(tmp_path, undisturbed, monkeypatch, capsys):
    waits = threading.Event()
    monkeypatch.setattr(
        cache, "time", SimpleNamespace(time=time.time, sleep=lambda _s: waits.set() or time.sleep(0.01))
    )
    (tmp_path / "cache").mkdir()
    other = builder(tmp_path / "cache", f"Path({str(tmp_path / 'here')!r}).touch() or time.sleep(600)")
    try:
        while not (tmp_path / "here").exists():
            assert other.poll() is None
            time.sleep(0.01)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(finished, tmp_path / "cache")
            assert waits.wait(60)
            assert not waiting.done()
            other.kill()
            got, decoded = waiting.result()
    finally:
        other.kill()
        other.wait()
    np.testing.assert_array_equal(got, undisturbed)
    assert decoded[0] >= 6
    assert capsys.readouterr().err.count("waiting for another process that decodes the same images") == 1


def test_of_several_builders_one_decodes(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_POLL_S", 0.01)
    decoded = []

    def read(index):
        time.sleep(0.01)
        decoded.append(index)
        return _picture(index)

    with ThreadPoolExecutor(3) as pool:
        found = [pool.submit(cached_images, _split(read=read), 16, tmp_path) for _ in range(3)]
        arrays = [future.result() for future in found]
    assert sorted(decoded) == list(range(7))
    assert all(np.array_equal(array, arrays[0]) for array in arrays)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("interrupt", [False, True])
def test_without_locks_every_builder_has_a_file_of_its_own(tmp_path, monkeypatch, interrupt):
    def refuse(_file, _operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    def read(index):
        assert len(list(tmp_path.glob(".*-*-*-*.tmp"))) == 1
        if index == 6 and interrupt:
            raise KeyboardInterrupt
        return _picture(index)

    monkeypatch.setattr(cache.fcntl, "flock", refuse)
    if interrupt:
        with pytest.raises(KeyboardInterrupt):
            cached_images(_split(read=read), 16, tmp_path)
    else:
        cached_images(_split(read=read), 16, tmp_path)
    assert len(list(tmp_path.glob(".*-*-*-*.tmp"))) == 0  # nobody could go on with it
    assert len(list(tmp_path.glob("*.npy"))) == (not interrupt)


# --- disks that refuse ------------------------------------------------------------------------------------------------


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache.os, "fsync", full)
    with pytest.raises(UserError, match=r"No space left on device.*choose another one with --cache"):
        cached_images(_split(), 64, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_write_that_fails_is_one_sentence(tmp_path, monkeypatch):
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    monkeypatch.setattr(cache, "_take_over", lambda _file: (full, FileIO(full, "r+")))
    with pytest.raises(UserError, match="No space left on device"):
        cached_images(_split(), 64, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_will_be_full_is_refused_before_anything_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _path: SimpleNamespace(free=64 * 64 * 3 * 6))
    with pytest.raises(UserError, match=r"No space left on device.*with 0 MB free.*--cache none"):
        cached_images(_split(read=_refuse), 64, tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _path: SimpleNamespace(free=64 * 64 * 3 * 8))
    assert len(cached_images(_split(), 64, tmp_path)) == 7


def test_a_write_in_pieces_is_whole(tmp_path, monkeypatch):
    plain = os.pwrite
    monkeypatch.setattr(cache.os, "pwrite", lambda file, data, place: plain(file, data[:5], place))
    with (tmp_path / "file").open("wb+", buffering=0) as file:
        cache._write(file, b"0123456789abc", 2)
    assert (tmp_path / "file").read_bytes() == b"\0\x000123456789abc"


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
