import hashlib
import os
import pickle
from collections.abc import Callable
from functools import partial
from typing import NamedTuple
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from wsolbench.backbones.registry import build_backbone
from wsolbench.backbones.weights import load_weights, weights_identity
from wsolbench.engine.fit import make_optimizer
from wsolbench.errors import UserError
from wsolbench.methods.cam import CAM
from wsolbench.network import build_network
from wsolbench.recipe import Recipe


def network(name="resnet-tiny", classes=5):
    torch.manual_seed(7)
    return build_network(build_backbone(name, 8), classes)


@pytest.fixture(scope="module")
def published():
    """A state dict as torchvision publishes it, with the classifier of 5 classes."""
    torch.manual_seed(3)
    return models.resnet18(weights=None, num_classes=5).state_dict()


@pytest.fixture
def trunk_state():
    torch.manual_seed(3)
    return build_backbone("resnet-tiny", 8).state_dict()


def write(state, path):
    if path.suffix == ".safetensors":
        save_file(dict(state), path)
    else:
        torch.save(state, path)
    return str(path)


def refused(path, *words, backbone="resnet-tiny"):
    """Loading must fail with one sentence that holds the words."""
    with pytest.raises(UserError) as caught:
        load_weights(network(backbone), str(path), backbone)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("file", ["weights.pth", "weights.pt", "weights.safetensors"])
def test_a_torchvision_file_loads_and_is_used(published, tmp_path, file):
    net = network("resnet18")
    load_weights(net, write(published, tmp_path / file), "resnet18")
    for name, value in net.backbone.state_dict().items():
        assert torch.equal(value, published[name]), name


class Published(NamedTuple):
    """What torchvision publishes for a backbone."""

    build: Callable[..., nn.Module]
    dropped: tuple[str, ...]
    url: str


PUBLISHED = {
    "vgg16": Published(models.vgg16, ("classifier.",), models.VGG16_Weights.IMAGENET1K_V1.url),
    "inception_v3": Published(
        partial(models.inception_v3, aux_logits=True, init_weights=False),
        ("AuxLogits.", "Mixed_7a.", "Mixed_7b.", "Mixed_7c.", "fc."),
        models.Inception_V3_Weights.IMAGENET1K_V1.url,
    ),
    "resnet50": Published(models.resnet50, ("fc.",), models.ResNet50_Weights.IMAGENET1K_V1.url),
}
each_published = pytest.mark.parametrize("name", PUBLISHED)


def published_state(name):
    """All of torchvision's keys and shapes; each tensor repeats one number of its own, so that the file is small."""
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in PUBLISHED[name].build(weights=None).state_dict().items()}
    values = torch.rand(len(shapes), generator=torch.Generator().manual_seed(3))
    return {
        key: torch.tensor(1000) if key.endswith("num_batches_tracked") else value.clone().expand(shape)
        for (key, shape), value in zip(shapes.items(), values, strict=True)
    }


@each_published
@pytest.mark.parametrize("stride", [16, 8])
def test_torchvisions_keys_load_strictly_into_the_trunk(tmp_path, name, stride):
    state = published_state(name)
    assert all(any(key.startswith(prefix) for key in state) for prefix in PUBLISHED[name].dropped)
    torch.manual_seed(7)
    net = build_network(build_backbone(name, stride), 3)
    head = {key: value.clone() for key, value in net.head.state_dict().items()}
    load_weights(net, write(state, tmp_path / "weights.pth"), name)
    trunk = net.backbone.state_dict()
    assert set(trunk) == {key for key in state if not key.startswith(PUBLISHED[name].dropped)}
    assert all(torch.equal(value, state[key]) for key, value in trunk.items())
    assert all(torch.equal(value, head[key]) for key, value in net.head.state_dict().items())
    assert net.pretrained == {key for key, _ in net.named_parameters() if key.startswith("backbone.")}


@pytest.mark.parametrize(("name", "kept"), [("vgg16", False), ("inception_v3", False), ("resnet50", True)])
def test_at_1000_classes_only_resnets_classifier_is_kept(tmp_path, name, kept):
    state = published_state(name)
    net = build_network(build_backbone(name, 16), 1000)
    head = {key: value.clone() for key, value in net.head.state_dict().items()}
    load_weights(net, write(state, tmp_path / "weights.pth"), name)
    expected = {"fc.weight": state["fc.weight"], "fc.bias": state["fc.bias"]} if kept else head
    assert net.head.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in net.head.state_dict().items())


