// A fiber: a stack of its own and the place where its code goes on. One runs at a time on an OS
// thread, between resume() and the next suspend().
//
// The switch saves what the x86-64 System V ABI asks a callee to save: six registers and the stack
// pointer. Elsewhere, or with CNNKERN_PORTABLE_FIBERS defined, it is swapcontext, some twenty times
// slower because it makes a system call.
#pragma once

#include <cstddef>

#if !defined(__x86_64__) && !defined(CNNKERN_PORTABLE_FIBERS)
#define CNNKERN_PORTABLE_FIBERS
#endif

#if defined(CNNKERN_PORTABLE_FIBERS)
#include <ucontext.h>
#endif

namespace cnnkern::emulator {

class Fiber {
 public:
  using Entry = void (*)(void* argument);

  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next resume() calls entry(argument) on this fiber's stack; when entry returns the fiber
  /// has ended and may be started anew.
  void start(Entry entry, void* argument);

  /// Called from outside: runs the fiber until it suspends or ends.
  void resume();

  /// Called from inside: returns at the next resume().
  void suspend();

 private:
  static void run(Fiber* fiber);
  void switch_out(bool for_good);

  std::byte* stack_;  // a guard page stands below
  Entry entry_ = nullptr;
  void* argument_ = nullptr;
#if defined(CNNKERN_PORTABLE_FIBERS)
  ucontext_t own_, resumer_;
#else
  void* own_ = nullptr;  // stack pointers, the registers lie on the stacks
  void* resumer_ = nullptr;
#endif
  void* own_tsan_fiber_;  // ThreadSanitizer's view of this fiber and of its resumer
  void* resumer_tsan_fiber_ = nullptr;
  // What AddressSanitizer wants to know: both fake stacks, and where the resumer's stack lies.
  void* own_fake_stack_ = nullptr;
  void* resumer_fake_stack_ = nullptr;
  const void* resumer_stack_ = nullptr;
  size_t resumer_stack_size_ = 0;
};

}  // namespace cnnkern::emulator
