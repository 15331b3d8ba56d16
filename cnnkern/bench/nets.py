"""Whole networks: a training step with ``convert``, inference with ``optimize``.

The rivals are PyTorch's eager mode in both memory formats and, for inference, ``torch.compile``
with frozen parameters and ONNX Runtime, where it is installed. Against ``torch.compile`` alone, a
converted model is compiled the same way. A row is one rival of one network.
"""

from __future__ import annotations

import copy
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import cross_entropy

import cnnkern
from cnnkern.bench.record import Row, describe_run
from cnnkern.bench.suite import judged
from cnnkern.bench.table import geometric_mean
from cnnkern.bench.timing import Call, measure, waiter
from cnnkern.progress import progress_bar

BATCHES = {"alexnet": 16, "vgg16": 2, "googlenet": 8, "resnet50": 8, "mobilenet_v2": 8}
ON_GPU = 8  # times as many images: fewer would measure how long a kernel takes to start
TARGETS = {"inference": 1.3, "compiled": 1.0, "training": 1.25}
# ‖ours − theirs‖/‖theirs‖ of the logits, and of the loss; on a GPU float32 may be rounded to tf32.
TOLERANCES = {"cpu": 1e-3, "cuda": 1e-2}

Workload = Callable[[torch.nn.Module, Tensor], dict[str, Call]]


def run_nets(
    budget: float,
    console: Console,
    nets: Sequence[str] = tuple(BATCHES),
    quick: bool = False,
    create: Callable[[str], torch.nn.Module] | None = None,
    device: str = "cpu",
    on_rows: Callable[[list[Row]], Any] = lambda rows: None,
    workloads: Sequence[str] = ("inference", "compiled", "training"),
    origin: dict[str, Any] | None = None,
) -> list[Row]:
    """Times the workloads of each network, with a progress bar.

    Args:
        budget: seconds of sampling for each of the compared calls.
        nets: names of torchvision's models.
        quick: one small image instead of a batch of 224 × 224.
        create: makes a model by its name; torchvision's if None.
        device: cpu or cuda.
        on_rows: told the rows of each workload as they come.
        workloads: which, in this order.
        origin: what :func:`describe_run` found for a larger run that this one is part of.
    """
    origin, rows = origin or describe_run(device), []
    with progress_bar(console) as bar:
        task = bar.add_task("timing", total=len(workloads) * len(nets))
        for net in nets:
            model = (create or _torchvisions)(net).to(device)
            batch = BATCHES.get(net, 8) * (ON_GPU if device == "cuda" else 1)
            size = (1, 3, 64, 64) if quick else (batch, 3, 224, 224)
            images = torch.randn(size, generator=torch.Generator().manual_seed(0)).to(device)
            for name in workloads:
                bar.update(task, description=f"{net} {name}")
                calls = WORKLOADS[name](model, images)
                found = _rows(net, name, calls, images, budget, origin)
                rows += found
                on_rows(found)
                bar.advance(task)
    return rows


def _torchvisions(name: str) -> torch.nn.Module:
    if importlib.util.find_spec("torchvision") is None:
        raise RuntimeError("bench --suite nets: torchvision is missing; pip install torchvision")
    import torchvision

    aux = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # googlenet's, of its initial values
        torch.manual_seed(0)
        model: torch.nn.Module = torchvision.models.get_model(name, weights=None, **aux)
    return model


def inference(model: torch.nn.Module, images: Tensor) -> dict[str, Call]:
    """The calls by name; cnnkern's are ``optimize``."""
    model = copy.deepcopy(model).eval()
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    images_last = images.contiguous(memory_format=torch.channels_last)
    no_grad = torch.no_grad()
    optimized = cnnkern.optimize(model, images)
    calls = {
        "optimize": no_grad(lambda: optimized(images)),
        "nchw": no_grad(lambda: model(images)),
        "nhwc": no_grad(lambda: last(images_last)),
        "compile": _frozen(model, images),
    }
    on_cpu = images.device.type == "cpu"
    if (
        on_cpu
        and importlib.util.find_spec("onnxruntime")
        and importlib.util.find_spec("onnxscript")
    ):
        calls["onnxruntime"] = _onnxruntime(model, images)
    return calls


def compiled(model: torch.nn.Module, images: Tensor) -> dict[str, Call]:
    """``torch.compile`` with frozen parameters, of the converted model and of the model itself."""
    model = copy.deepcopy(model).eval()
    return {
        "convert": _frozen(cnnkern.convert(model), images),
        "compile": _frozen(model, images),
    }


