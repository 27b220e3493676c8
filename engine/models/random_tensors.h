// The tensors of a model with random weights, and the distributions that they are drawn from.
#ifndef WHIPSNAKE_ENGINE_MODELS_RANDOM_TENSORS_H_
#define WHIPSNAKE_ENGINE_MODELS_RANDOM_TENSORS_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/checkpoint/safetensors.h"

namespace whipsnake::engine {

// The random numbers of one tensor. A number is a function of (seed, tensor, position), so the
// order of drawing does not matter.
class Randomness {
 public:
  Randomness(uint64_t seed, std::string_view name);
  uint64_t Bits(int64_t counter) const;

 private:
  uint64_t key_;
};

// Draws the floats from position `first` on. Each one maps (randomness, position) to a float. One
// rounded product of exact numbers gives the same float on every machine, with or without fused
// multiply-adds. Where exp and log are used, they are computed in double, and their last bits
// hardly ever affect the float.
using Distribution =
    std::function<void(const Randomness& random, int64_t first, std::span<float> out)>;

// The distribution whose float at a position is draw(randomness, position).
template <typename Draw>
Distribution DistributionOf(Draw draw) {
  return [draw](const Randomness& random, int64_t first, std::span<float> out) {
    for (size_t i = 0; i < out.size(); ++i) out[i] = draw(random, first + static_cast<int64_t>(i));
  };
}

// Uniform on [-bound, bound).
Distribution Uniform(double bound);
// For linear layers and convolutions, drawn as in PyTorch: uniform up to 1 / sqrt(inputs).
Distribution UniformOf(int64_t inputs);
// Approximately normal with mean 0: a scaled sum of twelve 16-bit numbers.
Distribution Normal(double deviation);
Distribution Same(float value);

// A list of fp32 tensors, which are drawn in pieces while they are written. Not thread-safe. Not
// movable, because the list refers to it.
class RandomTensors {
 public:
  // `progress`, which may be null, receives the fraction of `total_bytes` that is written. It must
  // outlive this object.
  RandomTensors(uint64_t seed, int64_t total_bytes, const std::function<void(double)>& progress)
      : seed_(seed), total_bytes_(total_bytes), progress_(progress) {}
  RandomTensors(const RandomTensors&) = delete;
  RandomTensors& operator=(const RandomTensors&) = delete;

  void Add(const std::string& name, std::vector<int64_t> shape, Distribution draw);

  std::span<const NamedTensor> list() const { return list_; }

 private:
  const uint64_t seed_;
  const int64_t total_bytes_;
  const std::function<void(double)>& progress_;
  int64_t written_bytes_ = 0;
  std::vector<NamedTensor> list_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_RANDOM_TENSORS_H_
