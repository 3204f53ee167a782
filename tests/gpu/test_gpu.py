"""What only a GPU can show: no host sync in a step, score maps without a flipped pixel, the same scores as the CPU."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from wsolbench.data.augment import augment, draw_augmentation  # noqa: E402
from wsolbench.engine.device import determinism  # noqa: E402
from wsolbench.engine.fit import fit, make_optimizer, train_step  # noqa: E402
from wsolbench.engine.infer import infer  # noqa: E402
from wsolbench.engine.scoremaps import score_maps  # noqa: E402
from wsolbench.engine.seeding import stream  # noqa: E402
from wsolbench.engine.watch import LossWatch  # noqa: E402
from wsolbench.experiment import run  # noqa: E402
from wsolbench.plugins import find_methods  # noqa: E402
from wsolbench.protocols import prepare  # noqa: E402
from wsolbench.records import read_record  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]


@pytest.fixture
def forbid_sync():
    """Make every operation that waits for the device an error."""
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", sorted(find_methods()))
def test_the_step_loop_never_waits(make, forbid_sync, name, precision):
    recipe, method = make.recipe(precision=precision), make.method(name, "cuda")
    bank = make.bank(64, 73, "cuda", channels=4 if method.supervision == "masks" else 3)
    device = torch.device("cuda")
    optimizer, watch = make_optimizer(method, recipe), LossWatch(first_step=1)
    labels = (torch.arange(64) % 4).to(device)
    order = torch.randperm(64)
    crops, draws = stream(device, 0, "augmentation", 0), stream(device, 0, "draws", 0)
    method.train()

    def step(start):
        indices = order[start : start + 16]
        batch = augment(bank.batch(indices), draw_augmentation(16, 73, 64, crops), 64)
        chosen = labels[indices.to(device, non_blocking=True)]
        drawn = method.draw(16, (64, 64), draws)
        train_step(method, optimizer, batch, chosen, drawn, precision=precision, watch=watch)

    step(0)  # the first step fills caches: constants, momentum buffers, cuDNN's plans
    forbid_sync()
    for start in (16, 32, 48):
        step(start)
    torch.cuda.set_sync_debug_mode("default")
    watch.check()
    assert any(value > 0 for value in watch.means().values())


@pytest.mark.parametrize(
    ("shape", "size"), [((64, 7, 7), 224), ((64, 14, 14), 224), ((16, 28, 28), 224), ((200, 16, 16), 64)]
)
def test_score_maps_equal_the_definition_in_every_pixel(shape, size):
    rng = np.random.default_rng(0)
    for raw in (
        rng.standard_normal(shape).astype(np.float32),
        rng.integers(-3, 4, shape).astype(np.float32),
        (rng.standard_normal(shape) * 10.0 ** rng.integers(-30, 30, shape)).astype(np.float32),
    ):
        raw[0] = 0.1
        raw[1, 2, 3] = np.nan
        expected = prepare(raw, (size, size))
        maps, constant, invalid = score_maps(torch.from_numpy(raw).cuda(), (size, size))
        assert np.count_nonzero(maps.cpu().numpy() != expected.maps) == 0
        np.testing.assert_array_equal(constant.cpu().numpy(), expected.constant)
        np.testing.assert_array_equal(invalid.cpu().numpy(), expected.invalid)


def test_scoring_is_close_to_the_cpus(make):
    found = []
    for device in ("cpu", "cuda"):
        method, bank = make.method("cam", device), make.bank(40, 64, device)
        maps = []
        result = infer(method, bank, torch.arange(40) % 4, lambda start, batch, maps=maps: maps.append(batch))
        assert np.array_equal(np.concatenate(maps), prepare(result.raw_maps, (64, 64)).maps)
        found.append(result)
    spread = np.ptp(found[0].raw_maps)
    np.testing.assert_allclose(found[1].raw_maps, found[0].raw_maps, atol=1e-4 * spread)
    np.testing.assert_allclose(found[1].logits, found[0].logits, atol=1e-3)


def test_resumed_equals_uninterrupted(make, tmp_path):
    states = []
    for folder, epochs in (("whole", (3,)), ("parts", (1, 3))):
        for last in epochs:
            method, bank = make.method("has", "cuda"), make.bank(64, 73, "cuda")
            with determinism(True):
                fit(method, bank, torch.arange(64) % 4, make.recipe(epochs=last), run_dir=tmp_path / folder, run_id="x")
        states.append(method.state_dict())
    assert all(torch.equal(states[1][name], value) for name, value in states[0].items())


def test_a_run_on_the_gpu_is_recorded_as_such(tiny_request, tmp_path):
    record = read_record(run(tiny_request(results=tmp_path, device="cuda", precision="auto")))
    assert record.provenance.device == torch.cuda.get_device_name()
    assert record.identity["recipe"]["precision"] in ("bf16", "fp32")
    assert record.provenance.peak_memory_mb > 1
