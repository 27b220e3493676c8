// How a model's weights are held and multiplied.
#ifndef WHIPSNAKE_ENGINE_BASE_SCHEME_H_
#define WHIPSNAKE_ENGINE_BASE_SCHEME_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace whipsnake::engine {

// kFp32 and kBf16 take unquantized checkpoints. The others name how a checkpoint was quantized to 8
// bits: a Mamba's weights, activations and the inputs of the selective scan, all with static
// scales; a transformer's weights and the inputs of its products.
enum class Scheme {
  kFp32,
  kBf16,
  kQuamba,            // Quamba: a percentile for x and a rotation of y (arXiv 2410.13229)
  kQuambaNoRotation,  // its ablations
  kQuambaNoPercentile,
  kStatic,       // absmax everywhere, no rotation
  kSmoothQuant,  // activations' outliers moved into the weights (arXiv 2211.10438)
  kQuaRot,       // rotations of y and of the residual stream (arXiv 2404.00456), absmax
  kW8A8,         // transformers
};

// "fp32", "bf16", "quamba-w8a8", "quamba-w8a8-norot", "quamba-w8a8-nopct", "static-w8a8",
// "smoothquant-w8a8", "quarot-w8a8", "w8a8".
std::string_view Name(Scheme scheme);
// INVALID_ARGUMENT names the known ones.
absl::StatusOr<Scheme> ParseScheme(std::string_view name);

std::span<const Scheme> AllSchemes();
std::span<const Scheme> QuantizedSchemes();
// Of quantization_config in config.json.
inline constexpr int64_t kQuantizationVersion = 1;
inline bool IsQuantized(Scheme scheme) { return scheme > Scheme::kBf16; }
// "fp32, bf16, ..." for messages and help.
std::string SchemeNames(std::span<const Scheme> schemes);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_SCHEME_H_
