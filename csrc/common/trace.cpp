#include "common/trace.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>

namespace cnnkern::trace {
namespace {
std::mutex mutex;
std::map<std::string, int64_t> counts;
std::set<std::string> printed;
}  // namespace

std::map<std::string, int64_t> launches() {
  const std::lock_guard lock(mutex);
  return counts;
}

void count(const std::string& kernel) {
  const std::lock_guard lock(mutex);
  ++counts[kernel];
}

bool verbose() {
  static const bool value = [] {
    const char* text = std::getenv("CNNKERN_VERBOSE");
    return text && *text && std::strcmp(text, "0") != 0;
  }();
  return value;
}

void print_once(const std::string& line) {
  const std::lock_guard lock(mutex);
  if (printed.insert(line).second) std::fprintf(stderr, "cnnkern: %s\n", line.c_str());
}

}  // namespace cnnkern::trace
