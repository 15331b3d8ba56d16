"""What the machine code's main loops cost at least, and that ours cost no more than CUTLASS's."""

import shutil
import sys
from pathlib import Path

import pytest
from nvcc import NVCC, ROOT, compile_cubin

sys.path.insert(0, str(ROOT / "tools"))
import check_sass
import issue_floor

needs_compiler = pytest.mark.skipif(
    NVCC is None or check_sass.find_cuobjdump() is None,
    reason=f"needs nvcc (found: {NVCC}) and cuobjdump (found: {check_sass.find_cuobjdump()})",
)
TILES = [(256, 64), (128, 128), (128, 64), (64, 128), (64, 64)]


def sass(*lines):
    """(instruction, stall) of a kernel, as cuobjdump prints them."""
    text = "code for sm_80\nFunction : kernel\n"
    for i, (instruction, stall) in enumerate(lines):
        control = stall << 41
        text += f"  /*{16 * i:04x}*/ {instruction} ; /* 0x{0:016x} */\n"
        text += f"      /* 0x{control:016x} */\n"
    [kernel] = check_sass.parse_sass(text)
    return issue_floor.main_loop(kernel)


def test_a_loop_is_counted():
    loop = sass(
        ("MOV R0, RZ", 15),
        ("LDSM.16.MT88.4 R8, [R2]", 1),
        ("HMMA.16816.F32 R16, R4, R12, R16", 2),
        ("HMMA.16816.F32 R20, R4, R14, R20", 3),
        ("BAR.SYNC 0x0", 4),
        ("HMMA.16816.F32 R16, R8, R12, R16", 5),
        ("@P0 BRA 0x10", 6),
        ("EXIT", 15),
    )
    assert loop == issue_floor.Loop(6, "HMMA", 3, 21 / 3, 2, 1)


def test_a_fragment_may_be_used_in_the_next_round():
    loop = sass(
        ("HMMA.16816.F32 R16, R8, R12, R16", 8),
        ("HMMA.16816.F32 R20, R4, R14, R20", 8),
        ("LDSM.16.MT88.2 R12, [R2]", 1),
        ("HMMA.16816.F32 R24, R4, R20, R24", 8),
        ("@P0 BRA 0x0", 5),
    )
    assert loop is not None and loop.distance == 1


def test_ffma_beside_hmma_is_no_math():
    """Fragments are rounded to tf32 by FFMA, before the loop over tiles as well."""
    loop = sass(
        ("MOV R0, RZ", 15),
        ("FFMA R4, R4, R5, R6", 4),
        ("HMMA.1688.F32.TF32 R16, R4, R12, R16", 8),
        ("@P0 BRA 0x20", 5),
        ("@P1 BRA 0x10", 5),
    )
    assert loop == issue_floor.Loop(2, "HMMA", 1, 13.0, None, 0)


def test_a_kernel_without_math_has_no_loop():
    assert sass(("IADD3 R0, R0, 0x1, RZ", 1), ("@P0 BRA 0x0", 5)) is None


@pytest.fixture(scope="module")
def wgrad(tmp_path_factory):
    """The float16 weight gradients for sm_80."""
    root = tmp_path_factory.mktemp("wgrad")
    folder = root / "cuda" / "conv"
    folder.mkdir(parents=True)
    rows = [f"CNNKERN_MMA_WGRAD(float16, cnnkern::float16, {m}, {n}, 32)\n" for m, n in TILES]
    (folder / "conv_kernels.inc").write_text("".join(rows))
    source = Path(shutil.copy(ROOT / "csrc/cuda/conv/wgrad_mma.cu", folder))
    return compile_cubin(source, "80", f"-I{root}")


@needs_compiler
def test_main_loops_of_the_weight_gradient(wgrad):
    found = issue_floor.loops_of([wgrad])
    names = map(issue_floor.short_name, issue_floor.demangle([name for name, _, _ in found]))
    loops = {name: loop for name, (_, _, loop) in zip(names, found, strict=True)}
    assert len(loops) == 2 * len(TILES)
    for name, loop in loops.items():
        assert loop.instructions <= 768 and loop.barriers == 1, (name, loop)
        assert loop.distance is not None and loop.distance >= 6, (name, loop)
    assert loops["mma_wgrad<float16, 128, 64, 32, 2>"].floor <= 8.3
    assert loops["mma_wgrad<float16, 128, 128, 32, 2>"].floor <= 8.3


@needs_compiler
@pytest.mark.parametrize(("theirs", "code"), [(9.0, 0), (7.0, 1), (None, 2)])
def test_the_floor_is_judged_by_cutlass(wgrad, monkeypatch, capsys, theirs, code):
    """By all of CUTLASS's kernels: one that ours lacks is an error."""
    names = ["mma_wgrad<float16, 128, 64, 32, 2>", *(["no such kernel"] if theirs is None else [])]
    loop = issue_floor.Loop(200, "HMMA", 32, theirs or 9.0, 6, 1)
    monkeypatch.setattr(
        issue_floor, "cutlass_loops", lambda: {("80", name): loop for name in names}
    )
    assert issue_floor.main(["--against-cutlass", str(wgrad)]) == code
    assert ("SLOWER" if code == 1 else "ours is no slower") in capsys.readouterr().out
