// The tensors of a model with random weights: what a family adds, and how the numbers are drawn.
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

// The random numbers of one tensor. Each is a function of the seed, the tensor's name and the
// position, so the order of drawing does not matter.
class Randomness {
 public:
  Randomness(uint64_t seed, std::string_view name);
  uint64_t Bits(int64_t counter) const;

 private:
  uint64_t key_;
};

// Draws the floats from position `first` on. Each is a function of (randomness, position). One
// rounded product of exact numbers gives the same float on every machine, with fused multiply-adds
// or without. Where exp and log take part, in double, their last bits hardly ever reach the float.
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
// How PyTorch draws linear layers and convolutions: uniform up to 1 / sqrt(inputs).
Distribution UniformOf(int64_t inputs);
// Nearly normal, of mean 0: the sum of twelve 16-bit numbers.
Distribution Normal(double deviation);
Distribution Same(float value);

// A list of fp32 tensors that are drawn while they are written, in pieces. Not thread-safe, not
// movable: the list refers to it.
class RandomTensors {
 public:
  // `progress`, which may be null, is told the fraction of `total_bytes` that is written. It
  // outlives this.
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
