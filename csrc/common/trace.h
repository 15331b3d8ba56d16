// What ran: counts every launch by kernel name, and with CNNKERN_VERBOSE=1 prints a line the first
// time a problem is met: problem -> kernel, tile, grid.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace cnnkern::trace {

/// `describe()` is called only if the line is printed.
template <class Describe>
void launched(const std::string& kernel, Describe&& describe);

/// Launches since the process started, by kernel name.
std::map<std::string, int64_t> launches();

bool verbose();
void count(const std::string& kernel);
void print_once(const std::string& line);

template <class Describe>
void launched(const std::string& kernel, Describe&& describe) {
  count(kernel);
  if (verbose()) print_once(describe());
}

}  // namespace cnnkern::trace
