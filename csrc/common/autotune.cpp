#include "common/autotune.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>

namespace cnnkern::autotune {
namespace {

constexpr int rounds = 5;
constexpr double least_seconds = 1e-3;  // of a sample, so that the clock and a start count little
constexpr int most_runs = 64;

std::atomic<bool> switched_on{false};
std::mutex mutex;
std::map<std::string, std::string> known;

double seconds(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

bool enabled() { return switched_on; }
void enable(bool on) { switched_on = on; }

std::map<std::string, std::string> results() {
  const std::lock_guard lock(mutex);
  return known;
}

void remember(const std::map<std::string, std::string>& results) {
  const std::lock_guard lock(mutex);
  for (const auto& [key, kernel] : results) known.insert_or_assign(key, kernel);
}

std::string fastest(const std::string& key, const Trial& trial) {
  // Held while timing: two problems at a time would time each other.
  const std::lock_guard lock(mutex);
  const auto takes = [&](const std::string& kernel) {
    try {
      trial.plan(kernel);
      return true;
    } catch (const std::exception&) {  // it refuses, or an old file named it
      return false;
    }
  };
  if (const auto found = known.find(key); found != known.end() && takes(found->second))
    return found->second;
  std::map<std::string, double> best;
  std::map<std::string, int> times;
  for (const std::string& kernel : trial.names()) {
    if (!takes(kernel)) continue;
    trial.run(kernel, 1);
    const double once = seconds([&] { trial.run(kernel, 1); });
    times[kernel] = std::clamp(static_cast<int>(least_seconds / once), 1, most_runs);
    best[kernel] = once;
  }
  for (int round = 0; round < rounds; ++round)
    for (auto& [kernel, time] : best) {
      const int runs = times[kernel];
      time = std::min(time, seconds([&] { trial.run(kernel, runs); }) / runs);
    }
  const auto winner =
      std::ranges::min_element(best, {}, [](const auto& entry) { return entry.second; });
  if (winner == best.end()) return "";
  return known.insert_or_assign(key, winner->first).first->second;
}

}  // namespace cnnkern::autotune
