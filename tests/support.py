"""What the exact tests saw pass: (device, kernel, direction, dtype, layout), for README's table."""

from cases import Case

from cnnkern.problems import Problem

SEEN: set[tuple[str, ...]] = set()


def saw(device: str, kernel: str, direction: str, dtype: object, layout: str) -> None:
    SEEN.add((device, kernel, direction, str(dtype).removeprefix("torch."), layout))


def saw_case(case: Case) -> None:
    problem = Problem.parse(case.text)
    layout = "nhwc" if problem.channels_last else "nchw"
    # Other kernels' names say what they compute.
    of_pool = case.device == "cpu" and problem.operation not in ("conv", "unfold")
    kernel = f"{problem.operation}.{case.kernel}" if of_pool else case.kernel
    dtype = "tf32" if problem.tf32 and case.device != "cpu" else problem.dtype
    saw(case.device, kernel, problem.direction, dtype, layout)
