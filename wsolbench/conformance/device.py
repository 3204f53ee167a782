"""Checks that a step is fit for a GPU, made without one: on fake tensors, and by compiling it as one graph."""

import logging
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import SkipTest

import torch
from torch import Tensor, nn
from torch._dynamo.eval_frame import is_dynamo_supported
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wsolbench.conformance.subject import CheckFailure, Subject, first_difference, headline
from wsolbench.method import Method

GPU = torch.device("cuda:0")


def step_stays_on_the_device(subject: Subject) -> None:
    """Draws and losses make no tensor on the CPU and wait for no value from the device.

    They run on fake tensors, which have a device and a shape and no values, so no GPU is needed. Seen are tensors made
    on or copied to the CPU, tensors on two devices, ``.item()`` and shapes that depend on values. Not seen is what the
    backward pass does, and a wait inside a kernel.
    """
    method = subject.build()
    images, labels = subject.batch()
    height, width = images.shape[2:]
    with _fake(), _Watch(subject.file) as watch, _explained(subject, watch, "draw"):
        draws = method.draw(len(images), (height, width), _GpuGenerator())
    _require_device(subject, draws, watch, "draw")
    drawn = subject.draw(method, images)
    with _fake() as mode:
        _move(method, mode)
        images, labels = (_on_gpu(value, mode) for value in (images, labels))
        draws = {name: _on_gpu(value, mode) for name, value in drawn.items()}
        with _Watch(subject.file) as watch, _explained(subject, watch, "losses"):
            losses = method(images, labels, draws)
        _require_device(subject, {**losses.terms, **losses.diagnostics}, watch, "losses")


class _GpuGenerator(torch.Generator):
    """A generator that says it is on the GPU: fake tensors only ask where it is."""

    device = GPU


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the first operation whose result is not on the GPU, and the line of the plugin's file that asked for it."""

    def __init__(self, file: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.file = file
        self.seen = ""

    def __torch_dispatch__(
        self, func: Callable[..., object], types: object, args: Sequence[object] = (), kwargs: object = None
    ) -> object:
        """Run one operation and look where its results are."""
        assert kwargs is None or isinstance(kwargs, dict)
        given = dict(kwargs or {})
        if "generator" in given:
            given["generator"] = None  # not every operation on fake tensors takes one, and none draws from it
        result = func(*args, **given)
        for value in tree_leaves(result):
            if not self.seen and isinstance(value, Tensor) and value.device.type != GPU.type:
                own = [frame for frame in traceback.extract_stack() if frame.filename == self.file]
                line = f" at line {own[-1].lineno}: {own[-1].line}" if own else ""
                self.seen = f"{str(func).split('.')[1]} gives a tensor on the {value.device.type.upper()}{line}"
        return result


@contextmanager
def _fake() -> Iterator[FakeTensorMode]:
    """Make tensors fake while inside; torch's warning that there is no GPU, and its log of errors, are not shown."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    was_disabled, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings(), FakeTensorMode() as mode:
            warnings.filterwarnings("ignore", message=".*CUDA is not available.*")
            yield mode
    finally:
        log.disabled = was_disabled


@contextmanager
def _explained(subject: Subject, watch: _Watch, part: str) -> Iterator[None]:
    """Turn what stops a run on fake tensors into the check's failure."""
    try:
        yield
    except (UnsupportedFakeTensorException, UnsupportedOperatorException) as error:
        raise SkipTest(f"{part} uses an operation that cannot be followed without a GPU: {headline(error)}") from error
    except Exception as error:
        failure = subject.crash(f"{part} runs on the device from start to end", error)
        seen = failure.seen
        if watch.seen:
            seen = watch.seen
        elif isinstance(error, DataDependentOutputException):
            seen = f"a value is read from the device ({error.func}), for which the host waits"
        elif isinstance(error, DynamicOutputShapeException):
            seen = f"the shape of a tensor depends on values ({error.func}), for which the host waits"
        elif "convert all Tensors to FakeTensors" in str(error):
            seen = "a tensor that is no argument, parameter or buffer, so it stays on the CPU; use register_buffer"
        raise CheckFailure(failure.expected, seen, failure.where) from error


def _require_device(subject: Subject, named: Mapping[str, Tensor], watch: _Watch, part: str) -> None:
    """Check that nothing was made elsewhere, and that the results are on the device."""
    advice = "make tensors there: device=images.device, generator.device, new_zeros, zeros_like"
    expected = f"every tensor that {part} makes is on the device"
    if watch.seen:
        raise subject.failure(expected, f"{watch.seen}; {advice}", part)
    for name, value in named.items():
        if value.device.type != GPU.type:
            raise subject.failure(expected, f"'{name}' is on the {value.device.type.upper()}; {advice}", part)


def _on_gpu(value: Tensor, mode: FakeTensorMode) -> Tensor:
    """Return a fake twin of a tensor on the GPU."""
    return mode.from_tensor(value).detach().to(GPU)


def _move(method: Method[Any], mode: FakeTensorMode) -> None:
    """Replace parameters and buffers by fake ones on the GPU; other tensors stay, as they do with ``.to(device)``."""
    for module in method.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(_on_gpu(parameter, mode), parameter.requires_grad))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, _on_gpu(buffer, mode))


def step_compiles_without_graph_break(subject: Subject) -> None:
    """torch.compile(method, fullgraph=True) gives the losses of the plain method."""
    if not is_dynamo_supported():
        raise SkipTest("torch.compile does not run with this version of Python")
    plain, twin = subject.build(), subject.build()
    images, labels = subject.batch()
    draws = subject.draw(plain, images)
    plain_terms = plain(images.clone(), labels, draws).terms
    expected = "a step that compiles as one graph: no branch on a tensor's value, no .item(), no print"
    torch.compiler.reset()
    try:
        compiled = torch.compile(twin, backend="eager", fullgraph=True)(images, labels, draws).terms
    except Exception as error:  # dynamo raises what it likes, with the reason in the first lines
        lines = re.findall(rf'File "{re.escape(subject.file)}", line (\d+), in (\w+)', str(error))
        where = f"{subject.file}:{lines[-1][0]}, in {lines[-1][1]}" if lines else subject.where("losses")
        raise CheckFailure(expected, f"{type(error).__name__}: {headline(error)}", where) from error
    finally:
        torch.compiler.reset()
    if difference := first_difference(plain_terms, compiled):
        raise subject.failure("the same losses compiled and not", f"compiled, {difference}", "losses")
