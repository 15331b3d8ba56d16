"""The float64 reference: the definitions, in numpy, tap by tap; no convolution of anybody's."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

from cnnkern.problems import Problem


def _padded(x: np.ndarray, problem: Problem, fill: float = 0.0) -> np.ndarray:
    pads = list(zip(problem.padding[0::2], problem.padding[1::2]))
    return np.pad(x, [(0, 0), (0, 0), *pads], constant_values=fill)


def _taps(problem: Problem):
    """Each tap of the window, and the slices of the padded input that it reads."""
    for tap in itertools.product(*map(range, problem.kernel)):
        yield (
            tap,
            tuple(
                slice(at * gap, at * gap + (count - 1) * step + 1, step)
                for at, gap, count, step in zip(
                    tap, problem.dilation, problem.output, problem.stride
                )
            ),
        )


def _grouped(x: np.ndarray, groups: int) -> np.ndarray:
    """(N, C, …) to (N, G, C/G, …)"""
    return x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])


def _filters(w: np.ndarray, groups: int) -> np.ndarray:
    """(K, C/G, …) to (G, K/G, C/G, …)"""
    return w.reshape(groups, w.shape[0] // groups, *w.shape[1:])


def fprop(problem: Problem, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    x, w = _grouped(_padded(x, problem), problem.groups), _filters(w, problem.groups)
    y = np.zeros((problem.n, problem.groups, w.shape[1], *problem.output))
    for tap, window in _taps(problem):
        y += np.einsum("ngc...,gkc->ngk...", x[(..., *window)], w[(..., *tap)])
    return y.reshape(problem.output_shape)


def dgrad(problem: Problem, dy: np.ndarray, w: np.ndarray) -> np.ndarray:
    dy, w = _grouped(dy, problem.groups), _filters(w, problem.groups)
    dx = _grouped(_padded(np.zeros(problem.input_shape), problem), problem.groups)
    for tap, window in _taps(problem):
        dx[(..., *window)] += np.einsum("ngk...,gkc->ngc...", dy, w[(..., *tap)])
    inside = [slice(b, b + i) for b, i in zip(problem.padding[0::2], problem.input)]
    return dx[(..., *inside)].reshape(problem.input_shape)


def unfold(problem: Problem, x: np.ndarray) -> np.ndarray:
    x = _padded(x, problem)
    taps = [x[(..., *window)] for _, window in _taps(problem)]
    return np.stack(taps, 2).reshape(problem.n, problem.k, -1)


def fold(problem: Problem, columns: np.ndarray) -> np.ndarray:
    x = _padded(np.zeros(problem.input_shape), problem)
    taps = columns.reshape(problem.n, problem.c, -1, *problem.output)
    for i, (_, window) in enumerate(_taps(problem)):
        x[(..., *window)] += taps[:, :, i]
    inside = [slice(b, b + i) for b, i in zip(problem.padding[0::2], problem.input)]
    return x[(..., *inside)]


def wgrad(problem: Problem, dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    dy, x = _grouped(dy, problem.groups), _grouped(_padded(x, problem), problem.groups)
    dw = np.zeros(_filters(np.empty(problem.weight_shape), problem.groups).shape)
    for tap, window in _taps(problem):
        seen = x[(..., *window)].reshape(*x.shape[:3], -1)
        dw[(..., *tap)] = np.einsum("ngkp,ngcp->gkc", dy.reshape(*dy.shape[:3], -1), seen)
    return dw.reshape(problem.weight_shape)


def activation(problem: Problem, z: np.ndarray) -> np.ndarray:
    def sigmoid():
        return 1 / (1 + np.exp(-z))

    return {
        None: lambda: z,
        "relu": lambda: np.maximum(z, 0),
        "relu6": lambda: np.clip(z, 0, 6),
        "tanh": lambda: np.tanh(z),
        "sigmoid": sigmoid,
        "gelu": lambda: z * (1 + np.vectorize(math.erf)(z / math.sqrt(2))) / 2,
        "silu": lambda: z * sigmoid(),
        "hardswish": lambda: z * np.clip(z + 3, 0, 6) / 6,
    }[problem.activation]()


def bias_grad(dy: np.ndarray) -> np.ndarray:
    return dy.sum(axis=(0, *range(2, dy.ndim)))


def max_pool(problem: Problem, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maxima and flat positions; NaN wins, of equal values the first, of NaNs the last."""
    y = np.empty(problem.output_shape)
    at = np.empty(problem.output_shape, dtype=np.int64)
    for cell in itertools.product(*map(range, problem.output)):
        begin = [o * u - p for o, u, p in zip(cell, problem.stride, problem.padding[0::2])]
        best = np.full(x.shape[:2], -np.inf)
        where = np.full(x.shape[:2], -1)
        for tap in itertools.product(*map(range, problem.kernel)):
            place = [b + t * gap for b, t, gap in zip(begin, tap, problem.dilation)]
            if any(not 0 <= i < size for i, size in zip(place, problem.input)):
                continue
            value = x[(..., *place)]
            takes = (value > best) | np.isnan(value) | (where < 0)
            best = np.where(takes, value, best)
            where = np.where(takes, np.ravel_multi_index(place, problem.input), where)
        y[(..., *cell)], at[(..., *cell)] = best, where
    return y, at


