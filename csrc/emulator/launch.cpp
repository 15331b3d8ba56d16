#include "emulator/launch.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "emulator/block.h"
#include "emulator/device.h"
#include "emulator/observer.h"
#include "emulator/sanitizer.h"
#include "emulator/tensors.h"

namespace cnnkern::emulator {
namespace {

uint64_t from_environment(const char* name, uint64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr ? fallback : std::strtoull(text, nullptr, 10);
}

std::atomic<uint64_t>& seed() {
  static std::atomic<uint64_t> value(from_environment("CNNKERN_EMULATOR_SEED", 0));
  return value;
}

std::atomic<int>& threads() {
  static std::atomic<int> value(static_cast<int>(from_environment(
      "CNNKERN_EMULATOR_THREADS", std::max(1u, std::thread::hardware_concurrency()))));
  return value;
}

std::atomic<bool>& checks_races() {
  static std::atomic<bool> value(from_environment("CNNKERN_EMULATOR_RACES", 0) != 0);
  return value;
}

BlockChoice& block_choice() {
  static BlockChoice choice;
  return choice;
}

// Blocks keep their stacks and shared memory from one launch to the next.
class BlockPool {
 public:
  std::unique_ptr<Block> take() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return std::make_unique<Block>();
    auto block = std::move(idle_.back());
    idle_.pop_back();
    return block;
  }
  void give_back(std::unique_ptr<Block> block) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(block));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Block>> idle_;
};

BlockPool& block_pool() {
  static BlockPool pool;
  return pool;
}

// A random order of [0, count) that needs no table: position·step + offset, step coprime to count.
struct BlockOrder {
  uint64_t count, step, offset;

  BlockOrder(uint64_t count_, uint64_t seed) : count(count_) {
    Random random(seed);
    const auto bound =
        static_cast<uint32_t>(std::min<uint64_t>(count, std::numeric_limits<uint32_t>::max()));
    do step = 1 + random.below(bound);
    while (std::gcd(step, count) != 1);
    offset = random.below(bound);
  }
  uint64_t operator[](uint64_t position) const {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(position) * step + offset) %
                                 count);
  }
};

void check_limits(const std::string& name, dim3 grid, dim3 block) {
  constexpr uint64_t most_threads = 1024, most_blocks_yz = 65535;
  const uint64_t block_threads = uint64_t{block.x} * block.y * block.z;
  const auto fail = [&](const std::string& what) {
    throw std::runtime_error("launching " + name +
                             " failed: invalid configuration argument: " + what);
  };
  if (block_threads == 0 || block_threads > most_threads || block.z > 64)
    fail("a block of " + std::to_string(block_threads) + " threads");
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) fail("an empty grid");
  if (grid.x > 0x7fffffffu || grid.y > most_blocks_yz || grid.z > most_blocks_yz)
    fail("a grid larger than 2^31 - 1, 65535, 65535");
}

}  // namespace

void set_seed(uint64_t value) { seed() = value; }

void set_threads(int count) {
  if (count < 1) throw std::invalid_argument("emulator: the number of threads must be positive");
  threads() = count;
}

void set_race_check(bool on) { checks_races() = on; }

bool race_check() { return checks_races(); }

void set_blocks(BlockChoice choice) { block_choice() = std::move(choice); }

BlockChoice spread_blocks(uint64_t count) {
  return [count](uint64_t blocks) {
    const uint64_t chosen = std::min(count, blocks);
    // One block further each time, lest a stride of the grid be met: all in one column of tiles.
    const uint64_t drift = blocks / count >= count ? 1 : 0;
    std::vector<uint64_t> indices(chosen);
    for (uint64_t i = 0; i < chosen; ++i) indices[i] = i * blocks / chosen + i * drift;
    return indices;
  };
}

void launch(const char* kernel_name, dim3 grid, dim3 block, size_t shared_bytes,
            const std::function<void()>& body) {
  check_limits(kernel_name, grid, block);
  const LaunchInfo info{kernel_name, grid, block, shared_bytes, seed(), &body};
  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  const auto chosen = block_choice() ? std::optional(block_choice()(blocks)) : std::nullopt;
  const uint64_t count = chosen ? chosen->size() : blocks;
  if (count == 0 || (chosen && *std::max_element(chosen->begin(), chosen->end()) >= blocks))
    throw std::invalid_argument("emulator: set_blocks chose no block or one past the last of " +
                                std::to_string(blocks));
  const BlockOrder order(count, info.seed);
  const Block::Observers observers = observers_of(info);

  // The failure reported is the one earliest in the order, whichever OS thread met it first.
  std::atomic<uint64_t> next{0}, failed_at{count};
  std::mutex mutex;
  std::string report;
  const Tensors* const tensors = tensors_in_use();
  const auto work = [&] {
    use_tensors(tensors);
    auto runner = block_pool().take();
    for (uint64_t at = next++; at < failed_at; at = next++) {
      const uint64_t index = chosen ? chosen->at(order[at]) : order[at];
      try {
        runner->run(info, observers, index);
      } catch (const std::exception& error) {
        const std::lock_guard lock(mutex);
        if (at < failed_at) failed_at = at, report = error.what();
      }
    }
    block_pool().give_back(std::move(runner));
  };
  const uint64_t workers =
      std::min<uint64_t>(count, static_cast<uint64_t>(std::max(1, +threads())));
  std::vector<std::jthread> others;
  for (uint64_t i = 1; i < workers; ++i) others.emplace_back(work);
  work();
  others.clear();  // joins
  tsan_acquire(const_cast<LaunchInfo*>(&info));
  if (!report.empty()) throw std::runtime_error(report);
  for (const auto& observer : observers) observer->launch_ended();
}

void* shared_memory(size_t bytes, Site site) {
  const auto given = static_cast<size_t>(shared_range.end - shared_range.begin);
  if (given < bytes)
    fail("SharedStorage has " + std::to_string(bytes) + " bytes, but the launch gives " +
             std::to_string(given),
         site);
  return shared_range.begin;
}

void barrier(Site site) {
  const Unseen unseen;
  Block::current->barrier(site);
}

void rendezvous(unsigned mask, const char* opcode, void* operands, Complete complete, Site site) {
  const Unseen unseen;
  Block::current->rendezvous(mask, opcode, operands, complete, site);
}

void cp_async_issue(void* shared, const void* global, size_t bytes, bool valid, Site site) {
  const Unseen unseen;
  Block::current->cp_async_issue(shared, global, bytes, valid, site);
}

void cp_async_commit_group() {
  const Unseen unseen;
  Block::current->cp_async_commit_group();
}

void cp_async_wait_group(int pending) {
  const Unseen unseen;
  Block::current->cp_async_wait_group(pending);
}

}  // namespace cnnkern::emulator
