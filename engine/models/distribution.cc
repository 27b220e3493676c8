#include "engine/models/distribution.h"

#include <cmath>

namespace whipsnake::engine {
namespace {

// The output function of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
// Generators).
uint64_t Mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

}  // namespace

Randomness::Randomness(uint64_t seed, std::string_view name) : key_(Mix(seed)) {
  for (const char c : name) key_ = Mix(key_ ^ static_cast<uint8_t>(c));
}

uint64_t Randomness::Bits(int64_t counter) const {
  return Mix(key_ + static_cast<uint64_t>(counter) * 0x9e3779b97f4a7c15u);
}

Distribution Uniform(double bound) {
  return DistributionOf(
      [scale = static_cast<float>(bound * 0x1p-23)](const Randomness& random, int64_t i) {
        return static_cast<float>(static_cast<int32_t>(random.Bits(i) >> 40) - (1 << 23)) * scale;
      });
}

Distribution UniformOf(int64_t inputs) {
  return Uniform(1 / std::sqrt(static_cast<double>(inputs)));
}

// The standard deviation of the sum is 2^16.
Distribution Normal(double deviation) {
  return DistributionOf(
      [scale = static_cast<float>(deviation * 0x1p-16)](const Randomness& random, int64_t i) {
        int32_t sum = -12 * 65535 / 2;
        for (int word = 0; word < 3; ++word) {
          const uint64_t bits = random.Bits(3 * i + word);
          sum += (bits & 0xffff) + ((bits >> 16) & 0xffff) + ((bits >> 32) & 0xffff) + (bits >> 48);
        }
        return static_cast<float>(sum) * scale;
      });
}

Distribution Constant(float value) {
  return DistributionOf([value](const Randomness&, int64_t) { return value; });
}

}  // namespace whipsnake::engine
