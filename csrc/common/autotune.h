// Kernels chosen by timing, if the user asks for it: cnnkern.autotune(True). Else plans come from
// pure functions, and nothing here is reached but a flag.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace cnnkern::autotune {

bool enabled();
void enable(bool on);

/// Kernel names by key; a key names the device and the problem.
std::map<std::string, std::string> results();
void remember(const std::map<std::string, std::string>& results);

/// The fastest kernel for `key`, timed when it is first asked for; empty if `candidates` are.
/// `run(kernel, times)` runs one so often, and returns when it is done.
std::string fastest(const std::string& key, const std::vector<std::string>& candidates,
                    const std::function<void(const std::string&, int)>& run);

}  // namespace cnnkern::autotune
