// Random numbers that differ from run to run.
#ifndef WHIPSNAKE_ENGINE_BASE_RANDOM_H_
#define WHIPSNAKE_ENGINE_BASE_RANDOM_H_

#include <cstdint>

namespace whipsnake::engine {

// Returns a random number. Thread-safe. Not cryptographically secure: not for secrets.
uint64_t RandomNumber();

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_RANDOM_H_
