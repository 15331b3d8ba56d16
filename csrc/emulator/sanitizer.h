// What the emulator tells AddressSanitizer and ThreadSanitizer; nothing in other builds.
#pragma once

#include <cstddef>
#include <memory>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(CNNKERN_THREAD_SANITIZER)
#include <sanitizer/tsan_interface.h>
extern "C" {  // which libtsan exports but no header declares
void __tsan_read_range(void* begin, unsigned long bytes);
void __tsan_write_range(void* begin, unsigned long bytes);
void __tsan_ignore_thread_begin();
void __tsan_ignore_thread_end();
}
#endif

namespace cnnkern::emulator {

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool address_sanitizer = true;
inline void forbid_access(void* begin, size_t bytes) { __asan_poison_memory_region(begin, bytes); }
inline void allow_access(void* begin, size_t bytes) { __asan_unpoison_memory_region(begin, bytes); }
inline void start_switch(void** fake_stack, const void* stack, size_t bytes) {
  __sanitizer_start_switch_fiber(fake_stack, stack, bytes);
}
inline void finish_switch(void* fake_stack, const void** old_stack, size_t* old_bytes) {
  __sanitizer_finish_switch_fiber(fake_stack, old_stack, old_bytes);
}
#else
inline constexpr bool address_sanitizer = false;
inline void forbid_access(void*, size_t) {}
inline void allow_access(void*, size_t) {}
inline void start_switch(void**, const void*, size_t) {}
inline void finish_switch(void*, const void**, size_t*) {}
#endif

// ThreadSanitizer sees each thread of a block as one of its own (a TSan fiber; never two threads of
// a block as one), and as ordered by a block's barriers, by sync_warp, and by the start and end of
// a launch alone. Kernels are compiled for it, the emulator's own code is not (it is
// tests/cpp/cpp_build.py that defines this macro); what the latter does inside library calls that
// TSan intercepts is `Unseen`.
#if defined(CNNKERN_THREAD_SANITIZER)
inline constexpr bool thread_sanitizer = true;
inline void* new_tsan_fiber() { return __tsan_create_fiber(0); }
inline void delete_tsan_fiber(void* fiber) { __tsan_destroy_fiber(fiber); }
inline void* current_tsan_fiber() { return __tsan_get_current_fiber(); }
inline void switch_tsan_fiber(void* fiber) {
  __tsan_switch_to_fiber(fiber, __tsan_switch_to_fiber_no_sync);
}
/// What was done before a release is ordered before what is done after an acquire.
inline void tsan_release(void* point) { __tsan_release(point); }
inline void tsan_acquire(void* point) { __tsan_acquire(point); }
struct Unseen {
  Unseen() { __tsan_ignore_thread_begin(); }
  ~Unseen() { __tsan_ignore_thread_end(); }
};
/// To be seen nevertheless.
inline void tsan_read(const void* begin, size_t bytes) {
  __tsan_ignore_thread_end();
  __tsan_read_range(const_cast<void*>(begin), bytes);
  __tsan_ignore_thread_begin();
}
inline void tsan_write(void* begin, size_t bytes) {
  __tsan_ignore_thread_end();
  __tsan_write_range(begin, bytes);
  __tsan_ignore_thread_begin();
}
/// Memory that TSan has forgotten.
inline std::shared_ptr<void> new_sync_point() { return std::make_shared<size_t>(); }
#else
inline constexpr bool thread_sanitizer = false;
inline void* new_tsan_fiber() { return nullptr; }
inline void delete_tsan_fiber(void*) {}
inline void* current_tsan_fiber() { return nullptr; }
inline void switch_tsan_fiber(void*) {}
inline void tsan_release(void*) {}
inline void tsan_acquire(void*) {}
inline void tsan_read(const void*, size_t) {}
inline void tsan_write(void*, size_t) {}
struct Unseen {
  Unseen() {}
};
inline std::shared_ptr<void> new_sync_point() { return nullptr; }
#endif

}  // namespace cnnkern::emulator