@each_published
def test_a_wrong_key_of_a_published_file_is_refused(tmp_path, name):
    state = published_state(name)
    trunk = [key for key in state if not key.startswith(PUBLISHED[name].dropped) and key.endswith("weight")]
    file = tmp_path / "weights.pth"
    lacking = {key: value for key, value in state.items() if key != trunk[-1]}
    refused(write(lacking, file), f"does not fit {name}", "Missing", trunk[-1], backbone=name)
    renamed = {("Mixed_6f.bias" if key == trunk[0] else key): value for key, value in state.items()}
    refused(write(renamed, file), "Missing", trunk[0], "Unexpected", "Mixed_6f.bias", backbone=name)
    other = "resnet50" if name == "vgg16" else "vgg16"
    refused(write(published_state(other), file), f"does not fit {name}", backbone=name)


@pytest.mark.parametrize("name", ["inception_v3", "resnet50"])
def test_a_file_from_before_batch_norm_counted_its_batches_loads(tmp_path, name):
    """The oldest files lack ``num_batches_tracked``; torch itself fills it in."""
    state = {key: value for key, value in published_state(name).items() if not key.endswith("num_batches_tracked")}
    net = build_network(build_backbone(name, 16), 3)
    load_weights(net, write(state, tmp_path / "weights.pth"), name)
    assert all(torch.equal(value, state[key]) for key, value in net.backbone.named_parameters())


@pytest.mark.parametrize(("classes", "kept"), [(5, True), (4, False)])
def test_the_classifier_is_kept_when_its_classes_fit(published, tmp_path, classes, kept):
    net = network("resnet18", classes)
    before = net.head.fc.weight.detach().clone()
    load_weights(net, write(published, tmp_path / "weights.pth"), "resnet18")
    assert torch.equal(net.head.fc.weight, published["fc.weight"] if kept else before)
    # A kept classifier learns at the rate of new layers all the same: only the trunk counts as pretrained.
    assert net.pretrained == {name for name, _ in net.named_parameters() if name.startswith("backbone.")}


def test_a_checkpoint_that_wraps_its_state_dict_loads(trunk_state, tmp_path):
    net = network()
    load_weights(net, write({"epoch": 3, "state_dict": trunk_state}, tmp_path / "wrapped.pth"), "resnet-tiny")
    assert torch.equal(net.backbone.conv1.weight, trunk_state["conv1.weight"])


def test_none_loads_nothing():
    net, same = network(), network()
    load_weights(net, "none", "resnet-tiny")
    assert net.pretrained == frozenset()
    assert torch.equal(net.backbone.conv1.weight, same.backbone.conv1.weight)


def test_missing_unexpected_and_misshapen_keys_are_named(trunk_state, tmp_path):
    file = tmp_path / "weights.pth"
    lacking = {name: value for name, value in trunk_state.items() if name != "layer2.0.conv1.weight"}
    refused(write(lacking, file), "does not fit resnet-tiny", "Missing", "layer2.0.conv1.weight")
    prefixed = {f"module.{name}": value for name, value in trunk_state.items()}
    more = f"Missing: 'conv1.weight' and {len(trunk_state) - 1} more. Unexpected: 'module.conv1.weight' and"
    refused(write(prefixed, file), more, "no prefix before them")
    refused(write(trunk_state | {"layer9.bias": torch.zeros(1)}, file), "Unexpected", "layer9.bias")
    refused(
        write(trunk_state | {"conv1.weight": torch.zeros(16, 1, 3, 3)}, file),
        "Other shape: 'conv1.weight' (16, 1, 3, 3)",
    )


@pytest.mark.parametrize("file", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_file_is_refused(trunk_state, tmp_path, file, share):
    write(trunk_state, tmp_path / file)
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content[: int(share * len(content))])
    refused(tmp_path / file, str(tmp_path / file), "damaged", "expected a .pth or .safetensors file")


@pytest.mark.parametrize("content", [b"hello world\n" * 9, b"\x80\x02}q\x00.", b"PK\x03\x04" + b"x" * 99, b""])
@pytest.mark.parametrize("file", ["weights.pth", "weights.safetensors"])
def test_a_file_that_is_something_else_is_refused(tmp_path, file, content):
    (tmp_path / file).write_bytes(content)
    refused(tmp_path / file, "cannot be read as a state dict")


