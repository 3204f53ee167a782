"""Training: schedule, seeds, resuming bit for bit, bad losses, BatchNorm statistics, scalars."""

import copy
import importlib.util

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from wsolbench.data.augment import augment, draw_augmentation
from wsolbench.data.bank import ImageBank
from wsolbench.engine.checkpoint import load_checkpoint
from wsolbench.engine.fit import fit, make_optimizer, recalibrate_batch_norm, set_learning_rate
from wsolbench.engine.seeding import stream
from wsolbench.errors import RunError, UserError
from wsolbench.method import Losses
from wsolbench.methods.cam import CAM

COUNT = 19  # two full batches of 8, and 3 images that an epoch leaves out


class Dropping(CAM):
    """CAM with dropout from torch's own stream, as heads of VGG and Inception have."""

    def losses(self, images, labels, draws):
        features = functional.dropout(self.network(images).last, 0.5, self.training)
        return Losses(terms={"cls": functional.cross_entropy(self.network.logits(features), labels)})


class Poisoned(CAM):
    """CAM with a second term that is NaN at one step of the whole run, counted from 1."""

    bad_step = 0

    def __init__(self, network, config):
        super().__init__(network, config)
        self.steps = 0

    def losses(self, images, labels, draws):
        self.steps += 1
        plain = super().losses(images, labels, draws).terms["cls"]
        return Losses(terms={"cls": plain, "poison": plain * (torch.nan if self.steps == self.bad_step else 0.0)})


@pytest.fixture
def train(make, tmp_path):
    """Return a function that trains a method, fresh unless it is given; gives (method, what fit returned)."""

    def run(kind="cam", *, folder="run", count=COUNT, run_id="ab12", seed=0, **changes):
        recipe = make.recipe(seed=seed, **changes)
        method = kind if isinstance(kind, nn.Module) else make.method(kind, seed)
        bank, labels = make.bank(count, recipe.resized_side), make.labels(count)
        return method, fit(method, bank, labels, recipe, run_dir=tmp_path / folder, run_id=run_id, quiet=True)

    return run


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    assert list(a) == list(b)
    return all(torch.equal(a[name], b[name]) for name in a)


# --- the loop ---------------------------------------------------------------------------------------------------------


def test_an_epoch_visits_full_batches_of_a_fresh_permutation(make, tmp_path):
    recipe, method, bank = make.recipe(epochs=3), make.method(), make.bank(COUNT, make.resized)
    visited, plain = [], bank.batch
    bank.batch = lambda indices: visited.append(indices.tolist()) or plain(indices)
    fitted = fit(method, bank, make.labels(COUNT), recipe, run_dir=tmp_path, run_id="x", quiet=True)
    assert [len(batch) for batch in visited] == [8] * 6
    orders = [visited[2 * epoch] + visited[2 * epoch + 1] for epoch in range(3)]
    for epoch, order in enumerate(orders):
        drawn = torch.randperm(COUNT, generator=stream(torch.device("cpu"), 0, "order", epoch))
        assert order == drawn[:16].tolist()
        assert len(set(order)) == 16
    assert orders[0] != orders[1] != orders[2]
    assert fitted.images == 3 * 16
    assert fitted.seconds > 0


def test_the_network_gets_the_drawn_crops_and_their_labels(make, tmp_path):
    recipe, method, bank, labels = make.recipe(epochs=1), make.method(), make.bank(16, make.resized), make.labels(16)
    seen, plain = [], method.losses
    method.losses = lambda images, labels, draws: seen.append((images, labels)) or plain(images, labels, draws)
    fit(method, bank, labels, recipe, run_dir=tmp_path, run_id="x", quiet=True)
    order = torch.randperm(16, generator=stream(torch.device("cpu"), 0, "order", 0))
    crops = stream(torch.device("cpu"), 0, "augmentation", 0)
    for step, (images, given) in enumerate(seen):
        indices = order[8 * step : 8 * step + 8]
        expected = augment(bank.batch(indices), draw_augmentation(8, make.resized, make.side, crops), make.side)
        assert torch.equal(images, expected)
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert given.tolist() == labels[indices].tolist()


