"""Sources: folders and archives give the same files by the same names, and nothing of elsewhere."""

import gzip
import io
import os
import pickle
import struct
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from field_examples import pack, write

from wsolbench.data import archives
from wsolbench.data.sources import is_unsafe, open_source
from wsolbench.errors import UserError

FILES = {"set/a/1.jpg": b"one", "set/a/b/2, x.jpg": b"two", "set/c.txt": b"\xef\xbb\xbfthree", "other/d": b"4" * 5000}
KINDS = ("folder", "a.zip", "a.tar", "a.tgz")


@pytest.fixture
def make(tmp_path):
    """Return a function that writes files in one of the forms and opens them."""

    def make(kind, files=FILES):
        path = tmp_path / kind
        (write if kind == "folder" else lambda root, content: pack(content, root))(path, files)
        return open_source(path, cache=tmp_path / "cache")

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_files_by_the_same_names(make, kind):
    source = make(kind)
    assert source.names() == sorted(FILES)
    assert source.names("set/a") == ["set/a/1.jpg", "set/a/b/2, x.jpg"]
    assert source.names("set/a/1") == source.names("nowhere") == []
    assert source.children() == ["other", "set"]
    assert source.children("set") == ["a", "c.txt"]
    assert source.children("set/c.txt") == source.children("nowhere") == []
    assert {name: source.read(name) for name in source.names()} == FILES
    assert [source.exists(name) for name in ("set/c.txt", "set", "set/", "nowhere", "../x")] == [True] + [False] * 4
    inside = source.below("set").below("a")
    assert inside.names() == ["1.jpg", "b/2, x.jpg"]
    assert inside.names("b") == ["b/2, x.jpg"]
    assert inside.children() == ["1.jpg", "b"]
    assert inside.read("b/2, x.jpg") == b"two"
    assert inside.stamp("1.jpg")[0] == "1.jpg"
    assert inside.label("1.jpg").endswith("set/a/1.jpg")


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_is_read_from_threads_and_copies(make, kind):
    source = make(kind).below("set")
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(source.read, ["a/1.jpg"] * 40)) == {b"one"}
    copy = pickle.loads(pickle.dumps(source))
    assert copy.read("a/1.jpg") == b"one"
    assert copy.stamp("a/1.jpg") == source.stamp("a/1.jpg")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wsolbench.data.archives.os.getpid", lambda: -1)  # what a forked child would see of its own
        assert source.read("a/1.jpg") == b"one"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_missing_is_named_with_advice(tmp_path, kind):
    path = tmp_path / kind
    (write if kind == "folder" else lambda root, content: pack(content, root))(path, FILES)
    source = open_source(path, advice="ask your mother", cache=tmp_path)
    for ask in (source.read, source.stamp):
        with pytest.raises(UserError, match=r"cannot read .*set.no\.jpg .*; ask your mother"):
            ask("set/no.jpg")


@pytest.mark.parametrize("kind", KINDS)
def test_stamps_change_with_the_content(make, kind):
    before = make(kind).stamp("set/a/1.jpg")
    assert make(kind, {**FILES, "set/a/1.jpg": b"One!"}).stamp("set/a/1.jpg") != before


def test_a_checksum_is_the_zips_stamp(make):
    before = make("a.zip").stamp("set/a/1.jpg")
    assert make("a.zip", {**FILES, "set/c.txt": b""}).stamp("set/a/1.jpg") == before
    assert make("a.zip", {**FILES, "set/a/1.jpg": b"One"}).stamp("set/a/1.jpg") != before


@pytest.mark.parametrize(
    ("name", "unsafe"),
    [
        ("a/b..c/d", False),
        ("a:b.jpg", True),  # Windows would take it for a drive
        ("ab:c.jpg", False),
        ("..", True),
        ("a/..", True),
        ("a\\..\\b", True),
        ("\\\\host\\share", True),
        ("a\0b", True),
        (".", True),
        ("...", False),
    ],
)
def test_unsafe_names(name, unsafe):
    assert is_unsafe(name) == unsafe


# --- folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "set/../../secret"])
def test_a_folder_gives_nothing_of_outside(make, tmp_path, name):
    source = make("folder")
    (tmp_path / "secret").write_bytes(b"secret")
    for ask in (source.read, source.stamp, source.children, source.below):
        with pytest.raises(UserError, match="leaves the folder"):
            ask(name)
    assert not source.exists(name)


def test_links_that_leave_the_folder_are_refused(make, tmp_path):
    source = make("folder")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "s.jpg").write_bytes(b"secret")
    (tmp_path / "folder" / "file.jpg").symlink_to(tmp_path / "outside" / "s.jpg")
    (tmp_path / "folder" / "linked").symlink_to(tmp_path / "outside")
    for ask, name in ((source.read, "file.jpg"), (source.stamp, "linked/s.jpg"), (source.children, "linked")):
        with pytest.raises(UserError, match=r"is a link that leaves .*folder; expected files below it, so copy"):
            ask(name)
    with pytest.raises(UserError, match="is a link that leaves"):
        source.names()


def test_links_inside_the_folder_and_to_the_folder_are_followed(make, tmp_path):
    make("folder")
    (tmp_path / "folder" / "again.jpg").symlink_to("set/a/1.jpg")
    (tmp_path / "folder" / "set" / "loop").symlink_to(tmp_path / "folder")
    (tmp_path / "to").symlink_to(tmp_path / "folder")
    source = open_source(tmp_path / "to")
    assert source.read("again.jpg") == b"one"
    assert source.names() == sorted([*FILES, "again.jpg"])  # the loop is not walked


