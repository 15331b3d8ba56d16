"""The modelled table of docs/kernels.md: its bytes are those that the emulator counts."""

import subprocess
import sys

import cases
import pytest
from nvcc import ROOT

from cnnkern._profile import profile
from cnnkern.problems import Problem

sys.path.insert(0, str(ROOT / "tools"))
import update_roofline

A100 = update_roofline.Gpu("sm_80", 312, 1555)


@pytest.mark.skipif(bool(cases.has_emulator()), reason=cases.has_emulator())
@pytest.mark.parametrize("direction", update_roofline.DIRECTIONS)
def test_modelled_bytes_are_counted_bytes(direction):
    """Where tiles are full and no tap is padding every modelled access takes place."""
    text = f"n2c64h16w16k64r1s1 f16 nhwc {direction}"
    modelled = update_roofline.layer(text, A100)
    launches = profile(Problem.parse(text), "sm_80").launches
    assert modelled.read == launches[0].traffic(store=False)
    if modelled.plan["split_k"] == 1:
        assert modelled.written == launches[0].traffic(store=True)


def test_a_layer_by_hand():
    """128 x 64 pixels and filters of 64 channels: 1 x 1 tiles of any size, 2 x 32 deep."""
    layer = update_roofline.layer("n1c64h8w16k64r1s1 f16 nhwc fprop", A100)
    blocks = 128 * 64 // (layer.plan["tile"][0] * layer.plan["tile"][1])
    assert layer.useful == layer.issued == 128 * 64 * 64
    assert layer.least == 2 * (128 * 64 + 64 * 64 + 128 * 64)
    assert layer.filled == blocks / 108
    assert 0 < layer.share(A100) <= 1


def test_the_docs_are_up_to_date():
    command = [sys.executable, "tools/update_roofline.py", "--check"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