def test_history_is_the_mean_of_every_term_and_the_rate(train):
    method, fitted = train(Poisoned, lr=0.1, lr_decay_every=2, epochs=5)
    assert [row["lr"] for row in fitted.history] == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001])
    assert {tuple(row) for row in fitted.history} == {("cls", "poison", "lr")}
    assert all(row["poison"] == 0 for row in fitted.history)
    assert method.steps == 10
    assert method.training


def test_training_learns_a_colour(make, tmp_path):
    # Class k is a brighter channel k: without a working gradient the loss would stay at log(3) = 1.10.
    recipe, method = make.recipe(epochs=4), make.method()
    bank, labels = make.bank(64, make.resized), torch.arange(64) % 3
    for index, label in enumerate(labels):
        bank._pictures[index, :, :, label] |= 0xC0
    history = fit(method, bank, labels, recipe, run_dir=tmp_path, run_id="x", quiet=True).history
    assert history[-1]["cls"] < 0.3 < history[0]["cls"]


def test_fewer_images_than_a_batch(train):
    with pytest.raises(UserError, match="train-weaksup has 7 images, fewer than one batch of 8"):
        train(count=7)


def test_few_images_take_the_steps_of_many(make, tmp_path):
    recipe, bank = make.recipe(epochs=2), make.bank(5, make.resized)
    visited, plain = [], bank.batch
    bank.batch = lambda indices: visited.append(indices.tolist()) or plain(indices)
    options = {"run_dir": tmp_path, "run_id": "x", "epoch_images": COUNT, "quiet": True}
    fitted = fit(make.method(), bank, make.labels(5), recipe, **options)
    assert [len(batch) for batch in visited] == [8] * 4  # floor(19 / 8) full batches an epoch, from 5 images
    assert fitted.images == 2 * 16
    for epoch in range(2):
        order = visited[2 * epoch] + visited[2 * epoch + 1]
        assert [sorted(order[start : start + 5]) for start in (0, 5, 10)] == [[0, 1, 2, 3, 4]] * 3
        assert order[:5] != order[5:10]
    assert visited[:2] != visited[2:]


def test_a_mask_reaches_the_losses_and_not_the_recalibrated_network(make, tmp_path):
    class Masked(CAM):
        """CAM that keeps the masks it is given."""

        seen = ()

        def losses(self, images, labels, draws):
            self.seen = (*self.seen, images[:, 3])
            return super().losses(images[:, :3], labels, draws)

    method = make.method(Masked)
    pictures = np.full((5, make.resized, make.resized, 4), 255, dtype=np.uint8)
    pictures[:, :, : make.resized // 2, 3] = 0  # the left half is background
    bank, recipe = ImageBank(pictures, torch.device("cpu")), make.recipe(epochs=1, bn_recalibrate=True)
    options = {"run_dir": tmp_path, "run_id": "x", "epoch_images": 8, "quiet": True}
    fit(method, bank, make.labels(5), recipe, **options)
    (masks,) = method.seen
    assert masks.shape == (8, make.side, make.side)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    right = masks[:, 0, -1] == 1
    assert 0 < right.sum() < 8  # some were mirrored
    assert torch.equal(masks[:, 0, 0] == 0, right)
    norms = [module for module in method.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {norm.num_batches_tracked.item() for norm in norms} == {1}  # one batch, of all five


def test_bf16_keeps_weights_and_losses_in_float32(train):
    method, fitted = train(precision="bf16", epochs=1)
    assert {parameter.dtype for parameter in method.parameters()} == {torch.float32}
    plain, reference = train(folder="fp32", precision="fp32", epochs=1)
    assert fitted.history[0]["cls"] == pytest.approx(reference.history[0]["cls"], rel=0.1)
    assert not same_weights(method, plain)


# --- seeds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["has", "inca", Dropping])
def test_a_seed_decides_every_weight(train, kind):
    first, fitted = train(kind, folder="a")
    torch.rand(5)  # what torch's own stream did before must not matter
    second, again = train(kind, folder="b")
    other, _ = train(kind, folder="c", seed=1)
    assert same_weights(first, second)
    assert fitted.history == again.history
    assert not same_weights(first, other)


# --- resuming ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "done", "changes"),
    [("has", 1, {}), ("inca", 2, {}), (Dropping, 1, {"precision": "bf16"}), ("adl", 2, {"bn_recalibrate": True})],
)
def test_resumed_equals_uninterrupted(train, kind, done, changes):
    changes = {"lr_decay_every": 2, **changes}
    whole, expected = train(kind, folder="whole", epochs=3, **changes)
    train(kind, folder="parts", epochs=done, **changes)
    torch.rand(7)
    method, fitted = train(kind, folder="parts", epochs=3, **changes)
    assert same_weights(method, whole)
    assert fitted.history == expected.history
    assert fitted.images == expected.images


def test_a_finished_training_is_only_loaded(train, tmp_path):
    whole, expected = train(epochs=2)
    before = (tmp_path / "run" / "last.pt").stat().st_mtime_ns
    method, fitted = train(epochs=2)
    assert same_weights(method, whole)
    assert (fitted.history, fitted.seconds) == (expected.history, expected.seconds)
    assert (tmp_path / "run" / "last.pt").stat().st_mtime_ns == before


def test_a_checkpoint_of_another_run_is_refused(train):
    train(run_id="ab12", epochs=1)
    with pytest.raises(UserError, match=r"last\.pt belongs to run ab12, not to cd34; use --no-resume"):
        train(run_id="cd34", epochs=2)


def test_a_damaged_checkpoint_is_refused_and_kept(train, tmp_path):
    path = tmp_path / "run" / "last.pt"
    train(epochs=1)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"last\.pt cannot be read; delete it or use --no-resume"):
        train(epochs=2)
    assert path.stat().st_size == 1000


