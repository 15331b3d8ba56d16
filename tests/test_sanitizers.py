"""The C++ tests of emulator and kernels once more, under gcc's sanitizers.

They are slow, so run_problems runs thin here; see its first lines.
"""

import pytest
from test_emulator import CPP, PROBLEMS, cases, run

# A raw store out of bounds ends a process that AddressSanitizer watches.
UNITS = set(cases("fast")) - {"raw_write_into_a_red_zone_is_reported_at_block_end"}


@pytest.mark.parametrize("name", sorted(UNITS))
def test_unit(programs, name):
    ran = run(programs("sanitized") / "test_emulator", name)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("arch", ["sm_75", "sm_80"])
def test_kernels_on_every_problem(programs, arch):
    ran = run(
        programs("sanitized") / "run_problems",
        *("--arch", arch, "--first-seed", 3, "--thin", *PROBLEMS),
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("name", cases("tsan"))
def test_thread_sanitizer_sees_raw_accesses(programs, name):
    ran = run(programs("tsan") / "test_emulator", name)
    report = ran.stdout + ran.stderr
    if name.startswith("silent_"):
        assert ran.returncode == 0, report
        assert "WARNING" not in report
    else:
        assert name.startswith("race_")
        assert ran.returncode == 66, report
        assert "WARNING: ThreadSanitizer: data race" in report
        assert "test_thread_sanitizer.cpp:" in report


@pytest.mark.parametrize("arch", ["sm_75", "sm_80"])
def test_thread_sanitizer_is_silent_on_the_kernels(programs, arch):
    """On few problems and tiles: it takes ten times as long as the run without a sanitizer."""
    problems = [CPP.parent / f"problems/{file}.txt" for file in ("regressions", "pool", "unfold")]
    ran = run(
        programs("tsan") / "run_problems",
        *("--arch", arch, "--first-seed", 4, "--thin", *problems),
        *("--problem", "n2c4h11w10k8r3s3u2p1", "--problem", "n1c8h9w8k67r3s3p1"),
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