def tap_numbers(problem: Problem, at: np.ndarray) -> np.ndarray:
    """Of the taps at flat positions, within their windows, row-major; 255 where there is none."""
    numbers = np.zeros_like(at)
    places = np.unravel_index(np.maximum(at, 0), problem.input)
    windows = np.indices(problem.output)
    for axis, (place, window) in enumerate(zip(places, windows)):
        start = window * problem.stride[axis] - problem.padding[2 * axis]
        numbers = numbers * problem.kernel[axis] + (place - start) // problem.dilation[axis]
    return np.where(at < 0, 255, numbers).astype(np.uint8)


def max_pool_backward(problem: Problem, dy: np.ndarray, at: np.ndarray) -> np.ndarray:
    n, c = dy.shape[:2]
    size = int(np.prod(problem.input))
    dx = np.zeros((n, c, size + 1))  # the last place takes what windows without a pixel (-1) add
    image, channel = np.ogrid[:n, :c]
    for p in range(int(np.prod(problem.output))):
        np.add.at(dx, (image, channel, at.reshape(n, c, -1)[..., p]), dy.reshape(n, c, -1)[..., p])
    return dx[..., :size].reshape(problem.input_shape)


def _window(problem: Problem, axis: int, o: int, u: float) -> range:
    """The taps of window o of one axis; u is the plane's sample, of fractional windows only."""
    size, windows, taps = problem.input[axis], problem.output[axis], problem.kernel[axis]
    if not problem.fractional:
        return range(o * size // windows, -(-(o + 1) * size // windows))
    if o == windows - 1:
        return range(size - taps, size)
    alpha = (size - taps) / (windows - 1)
    begin = math.floor((o + u) * alpha) - math.floor(u * alpha)
    return range(begin, begin + taps)


def window_max_pool(
    problem: Problem, x: np.ndarray, samples: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Maxima and flat positions over adaptive or fractional windows; of equal values the first."""
    y = np.empty(problem.output_shape)
    at = np.empty(problem.output_shape, dtype=np.int64)
    for n, c, *cell in itertools.product(*map(range, problem.output_shape)):
        axes = [_window(problem, a, o, samples[n, c, a]) for a, o in enumerate(cell)]
        best = max(itertools.product(*axes), key=lambda place: x[(n, c, *place)])
        y[(n, c, *cell)] = x[(n, c, *best)]
        at[(n, c, *cell)] = np.ravel_multi_index(best, problem.input)
    return y, at


def max_unpool(problem: Problem, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Each value where its index says, the last of several; zeros between."""
    x = np.zeros((problem.n, problem.c, math.prod(problem.input)))
    for n, c, *cell in itertools.product(*map(range, problem.output_shape)):
        x[n, c, at[(n, c, *cell)]] = values[(n, c, *cell)]
    return x.reshape(problem.input_shape)


def _avg_pool_matrix(problem: Problem, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Of one axis: which positions each window sums (windows × positions), and what it counts."""
    size, windows = problem.input[axis], problem.output[axis]
    sees, counts = np.zeros((windows, size)), np.zeros(windows)
    for o in range(windows):
        if problem.adaptive:
            sees[o, o * size // windows : -(-(o + 1) * size // windows)] = 1
            counts[o] = sees[o].sum()
            continue
        for tap in range(problem.kernel[axis]):
            pad = problem.padding[2 * axis]
            at = o * problem.stride[axis] + tap * problem.dilation[axis] - pad
            inside = 0 <= at < size
            if inside:
                sees[o, at] += 1
            if at < size + pad and (inside or problem.count_include_pad):
                counts[o] += 1
    return sees, np.maximum(counts, 1)


def avg_pool_divisors(problem: Problem) -> np.ndarray:
    """What each window's sum is divided by."""
    if problem.divisor is not None:
        return np.full(problem.output, float(problem.divisor))
    counts = [_avg_pool_matrix(problem, axis)[1] for axis in range(len(problem.input))]
    return functools.reduce(np.multiply.outer, counts)


def avg_pool_forward(problem: Problem, x: np.ndarray) -> np.ndarray:
    for axis in range(len(problem.input)):
        sees = _avg_pool_matrix(problem, axis)[0]
        x = np.moveaxis(np.tensordot(x, sees, (axis + 2, 1)), -1, axis + 2)
    return x / avg_pool_divisors(problem)


def avg_pool_backward(problem: Problem, dy: np.ndarray) -> np.ndarray:
    dx = dy / avg_pool_divisors(problem)
    for axis in range(len(problem.input)):
        sees = _avg_pool_matrix(problem, axis)[0]
        dx = np.moveaxis(np.tensordot(dx, sees, (axis + 2, 0)), -1, axis + 2)
    return dx
