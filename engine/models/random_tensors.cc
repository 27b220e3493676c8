#include "engine/models/random_tensors.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

// The output function of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
// Generators).
uint64_t Mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

constexpr int64_t kPiece = int64_t{1} << 16;  // number of floats that are drawn at a time

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

Distribution Same(float value) {
  return DistributionOf([value](const Randomness&, int64_t) { return value; });
}

void RandomTensors::Add(const std::string& name, std::vector<int64_t> shape, Distribution draw) {
  const TensorView view{kernels::DType::kF32, std::move(shape), {}};
  const auto produce = [this, draw = std::move(draw), random = Randomness(seed_, name),
                        count = view.elements()](const NamedTensor::Append& append) {
    std::vector<float> piece;
    for (int64_t first = 0; first < count; first += kPiece) {
      piece.resize(std::min(kPiece, count - first));
      draw(random, first, piece);
      RETURN_IF_ERROR(append(std::as_bytes(std::span(piece))));
      written_bytes_ += static_cast<int64_t>(piece.size() * sizeof(float));
      if (progress_) progress_(static_cast<double>(written_bytes_) / total_bytes_);
    }
    return absl::OkStatus();
  };
  list_.push_back({name, view, produce});
}

}  // namespace whipsnake::engine
