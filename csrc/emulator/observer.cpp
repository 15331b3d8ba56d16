#include "emulator/observer.h"

#include "emulator/block.h"
#include "emulator/profile.h"

namespace cnnkern::emulator {

constinit thread_local bool observed = false;

std::vector<std::unique_ptr<LaunchObserver>> observers_of(const LaunchInfo& launch) {
  std::vector<std::unique_ptr<LaunchObserver>> observers;
  if (auto counter = profile_observer(launch)) observers.push_back(std::move(counter));
  return observers;
}

void observe(Space space, Effect effect, const void* pointer, size_t bytes, Site site) {
  Block::current->observe_access(space, effect, pointer, bytes, site);
}

void observe_skipped(Space space, Effect effect, const void* pointer, size_t bytes, Site site) {
  Block::current->observe_skipped(space, effect, pointer, bytes, site);
}

}  // namespace cnnkern::emulator
