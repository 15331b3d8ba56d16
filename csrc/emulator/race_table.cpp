#include "emulator/race_table.h"

#include <algorithm>
#include <string>

#include "emulator/report.h"
#include "emulator/tensors.h"

namespace cnnkern::emulator {
namespace {

bool same_warp(const AccessRecord& a, const AccessRecord& b) {
  return a.thread / 32 == b.thread / 32;
}

bool is_write(const AccessRecord& record) { return record.effect != Effect::load; }

const char* kind(const AccessRecord& record) {
  switch (record.effect) {
    case Effect::load: return "read";
    case Effect::store: return "write";
    default: return "write by cp.async";
  }
}

/// Where the access begins that touches this byte: it is aligned to its size.
const void* begin_of(const void* byte, const AccessRecord& record) {
  return reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(byte) &
                                       -uintptr_t{record.bytes});
}

}  // namespace

// Keeps as few reads as will find a race with any later write:
//   of two blocks, one read each: every write races with one of them;
//   of two warps in one epoch, one read each: every write of this epoch does, later ones with none;
//   else the last read of each lane.
void History::add_read(const AccessRecord& read) {
  if (!reads.empty()) {
    const AccessRecord& first = reads.front();
    if (reads.back().block != first.block) return;
    if (read.block != first.block) {
      reads.resize(1, read);
    } else if (read.epoch != first.epoch) {
      forget_reads();
    } else if (!same_warp(reads.back(), first)) {
      return;
    } else if (!same_warp(read, first)) {
      reads.resize(1, read);
    } else if (lanes >> read.thread % 32 & 1) {
      *std::ranges::find(reads, read.thread, &AccessRecord::thread) = read;
      return;
    }
  }
  lanes |= 1u << read.thread % 32;
  reads.push_back(read);
}

void History::forget_reads() {
  reads.clear();
  lanes = 0;
}

GlobalHistory::Page& GlobalHistory::page(uintptr_t number) {
  Shard& shard = shards_[number % shards_.size()];
  const std::lock_guard lock(shard.mutex);
  auto& page = shard.pages[number];
  if (page == nullptr) page = std::make_unique<Page>();
  return *page;
}

std::unique_ptr<BlockObserver> RaceTable::begin_block(uint3, uint64_t linear_index) {
  return std::make_unique<BlockRaceTable>(launch_, global_, linear_index);
}

BlockRaceTable::BlockRaceTable(const LaunchInfo& launch, GlobalHistory& global, uint64_t block)
    : launch_(launch),
      global_(global),
      block_(block),
      clocks_(launch.block.x * launch.block.y * launch.block.z),
      shared_((launch.shared_bytes + Word::bytes - 1) / Word::bytes) {
  // A lane's first accesses carry tick 1, which no other lane has seen yet.
  for (size_t thread = 0; thread < clocks_.size(); ++thread) clocks_[thread][thread % 32] = 1;
}

void BlockRaceTable::barrier(Site site) {
  ++epoch_;
  last_barrier_ = site;
}

void BlockRaceTable::collective(const char* opcode, int first_thread, unsigned mask, Site) {
  if (!orders_memory(opcode)) return;
  Clock joined{};
  for (int lane = 0; lane < 32; ++lane)
    if (mask >> lane & 1)
      for (int other = 0; other < 32; ++other)
        joined[other] = std::max(joined[other], clocks_[first_thread + lane][other]);
  for (int lane = 0; lane < 32; ++lane)
    if (mask >> lane & 1) {
      clocks_[first_thread + lane] = joined;
      ++clocks_[first_thread + lane][lane];  // what it does from now on is news to the others
    }
}

void BlockRaceTable::access(const Access& access) {
  const auto thread = static_cast<uint16_t>(access.thread);
  const AccessRecord now{access.site,
                         block_,
                         epoch_,
                         clocks_[thread][thread % 32],
                         thread,
                         access.effect,
                         static_cast<uint8_t>(access.bytes)};
  const auto* address = static_cast<const std::byte*>(access.pointer);
  if (access.space == Space::shared) {
    const auto offset = static_cast<size_t>(address - shared_range.begin);
    return visit(&shared_[offset / Word::bytes], now, address);
  }
  // An aligned access lies in one page.
  const auto number = reinterpret_cast<uintptr_t>(address);
  GlobalHistory::Page& page = global_page(number / GlobalHistory::Page::bytes);
  const std::lock_guard lock(page.mutex);
  visit(&page.words[number % GlobalHistory::Page::bytes / Word::bytes], now, address);
}

