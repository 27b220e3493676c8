// The distributions from which fresh weights are drawn.
#ifndef WHIPSNAKE_ENGINE_MODELS_DISTRIBUTION_H_
#define WHIPSNAKE_ENGINE_MODELS_DISTRIBUTION_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

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
Distribution Constant(float value);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_DISTRIBUTION_H_
