#include "emulator/fiber.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>

#include "emulator/sanitizer.h"

#if !defined(CNNKERN_PORTABLE_FIBERS)

// cnnkern_switch_stack(void** save, void* load): pushes the callee-saved registers, leaves the
// stack pointer in *save, takes `load` and pops what an earlier switch left there.
// cnnkern_fiber_entry: where a fresh stack "returns" to, with the fiber in r12 and Fiber::run in
// r13. The undefined return address tells unwinders and debuggers that the stack ends here.
asm(R"(
  .pushsection .text
  .hidden cnnkern_switch_stack
  .globl cnnkern_switch_stack
  .type cnnkern_switch_stack, @function
cnnkern_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size cnnkern_switch_stack, .-cnnkern_switch_stack

  .hidden cnnkern_fiber_entry
  .globl cnnkern_fiber_entry
  .type cnnkern_fiber_entry, @function
cnnkern_fiber_entry:
  .cfi_startproc
  .cfi_undefined rip
  movq %r12, %rdi
  call *%r13
  ud2
  .cfi_endproc
  .size cnnkern_fiber_entry, .-cnnkern_fiber_entry
  .popsection
)");

extern "C" void cnnkern_switch_stack(void** save, void* load);
extern "C" void cnnkern_fiber_entry();

#endif

namespace cnnkern::emulator {
namespace {

constexpr size_t page = 4096;
constexpr size_t stack_bytes = address_sanitizer ? size_t{256} << 10 : size_t{64} << 10;

}  // namespace

Fiber::Fiber() {
  void* mapping = mmap(nullptr, page + stack_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (mapping == MAP_FAILED)
    throw std::runtime_error("emulator: no memory for the stack of another thread");
  mprotect(mapping, page, PROT_NONE);
  stack_ = static_cast<std::byte*>(mapping) + page;
  own_tsan_fiber_ = new_tsan_fiber();
}

Fiber::~Fiber() {
  delete_tsan_fiber(own_tsan_fiber_);
  allow_access(stack_, stack_bytes);
  munmap(stack_ - page, page + stack_bytes);
}

void Fiber::start(Entry entry, void* argument) {
  entry_ = entry;
  argument_ = argument;
#if defined(CNNKERN_PORTABLE_FIBERS)
  getcontext(&own_);
  own_.uc_stack.ss_sp = stack_;
  own_.uc_stack.ss_size = stack_bytes;
  own_.uc_link = nullptr;
  // makecontext passes ints, so the pointer travels in two halves.
  const auto bits = reinterpret_cast<uintptr_t>(this);
  using Halves = void (*)(unsigned, unsigned);
  const Halves entry_point = [](unsigned high, unsigned low) {
    run(reinterpret_cast<Fiber*>(uintptr_t{high} << 32 | low));
  };
  makecontext(&own_, reinterpret_cast<void (*)()>(entry_point), 2,
              static_cast<unsigned>(bits >> 32), static_cast<unsigned>(bits));
#else
  // What cnnkern_switch_stack pops; rsp is then a multiple of 16, as it must be before a call.
  void** frame = reinterpret_cast<void**>(stack_ + stack_bytes) - 9;
  std::fill(frame, frame + 9, nullptr);      // r15, r14, -, -, rbx, rbp
  frame[2] = reinterpret_cast<void*>(&run);  // r13
  frame[3] = this;                           // r12
  frame[6] = reinterpret_cast<void*>(&cnnkern_fiber_entry);
  own_ = frame;
#endif
}

void Fiber::resume() {
  start_switch(&resumer_fake_stack_, stack_, stack_bytes);
  resumer_tsan_fiber_ = current_tsan_fiber();
  switch_tsan_fiber(own_tsan_fiber_);
#if defined(CNNKERN_PORTABLE_FIBERS)
  swapcontext(&resumer_, &own_);
#else
  cnnkern_switch_stack(&resumer_, own_);
#endif
  finish_switch(resumer_fake_stack_, nullptr, nullptr);
}

void Fiber::suspend() { switch_out(false); }

void Fiber::switch_out(bool for_good) {
  start_switch(for_good ? nullptr : &own_fake_stack_, resumer_stack_, resumer_stack_size_);
  switch_tsan_fiber(resumer_tsan_fiber_);
#if defined(CNNKERN_PORTABLE_FIBERS)
  swapcontext(&own_, &resumer_);
#else
  cnnkern_switch_stack(&own_, resumer_);
#endif
  finish_switch(own_fake_stack_, &resumer_stack_, &resumer_stack_size_);
}

// Never returns; its frame must leave no poisoned red zones on a stack that is used again.
__attribute__((no_sanitize("address"))) void Fiber::run(Fiber* fiber) {
  finish_switch(nullptr, &fiber->resumer_stack_, &fiber->resumer_stack_size_);
  fiber->entry_(fiber->argument_);
  fiber->switch_out(true);
  std::abort();
}

}  // namespace cnnkern::emulator
