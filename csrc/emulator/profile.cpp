#include "emulator/profile.h"

#include <array>
#include <bit>
#include <memory>
#include <mutex>
#include <span>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "emulator/block.h"
#include "emulator/observer.h"

namespace cnnkern::emulator {
namespace {

constexpr int warp_lanes = 32;
constexpr uint64_t sector_bytes = 32, banks = 32, word_bytes = 4;

/// At most 32 values, each kept once.
class DistinctValues {
 public:
  void add(uint64_t value) { values_[count_++] = value; }
  std::span<const uint64_t> get() {
    const auto end = values_.begin() + count_;
    std::sort(values_.begin(), end);
    count_ = static_cast<int>(std::unique(values_.begin(), end) - values_.begin());
    return {values_.data(), static_cast<size_t>(count_)};
  }

 private:
  std::array<uint64_t, warp_lanes> values_;
  int count_ = 0;
};

/// What the lanes of a warp ask for at a time.
struct Request {
  unsigned lanes = 0;
  std::array<uint64_t, warp_lanes> address;
};

template <class Body>
void for_each_lane(unsigned lanes, Body&& body) {
  for (; lanes != 0; lanes &= lanes - 1) body(std::countr_zero(lanes));
}

void count_global(const Request& request, SiteProfile& site) {
  DistinctValues sectors, addresses;  // aligned accesses of one size overlap wholly or not at all
  for_each_lane(request.lanes, [&](int lane) {
    sectors.add(request.address[lane] / sector_bytes);
    addresses.add(request.address[lane]);
  });
  const uint64_t bytes = addresses.get().size() * site.access_bytes;
  site.distinct_bytes += bytes;
  site.sectors += sectors.get().size();
  site.ideal_sectors += (bytes + sector_bytes - 1) / sector_bytes;
}

void count_shared(const Request& request, SiteProfile& site) {
  const int lanes = std::min<int>(warp_lanes, banks * word_bytes / site.access_bytes);
  const uint64_t words = std::max<uint64_t>(1, site.access_bytes / word_bytes);  // of one lane
  for (int first = 0; first < warp_lanes; first += lanes) {
    const unsigned phase = request.lanes >> first << first & (~0u >> (warp_lanes - first - lanes));
    if (phase == 0) continue;
    DistinctValues wanted;
    for_each_lane(phase, [&](int lane) {
      const uint64_t word = request.address[lane] / word_bytes;
      for (uint64_t i = 0; i < words; ++i) wanted.add(word + i);
    });
    std::array<uint64_t, banks> in_bank{};
    for (const uint64_t word : wanted.get()) ++in_bank[word % banks];
    const uint64_t ways = *std::max_element(in_bank.begin(), in_bank.end());
    ++site.phases;
    site.wavefronts += ways;
    site.max_ways = std::max(site.max_ways, ways);
  }
}

const char* kind_of(Space space, Effect effect, bool of_copy) {
  if (effect == Effect::copy_issue) return "cp.async write";
  if (of_copy) return "cp.async read";
  if (space == Space::global) return effect == Effect::load ? "global load" : "global store";
  return effect == Effect::load ? "shared load" : "shared store";
}

/// Where and what; the texts are those of the compiler, compared by address.
struct SiteKey {
  Site site;
  Space space;
  Effect effect;
  size_t bytes;

  bool same_place(const SiteKey& other) const {
    return site.line() == other.site.line() && site.column() == other.site.column() &&
           site.file_name() == other.site.file_name() &&
           site.function_name() == other.site.function_name();
  }
  bool operator==(const SiteKey& other) const {
    return same_place(other) && space == other.space && effect == other.effect &&
           bytes == other.bytes;
  }
};

struct HashSiteKey {
  size_t operator()(const SiteKey& key) const {
    return (reinterpret_cast<size_t>(key.site.function_name()) + key.site.line() * 131 +
            key.site.column()) *
               8 +
           static_cast<size_t>(key.space) * 4 + static_cast<size_t>(key.effect);
  }
};

/// A site in one block.
struct BlockSite {
  SiteProfile counts;
  std::vector<uint32_t> executions;            // of each thread, in this interval between barriers
  std::vector<std::vector<Request>> requests;  // of each warp, in this interval
  BlockSite* copy = nullptr;                   // of a cp.async's read: its write, told before
};

class LaunchCounter;

class BlockCounter final : public BlockObserver {
 public:
  BlockCounter(LaunchCounter& launch, int threads)
      : launch_(launch), threads_(threads), warps_((threads + warp_lanes - 1) / warp_lanes) {}

  void access(const Access& access) override {
    if (access.effect == Effect::copy_arrival) return;  // counted at its issue
    BlockSite& site = find(access);
    // A cp.async of zeros reads nothing, but takes part in the request all the same.
    const uint32_t at =
        site.copy ? site.copy->executions[access.thread] - 1 : site.executions[access.thread]++;
    auto& requests = site.requests[access.thread / warp_lanes];
    if (requests.size() <= at) requests.resize(at + 1);
    const int lane = access.thread % warp_lanes;
    requests[at].lanes |= 1u << lane;
    requests[at].address[lane] = reinterpret_cast<uintptr_t>(access.pointer);
  }

