// The counters, against figures worked out by hand; and running only some blocks of a launch.
#include <algorithm>
#include <vector>

#include "check.h"
#include "cuda/primitives/cp_async.cuh"
#include "cuda/primitives/ldst.cuh"
#include "cuda/primitives/shared.cuh"
#include "cuda/primitives/warp.cuh"
#include "emulator/profile.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

using emulator::LaunchProfile;
using emulator::SiteProfile;
using testing::check_throws;

template <class Launch>
LaunchProfile profile_of(Launch&& launch) {
  emulator::start_profile();
  launch();
  const std::vector<LaunchProfile> launches = emulator::take_profile();
  CHECK(launches.size() == 1);
  return launches[0];
}

/// The only site of that kind.
SiteProfile site(const LaunchProfile& launch, const std::string& kind) {
  const auto of_kind = [&](const SiteProfile& each) { return each.kind == kind; };
  CHECK(std::count_if(launch.sites.begin(), launch.sites.end(), of_kind) == 1);
  return *std::find_if(launch.sites.begin(), launch.sites.end(), of_kind);
}

// --- Global memory -----------------------------------------------------------------------------

template <class V>
__global__ void load_strided(const float* in, int stride, int first) {
  load_global<V>(in + first + static_cast<int>(threadIdx.x) * stride);
}

template <class V = float>
SiteProfile load(int threads, int stride, int first = 0) {
  alignas(32) static const float in[1024] = {};
  return site(profile_of([&] {
                CNNKERN_LAUNCH(load_strided<V>, 1, threads, 0, nullptr, in, stride, first);
              }),
              "global load");
}

TEST(neighbouring_words_fill_their_sectors) {
  const SiteProfile found = load(64, 1);
  CHECK(found.requests == 2 && found.lanes == 64 && found.bytes() == 256);
  CHECK(found.sectors == 8 && found.ideal_sectors == 8 && found.efficiency() == 1.0);
  CHECK(found.phases == 0 && found.wavefronts == 0);
}

TEST(every_second_word_wastes_half_of_each_sector) {
  const SiteProfile found = load(32, 2);
  CHECK(found.requests == 1 && found.sectors == 8 && found.ideal_sectors == 4);
  CHECK(found.efficiency() == 0.5);
  CHECK(load(32, 8).sectors == 32 && load(32, 8).efficiency() == 0.125);
  CHECK(load(32, 32).sectors == 32);
}

TEST(words_off_their_sectors_touch_one_more) {
  const SiteProfile found = load(32, 1, 1);
  CHECK(found.sectors == 5 && found.ideal_sectors == 4 && found.efficiency() == 0.8);
}

TEST(vectors_of_16_bytes_touch_16_sectors) {
  const SiteProfile found = load<Vector<float, 4>>(32, 4);
  CHECK(found.access_bytes == 16 && found.sectors == 16 && found.efficiency() == 1.0);
}

TEST(one_word_for_all_lanes_is_one_sector) {
  const SiteProfile found = load(32, 0);
  CHECK(found.bytes() == 128 && found.distinct_bytes == 4);
  CHECK(found.sectors == 1 && found.ideal_sectors == 1 && found.efficiency() == 0.125);
}

TEST(a_warp_need_not_be_full) {
  const SiteProfile found = load(40, 1);
  CHECK(found.requests == 2 && found.lanes == 40 && found.sectors == 5);
}

__global__ void store_in_rounds(float* out, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    // Lanes that sit out one round are back in step after the barrier.
    if (round != 1 || threadIdx.x % 2 == 0) store_global(out + round * 32 + threadIdx.x, 1.0f);
    __syncthreads();
  }
}

TEST(requests_are_put_together_between_barriers) {
  alignas(32) float out[96];
  const auto launch =
      profile_of([&] { CNNKERN_LAUNCH(store_in_rounds, 1, 32, 0, nullptr, out, 3); });
  const SiteProfile found = site(launch, "global store");
  CHECK(found.requests == 3 && found.lanes == 80 && found.sectors == 12);
  CHECK(found.distinct_bytes == 80 * 4);
  CHECK(launch.barriers == 3 && launch.instructions.at("__syncthreads") == 3);
}

// --- Shared memory -----------------------------------------------------------------------------

struct Words {
  float value[33 * 32];
};

template <class V>
__global__ void load_shared_strided(int stride) {
  CNNKERN_SHARED(Words, shared);
  load_shared<V>(&shared.value[static_cast<int>(threadIdx.x) * stride]);
}

template <class V = float>
SiteProfile load_words(int stride) {
  const auto launch = profile_of(
      [&] { CNNKERN_LAUNCH(load_shared_strided<V>, 1, 32, sizeof(Words), nullptr, stride); });
  const SiteProfile found = site(launch, "shared load");
  CHECK(found.requests == 1 && found.lanes == 32 && found.sectors == 0);
  return found;
}

bool takes(const SiteProfile& found, uint64_t phases, uint64_t wavefronts, uint64_t ways) {
  return found.phases == phases && found.wavefronts == wavefronts && found.max_ways == ways &&
         found.conflicts() == wavefronts - phases;
}

TEST(a_column_of_an_unpadded_matrix_is_a_32_way_conflict) {
  CHECK(takes(load_words(32), 1, 32, 32));
  CHECK(takes(load_words(33), 1, 1, 1));  // padded
  CHECK(takes(load_words(1), 1, 1, 1));
  CHECK(takes(load_words(2), 1, 2, 2));
  CHECK(takes(load_words(0), 1, 1, 1));  // a broadcast
}

