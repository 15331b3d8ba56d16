// What the primitives' twins ask of the emulator; every call is made by a running kernel thread.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>

namespace cnnkern::emulator {

/// Where a kernel did something: a default argument `Site site = Site::current()` of each twin.
using Site = std::source_location;

/// Ends the kernel with a report that names kernel, block, thread and `site`.
[[noreturn]] void fail(const std::string& message, Site site);

/// The running block's shared memory without its red zones.
struct SharedRange {
  std::byte* begin;
  std::byte* end;
  bool contains(const void* pointer) const { return pointer >= begin && pointer < end; }
};
CNNKERN_BUILT_IN SharedRange shared_range;

/// The block's shared memory; fails unless the launch gave exactly `bytes`.
void* shared_memory(size_t bytes, Site site);

/// What an access touches and does; copy_issue and copy_arrival are the two moments of a cp.async.
enum class Space : uint8_t { global, shared };
enum class Effect : uint8_t { load, store, copy_issue, copy_arrival };

/// Whether anyone watches the running block (observer.h).
CNNKERN_BUILT_IN bool observed;
void observe(Space space, Effect effect, const void* pointer, size_t bytes, Site site);

/// The global memory that needs no further question: the tensor touched last (tensors.h), or all of
/// it if no tensors are registered.
struct AllowedRange {
  uintptr_t begin, end;
  bool writable;
};
CNNKERN_BUILT_IN AllowedRange allowed_range;

/// Makes the tensor of this access the allowed range; fails if there is none.
void allow_tensor(Effect effect, const void* pointer, size_t bytes, Site site);

[[noreturn]] void fail_shared(const void* pointer, size_t bytes, size_t alignment, Site site);
[[noreturn]] void fail_global(const void* pointer, size_t bytes, size_t alignment, Site site);

/// Fails unless [pointer, pointer + bytes) lies in shared memory and is aligned as the hardware
/// demands: to the size of the access. Then tells those who watch.
inline void check_shared(Effect effect, const void* pointer, size_t bytes, Site site) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  const auto begin = reinterpret_cast<uintptr_t>(shared_range.begin);
  const auto end = reinterpret_cast<uintptr_t>(shared_range.end);
  if (address % bytes != 0 || address < begin || address + bytes > end) [[unlikely]]
    fail_shared(pointer, bytes, bytes, site);
  if (observed) [[unlikely]]
    observe(Space::shared, effect, pointer, bytes, site);
}

/// Fails if the pointer is misaligned, is not a global one or lies in none of the launch's tensors.
/// Then tells those who watch.
inline void check_global(Effect effect, const void* pointer, size_t bytes, Site site) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  if (address % bytes != 0 || pointer == nullptr || shared_range.contains(pointer)) [[unlikely]]
    fail_global(pointer, bytes, bytes, site);
  if (address < allowed_range.begin || address + bytes > allowed_range.end ||
      (effect == Effect::store && !allowed_range.writable)) [[unlikely]]
    allow_tensor(effect, pointer, bytes, site);
  if (observed) [[unlikely]]
    observe(Space::global, effect, pointer, bytes, site);
}

/// Waits until every lane in `mask` has called with the same mask, opcode and site; the last one
/// runs complete(operands, mask), where operands[lane] is what that lane passed.
using Complete = void (*)(void* const* operands, unsigned mask);
void rendezvous(unsigned mask, const char* opcode, void* operands, Complete complete, Site site);

/// cp.async: the destination is poisoned at once and filled when the thread waits for the group.
void cp_async_issue(void* shared, const void* global, size_t bytes, bool valid, Site site);
void cp_async_commit_group();
void cp_async_wait_group(int pending);

}  // namespace cnnkern::emulator