/// An access lies on its size, so it touches whole words or a part of one.
inline void BlockRaceTable::visit(Word* words, const AccessRecord& now, const std::byte* address) {
  for (size_t i = 0; i < now.bytes; i += Word::bytes, ++words) {
    if (words->each == nullptr) {
      if (now.bytes >= Word::bytes) {
        visit(words->whole, now, address + i);
        continue;
      }
      words->each = std::make_unique<std::array<History, Word::bytes>>();
      words->each->fill(words->whole);
    }
    const uintptr_t first = reinterpret_cast<uintptr_t>(address) % Word::bytes;
    for (size_t b = 0; b < std::min<size_t>(now.bytes, Word::bytes); ++b)
      visit((*words->each)[first + b], now, address + i + b);
  }
}

GlobalHistory::Page& BlockRaceTable::global_page(uintptr_t number) {
  CachedPage& cached = cached_pages_[number % cached_pages_.size()];
  if (cached.page == nullptr || cached.number != number) cached = {number, &global_.page(number)};
  return *cached.page;
}

inline void BlockRaceTable::visit(History& history, const AccessRecord& now, const void* address) {
  if (history.written) {
    if (history.write.effect == Effect::copy_issue) {
      if (now.effect != Effect::copy_arrival) fail_in_flight(history.write, now, address);
    } else if (!ordered(history.write, now)) {
      fail_race(history.write, now, address);
    }
  }
  if (!is_write(now)) return history.add_read(now);
  for (const AccessRecord& read : history.reads)
    if (!ordered(read, now)) fail_race(read, now, address);
  history.written = true;
  history.write = now;
  history.forget_reads();
}

bool BlockRaceTable::ordered(const AccessRecord& earlier, const AccessRecord& now) const {
  if (earlier.block != now.block) return false;
  if (earlier.epoch != now.epoch) return true;
  return same_warp(earlier, now) && clocks_[now.thread][earlier.thread % 32] >= earlier.tick;
}

void BlockRaceTable::fail_in_flight(const AccessRecord& copy, const AccessRecord& now,
                                    const void* address) const {
  fail(std::string(kind(now)) + " of bytes that a cp.async, issued at " + place(copy.site) +
           ", has not delivered: a wait_group is missing\n  where   " +
           describe(begin_of(address, now), now.bytes) + "\n  issued  by " +
           describe_thread(launch_, copy.thread),
       now.site);
}

void BlockRaceTable::fail_race(const AccessRecord& earlier, const AccessRecord& now,
                               const void* address) const {
  std::string who = describe_thread(launch_, earlier.thread);
  if (earlier.block != now.block) who = describe_block(launch_, earlier.block) + ", " + who;
  fail("race: a " + std::string(kind(now)) + " and an earlier " + kind(earlier) +
           " are not ordered, both touch " + describe(address, 1) + "\n  earlier " + kind(earlier) +
           " of " + describe(begin_of(address, earlier), earlier.bytes) + "\n          at " +
           place(earlier.site) + " in " + earlier.site.function_name() + "\n          by " + who +
           "\n  now     " + kind(now) + " of " + describe(begin_of(address, now), now.bytes) +
           "\n  missing " + missing(earlier, now),
       now.site);
}

std::string BlockRaceTable::missing(const AccessRecord& earlier, const AccessRecord& now) const {
  if (earlier.block != now.block)
    return "nothing can order them: blocks of one launch are not ordered";
  const std::string barrier = "no __syncthreads lies between them; ";
  const std::string last = epoch_ == 0 ? "the block has passed none so far"
                                       : "the last one both passed is " + place(last_barrier_);
  return barrier + last + (same_warp(earlier, now) ? ", and no sync_warp joins the two lanes" : "");
}

}  // namespace cnnkern::emulator
