// Unfold (im2col) and fold (col2im) on the CPU, a row of windows at a time.
//
// For a tap (r, s) and a row p of windows, the windows that see the image are a run [first, end):
// found once by arithmetic, copied or added without a test. unfold only moves bytes, so its code
// depends on the size of an element alone. fold sums a channel in a plane of accumulators, taps in
// row-major order; one task owns a channel, so the order of the sums is fixed.
#include "cpu/pool/unfold.h"

#include <algorithm>
#include <vector>

namespace cnnkern::cpu {
namespace {

struct Run {
  int64_t first, end;
};

// The windows o of an axis whose tap lies inside: 0 <= o·stride + tap·dilation − pad < image.
Run windows_inside(const UnfoldProblem& p, int axis, int64_t tap) {
  const int64_t stride = p.stride[axis], blocks = p.blocks[axis];
  const int64_t outside = p.pad[axis] - tap * p.dilation[axis];  // elements before the image
  const auto ceil_div = [&](int64_t value) {
    return value <= 0 ? 0 : (value + stride - 1) / stride;
  };
  const int64_t first = std::min(blocks, ceil_div(outside));
  return {first, std::clamp(ceil_div(outside + p.image[axis]), first, blocks)};
}

// body(where the row of windows begins, where in the image its first element lies, the run).
template <class Body>
void for_each_row(const UnfoldProblem& p, int64_t r, int64_t s, Body&& body) {
  const Run rows = windows_inside(p, 1, r), run = windows_inside(p, 2, s);
  for (int64_t y = 0; y < p.blocks.h; ++y) {
    const int64_t h = y * p.stride.h + r * p.dilation.h - p.pad.h;
    const int64_t w = run.first * p.stride.w + s * p.dilation.w - p.pad.w;
    const bool seen = y >= rows.first && y < rows.end;
    body(y * p.blocks.w, h * p.image.w + w, seen ? run : Run{p.blocks.w, p.blocks.w});
  }
}

template <class Element>
void unfold(const UnfoldProblem& p, const Element* image, Element* columns,
            const ParallelFor& parallel) {
  const int64_t taps = p.kernel.volume(), plane = p.image.volume(), row = p.blocks.volume();
  parallel(p.n * p.rows(), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const Element* const from = image + task / taps * plane;
      const int64_t tap = task % taps;
      for_each_row(p, tap / p.kernel.w, tap % p.kernel.w, [&](int64_t at, int64_t source, Run run) {
        Element* const to = columns + task * row + at;
        std::fill(to, to + run.first, Element{});
        if (p.stride.w == 1) std::copy_n(from + source, run.end - run.first, to + run.first);
        else
          for (int64_t x = run.first; x < run.end; ++x)
            to[x] = from[source + (x - run.first) * p.stride.w];
        std::fill(to + run.end, to + p.blocks.w, Element{});
      });
    }
  });
}

template <class T>
void fold(const UnfoldProblem& p, const T* columns, T* image, const ParallelFor& parallel) {
  using Sum = accumulator_t<T>;
  const int64_t plane = p.image.volume() * p.parts, row = p.blocks.volume() * p.parts;
  parallel(p.n * p.c, [&](int64_t begin, int64_t end) {
    std::vector<Sum> sums(static_cast<size_t>(plane));
    for (int64_t task = begin; task < end; ++task) {
      std::fill(sums.begin(), sums.end(), Sum(0));
      const T* from = columns + task * p.kernel.volume() * row;
      for (int64_t r = 0; r < p.kernel.h; ++r)
        for (int64_t s = 0; s < p.kernel.w; ++s, from += row)
          for_each_row(p, r, s, [&](int64_t at, int64_t target, Run run) {
            for (int64_t x = run.first; x < run.end; ++x)
              for (int64_t part = 0; part < p.parts; ++part)
                sums[(target + (x - run.first) * p.stride.w) * p.parts + part] +=
                    static_cast<Sum>(from[(at + x) * p.parts + part]);
          });
      for (int64_t i = 0; i < plane; ++i) image[task * plane + i] = static_cast<T>(sums[i]);
    }
  });
}

template <class Element>
void unfold_as(const UnfoldProblem& p, const UnfoldTensors& tensors, const ParallelFor& parallel) {
  unfold(p, static_cast<const Element*>(tensors.image), static_cast<Element*>(tensors.columns),
         parallel);
}

std::string refuse_nothing(const UnfoldProblem&, const Isa&) { return {}; }

}  // namespace

const std::vector<UnfoldCpuKernel>& unfold_cpu_kernel_table() {
  static const std::vector<UnfoldCpuKernel> table = {
      {"im2col", UnfoldDirection::unfold, "a row of windows at a time, copied without a test",
       refuse_nothing},
      {"col2im", UnfoldDirection::fold,
       "a plane of sums at a time, rows of windows added tap by tap", refuse_nothing},
  };
  return table;
}

UnfoldCpuPlan plan_unfold_cpu(const UnfoldProblem& problem, const std::string& forced,
                              bool explain) {
  const UnfoldCpuKernel& kernel = unfold_cpu_kernel_table()[problem.fold() ? 1 : 0];
  choose(std::span(&kernel, 1), problem, Isa::scalar, forced);  // throws for another name
  UnfoldCpuPlan plan;
  plan.kernel = kernel.name;
  if (explain) plan.why = kernel.idea;
  return plan;
}

void run_unfold_cpu(const UnfoldProblem& problem, const UnfoldTensors& tensors,
                    const ParallelFor& parallel) {
  if (problem.fold())
    return dispatch_all(problem.dtype, [&]<class T>(T) {
      fold(problem, static_cast<const T*>(tensors.columns), static_cast<T*>(tensors.image),
           parallel);
    });
  struct Sixteen {
    uint64_t halves[2];
  };
  switch (size_of(problem.dtype) * problem.parts) {
    case 1: return unfold_as<uint8_t>(problem, tensors, parallel);
    case 2: return unfold_as<uint16_t>(problem, tensors, parallel);
    case 4: return unfold_as<uint32_t>(problem, tensors, parallel);
    case 8: return unfold_as<uint64_t>(problem, tensors, parallel);
    default: return unfold_as<Sixteen>(problem, tensors, parallel);
  }
}

}  // namespace cnnkern::cpu
