#include "emulator/observer.h"

#include "emulator/block.h"
#include "emulator/launch.h"
#include "emulator/profile.h"
#include "emulator/race_table.h"
#include "emulator/sanitizer.h"

namespace cnnkern::emulator {

constinit thread_local bool observed = false;

std::vector<std::unique_ptr<LaunchObserver>> observers_of(const LaunchInfo& launch) {
  std::vector<std::unique_ptr<LaunchObserver>> observers;
  if (race_check()) observers.push_back(std::make_unique<RaceTable>(launch));
  if (auto counter = profile_observer(launch)) observers.push_back(std::move(counter));
  return observers;
}

void observe(Space space, Effect effect, const void* pointer, size_t bytes, Site site) {
  const Unseen unseen;
  Block::current->observe_access(space, effect, pointer, bytes, site);
}

}  // namespace cnnkern::emulator