# --- bad losses -------------------------------------------------------------------------------------------------------


def test_a_bad_loss_stops_at_the_next_reading(train, make, tmp_path):
    method = make.method(Poisoned)
    method.bad_step = 20
    with pytest.raises(RunError, match="loss term 'poison' was not finite at step 20;"):
        train(method, count=120, batch_size=2, image_size=16)
    assert method.steps == 50  # of 60: flags are read every 50 steps
    assert not (tmp_path / "run" / "last.pt").exists()


@pytest.mark.parametrize("bad_step", [3, 4])
def test_a_bad_loss_never_reaches_a_checkpoint(train, make, tmp_path, bad_step):
    method = make.method(Poisoned)
    method.bad_step = bad_step  # in the second epoch of two steps
    with pytest.raises(RunError, match=f"loss term 'poison' was not finite at step {bad_step};"):
        train(method, epochs=3)
    state = load_checkpoint(tmp_path / "run" / "last.pt")
    assert state["epoch"] == 1
    assert all(value.isfinite().all() for value in state["method"].values())


# --- the optimiser ----------------------------------------------------------------------------------------------------


def test_new_layers_learn_faster_than_pretrained_ones(make):
    method = make.method("inca")
    method.network.pretrained = frozenset(f"backbone.{name}" for name, _ in method.network.backbone.named_parameters())
    recipe = make.recipe(lr=0.01, new_layer_lr=7, lr_decay_every=1, weight_decay=0.003, momentum=0.8)
    optimizer = make_optimizer(method, recipe)
    assert set_learning_rate(optimizer, recipe, 1) == pytest.approx(0.001)
    rates = {parameter: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    for name, parameter in method.named_parameters():
        expected = 0.001 if name.startswith("network.backbone.") else 0.007
        assert rates[parameter] == pytest.approx(expected), name
    assert len(rates) == len(list(method.parameters()))
    for group in optimizer.param_groups:
        assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.8, True, 0.003)


def test_from_scratch_there_is_one_rate(make):
    optimizer = make_optimizer(make.method("inca"), make.recipe(new_layer_lr=7))
    assert [group["factor"] for group in optimizer.param_groups] == [1.0]


@pytest.mark.parametrize("pretrained", [True, False])
def test_the_references_groups_go_by_name_whatever_the_weights_are(make, pretrained):
    method = make.method("inca")
    if pretrained:
        names = (f"backbone.{name}" for name, _ in method.network.backbone.named_parameters())
        method.network.pretrained = frozenset(names)
    slow, fast = make_optimizer(method, make.recipe(new_layer_lr=7, param_groups="reference")).param_groups
    assert (slow["factor"], fast["factor"]) == (1.0, 7.0)
    ids = {id(parameter) for parameter in fast["params"]}
    found = {name for name, parameter in method.named_parameters() if id(parameter) in ids}
    wanted = ("network.backbone.layer4.", "network.head.fc.")
    assert found == {name for name, _ in method.named_parameters() if name.startswith(wanted)}  # not InCA's own layers
    assert len(slow["params"]) + len(fast["params"]) == len(list(method.parameters()))


