"""The lint of asm statements: each rule finds its bad sample, passes its good one, and the repo."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import check_asm  # noqa: E402

SHARED = "static_cast<unsigned>(__cvta_generic_to_shared(p))"
LDMATRIX = "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
MMA = "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1}, {%2}, {%3}, {%4, %5};"
MMA_IN = '"r"(a), "r"(b), "f"(c0), "f"(c1)'
TWO_STEPS = "mov.b32 %0, 1; add.u32 %0, %0, %1;"

# rule: (bad, the finding, good)
SAMPLES = {
    "volatile_load": (
        f'asm("{LDMATRIX}" : "=r"(d) : "r"({SHARED}) : "memory");',
        "volatile: ldmatrix.sync.aligned.m8n8.x1.shared.b16 must not be moved or dropped",
        f'asm volatile("{LDMATRIX}" : "=r"(d) : "r"({SHARED}) : "memory");',
    ),
    "volatile_shuffle": (
        'asm("shfl.sync.idx.b32 %0, %1, 0, 31, -1;" : "=r"(d) : "r"(a));',
        "volatile: shfl.sync.idx.b32 must not be moved",
        'asm volatile("shfl.sync.idx.b32 %0, %1, 0, 31, -1;" : "=r"(d) : "r"(a));',
    ),
    "volatile_clock": (
        'asm("mov.u32 %0, %%clock;" : "=r"(d));',
        "volatile: a clock is read anew",
        'asm volatile("mov.u32 %0, %%clock;" : "=r"(d));',
    ),
    "memory_of_a_commit": (
        'asm volatile("cp.async.commit_group;");',
        'memory: cp.async.commit_group touches or orders memory; add the clobber "memory"',
        'asm volatile("cp.async.commit_group;" ::: "memory");',
    ),
    "memory_of_a_load": (
        'asm volatile("ld.global.f32 %0, [%1];" : "=f"(d) : "l"(p));',
        "memory: ld.global.f32 touches",
        'asm("ld.global.nc.f32 %0, [%1];" : "=f"(d) : "l"(p));',
    ),
    "memory_of_the_second_instruction": (
        'asm volatile("{ .reg .pred p; setp.ne.b32 p, %0, 0;\\n\\t"\n'
        '  "@p st.shared.b32 [%1], %0; }" :: "r"(a), "r"(b));',
        "memory: st.shared.b32 touches",
        'asm volatile("{ .reg .pred p; setp.ne.b32 p, %0, 0;\\n\\t"\n'
        '  "@p st.shared.b32 [%1], %0; }" :: "r"(a), "r"(b) : "memory");',
    ),
    "early_clobber": (
        f'asm("{TWO_STEPS}" : "=r"(d) : "r"(a));',
        'clobber: %0 is written before add.u32 reads %1; its constraint is "=&r"',
        f'asm("{TWO_STEPS}" : "=&r"(d) : "r"(a));',
    ),
    "early_clobber_in_out": (
        f'asm("{TWO_STEPS}" : "+r"(d) : "r"(a));',
        'its constraint is "+&r"',
        'asm("add.u32 %0, %0, %1;" : "+r"(d) : "r"(a));',
    ),
    "operand_unused": (
        'asm("neg.f32 %0, %1;" : "=f"(d) : "f"(a), "f"(more));',
        "operands: %2 (more) is never used",
        'asm("neg.f32 %0, %1;" : "=f"(d) : "f"(a));',
    ),
    "operand_out_of_range": (
        'asm("add.f32 %0, %1, %2;" : "=f"(d) : "f"(a));',
        "operands: %2 is used, but there are 2 operands",
        'asm("add.f32 %0, %1, %1;" : "=f"(d) : "f"(a));',
    ),
    "width_of_a_cast": (
        'asm("mov.b32 %0, %1;" : "=r"(d) : "f"(static_cast<unsigned>(a)));',
        'width: %1 is cast to unsigned but its constraint is "f"; write "r"',
        'asm("mov.b32 %0, %1;" : "=r"(d) : "r"(static_cast<unsigned>(a)));',
    ),
    "width_of_a_shared_address": (
        'asm volatile("st.shared.f32 [%0], %1;" :: "l"(p), "f"(a) : "memory");',
        'width: %0 of st.shared.f32 has the constraint "l"; the instruction takes r',
        'asm volatile("st.shared.f32 [%0], %1;" :: "r"(p), "f"(a) : "memory");',
    ),
    "width_of_both_addresses": (
        'asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" :: "r"(s), "r"(g) : "memory");',
        "width: %1 of cp.async.cg.shared.global",
        'asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" :: "r"(s), "l"(g) : "memory");',
    ),
    "width_of_a_vector": (
        'asm("ld.global.nc.v2.f64 {%0, %1}, [%2];" : "=d"(a), "=f"(b) : "l"(p));',
        'width: %1 of ld.global.nc.v2.f64 has the constraint "f"; the instruction takes d',
        'asm("ld.global.nc.v2.f64 {%0, %1}, [%2];" : "=d"(a), "=d"(b) : "l"(p));',
    ),
    "width_of_an_accumulator": (
        f'asm volatile("{MMA}" : "=r"(d0), "=f"(d1) : {MMA_IN});',
        "width: %0 of mma.sync",
        f'asm volatile("{MMA}" : "=f"(d0), "=f"(d1) : {MMA_IN});',
    ),
    "width_of_a_conversion": (
        'asm("cvt.rna.tf32.f32 %0, %1;" : "=f"(d) : "f"(a));',
        "width: %0 of cvt.rna.tf32.f32",
        'asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(d) : "f"(a));',
    ),
    "width_unknown": (
        'asm("mov.b32 %0, %1;" : "=r"(d) : "x"(a));',
        'width: %1 has the constraint "x"',
        'asm("mov.b32 %0, %1;" : "=r"(d) : "n"(5));',
    ),
    "aligned_missing": (
        f'asm volatile("{LDMATRIX.replace(".aligned", "")}" : "=r"(d) : "r"(a) : "memory");',
        "aligned: ldmatrix runs on whole warps; write ldmatrix.sync.aligned",
        f'asm volatile("{LDMATRIX}" : "=r"(d) : "r"(a) : "memory");',
    ),
    "aligned_with_a_mask": (
        'asm volatile("vote.sync.aligned.ballot.b32 %0, p, -1;" : "=r"(d));',
        "aligned: vote takes a mask of lanes",
        'asm volatile("vote.sync.ballot.b32 %0, p, -1;" : "=r"(d));',
    ),
}


@pytest.mark.parametrize(("bad", "finding", "good"), SAMPLES.values(), ids=SAMPLES)
def test_rule(bad, finding, good):
    found = list(check_asm.check_text(f"\n// a comment: asm\n{bad}"))
    assert [line for line, _ in found] == [3] * len(found)
    assert any(finding in text for _, text in found), found
    assert list(check_asm.check_text(good)) == []


def test_place(tmp_path, capsys):
    """Outside csrc/cuda/primitives every statement is a finding, with file, line and way out."""
    source = tmp_path / "kernel.cuh"
    source.write_text(
        '// asm("in a comment")\nvoid f() {\n  asm volatile("bar.sync 0;" ::: "memory");\n}\n'
    )
    assert check_asm.main([str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert f"{source}:3: place: assembly outside csrc/cuda/primitives; make it" in printed
    assert "1 asm statements, 1 findings" in printed


def test_the_sources_are_clean(capsys):
    findings, count = check_asm.check_folder(ROOT / "csrc/cuda")
    assert findings == []
    statements = sum(
        path.read_text().count("asm volatile(") + path.read_text().count("asm(")
        for path in (ROOT / "csrc/cuda").rglob("*.cu*")
    )
    assert count == statements > 0
