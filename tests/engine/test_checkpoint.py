"""Checkpoints: exact, atomic, and never loaded as code."""

import pickle

import pytest
import torch

from wsolbench.engine.checkpoint import FORMAT, load_checkpoint, save_checkpoint
from wsolbench.errors import UserError

STATE = {
    "method": {"weight": torch.arange(6, dtype=torch.float32).reshape(2, 3) / 7, "steps": torch.tensor(3)},
    "epoch": 2,
    "history": [{"cls": 0.1}, {"cls": float("nan")}],
    "run_id": "ab12",
}


def test_round_trip(tmp_path):
    path = tmp_path / "deep" / "last.pt"
    save_checkpoint(path, STATE)
    state = load_checkpoint(path)
    assert torch.equal(state["method"]["weight"], STATE["method"]["weight"])
    assert state["method"]["steps"].dtype == torch.int64
    assert repr(state["history"]) == repr(STATE["history"])
    assert {name: state[name] for name in ("epoch", "run_id", "format")} == {
        "epoch": 2,
        "run_id": "ab12",
        "format": FORMAT,
    }


def test_a_crash_while_writing_leaves_the_previous_one(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    save_checkpoint(path, STATE)
    monkeypatch.setattr("wsolbench.files.os.replace", lambda *_: (_ for _ in ()).throw(OSError("power cut")))
    with pytest.raises(OSError, match="power cut"):
        save_checkpoint(path, {**STATE, "epoch": 3})
    assert load_checkpoint(path)["epoch"] == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.filterwarnings("ignore")  # torch warns about some of these in words of its own
@pytest.mark.parametrize("damage", ["empty", "text", "zeros", "half", "all but the end", "other zip", "pickle"])
def test_damage_is_one_sentence(tmp_path, damage):
    path = tmp_path / "last.pt"
    save_checkpoint(path, STATE)
    raw = path.read_bytes()
    content = {
        "empty": b"",
        "text": b"hello, this is no checkpoint\n",
        "zeros": bytes(len(raw)),
        "half": raw[: len(raw) // 2],
        "all but the end": raw[:-30],
        "other zip": b"PK\x05\x06" + bytes(18),
        "pickle": pickle.dumps({"format": FORMAT}, protocol=4)[:-3],
    }[damage]
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"checkpoint .*last\.pt") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert "--no-resume" in str(caught.value)


@pytest.mark.filterwarnings("ignore")
def test_a_flipped_byte_never_raises_anything_else(tmp_path):
    # A byte of tensor data flipped is not noticed: torch reads without comparing checksums.
    path = tmp_path / "last.pt"
    save_checkpoint(path, STATE)
    raw = path.read_bytes()
    refused = 0
    for at in range(0, len(raw), 7):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 0xFF]) + raw[at + 1 :])
        try:
            load_checkpoint(path)
        except UserError:
            refused += 1
    assert refused > 10


@pytest.mark.parametrize("state", [{"format": FORMAT + 1, "epoch": 1}, {"epoch": 1}, [1, 2]])
def test_another_format_is_refused(tmp_path, state):
    path = tmp_path / "last.pt"
    torch.save(state, path)
    with pytest.raises(UserError, match=f"is not of format {FORMAT}"):
        load_checkpoint(path)


class _Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    path = tmp_path / "last.pt"
    torch.save({"format": FORMAT, "evil": _Payload(tmp_path / "owned")}, path)
    with pytest.raises(UserError, match="cannot be read"):
        load_checkpoint(path)
    assert not (tmp_path / "owned").exists()
