"""The primitives against NVIDIA's own: CuTe's headers (PyPI: nvidia-cutlass) and CUDA's compiler.

Two oracles, neither of which needs a GPU. Layouts: the emulator's twins do what CuTe's traits say,
evaluated on the host. Machine code: a kernel through our primitives and one through CuTe's
wrappers, or in plain CUDA, become the same SASS, instruction for instruction.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORACLES = ROOT / "tests" / "oracles"
sys.path.insert(0, str(ROOT / "tests" / "cpp"))
import cpp_build  # noqa: E402


def find_package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.submodule_search_locations[0]) if spec else None


@pytest.fixture(scope="session")
def cuda():
    """nvcc and its headers, as tools/build.py finds them."""
    spec = importlib.util.spec_from_file_location("cnnkern_build", ROOT / "tools" / "build.py")
    tools_build = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = tools_build
    spec.loader.exec_module(tools_build)
    found = tools_build.find_cuda()
    return found or pytest.skip("no nvcc, or CNNKERN_CUDA=0")


@pytest.fixture(scope="session")
def cute():
    package = find_package("cutlass_library")
    return package / "source/include" if package else pytest.skip("nvidia-cutlass is not installed")


@pytest.fixture(scope="session")
def cuobjdump():
    bundled = (find_package("triton") or Path()) / "backends/nvidia/bin/cuobjdump"
    found = shutil.which("cuobjdump") or (bundled if bundled.exists() else None)
    return found or pytest.skip("no cuobjdump, neither on PATH nor in triton")


def run(*command) -> str:
    ran = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert ran.returncode == 0, f"{' '.join(map(str, command))}\n{ran.stdout}{ran.stderr}"
    return ran.stdout


@dataclass(frozen=True)
class Edit:
    """A planted bug: one textual edit of a file under csrc/."""

    file: str
    old: str  # must occur exactly once
    new: str
    seen_in: tuple[str, ...]  # the names of what changes, or parts of them


def write_edits(edits, overlay: Path) -> Path:
    """A folder that, before csrc/ on the include path, holds the edited files."""
    for file in {edit.file for edit in edits}:
        text = (ROOT / "csrc" / file).read_text()
        for edit in (edit for edit in edits if edit.file == file):
            assert text.count(edit.old) == 1, f"{edit.old!r} is not once in {file}"
            text = text.replace(edit.old, edit.new)
        (overlay / file).parent.mkdir(parents=True, exist_ok=True)
        (overlay / file).write_text(text)
    return overlay


# --- Layouts ---------------------------------------------------------------------------------

TWINS = "emulator/matrix_twins.h"
LAYOUT_EDITS = [
    Edit(TWINS, "8 * (r % 2), packed", "8 * (r / 2), packed", ("mma.m16n8k16", "mma.m16n8k8.tf32")),
    Edit(TWINS, "i % packed + 4 * packed * r,", "4 * packed * r + 1 - i % packed,", ("f16",)),
    Edit(TWINS, "lane % 4 * 2 + i % 2};", "lane % 4 * 2 + 1 - i % 2};", ("mma.",)),
    Edit(TWINS, "transposed ? along : across", "across", (".trans",)),
    Edit(TWINS, "operand(8 * matrix + i)", "operand(8 * (N - 1 - matrix) + i)", (".x2", ".x4")),
]


@pytest.fixture(scope="session")
def cute_layouts(cuda, cute, tmp_path_factory):
    program = tmp_path_factory.mktemp("cute") / "cute_layouts"
    headers = [f"-isystem{path}" for top in cuda.include for path in (top, top / "cccl")]
    run(
        "g++",
        "-std=c++20",
        "-w",
        f"-I{cute}",
        *headers,
        ORACLES / "cute_layouts.cpp",
        "-o",
        program,
    )
    return set(run(program).splitlines())


def twin_layouts(folder: Path, *include: str) -> set[str]:
    """What the twins do; headers in the folders of `include` come before those of csrc/."""
    objects = cpp_build.build("fast") / "host"
    emulator = [
        objects / f"csrc_{part}_{source.name}.o"
        for part in ("emulator", "common")
        for source in (ROOT / "csrc" / part).glob("*.cpp")
    ]
    program, source = folder / "twin_layouts", ORACLES / "twin_layouts.cpp"
    paths = [*include, f"-I{ROOT}/csrc/emulator/include", f"-I{ROOT}/csrc"]
    flags = cpp_build.arch_flags(80).split()
    run("g++", "-std=c++20", "-pthread", *paths, *flags, source, "-xnone", *emulator, "-o", program)
    return set(run(program).splitlines())


def test_the_twins_lay_out_matrices_as_cute_does(cute_layouts, tmp_path):
    ours = twin_layouts(tmp_path)
    assert len({line.split()[0] for line in ours}) == 5 + 6
    assert ours == cute_layouts


@pytest.mark.parametrize("edit", LAYOUT_EDITS, ids=lambda edit: edit.old)
def test_a_wrong_layout_is_noticed(cute_layouts, tmp_path, edit):
    wrong = twin_layouts(tmp_path, f"-I{write_edits([edit], tmp_path)}") ^ cute_layouts
    for part in edit.seen_in:
        assert any(part in line.split()[0] for line in wrong), part


# --- Machine code ----------------------------------------------------------------------------


def kernels_of(cubin: Path, cuobjdump) -> dict[str, list[str]]:
    """The mangled name of each kernel -> its instructions."""
    kernels: dict[str, list[str]] = {}
    for line in run(cuobjdump, "-sass", cubin).splitlines():
        if function := re.search(r"Function : (\S+)", line):
            kernels[function[1]] = instructions = []
        elif instruction := re.match(r"\s+/\*[0-9a-f]{4}\*/\s+(.+?)\s*;", line):
            instructions.append(instruction[1])
    return kernels


@dataclass(frozen=True)
class Pair:
    ours: list[str]
    theirs: list[str]


@pytest.fixture(scope="session")
def pairs_of(cuda, cute, cuobjdump, tmp_path_factory):
    """Compiles a file of tests/oracles: kernel -> its two versions, <true, …> and <false, …>."""

    def compile_pairs(source: str, arch: int, *include: str) -> dict[str, Pair]:
        cubin = tmp_path_factory.mktemp("sass") / f"{source}.cubin"
        flags = ["-std=c++20", f"-arch=sm_{arch}", *include, f"-I{ROOT}/csrc", f"-I{cute}"]
        run(cuda.nvcc, *flags, "-cubin", ORACLES / source, "-o", cubin)
        kernels = kernels_of(cubin, cuobjdump)
        assert len(kernels) % 2 == 0
        return {
            name: Pair(ours, kernels[name.replace("ILb1E", "ILb0E", 1)])
            for name, ours in kernels.items()
            if "ILb1E" in name
        }

    return compile_pairs


# What must be there, so that two kernels that do nothing are no match: part of a name -> opcode.
OPCODES = {
    "LDSM_N": r"LDSM\.16\.M88",
    "LDSM_T": r"LDSM\.16\.MT88",
    "Mma16x8x8F16": r"HMMA\.1688\.F32 ",
    "Mma16x8x16F16": r"HMMA\.16816\.F32 ",
    "Mma16x8x16Bf16": r"HMMA\.16816\.F32\.BF16 ",
    "Mma16x8x8Tf32": r"HMMA\.1688\.F32\.TF32 ",
    "Mma8x8x4F64": r"DMMA\.884 ",
    "copy_async": r"LDGSTS.*LDGDEPBAR.*DEPBAR\.LE SB0, 0x1",
    "4loadI": r"LDG\.E.*STG\.E",
    "load_readonly": r"LDG\.E\S*\.CONSTANT",
    "stream": r"LDG\.E\.EF.*STG\.E\.EF",
    "shuffle": r"SHFL\.IDX.*SHFL\.UP.*SHFL\.DOWN.*SHFL\.BFLY",
    "vote": r"VOTE",
    "round_to_tf32": r"LOP3\.LUT \S+ \S+ 0xffffe000",
    "column_sums": r"LDG\.E\.128\.CONSTANT.*STS\.128.*BAR\.SYNC.*LDS.*SHFL\.BFLY.*STG\.E",
}


@pytest.mark.parametrize(
    ("source", "arch", "count"),
    [
        ("cute_pairs.cu", 75, 7),
        ("cute_pairs.cu", 80, 14),
        ("plain_pairs.cu", 75, 19),
        ("plain_pairs.cu", 80, 20),
    ],
)
def test_the_primitives_are_the_same_instructions(pairs_of, source, arch, count):
    pairs = pairs_of(source, arch)
    assert len(pairs) == count
    for name, pair in pairs.items():
        assert pair.ours == pair.theirs, name
        opcode = next(pattern for part, pattern in OPCODES.items() if part in name)
        assert re.search(opcode, " ".join(pair.ours)), f"{name} has no {opcode}"


LDMATRIX, MMA, CP_ASYNC, LDST, WARP = (
    f"cuda/primitives/{name}.cuh" for name in ("ldmatrix", "mma", "cp_async", "ldst", "warp")
)
CODE_EDITS = [
    Edit(LDMATRIX, "x4.trans.shared", "x4.shared", ("U16x8_LDSM_T",)),
    Edit(LDMATRIX, "x2.shared", "x2.trans.shared", ("U32x2_LDSM_N",)),
    Edit(MMA, '"r"(a[0]), "r"(a[1]), "r"(b[0])', '"r"(a[1]), "r"(a[0]), "r"(b[0])', ("8x8F16",)),
    Edit(MMA, "f32.bf16.bf16.f32", "f32.f16.f16.f32", ("Bf16",)),
    Edit(MMA, '"d"(a[0]), "d"(b[0])', '"d"(b[0]), "d"(a[0])', ("F64",)),
    Edit(MMA, "cvt.rna.tf32.f32", "mov.b32", ("round_to_tf32",)),
    Edit(CP_ASYNC, '"r"(valid ? 16 : 0)', '"r"(16)', ("copy_asyncILb1ELi16",)),
    Edit(CP_ASYNC, '"r"(valid ? 8 : 0)', '"r"(valid ? 8 : 4)', ("copy_asyncILb1ELi8",)),
    Edit(CP_ASYNC, '"r"(valid ? 4 : 0)', '"r"(valid ? 4 : 2)', ("copy_asyncILb1ELi4",)),
    Edit(LDST, "from_word<V>(__ldg(", "from_word<V>(__ldca(", ("load_readonly",)),
    Edit(LDST, "word = __ldg(", "word = __ldca(", ("column_sums",)),
    Edit(LDST, "__stcs(", "__stwt(", ("stream",)),
    Edit(WARP, "__shfl_up_sync(", "__shfl_down_sync(", ("shuffle",)),
    Edit(WARP, "__all_sync(", "__any_sync(", ("vote",)),
]


@pytest.mark.parametrize("source", ["cute_pairs.cu", "plain_pairs.cu"])
def test_a_wrong_instruction_is_noticed(pairs_of, tmp_path, source):
    pairs = pairs_of(source, 80, f"-I{write_edits(CODE_EDITS, tmp_path)}")
    parts = [part for edit in CODE_EDITS for part in edit.seen_in]
    different = {name for name, pair in pairs.items() if pair.ours != pair.theirs}
    assert different == {name for name in pairs if any(part in name for part in parts)}
