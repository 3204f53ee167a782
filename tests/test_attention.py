"""The attention product, whole and in query chunks. The block that uses it: tests/methods/test_inca_parts.py."""

import pytest
import torch

from wsolbench.attention import POSITIONS, Attend, NonLocalAttention, attend


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 50, 3), (2, 50, 3), (2, 50, 1))
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes)


def test_the_product_and_its_gradient(inputs):
    query, key, value = (each.detach()[:, :5].requires_grad_() for each in inputs)
    assert torch.equal(attend(query, key, value), (query @ key.transpose(1, 2)).softmax(2) @ value)
    assert torch.autograd.gradcheck(attend, (query, key, value))


@pytest.mark.parametrize("positions", [1, 7, 20, 49])  # 1, 1, 8 and 48 queries a chunk
def test_chunked_equals_whole_with_gradients(inputs, positions):
    whole, chunked = attend(*inputs), attend(*inputs, positions=positions)
    torch.testing.assert_close(chunked, whole, rtol=1e-12, atol=1e-12)
    probe = torch.randn(whole.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected, found = (torch.autograd.grad((each * probe).sum(), inputs) for each in (whole, chunked))
    for ours, theirs in zip(found, expected, strict=True):
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.fixture
def similarities(monkeypatch):
    """The shapes of the similarities that are computed, in order."""
    shapes, plain = [], torch.Tensor.softmax

    def softmax(self, dim):
        shapes.append(tuple(self.shape))
        return plain(self, dim=dim)

    monkeypatch.setattr(torch.Tensor, "softmax", softmax)
    return shapes


def kept_shapes(function, *inputs):
    """Run a function; return its output and the shapes that autograd keeps for the gradient."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(tuple(x.shape)) or x, lambda x: x):
        return function(*inputs), kept


def test_a_chunked_similarity_is_bounded_not_kept_and_computed_again(inputs, similarities):
    _, kept = kept_shapes(attend, *inputs)
    assert similarities == [(2, 50, 50)]
    assert (2, 50, 50) in kept
    similarities.clear()
    out, kept = kept_shapes(lambda *each: attend(*each, positions=20), *inputs)
    chunks = [(2, 8, 50)] * 6 + [(2, 2, 50)]  # 8 * 50 is at most 20 * 20
    assert similarities == chunks
    assert not any(shape[-1] == 50 for shape in kept)
    out.sum().backward()
    assert sorted(similarities) == sorted(chunks * 2)


def test_only_maps_above_56x56_are_chunked(similarities):
    assert POSITIONS == 3136
    for positions, chunks in ((3136, [3136]), (3137, [3135, 2])):
        narrow = torch.zeros(1, positions, 1)
        similarities.clear()
        attend(narrow, narrow, narrow)
        assert [shape[1] for shape in similarities] == chunks


def test_a_block_on_many_positions_compiles_without_a_graph_break(monkeypatch):
    monkeypatch.setattr("wsolbench.attention.attend", lambda q, k, v: attend(q, k, v, positions=20))
    torch.manual_seed(0)
    block, features = NonLocalAttention(16, residual=False), torch.rand(2, 16, 8, 8)
    plain = block(features)
    gradient = torch.autograd.grad(plain.square().sum(), block.query.weight)[0]
    compiled = torch.compile(block, backend="eager", fullgraph=True)(features)
    torch.compiler.reset()
    assert torch.equal(compiled, plain)
    assert torch.equal(torch.autograd.grad(compiled.square().sum(), block.query.weight)[0], gradient)


def test_the_gradient_passes_through_a_frozen_query(inputs):
    query, key, value = inputs
    gradient = torch.autograd.grad(Attend.apply(query.detach(), key, value).sum(), (key, value))
    wanted = torch.autograd.grad(((query.detach() @ key.transpose(1, 2)).softmax(dim=2) @ value).sum(), (key, value))
    for ours, theirs in zip(gradient, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)
