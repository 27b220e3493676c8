// Numeric schemes: how a model's weights are stored and multiplied.
#ifndef WHIPSNAKE_ENGINE_BASE_SCHEME_H_
#define WHIPSNAKE_ENGINE_BASE_SCHEME_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace whipsnake::engine {

// kFp32 and kBf16 take unquantized checkpoints. The others name the method that quantized a
// checkpoint to 8 bits. For Mamba it covers weights, activations and the inputs of the selective
// scan, all with static scales; for transformers, the weights and the inputs of the matrix
// products.
enum class Scheme {
  kFp32,
  kBf16,
  kQuamba,            // Quamba: percentile scale for x, rotation of y (arXiv 2410.13229)
  kQuambaNoRotation,  // ablations of Quamba
  kQuambaNoPercentile,
  kStatic,       // absmax everywhere, no rotation
  kSmoothQuant,  // activation outliers moved into the weights (arXiv 2211.10438)
  kQuaRot,       // rotations of y and the residual stream (arXiv 2404.00456), absmax
  kW8A8,         // for transformers
};

// "fp32", "bf16", "quamba-w8a8", "quamba-w8a8-norot", "quamba-w8a8-nopct", "static-w8a8",
// "smoothquant-w8a8", "quarot-w8a8", "w8a8".
std::string_view Name(Scheme scheme);
// Returns INVALID_ARGUMENT, naming the known schemes, if `name` is unknown.
absl::StatusOr<Scheme> ParseScheme(std::string_view name);

std::span<const Scheme> AllSchemes();
std::span<const Scheme> QuantizedSchemes();
// The version of quantization_config in config.json.
inline constexpr int64_t kQuantizationVersion = 1;
inline bool IsQuantized(Scheme scheme) { return scheme > Scheme::kBf16; }
// "fp32, bf16, ..." for messages and help.
std::string SchemeNames(std::span<const Scheme> schemes);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_SCHEME_H_
