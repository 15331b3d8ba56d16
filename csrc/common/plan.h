// How a kernel is chosen: an ordered list, best first, a generic kernel last. Each kernel either
// takes the problem or refuses it with a sentence; the first that takes it runs. Pure functions of
// the problem and the device: never of timing or of the number of threads, so results repeat.
#pragma once

#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace cnnkern {

struct Refusal {
  std::string kernel, reason;
};

/// The index of the first kernel whose `refuse(problem, device)` is empty. `forced`, if not empty,
/// names the only kernel to ask (tests and benchmarks do). Refusals are kept if asked for.
template <class Kernel, class Problem, class Device>
size_t choose(std::span<const Kernel> kernels, const Problem& problem, const Device& device,
              const std::string& forced, std::vector<Refusal>* refusals = nullptr) {
  for (size_t i = 0; i < kernels.size(); ++i) {
    if (!forced.empty() && forced != kernels[i].name) continue;
    std::string reason = kernels[i].refuse(problem, device);
    if (reason.empty()) return i;
    if (!forced.empty()) throw std::runtime_error(forced + " refuses this problem: " + reason);
    if (refusals) refusals->push_back({kernels[i].name, std::move(reason)});
  }
  throw std::runtime_error(forced.empty()
                               ? "no kernel takes this problem"
                               : "there is no kernel named " + forced + " for this problem");
}

}  // namespace cnnkern
