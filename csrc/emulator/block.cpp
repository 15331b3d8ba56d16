#include "emulator/block.h"

#include <cstring>
#include <stdexcept>
#include <utility>

#include "emulator/sanitizer.h"

constinit thread_local uint3 threadIdx{};
constinit thread_local uint3 blockIdx{};
constinit thread_local dim3 blockDim{};
constinit thread_local dim3 gridDim{};

namespace cnnkern::emulator {

constinit thread_local SharedRange shared_range{nullptr, nullptr};
thread_local Block* Block::current = nullptr;

namespace {

// Unwinds a thread whose block has failed elsewhere.
struct Cancelled {};

constexpr unsigned char poison = 0xff;      // a NaN in every floating-point type
constexpr uint16_t red_zone_fill = 0xfffd;  // another one
constexpr size_t shared_alignment = 128;

// One in so many times a thread gives way; one in so many warps lags.
constexpr uint32_t give_way_odds = 16, lag_odds = 4;

bool same_text(const char* a, const char* b) { return a == b || std::strcmp(a, b) == 0; }

bool same_place(Site a, Site b) {
  return a.line() == b.line() && a.column() == b.column() &&
         same_text(a.file_name(), b.file_name());
}

}  // namespace

bool orders_memory(const char* opcode) { return same_text(opcode, "sync_warp"); }

void Block::run(const LaunchInfo& launch, const Observers& observers, uint64_t index) {
  const Unseen unseen;
  launch_ = &launch;
  index_ = index;
  random_ = Random(launch.seed ^ (index + 1) * 0xd1342543de82ef95u);
  failure_.clear();
  Block* const outer = std::exchange(current, this);
  blockIdx = coordinates(index, launch.grid);
  blockDim = launch.block;
  gridDim = launch.grid;
  prepare_shared_memory();
  start_threads();
  for (const auto& observer : observers)
    observers_.push_back(observer->begin_block(blockIdx, index));
  observed = !observers_.empty();
  try {
    schedule();
    check_red_zones();
    for (const auto& observer : observers_) observer->block_ended();
  } catch (const std::exception& error) {
    failure_ = error.what();
    cancel();
  }
  observed = false;
  observers_.clear();
  allow_access(shared_.data(), shared_.size());
  shared_range = {nullptr, nullptr};
  current = outer;
  if (!failure_.empty()) throw std::runtime_error(failure_);
}

void Block::prepare_shared_memory() {
  const size_t bytes = launch_->shared_bytes;
  if (thread_sanitizer) shared_ = {};  // so that it forgets the block before
  shared_.resize(shared_alignment + red_zone + bytes + red_zone);
  const auto address = reinterpret_cast<uintptr_t>(shared_.data()) + red_zone;
  shared_begin_ = shared_.data() + red_zone + (-address & (shared_alignment - 1));
  shared_range = {shared_begin_, shared_begin_ + bytes};
  if (bytes == 0) return;
  for (std::byte* zone : {shared_begin_ - red_zone, shared_begin_ + bytes})
    for (size_t at = 0; at < red_zone; at += 2) std::memcpy(zone + at, &red_zone_fill, 2);
  std::memset(shared_begin_, poison, bytes);
  forbid_access(shared_begin_ - red_zone, red_zone);
  forbid_access(shared_begin_ + bytes, red_zone);
}

// Catches what went around load_shared and store_shared, which check their own bounds.
void Block::check_red_zones() const {
  if (address_sanitizer || launch_->shared_bytes == 0) return;  // watched already, or none
  for (const bool after : {false, true}) {
    const std::byte* zone = shared_begin_ + (after ? launch_->shared_bytes : -red_zone);
    for (size_t at = 0; at < red_zone; ++at) {
      const auto expected = std::byte(at % 2 ? red_zone_fill >> 8 : red_zone_fill & 0xff);
      if (zone[at] == expected) continue;
      const size_t distance = after ? at : red_zone - at;
      throw std::runtime_error("emulator: shared memory was written out of bounds: byte " +
                               std::to_string(distance) +
                               (after ? " past its end" : " before its start") + where());
    }
  }
}

void Block::start_threads() {
  const int count = static_cast<int>(launch_->block.x * launch_->block.y * launch_->block.z);
  threads_.resize(count);
  warps_.resize((count + 31) / 32);
  for (Thread& thread : threads_) {
    thread.state = ThreadState::fresh;
    thread.copies.clear();
    thread.committed_groups = 0;
  }
  for (size_t w = 0; w < warps_.size(); ++w) {
    const int lanes = count - static_cast<int>(w) * 32;
    warps_[w].lanes = lanes >= 32 ? ~0u : (1u << lanes) - 1;
    warps_[w].exited = 0;
    warps_[w].open.clear();
    warps_[w].lags = random_.below(lag_odds) == 0;
  }
  idle_fibers_.clear();
  for (const auto& fiber : fibers_) idle_fibers_.push_back(fiber.get());
  ready_.clear();
  lagging_.clear();
  at_barrier_ = exited_ = 0;
  cancelling_ = false;
  for (int thread = 0; thread < count; ++thread) make_ready(thread);
  barrier_sync_point_ = new_sync_point();
  tsan_release(this);
}

// Inserts at a random place among those that are ready.
void Block::make_ready(int thread) {
  std::vector<int>& queue = warps_[thread / 32].lags ? lagging_ : ready_;
  queue.push_back(thread);
  std::swap(queue.back(), queue[random_.below(static_cast<uint32_t>(queue.size()))]);
}

// Now and then lets others go first, so that they are seen at odds between two barriers as well.
void Block::give_way() {
  if (random_.below(give_way_odds) != 0) return;
  make_ready(running_);
  wait(ThreadState::ready, nullptr, {});
}

void Block::schedule() {
  const int count = static_cast<int>(threads_.size());
  while (exited_ < count) {
    while (!ready_.empty() || !lagging_.empty()) {
      std::vector<int>& queue = ready_.empty() ? lagging_ : ready_;
      const int thread = queue.back();
      queue.pop_back();
      resume(thread);
      if (!failure_.empty()) throw std::runtime_error(failure_);
    }
    if (at_barrier_ == count) release_barrier();
    else if (exited_ < count) fail_stuck();
  }
}

void Block::release_barrier() {
  for (const Thread& thread : threads_)
    if (!same_place(thread.site, threads_[0].site)) fail_stuck();
  for (const auto& observer : observers_) observer->barrier(threads_[0].site);
  at_barrier_ = 0;
  barrier_sync_point_ = new_sync_point();
  for (int thread = 0; thread < static_cast<int>(threads_.size()); ++thread) {
    threads_[thread].state = ThreadState::ready;
    make_ready(thread);
  }
}

void Block::resume(int index) {
  Thread& thread = threads_[index];
  running_ = index;
  threadIdx = coordinates(static_cast<uint64_t>(index), launch_->block);
  if (thread.state == ThreadState::fresh) {
    thread.fiber = take_fiber();
    thread.fiber->start([](void* block) { static_cast<Block*>(block)->run_thread(); }, this);
    thread.state = ThreadState::ready;
  }
  thread.fiber->resume();
  if (thread.state == ThreadState::exited) {
    Fiber* const fiber = std::exchange(thread.fiber, nullptr);
    if (!thread_sanitizer) idle_fibers_.push_back(fiber);
  }
  running_ = -1;
}

// A fiber serves the next thread when its own has ended, so threads that never wait share a stack.
Fiber* Block::take_fiber() {
  if (idle_fibers_.empty()) {
    fibers_.push_back(std::make_unique<Fiber>());
    idle_fibers_.push_back(fibers_.back().get());
  }
  Fiber* fiber = idle_fibers_.back();
  idle_fibers_.pop_back();
  return fiber;
}

// The life of a thread, on its fiber. No exception leaves it.
void Block::run_thread() {
  Thread& thread = threads_[running_];
  tsan_acquire(this);
  try {
    (*launch_->body)();
    if (!thread.copies.empty())
      fail("cp.async: the thread ended without waiting for a copy that it issued here",
           thread.copies.front().site);
    for (const auto& observer : observers_) observer->thread_ended(running_);
  } catch (const Cancelled&) {
  } catch (const std::exception& error) {
    failure_ = error.what();
  }
  tsan_release(const_cast<LaunchInfo*>(launch_));
  thread.state = ThreadState::exited;
  warps_[running_ / 32].exited |= 1u << running_ % 32;
  ++exited_;
}

void Block::wait(ThreadState state, const char* waits_in, Site site) {
  Thread& thread = threads_[running_];
  thread.state = state;
  thread.waits_in = waits_in;
  thread.site = site;
  thread.fiber->suspend();
  if (cancelling_) throw Cancelled{};
}

// Lets every thread that has started unwind its stack.
void Block::cancel() {
  cancelling_ = true;
  for (int thread = 0; thread < static_cast<int>(threads_.size()); ++thread)
    if (threads_[thread].fiber != nullptr) resume(thread);
}

void Block::barrier(Site site) {
  const std::shared_ptr<void> sync_point = barrier_sync_point_;
  tsan_release(sync_point.get());
  ++at_barrier_;
  wait(ThreadState::at_barrier, "__syncthreads", site);
  tsan_acquire(sync_point.get());
}

void Block::cp_async_issue(void* shared, const void* global, size_t bytes, bool valid, Site site) {
  check_shared(Effect::copy_issue, shared, bytes, site);
  Thread& thread = threads_[running_];
  Copy& copy = thread.copies.emplace_back();
  copy.destination = shared;
  copy.bytes = bytes;
  copy.group = thread.committed_groups;
  copy.site = site;
  std::memset(copy.data, 0, bytes);
  if (valid) {
    check_global(Effect::load, global, bytes, site);
    tsan_read(global, bytes);
    std::memcpy(copy.data, global, bytes);
  }
  tsan_write(shared, bytes);
  std::memset(shared, poison, bytes);
  give_way();
}

void Block::cp_async_commit_group() {
  ++threads_[running_].committed_groups;
  give_way();
}

void Block::cp_async_wait_group(int pending) {
  Thread& thread = threads_[running_];
  auto copy = thread.copies.begin();
  for (; copy != thread.copies.end() && copy->group < thread.committed_groups - pending; ++copy) {
    if (observed)
      observe_access(Space::shared, Effect::copy_arrival, copy->destination, copy->bytes,
                     copy->site);
    tsan_write(copy->destination, copy->bytes);
    std::memcpy(copy->destination, copy->data, copy->bytes);
  }
  thread.copies.erase(thread.copies.begin(), copy);
  give_way();
}

void Block::observe_access(Space space, Effect effect, const void* pointer, size_t bytes,
                           Site site) {
  const Access access{space, effect, pointer, bytes, site, running_};
  for (const auto& observer : observers_) observer->access(access);
}

void Block::rendezvous(unsigned mask, const char* opcode, void* operands, Complete complete,
                       Site site) {
  const int first_thread = running_ / 32 * 32, lane = running_ % 32;
  const unsigned own = 1u << lane;
  Warp& warp = warps_[running_ / 32];
  const auto same_call = [&](const Rendezvous& other) {
    return other.mask == mask && same_text(other.opcode, opcode) && same_place(other.site, site);
  };
  if (blockDim.x != threads_.size())
    fail(std::string(opcode) + ": warp primitives expect one-dimensional blocks", site);
  if (!(mask & own)) fail(std::string(opcode) + ": the mask does not name the calling lane", site);
  if (mask & ~warp.lanes)
    fail(std::string(opcode) + ": the mask names lanes that this warp does not have", site);
  if (mask & warp.exited)
    fail(std::string(opcode) + ": the mask names a lane that has exited", site);

  Rendezvous* joined = nullptr;
  for (Rendezvous& other : warp.open) {
    if (same_call(other)) joined = &other;
    // They wait for this lane, which is about to wait for them.
    else if ((other.mask & own) && (mask & other.arrived))
      fail(std::string("warp mismatch: this lane calls ") + opcode +
               " while lanes of its mask wait for it elsewhere" + who_waits_where(),
           site);
  }
  if (joined == nullptr) {
    warp.open.push_back({mask, 0, opcode, site, {}, new_sync_point()});
    joined = &warp.open.back();
  }
  joined->operands[lane] = operands;
  joined->arrived |= own;
  const std::shared_ptr<void> sync_point = joined->sync_point;
  if (orders_memory(opcode)) tsan_release(sync_point.get());
  if (joined->arrived != mask) {
    wait(ThreadState::at_rendezvous, opcode, site);
    if (orders_memory(opcode)) tsan_acquire(sync_point.get());
    return;
  }

  complete(joined->operands.data(), mask);
  for (const auto& observer : observers_) observer->collective(opcode, first_thread, mask, site);
  if (joined != &warp.open.back()) *joined = warp.open.back();
  warp.open.pop_back();
  for (int other = 0; other < 32; ++other)
    if (other != lane && (mask >> other & 1)) {
      threads_[first_thread + other].state = ThreadState::ready;
      make_ready(first_thread + other);
    }
  if (orders_memory(opcode)) tsan_acquire(sync_point.get());
  give_way();
}

}  // namespace cnnkern::emulator