class RunsCode:
    """Creates a folder when unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("writer", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x))])
def test_code_inside_a_file_is_never_run(tmp_path, writer):
    trap = tmp_path / "executed"
    writer({"conv1.weight": RunsCode(str(trap))}, tmp_path / "evil.pth")
    refused(tmp_path / "evil.pth", "cannot be read as a state dict")
    assert not trap.exists()


@pytest.mark.parametrize("state", [{"conv1.weight": 3}, [1, 2], {7: torch.zeros(2)}, torch.zeros(3)])
def test_a_file_without_a_state_dict_is_refused(tmp_path, state):
    refused(write(state, tmp_path / "weights.pth"), "does not hold a state dict")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    refused(tmp_path / "no.pth", "no.pth", "No such file")
    refused(tmp_path / "no.safetensors", "no.safetensors", "No such file")
    refused(tmp_path, "Is a directory")
    with pytest.raises(UserError, match="no.pth: no such file; expected imagenet, none or a file"):
        weights_identity(str(tmp_path / "no.pth"), "resnet-tiny")


def test_a_backbone_without_imagenet_weights_says_so():
    refused("imagenet", "there are no imagenet weights for resnet-tiny", "--weights none")
    with pytest.raises(UserError, match="no imagenet weights for resnet-tiny"):
        weights_identity("imagenet", "resnet-tiny")


@pytest.mark.parametrize(
    "error",
    [
        URLError("Name or service not known"),
        ConnectionResetError("peer"),
        RuntimeError('invalid hash value (expected "f37072fd", got "0000")'),
    ],
)
def test_a_failed_download_says_what_to_do(monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    refused("imagenet", "imagenet weights of resnet18 could not be downloaded", "--weights FILE", backbone="resnet18")


def test_imagenet_loads_what_torchvision_downloads_and_never_runs_code(monkeypatch, published):
    asked = {}

    def download(url, **options):
        asked.update(options, url=url)
        return published

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    net = network("resnet18", classes=2)
    load_weights(net, "imagenet", "resnet18")
    assert torch.equal(net.backbone.conv1.weight, published["conv1.weight"])
    assert asked["url"] == models.ResNet18_Weights.IMAGENET1K_V1.url
    assert asked["check_hash"]
    assert asked["weights_only"]


@each_published
def test_imagenet_asks_for_torchvisions_file(monkeypatch, name):
    state, asked = published_state(name), []
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda url, **_: asked.append(url) or state)
    net = build_network(build_backbone(name, 16), 3)
    load_weights(net, "imagenet", name)
    assert asked == [PUBLISHED[name].url]
    assert all(torch.equal(value, state[key]) for key, value in net.backbone.named_parameters())


def test_the_identity_is_the_content_of_the_file(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"one")
    (tmp_path / "b.pth").write_bytes(b"one")
    (tmp_path / "c.pth").write_bytes(b"two")
    names = [weights_identity(str(tmp_path / file), "resnet18") for file in ("a.pth", "b.pth", "c.pth")]
    assert names[0] == names[1] == "sha256:" + hashlib.sha256(b"one").hexdigest()[:16]
    assert names[2] != names[0]
    assert weights_identity("none", "resnet18") == "none"
    assert weights_identity("imagenet", "resnet50") == "ResNet50_Weights.IMAGENET1K_V1"
    assert weights_identity("imagenet", "vgg16") == "VGG16_Weights.IMAGENET1K_V1"
    assert weights_identity("imagenet", "inception_v3") == "Inception_V3_Weights.IMAGENET1K_V1"


def test_new_parameters_learn_ten_times_faster_than_pretrained_ones(published, tmp_path):
    net = network("resnet18", classes=2)
    load_weights(net, write(published, tmp_path / "weights.pth"), "resnet18")
    old, new = make_optimizer(CAM(net, CAM.Config()), Recipe(backbone="resnet18")).param_groups
    assert (old["factor"], new["factor"]) == (1.0, 10.0)
    assert {id(p) for p in new["params"]} == {id(p) for p in net.head.parameters()}
    assert {id(p) for p in old["params"]} == {id(p) for p in net.backbone.parameters()}


def test_from_scratch_there_is_one_group_at_the_plain_rate():
    method = CAM(network(), CAM.Config())
    (group,) = make_optimizer(method, Recipe(backbone="resnet-tiny")).param_groups
    assert group["factor"] == 1.0
    assert len(group["params"]) == len(list(method.parameters()))
