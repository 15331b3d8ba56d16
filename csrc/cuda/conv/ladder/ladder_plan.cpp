#include "cuda/conv/ladder/ladder.h"

#include "common/ceil_div.h"
#include "common/sentence.h"

namespace cnnkern {

ConvKernelInfo ladder_kernel(int number) {
  const Rung& rung = ladder[number - 1];
  return {ConvKernelFamily::ladder,
          rung.name,
          ConvDirection::fprop,
          rung.dtype,
          false,
          Layout::nhwc,
          1,
          rung.tile,
          rung.threads,
          rung.shared_bytes,
          rung.name,
          number};
}

std::string refuse_ladder(const ConvKernelInfo& kernel, const ConvProblem& p,
                          const DeviceCaps& device) {
  const Rung& rung = ladder[kernel.rung - 1];
  if (device.arch < rung.arch)
    return sentence("its instructions begin with sm_", rung.arch, ", this is ", device.name);
  if (p.dtype != rung.dtype)
    return sentence("computes ", to_string(rung.dtype), ", this problem is ", to_string(p.dtype));
  if (p.groups > 1 || p.input.d > 1 || p.filter.d > 1 || p.output.d > 1 || p.fused())
    return "a rung of the ladder computes plain 2-d convolutions of one group";
  if (p.c == 1) return "one channel has no order, and such tensors count as N C H W";
  if (p.c % rung.vector != 0)
    return sentence("loads ", rung.vector, " channels at a time, but C = ", p.c,
                    " is no multiple of ", rung.vector);
  if (p.k % rung.stored != 0)
    return sentence("stores ", rung.stored, " filters at a time, but K = ", p.k,
                    " is no multiple of ", rung.stored);
  constexpr int64_t limit = int64_t{1} << 31;
  const int64_t padded =
      (p.input.h + p.pad_begin.h + p.pad_end.h) * (p.input.w + p.pad_begin.w + p.pad_end.w);
  if (p.input_elements() >= limit || p.weight_elements() >= limit || p.output_elements() >= limit ||
      padded >= limit)
    return "a rung of the ladder counts elements in 32 bits";
  return "";
}

void plan_ladder(const ConvProblem& p, ConvPlan& plan) {
  const int64_t pixels = p.n * p.output.volume();
  plan.grid[0] = plan.tile.m == 0 ? ceil_div(p.output_elements(), plan.threads)
                                  : ceil_div(pixels, plan.tile.m) * ceil_div(p.k, plan.tile.n);
  plan.why = "it was asked for by name";
}

}  // namespace cnnkern
