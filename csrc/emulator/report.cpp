// What a person reads when a kernel broke a rule of the machine.
#include "emulator/report.h"

#include <sstream>
#include <stdexcept>

#include "emulator/tensors.h"

namespace cnnkern::emulator {
namespace {

template <class Triple>
std::string to_string(const Triple& triple) {
  std::ostringstream text;
  text << "(" << triple.x << ", " << triple.y << ", " << triple.z << ")";
  return text.str();
}

std::string at_address(const void* pointer, size_t bytes) {
  std::ostringstream text;
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  const auto begin = reinterpret_cast<uintptr_t>(shared_range.begin);
  const auto end = reinterpret_cast<uintptr_t>(shared_range.end);
  text << bytes << (bytes == 1 ? " byte" : " bytes");
  // Near shared memory an offset says more than an address.
  if (begin != 0 && address + 65536 >= begin && address < end + 65536)
    text << " at offset " << static_cast<intptr_t>(address - begin) << " of the " << end - begin
         << " bytes of shared memory";
  else text << " at address " << pointer;
  return text.str();
}

}  // namespace

std::string place(Site site) {
  return std::string(site.file_name()) + ":" + std::to_string(site.line());
}

std::string describe_thread(const LaunchInfo& launch, int thread) {
  return "thread " + to_string(coordinates(static_cast<uint64_t>(thread), launch.block)) +
         ", warp " + std::to_string(thread / 32) + ", lane " + std::to_string(thread % 32);
}

std::string describe_block(const LaunchInfo& launch, uint64_t linear_index) {
  return "block " + to_string(coordinates(linear_index, launch.grid));
}

std::string describe(const void* pointer, size_t bytes) {
  const auto range = [](const char* word, int64_t first, int64_t last) {
    if (last == first) return word + (" " + std::to_string(first));
    return word + ("s " + std::to_string(first)) + "-" + std::to_string(last);
  };
  const auto* begin = static_cast<const std::byte*>(pointer);
  const std::byte* last = begin + bytes - 1;
  if (shared_range.contains(pointer))
    return range("byte", begin - shared_range.begin, last - shared_range.begin) +
           " of shared memory";
  if (const Tensor* tensor = nearest_tensor(pointer))
    return range("element", element_at(*tensor, begin), element_at(*tensor, last)) + " of '" +
           tensor->name + "'";
  return at_address(pointer, bytes);
}

std::string Block::where() const {
  std::ostringstream text;
  text << "\n  kernel  " << launch_->kernel_name << ", grid " << to_string(launch_->grid)
       << ", block " << to_string(launch_->block) << ", " << launch_->shared_bytes
       << " bytes of shared memory\n  block   " << to_string(coordinates(index_, launch_->grid));
  if (running_ >= 0)
    text << "\n  thread  " << to_string(threadIdx) << ", warp " << running_ / 32 << ", lane "
         << running_ % 32;
  text << "\n  repeat  CNNKERN_EMULATOR_SEED=" << launch_->seed;
  return text.str();
}

std::string Block::who_waits_where() const {
  const auto state = [](const Thread& thread) -> std::string {
    switch (thread.state) {
      case ThreadState::exited: return "exited";
      case ThreadState::fresh: return "not started";
      case ThreadState::ready: return "running";
      default: return "wait in " + std::string(thread.waits_in) + " at " + place(thread.site);
    }
  };
  std::ostringstream text;
  for (size_t begin = 0, end; begin < threads_.size(); begin = end) {
    const std::string group = state(threads_[begin]);
    for (end = begin + 1; end < threads_.size() && state(threads_[end]) == group;) ++end;
    text << "\n  threads " << begin;
    if (end - begin > 1) text << "-" << end - 1;
    text << " " << group;
  }
  return text.str();
}

void Block::fail(const std::string& message, Site site) const {
  throw std::runtime_error("emulator: " + message + "\n  at      " + place(site) + " in " +
                           site.function_name() + where());
}

// No thread can run on, and not all are at one barrier.
void Block::fail_stuck() const {
  const char* what = "deadlock: lanes wait for others that never come";
  if (at_barrier_ == static_cast<int>(threads_.size()))
    what = "divergent barrier: threads of one block wait at different __syncthreads";
  else if (at_barrier_ > 0 && at_barrier_ + exited_ == static_cast<int>(threads_.size()))
    what = "divergent barrier: some threads exited while others wait for them";
  else if (at_barrier_ > 0) what = "divergent barrier: some threads of the block never reach it";
  throw std::runtime_error(std::string("emulator: ") + what + who_waits_where() + where());
}

void fail(const std::string& message, Site site) { Block::current->fail(message, site); }

void fail_shared(const void* pointer, size_t bytes, size_t alignment, Site site) {
  const bool misaligned = reinterpret_cast<uintptr_t>(pointer) % alignment != 0;
  fail((misaligned ? "misaligned access to shared memory: "
                   : "access out of the bounds of shared memory: ") +
           at_address(pointer, bytes),
       site);
}

void fail_global(const void* pointer, size_t bytes, size_t alignment, Site site) {
  const bool misaligned = reinterpret_cast<uintptr_t>(pointer) % alignment != 0;
  fail((pointer == nullptr ? "access to global memory through a null pointer: "
        : misaligned       ? "misaligned access to global memory: "
                           : "shared memory was accessed as global memory: ") +
           at_address(pointer, bytes),
       site);
}

}  // namespace cnnkern::emulator