# --- zip --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bad.zip", "bad.tar", "bad.tgz"])
@pytest.mark.parametrize("name", ["../a.jpg", "/a.jpg", "x/../../a.jpg", "C:\\a.jpg"])
def test_an_archive_with_a_name_that_leaves_is_refused(make, kind, name):
    with pytest.raises(UserError, match=r"bad\.\w+: the name '.*' leaves the folder") as caught:
        make(kind, {"a.jpg": b"", name: b""})
    assert "\n" not in str(caught.value)


def test_an_encrypted_member_is_refused(tmp_path):
    raw = bytearray(pack(FILES, tmp_path / "a.zip").read_bytes())
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # the flags of each member, in both of its headers
        place = raw.find(mark)
        while place >= 0:
            flags = struct.unpack_from("<H", raw, place + at)[0]
            struct.pack_into("<H", raw, place + at, flags | 1)
            place = raw.find(mark, place + 4)
    (tmp_path / "a.zip").write_bytes(raw)
    with pytest.raises(UserError, match=r"set/c\.txt \(it is encrypted\)"):
        open_source(tmp_path / "a.zip").read("set/c.txt")


def test_a_link_in_a_zip_is_refused(tmp_path):
    entry = zipfile.ZipInfo("link")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(UserError, match="it is a symbolic link"):
        open_source(tmp_path / "a.zip").read("link")


def test_a_bomb_is_refused_unopened(tmp_path, monkeypatch):
    path = pack({"small": bytes(2**20), "bomb": bytes(archives.SMALL + 1)}, tmp_path / "a.zip")
    source = open_source(path)
    assert source.read("small") == bytes(2**20)  # the same ratio, and no harm
    with pytest.raises(UserError, match=r"bomb \(unpacked it would have 16,777,217 bytes, from .* 200 times"):
        source.read("bomb")
    monkeypatch.setattr(archives, "LARGEST_MEMBER", 100)
    with pytest.raises(UserError, match=r"small \(unpacked it would have 1,048,576 bytes"):
        source.read("small")


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK but not really")
    with pytest.raises(UserError, match=r"a\.zip \(not a complete zip archive"):
        open_source(tmp_path / "a.zip")
    with pytest.raises(UserError, match="nothing .*; expected a folder, a .zip, a .tar or a .tgz"):
        open_source(tmp_path / "nothing")


# --- tar and tgz ------------------------------------------------------------------------------------------------------


def test_links_in_a_tar_are_refused_and_dots_are_taken_off(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind, target in (("s", tarfile.SYMTYPE, "/etc/passwd"), ("h", tarfile.LNKTYPE, "./a")):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, target
            archive.addfile(entry)
        for name in (".", "./folder"):
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE
            archive.addfile(entry)
        entry = tarfile.TarInfo("./a")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"abc"))
    source = open_source(tmp_path / "a.tar")
    assert source.read("a") == b"abc"
    assert "folder" not in source.names()
    for name in ("s", "h"):
        with pytest.raises(UserError, match="it is a link or a sparse file"):
            source.read(name)


@pytest.mark.parametrize(("kind", "what"), [("a.tar", "tar archive"), ("a.tgz", r"\.tgz")])
@pytest.mark.parametrize("keep", [0.3, 0.6])
def test_a_truncated_archive_is_refused(tmp_path, kind, what, keep):
    path = pack({f"{n}.jpg": os.urandom(3000) for n in range(20)}, tmp_path / kind)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(UserError, match=rf"a\.t\w+ \(not a complete {what}"):
        open_source(path, cache=tmp_path / "cache")
    assert list((tmp_path).glob("cache/*")) == []


def test_a_tgz_is_decompressed_once(tmp_path, monkeypatch):
    path, cache = pack(FILES, tmp_path / "a.tgz"), tmp_path / "cache"
    open_source(path, cache=cache)
    (made,) = cache.iterdir()
    assert tarfile.is_tarfile(made)
    monkeypatch.setattr(archives, "_decompress", lambda *_: pytest.fail("a second time"))
    assert open_source(path, cache=cache).read("set/a/1.jpg") == b"one"
    monkeypatch.undo()
    pack({**FILES, "set/a/1.jpg": b"another"}, path)
    os.utime(path, ns=(1, 1))
    assert open_source(path, cache=cache).read("set/a/1.jpg") == b"another"
    assert len(list(cache.iterdir())) == 2


def test_an_interrupted_decompression_leaves_nothing(tmp_path, monkeypatch):
    path, cache = pack(FILES, tmp_path / "a.tgz"), tmp_path / "cache"
    monkeypatch.setattr(archives.os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        open_source(path, cache=cache)
    monkeypatch.undo()
    assert list(cache.iterdir()) == []
    assert open_source(path, cache=cache).read("set/c.txt") == FILES["set/c.txt"]


def test_a_compressed_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "SMALL", 2**16)
    (tmp_path / "a.tgz").write_bytes(gzip.compress(bytes(2**20)))
    with pytest.raises(UserError, match="more than 200 times its"):
        open_source(tmp_path / "a.tgz", cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_tgz_without_a_cache(tmp_path):
    path = pack(FILES, tmp_path / "a.tgz")
    with pytest.raises(UserError, match=r"a\.tgz has to be decompressed once, and --cache none keeps nothing"):
        open_source(path, cache=Path("none"))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot decompress .* into .*; expected room"):
        open_source(path, cache=tmp_path / "file")
