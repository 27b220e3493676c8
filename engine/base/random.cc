#include "engine/base/random.h"

#include <random>

#include "engine/base/mutex.h"

namespace whipsnake::engine {

uint64_t RandomNumber() {
  static Mutex mutex;
  static auto& random = *new std::mt19937_64([] {
    std::random_device device;
    return (uint64_t{device()} << 32) | device();
  }());
  MutexLock lock(mutex);
  return random();
}

}  // namespace whipsnake::engine
