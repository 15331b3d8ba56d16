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

/// How a problem's kernels are tried.
struct Trial {
  std::function<std::vector<std::string>()> names;   // some of them may refuse the problem
  std::function<void(const std::string&)> plan;      // throws if the kernel refuses
  std::function<void(const std::string&, int)> run;  // so many times; returns when that is done
};

/// The fastest kernel for `key`, timed when it is first asked for; empty if all refuse.
std::string fastest(const std::string& key, const Trial& trial);

}  // namespace cnnkern::autotune
