"""The command ``cnnkern``. Each command imports what it needs when it runs."""

from __future__ import annotations

from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from cnnkern.cli_options import Device, TensorDevice, require
from cnnkern.cli_train import predict, train


class Commands(TyperGroup):
    """What a user can put right ends in one sentence and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):  # the regular ends, RuntimeErrors by inheritance
            raise
        except (ValueError, RuntimeError, OSError) as error:
            message = f"[bold red]cnnkern:[/] {escape(str(error))}"
            Console(stderr=True).print(message, highlight=False, soft_wrap=True)
            raise typer.Exit(2) from error


class Suite(str, Enum):
    cpu = "cpu"
    nets = "nets"


app = typer.Typer(
    cls=Commands,
    help="Hand-written convolution and pooling kernels for PyTorch.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Problem = Annotated[
    str,
    typer.Argument(
        help="Such as n8c64h56w56k64r3s3p1; in quotes with options: '… f16 nhwc dgrad'."
    ),
]
AnyDevice = Annotated[str, typer.Option(help="cpu, or a GPU, which need not be here: sm_80.")]
ProfileOption = Annotated[
    bool, typer.Option("--profile", help="Count memory accesses in the emulator; needs a GPU name.")
]
Target = Annotated[
    str, typer.Argument(help="lenet5, alexnet, resnet50, a file of problems, or one problem.")
]
SuiteOption = Annotated[
    Suite | None,
    typer.Option(help="Instead of a target: layers in groups (cpu), or whole networks (nets)."),
]
Quick = Annotated[bool, typer.Option("--quick", help="A suite on one image, small for networks.")]
Results = Annotated[Path, typer.Option(help="Folder of the CSV file (rows are added) and picture.")]
Budget = Annotated[float, typer.Option(min=0.001, help="Seconds of sampling for each timed call.")]
ModelName = Annotated[str, typer.Argument(help="A model's name, such as lenet5.")]


@app.command()
def info() -> None:
    """What this build can do on this machine."""
    import cnnkern

    typer.echo(str(cnnkern.info()))


@app.command()
def explain(problem: Problem, device: AnyDevice = "cpu", profile: ProfileOption = False) -> None:
    """Which kernel computes a problem, with which tile, and why the others refused."""
    import cnnkern

    typer.echo(str(cnnkern.explain(problem, device=device, profile=profile)))


@app.command()
def kernels(device: AnyDevice = "") -> None:
    """Every kernel, with what the compiler recorded about it."""
    from cnnkern.kernel_table import tables

    # A narrower terminal breaks lines; rich would drop columns instead.
    console = Console(width=max(Console().width, 116))
    for table in tables(device):
        console.print(table)


@app.command()
def summary(model: ModelName) -> None:
    """Output volume, parameters and FLOPs of each layer, for one image."""
    from cnnkern.models import create, summarize

    network = create(model)
    result = summarize(network)
    table = Table(
        title=f"{model}, one image of {_volume(network.input_shape)}",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_footer=True,
    )
    table.add_column("layer", "total")
    table.add_column("kind")
    table.add_column("O = (N + 2P − F)/S + 1", no_wrap=True)
    table.add_column("output")
    table.add_column("parameters", f"{result.parameters:,}", justify="right")
    table.add_column("FLOPs", f"{result.flops:,}", justify="right")
    for layer in result.layers:
        row = (layer.name, layer.kind, layer.formula, _volume(layer.output))
        table.add_row(*row, f"{layer.parameters:,}", f"{layer.flops:,}")
    # A narrower terminal breaks lines; rich would cut names and numbers instead.
    Console(width=max(Console().width, 132)).print(table)


@app.command()
def models() -> None:
    """Every network of the registry, with its size for one input."""
    import torch

    from cnnkern.models import create, list_models, summarize

    # A narrower terminal breaks lines; rich would drop columns instead.
    console = Console(width=max(Console().width, 100))
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("model", "task", "input"):
        table.add_column(heading, no_wrap=True)
    for heading in ("parameters", "FLOPs"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in list_models():
        with torch.device("meta"):  # shapes alone: no memory, no arithmetic
            network = create(name)
            flops = summarize(network).flops
        parameters = sum(parameter.numel() for parameter in network.parameters())
        row = (name, network.task, _volume(network.input_shape))
        table.add_row(*row, f"{parameters:,}", f"{flops:,}")
    console.print(table)


@app.command()
def bench(
    target: Target = "",
    device: TensorDevice = Device.cpu,
    out: Results = Path("benchmarks/results"),
    budget: Budget = 0.25,
    suite: SuiteOption = None,
    quick: Quick = False,
) -> None:
    """Times layers against PyTorch in its best memory format, or one of two suites on the CPU."""
    from cnnkern import bench as benchmark

    if bool(target) == bool(suite):
        raise ValueError("bench: give a target (a network, a file, a problem) or --suite, not both")
    if quick and not suite:
        raise ValueError("bench: --quick goes with --suite")
    if suite:
        if device is not Device.cpu:
            raise ValueError("bench: the suites run on the CPU")
        _bench_suite(suite, quick, budget, out)
        return
    require(device)
    net, problems = benchmark.resolve(target)
    console = Console()
    rows = benchmark.run_with_progress(problems, net, device.value, budget, console)
    console.print(benchmark.ratio_table(rows))
    name = net or "problems"
    benchmark.append_rows(out / f"{name}.csv", rows)
    picture = benchmark.draw_ratios([rows], out / f"{name}.png")
    text = f"rows added to {out / name}.csv, picture in {picture}"
    console.print(text, highlight=False, soft_wrap=True)


def _bench_suite(suite: Suite, quick: bool, budget: float, out: Path) -> None:
    from cnnkern import bench as benchmark

    console = Console(width=max(Console().width, 100))
    file = out / (f"{suite.value}_quick.csv" if quick else f"{suite.value}.csv")
    record = partial(benchmark.append_rows, file)  # what an interrupted run has measured stays
    if suite is Suite.nets:
        rows = benchmark.run_nets(budget, console, quick=quick, on_rows=record)
        table = benchmark.net_table(rows)
    else:
        rows = benchmark.run_suite(budget, console, quick=quick, on_rows=record)
        table = benchmark.group_table(rows)
    console.print(table)
    console.print(f"rows added to {file}", highlight=False, soft_wrap=True)


app.command()(train)
app.command()(predict)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("demo"),
) -> None:
    """Trains LeNet-5 on handwritten digits, then times layers against PyTorch."""
    from cnnkern.demo import run

    run(out, Console())


def _volume(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def main() -> None:
    """The entry point of the command."""
    app(prog_name="cnnkern")