TEST(wide_accesses_go_in_half_and_quarter_warps) {
  CHECK(takes(load_words<Vector<float, 2>>(2), 2, 2, 1));
  CHECK(takes(load_words<Vector<float, 2>>(32), 2, 32, 16));
  CHECK(takes(load_words<Vector<float, 4>>(4), 4, 4, 1));
  CHECK(takes(load_words<Vector<float, 4>>(12), 4, 4, 1));  // pitch 8 + 4: eight rows, all banks
  CHECK(takes(load_words<Vector<float, 4>>(8), 4, 8, 2));   // without the 4 of padding
  CHECK(takes(load_words<Vector<float, 4>>(32), 4, 32, 8));
}

__global__ void load_halves() {
  CNNKERN_SHARED(Words, shared);
  load_shared<uint16_t>(reinterpret_cast<uint16_t*>(shared.value) + threadIdx.x);
}

TEST(two_lanes_in_one_word_do_not_conflict) {
  const auto launch =
      profile_of([] { CNNKERN_LAUNCH(load_halves, 1, 32, sizeof(Words), nullptr); });
  CHECK(takes(site(launch, "shared load"), 1, 1, 1));
}

// --- cp.async, collectives, launches -------------------------------------------------------------

__global__ void copy_rows(const float* in, float* out) {
  CNNKERN_SHARED(Words, shared);
  const int i = threadIdx.x;
  for (int row = 0; row < 2; ++row)  // row 0 lacks its odd words, which become zeros
    cp_async_4(&shared.value[row * 32 + i], in + row * 32 + i, row == 1 || i % 2 == 0);
  cp_async_commit();
  cp_async_wait<0>();
  const float sum = warp_sum(full_warp, load_shared<float>(&shared.value[i]));
  if (i == 0) store_global(out, sum);
}

TEST(cp_async_reads_global_and_writes_shared_memory) {
  alignas(32) static float in[64] = {}, out[1];
  const auto launch =
      profile_of([&] { CNNKERN_LAUNCH(copy_rows, 1, 32, sizeof(Words), nullptr, in, out); });
  const SiteProfile read = site(launch, "cp.async read"), write = site(launch, "cp.async write");
  CHECK(read.requests == 2 && read.lanes == 48 && read.sectors == 8);
  CHECK(read.distinct_bytes == 48 * 4 && read.line == write.line && read.file == write.file);
  CHECK(write.requests == 2 && write.lanes == 64 && takes(write, 2, 2, 1));
  const std::map<std::string, uint64_t> expected = {
      {"cp.async", 2}, {"global store", 1}, {"shared load", 1}, {"shuffle_xor", 5}};
  CHECK(launch.instructions == expected);
  CHECK(launch.kernel == "copy_rows" && launch.blocks == 1 && launch.barriers == 0);
}

TEST(counts_do_not_depend_on_seed_or_os_threads) {
  const auto count = [](uint64_t seed, int threads) {
    emulator::set_seed(seed);
    emulator::set_threads(threads);
    alignas(32) float out[96];
    return profile_of([&] { CNNKERN_LAUNCH(store_in_rounds, 7, 64, 0, nullptr, out, 1); });
  };
  for (uint64_t seed = 0; seed < 4; ++seed) {
    const SiteProfile found = site(count(seed, seed % 2 ? 4 : 1), "global store");
    CHECK(found.requests == 14 && found.lanes == 7 * 64 && found.sectors == 14 * 4);
  }
}

TEST(a_profile_holds_the_launches_from_its_start_to_its_end) {
  load(32, 1);
  emulator::start_profile();
  CHECK(emulator::take_profile().empty());
}

// --- Some blocks only
// ------------------------------------------------------------------------------

/// The choice holds while the object lives.
struct ChosenBlocks {
  explicit ChosenBlocks(emulator::BlockChoice choice) { emulator::set_blocks(std::move(choice)); }
  ~ChosenBlocks() { emulator::set_blocks({}); }
};

__global__ void mark_block(int* out) { store_global(out + blockIdx.x, 1); }

std::vector<uint64_t> blocks_run(unsigned blocks, emulator::BlockChoice choice) {
  std::vector<int> out(blocks);
  const ChosenBlocks chosen(std::move(choice));
  CNNKERN_LAUNCH(mark_block, blocks, 1, 0, nullptr, out.data());
  std::vector<uint64_t> marked;
  for (unsigned i = 0; i < blocks; ++i)
    if (out[i]) marked.push_back(i);
  return marked;
}

TEST(only_chosen_blocks_run) {
  using Blocks = std::vector<uint64_t>;
  const auto last = [](uint64_t blocks) { return Blocks{blocks - 1}; };
  CHECK(blocks_run(100, last) == Blocks{99});
  CHECK(blocks_run(100, {}).size() == 100);
  CHECK((blocks_run(784, emulator::spread_blocks(4)) == Blocks{0, 197, 394, 591}));
  CHECK((blocks_run(5, emulator::spread_blocks(4)) == Blocks{0, 1, 2, 3}));
  CHECK((blocks_run(3, emulator::spread_blocks(4)) == Blocks{0, 1, 2}));
  for (const Blocks& wrong : {Blocks{}, Blocks{2, 100}}) try {
      blocks_run(100, [&](uint64_t) { return wrong; });
      CHECK(false);
    } catch (const std::invalid_argument&) {
    }
}

__global__ void store_block_index(uint3* out) { *out = blockIdx; }

TEST(a_launch_too_large_to_run_can_be_sampled) {
  uint3 out{};
  const ChosenBlocks last([](uint64_t blocks) { return std::vector{blocks - 1}; });
  const auto launch = profile_of([&] {
    CNNKERN_LAUNCH(store_block_index, dim3(0x7fffffff, 65535, 65535), 1, 0, nullptr, &out);
  });
  CHECK(launch.blocks == 1 && out.x == 0x7ffffffe && out.y == 65534 && out.z == 65534);
}

}  // namespace
}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