def _frozen(model: torch.nn.Module, images: Tensor) -> Call:
    no_grad = torch.no_grad()
    compiled = torch.compile(model)
    with torch._inductor.config.patch(freezing=True):
        no_grad(compiled)(images)  # frozen here, for good
    return no_grad(lambda: compiled(images))


def _onnxruntime(model: torch.nn.Module, images: Tensor) -> Call:
    import onnxruntime

    program: Any = torch.onnx.export(model, (images,), dynamo=True, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), options, ["CPUExecutionProvider"]
    )
    feed = {session.get_inputs()[0].name: images.numpy()}
    return lambda: torch.from_numpy(session.run(None, feed)[0])


def training(model: torch.nn.Module, images: Tensor) -> dict[str, Call]:
    """Forward, loss, backward and a step of SGD; cnnkern's are ``convert``, in both formats."""
    last = torch.channels_last
    labels = torch.arange(len(images), device=images.device)

    def step(net: torch.nn.Module, memory_format: torch.memory_format) -> Call:
        net = net.to(memory_format=memory_format).train()
        x = images.contiguous(memory_format=memory_format)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.0)  # all calls stay comparable

        def call() -> Tensor:
            optimizer.zero_grad()
            torch.manual_seed(0)  # of dropout
            loss = cross_entropy(net(x), labels)
            loss.backward()
            optimizer.step()
            return loss.detach()

        return call

    return {
        "convert": step(cnnkern.convert(model), torch.contiguous_format),
        "convert nhwc": step(cnnkern.convert(model), last),
        "nchw": step(copy.deepcopy(model), torch.contiguous_format),
        "nhwc": step(copy.deepcopy(model), last),
    }


WORKLOADS: dict[str, Workload] = {
    "inference": inference,
    "compiled": compiled,
    "training": training,
}


def _rows(
    net: str, name: str, calls: dict[str, Call], images: Tensor, budget: float,
    origin: dict[str, Any],
) -> list[Row]:  # fmt: skip
    ours = [call for call in calls if call.startswith(("optimize", "convert"))]
    wanted = next(call for rival, call in calls.items() if rival not in ours)()
    for rival, call in calls.items():
        error = float((call() - wanted).norm() / wanted.norm())
        if not error <= TOLERANCES[images.device.type]:
            raise RuntimeError(
                f"{net}: {rival} differs from eager PyTorch by {error:.1e} in {name}"
            )
    timings = measure(calls, budget, waiter(images.device.type))
    my_name = min(ours, key=lambda call: timings[call].median)
    mine = timings[my_name]
    return [
        Row(
            **origin,
            net=net,
            layer="whole",
            multiplicity=1,
            problem="x".join(map(str, images.shape)),
            direction=name,
            kernel=ours[0],
            layout="nhwc" if my_name != "convert" else "nchw",
            cnnkern_us=mine.median,
            cnnkern_p10_us=mine.p10,
            cnnkern_p90_us=mine.p90,
            cnnkern_gflops=0.0,
            torch_layout=rival,
            torch_us=timings[rival].median,
            torch_p10_us=timings[rival].p10,
            torch_p90_us=timings[rival].p90,
            torch_gflops=0.0,
            ratio=timings[rival].median / mine.median,
            samples=mine.samples,
        )
        for rival in calls
        if rival not in ours
    ]


def net_table(rows: Sequence[Row]) -> Table:
    """One line for a network's pass, one column for a rival; at the end the mean of the worst."""
    rivals = list(dict.fromkeys(row.torch_layout for row in rows))
    table = Table(
        title=f"cnnkern {rows[0].cnnkern} against PyTorch {rows[0].torch} on {rows[0].machine}, "
        f"threads: {rows[0].threads}",
        caption="milliseconds; ratio: the fastest of the others by cnnkern's",
        box=SIMPLE_HEAD,
    )
    table.add_column("network, pass", overflow="fold")
    for column in ("cnnkern", *rivals, "ratio", "target"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, target in TARGETS.items():
        best: dict[str, float] = {}
        for net in dict.fromkeys(row.net for row in rows):
            found = {
                row.torch_layout: row for row in rows if (row.net, row.direction) == (net, name)
            }
            if not found:
                continue
            best[net] = min(row.ratio for row in found.values())
            cells = (f"{found[r].torch_us / 1e3:.1f}" if r in found else "" for r in rivals)
            ours = next(iter(found.values())).cnnkern_us / 1e3
            table.add_row(f"{net}, {name}", f"{ours:.1f}", *cells, f"{best[net]:.2f}", "")
        if not best:
            continue
        mean = judged(geometric_mean(list(best.values())), target)
        table.add_row(f"mean, {name}", "", *[""] * len(rivals), mean, f"{target:.2f}")
        table.add_section()
    return table
