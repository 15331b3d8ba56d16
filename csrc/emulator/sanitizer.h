// The few AddressSanitizer calls that the emulator makes; nothing in other builds.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
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

}  // namespace cnnkern::emulator