def test_the_references_groups_leave_frozen_parameters_out(make):
    method = make.method()
    method.network.head.requires_grad_(False)
    method.network.backbone.layer4.requires_grad_(False)
    (group,) = make_optimizer(method, make.recipe(param_groups="reference")).param_groups
    assert group["factor"] == 1.0
    assert len(group["params"]) == sum(parameter.requires_grad for parameter in method.parameters())


def test_frozen_parameters_are_left_out_and_no_momentum_means_no_nesterov(make):
    method = make.method()
    method.network.backbone.requires_grad_(False)
    optimizer = make_optimizer(method, make.recipe(momentum=0))
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2  # weight and bias of the classifier
    assert not optimizer.param_groups[0]["nesterov"]


# --- BatchNorm --------------------------------------------------------------------------------------------------------


def slow_statistics(network, batches):
    """Return (mean, variance) of each norm's input, averaged over batches, by hooks and in float64."""
    network = copy.deepcopy(network).train()
    seen = {name: [] for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    for name, found in seen.items():
        network.get_submodule(name).register_forward_pre_hook(lambda _, given, found=found: found.append(given[0]))
    with torch.no_grad():
        for batch in batches:
            network(batch)
    values = {name: [each.double().transpose(0, 1).flatten(1) for each in found] for name, found in seen.items()}
    return {
        name: (
            torch.stack([each.mean(1) for each in found]).mean(0),
            torch.stack([each.var(1, unbiased=True) for each in found]).mean(0),
        )
        for name, found in values.items()
    }


def test_recalibration_averages_over_the_plain_network(make):
    recipe, bank = make.recipe(), make.bank(COUNT, make.resized)
    network = make.method("adl").network.train()
    crops = stream(torch.device("cpu"), recipe.seed, "recalibration")
    order = torch.randperm(COUNT, generator=stream(torch.device("cpu"), recipe.seed, "recalibration order"))
    batches = [
        augment(bank.batch(order[a : a + 8]), draw_augmentation(8, make.resized, make.side, crops), make.side)
        for a in (0, 8)
    ]
    with torch.no_grad():
        network(3 * batches[0])  # training has left statistics of its own
    expected = slow_statistics(network, batches)
    weights = {name: value.clone() for name, value in network.named_parameters()}
    recalibrate_batch_norm(network, bank, recipe)
    assert len(expected) > 10
    for name, (mean, variance) in expected.items():
        norm = network.get_submodule(name)
        torch.testing.assert_close(norm.running_mean.double(), mean, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(norm.running_var.double(), variance, rtol=1e-3, atol=1e-4)
        assert norm.momentum == 0.1
        assert norm.num_batches_tracked == 2
    assert all(torch.equal(value, weights[name]) for name, value in network.named_parameters())


def test_recalibration_happens_only_if_asked_and_after_training(train):
    plain, _ = train("adl", folder="a", bn_recalibrate=False)
    asked, _ = train("adl", folder="b", bn_recalibrate=True)
    a, b = plain.state_dict(), asked.state_dict()
    different = {name.rsplit(".", 1)[1] for name in a if not torch.equal(a[name], b[name])}
    assert different == {"running_mean", "running_var", "num_batches_tracked"}


# --- TensorBoard ------------------------------------------------------------------------------------------------------


def test_trains_without_tensorboard(train, tmp_path, monkeypatch):
    plain = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else plain(name))
    train()
    assert sorted(entry.name for entry in (tmp_path / "run").iterdir()) == ["last.pt"]


@pytest.mark.filterwarnings("ignore")  # of TensorBoard's own imports
@pytest.mark.parametrize("again", [False, True])
def test_scalars_of_a_run_that_is_resumed_or_begun_again(train, tmp_path, again):
    pytest.importorskip("tensorboard", reason="the extra 'tensorboard' is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(epochs=2)
    if again:
        (tmp_path / "run" / "last.pt").unlink()
    _, fitted = train(epochs=3)
    found = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    for name in ("cls", "lr"):
        events = found.Scalars(name)
        assert [event.step for event in events] == [1, 2, 3]
        assert [event.value for event in events] == pytest.approx([row[name] for row in fitted.history])
