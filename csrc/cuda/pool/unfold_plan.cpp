#include "cuda/pool/unfold_plan.h"

namespace cnnkern {
namespace {

std::string refuse_nothing(const UnfoldProblem&) { return ""; }

PoolWork work(const UnfoldProblem& p, int64_t elements, std::string symbol) {
  const int64_t numbers = elements * p.parts;
  return {1, numbers, std::move(symbol), thread_an_element(numbers, 1)};
}

// Only bytes move, so numbers of a size share a kernel.
PoolWork columns(const UnfoldProblem& p) {
  const int64_t size = size_of(p.dtype);
  const char* const type = size == 1 ? "char" : size == 2 ? "short" : size == 4 ? "int" : "long";
  return work(p, p.column_elements(), std::string("im2col<unsigned ") + type + ">");
}

PoolWork image(const UnfoldProblem& p) {
  return work(p, p.image_elements(), pool_symbol("col2im", p.dtype));
}

constexpr PoolKernel<UnfoldProblem> kernels[] = {
    {"im2col", UnfoldDirection::unfold, false, refuse_nothing, columns},
    {"col2im", UnfoldDirection::fold, false, refuse_nothing, image},
};

}  // namespace

PoolPlan plan_unfold(const UnfoldProblem& problem, const DeviceCaps& device,
                     const std::string& forced) {
  if (problem.fold()) require_floating_point(problem.dtype);
  return make_pool_plan<UnfoldProblem>(kernels, problem, device, forced);
}

std::vector<PoolKernelRow<UnfoldDirection>> unfold_kernel_table() {
  return make_pool_table<UnfoldProblem>(kernels);
}

}  // namespace cnnkern
