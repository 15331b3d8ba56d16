"""Weights packed once: the same bits as without, or left aside where they do not suit."""

import copy
import pickle

import pytest
import torch

import cnnkern
from cnnkern import testing
from cnnkern.nn import ConvBlock1d, ConvBlock2d, ConvBlock3d

BLOCKS = {
    "winograd": (ConvBlock2d(32, 48, 3, padding=1), (2, 32, 12, 11)),
    "winograd, many filters": (ConvBlock2d(24, 64, 3, padding=1), (1, 24, 8, 8)),
    "winograd, groups": (ConvBlock2d(32, 40, 3, groups=2, bias=False), (2, 32, 12, 12)),
    "1x1": (ConvBlock2d(40, 70, 1, activation="gelu"), (2, 40, 5, 7)),
    "strided": (ConvBlock2d(5, 20, 7, stride=2, padding=3), (1, 5, 30, 30)),
    "groups": (ConvBlock2d(15, 18, (3, 2), stride=2, groups=3), (2, 15, 9, 9)),
    "as large as the input": (ConvBlock2d(33, 50, 4), (2, 33, 4, 4)),
    "1-d": (ConvBlock1d(5, 40, 4, stride=3), (2, 5, 50)),
    "3-d": (ConvBlock3d(9, 33, 2, padding="same"), (1, 9, 4, 5, 6)),
    "float64": (ConvBlock2d(16, 33, 3).double(), (2, 16, 6, 6)),
    "float16": (ConvBlock2d(16, 33, 3).half(), (2, 16, 6, 6)),
}


def use(monkeypatch, isa):
    monkeypatch.setenv("CNNKERN_ISA", isa)
    try:
        cnnkern.info()
    except RuntimeError as error:
        pytest.skip(str(error))


def packed_copy(block, x):
    block = copy.deepcopy(block).requires_grad_(False)
    block.pack_weight(x)
    return block


@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512"])
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
@pytest.mark.parametrize("name", BLOCKS)
def test_the_same_bits(name, last, isa, monkeypatch):
    use(monkeypatch, isa)
    block, size = BLOCKS[name]
    x = torch.randn(size, dtype=block.weight.dtype)
    if last and x.dim() > 3:
        form = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
        x = x.contiguous(memory_format=form)
    packed = packed_copy(block, x)
    assert packed.packed_weight.numel() > 0
    residual = torch.randn_like(block(x))
    with testing.launches() as ran:
        found = packed(x, residual)
    assert any("winograd" in kernel for kernel in ran) == name.startswith("winograd")
    assert torch.equal(found, block(x, residual))
    assert torch.equal(packed(x[0]), block(x[0]))  # another size, without a batch
    # Packed indeed: with it the weight itself is not read.
    packed.weight = torch.nn.Parameter(torch.full_like(block.weight, torch.nan))
    assert torch.equal(packed(x, residual), found)


def test_another_kernel_instruction_set_type_or_layout_reads_the_weight(monkeypatch):
    block = ConvBlock2d(32, 48, 3).requires_grad_(False)
    x = torch.randn(2, 32, 10, 10)
    use(monkeypatch, "scalar")
    packed = packed_copy(block, x)
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(packed(last), block(last))
    monkeypatch.setattr(cnnkern.backends, "winograd", False)
    assert torch.equal(packed(x), block(x))
    monkeypatch.undo()
    assert torch.equal(packed(x), block(x))
    torch.testing.assert_close(packed.double()(x.double()), block.double()(x.double()))


def test_copies_are_packed_and_a_new_state_is_not():
    block, size = BLOCKS["1x1"]
    x = torch.randn(size)
    packed = packed_copy(block, x)
    for other in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        assert torch.equal(other.packed_weight, packed.packed_weight)
        assert torch.equal(other(x), packed(x))
    assert set(packed.state_dict()) == {"weight", "bias"}
    zeros = {name: torch.zeros_like(value) for name, value in packed.state_dict().items()}
    packed.load_state_dict(zeros)
    assert not hasattr(packed, "packed_weight") and not packed(x).any()
    circular = ConvBlock2d(16, 16, 3, padding=1, padding_mode="circular")
    circular.pack_weight(torch.randn(1, 16, 8, 8))
    assert not hasattr(circular, "packed_weight")


def test_derivatives_and_transforms_ignore_it():
    block, size = BLOCKS["winograd"]
    x = torch.randn(size)
    packed = packed_copy(block, x)
    wanted = torch.func.grad(lambda x: block(x).square().sum())(x)
    assert torch.equal(torch.func.grad(lambda x: packed(x).square().sum())(x), wanted)
    assert torch.equal(
        torch.func.vmap(packed)(x[:, None])[:, 0], torch.func.vmap(block)(x[:, None])[:, 0]
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(packed(x), block(x))
    compiled = torch.compile(packed, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(x), block(x))


def test_opcheck():
    x, w = torch.randn(1, 16, 6, 6), torch.randn(40, 16, 1, 1)
    window = ([1, 1], [0, 0, 0, 0], [1, 1], 1)
    packed = torch.ops.cnnkern.conv_pack_weight(x, w, *window)
    arguments = (x, w, None, None, *window, "relu", False, packed)
    torch.library.opcheck(torch.ops.cnnkern.conv_bias_act.default, arguments)


@pytest.mark.parametrize("packed", [torch.zeros(3), torch.zeros(16, dtype=torch.int64)])
def test_other_tensors_are_refused(packed):
    x, w = torch.randn(1, 16, 6, 6), torch.randn(20, 16, 1, 1)
    with pytest.raises(RuntimeError, match=r"what conv_pack_weight made of the weight.*pass None"):
        torch.ops.cnnkern.conv_bias_act(
            x, w, None, None, [1, 1], [0] * 4, [1, 1], 1, "relu", False, packed
        )