  void barrier(Site) override {
    ++barriers_;
    end_interval();
  }

  void collective(const char* opcode, int, unsigned, Site) override { ++collectives_[opcode]; }

  void block_ended() override;

 private:
  BlockSite& find(const Access& access) {
    const SiteKey key{access.site, access.space, access.effect, access.bytes};
    auto [found, added] = sites_.try_emplace(key);
    BlockSite& site = found->second;
    if (!added) return site;
    if (access.space == Space::global)
      for (auto& [other, written] : sites_)
        if (other.effect == Effect::copy_issue && other.same_place(key)) site.copy = &written;
    site.counts.kind = kind_of(access.space, access.effect, site.copy != nullptr);
    site.counts.file = access.site.file_name();
    site.counts.function = access.site.function_name();
    site.counts.line = access.site.line();
    site.counts.column = access.site.column();
    site.counts.access_bytes = access.bytes;
    site.executions.resize(threads_);
    site.requests.resize(warps_);
    return site;
  }

  void end_interval() {
    for (auto& [key, site] : sites_) {
      const auto count = key.space == Space::global ? count_global : count_shared;
      for (auto& requests : site.requests) {
        for (const Request& request : requests) {
          if (request.lanes == 0) continue;  // a cp.async of zeros alone
          ++site.counts.requests;
          site.counts.lanes += static_cast<uint64_t>(std::popcount(request.lanes));
          count(request, site.counts);
        }
        requests.clear();
      }
      std::fill(site.executions.begin(), site.executions.end(), 0);
    }
  }

  LaunchCounter& launch_;
  int threads_, warps_;
  uint64_t barriers_ = 0;
  std::map<std::string, uint64_t> collectives_;
  std::unordered_map<SiteKey, BlockSite, HashSiteKey> sites_;
};

struct Profiler {
  std::mutex mutex;
  bool running = false;
  std::vector<LaunchProfile> launches;
};

Profiler& profiler() {
  static Profiler instance;
  return instance;
}

/// Adds the blocks of a launch up.
class LaunchCounter final : public LaunchObserver {
 public:
  explicit LaunchCounter(const LaunchInfo& launch)
      : threads_(static_cast<int>(launch.block.x * launch.block.y * launch.block.z)) {
    total_.kernel = launch.kernel_name;
    total_.grid = launch.grid;
    total_.block = launch.block;
    total_.shared_bytes = launch.shared_bytes;
  }

  std::unique_ptr<BlockObserver> begin_block(uint3, uint64_t) override {
    return std::make_unique<BlockCounter>(*this, threads_);
  }

  void add_block(uint64_t barriers, const std::map<std::string, uint64_t>& instructions) {
    ++total_.blocks;
    total_.barriers += barriers;
    for (const auto& [kind, count] : instructions) total_.instructions[kind] += count;
  }

  void add_site(const SiteProfile& site) {
    // The texts of one place may lie at several addresses, and are one row all the same.
    const auto [sum, first] = sites_.try_emplace(
        {site.file, site.line, site.column, site.function, site.kind, site.access_bytes}, site);
    if (!first) sum->second += site;
  }

  void launch_ended() override {
    for (auto& [place, site] : sites_) total_.sites.push_back(std::move(site));
    const std::lock_guard lock(profiler().mutex);
    profiler().launches.push_back(std::move(total_));
  }

  std::mutex mutex;  // held while a block adds itself

 private:
  int threads_;
  LaunchProfile total_;
  std::map<std::tuple<std::string, unsigned, unsigned, std::string, std::string, uint64_t>,
           SiteProfile>
      sites_;
};

void BlockCounter::block_ended() {
  end_interval();
  std::map<std::string, uint64_t> instructions = collectives_;
  if (barriers_ > 0) instructions["__syncthreads"] += barriers_ * static_cast<uint64_t>(warps_);
  const std::lock_guard lock(launch_.mutex);
  for (const auto& [key, site] : sites_) {
    launch_.add_site(site.counts);
    if (key.effect == Effect::copy_issue) instructions["cp.async"] += site.counts.requests;
    else if (!site.copy) instructions[site.counts.kind] += site.counts.requests;
  }
  launch_.add_block(barriers_, instructions);
}

}  // namespace

SiteProfile& SiteProfile::operator+=(const SiteProfile& other) {
  requests += other.requests, lanes += other.lanes;
  sectors += other.sectors, ideal_sectors += other.ideal_sectors;
  distinct_bytes += other.distinct_bytes;
  phases += other.phases, wavefronts += other.wavefronts;
  max_ways = std::max(max_ways, other.max_ways);
  return *this;
}

void start_profile() {
  const std::lock_guard lock(profiler().mutex);
  profiler().running = true;
  profiler().launches.clear();
}

std::vector<LaunchProfile> take_profile() {
  const std::lock_guard lock(profiler().mutex);
  profiler().running = false;
  return std::exchange(profiler().launches, {});
}

std::unique_ptr<LaunchObserver> profile_observer(const LaunchInfo& launch) {
  const std::lock_guard lock(profiler().mutex);
  return profiler().running ? std::make_unique<LaunchCounter>(launch) : nullptr;
}

}  // namespace cnnkern::emulator
