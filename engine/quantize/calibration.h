// The text that a model is calibrated with.
#ifndef WHIPSNAKE_ENGINE_QUANTIZE_CALIBRATION_H_
#define WHIPSNAKE_ENGINE_QUANTIZE_CALIBRATION_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/tokenizer/tokenizer.h"

namespace whipsnake::engine {

using Samples = std::vector<std::vector<int32_t>>;  // the token ids of each

struct CalibrationSet {
  Samples samples;           // statistics are taken of these
  Samples held_out;          // a tenth, for choosing between settings and for the report
  std::string digest;        // of all token ids: "fnv1a64:..."
  int64_t known_tokens = 0;  // of the tokenizer; 0: all that the model has

  int64_t tokens() const;
};

inline constexpr int64_t kMinCalibrationTokens = 256;
inline constexpr int64_t kMinCalibrationSamples = 10;
inline constexpr int64_t kMinSampleTokens = 2;  // a sample of one predicts nothing

struct CalibrationOptions {
  int64_t max_samples = 512;
  int64_t max_tokens = 512;  // of a sample; the rest of a document is left out
};

// `text` is JSON lines, each an object with "text" (a document), or else plain text, which is cut
// into samples of max_tokens. The first max_samples are taken, in their order; the last tenth of
// them is held out. INVALID_ARGUMENT naming the line, or the number of tokens or samples where they
// are fewer than the least.
absl::StatusOr<CalibrationSet> MakeCalibrationSet(std::string_view text, const Tokenizer& tokenizer,
                                                  const CalibrationOptions& options);

// One sample of tokens drawn uniformly from [0, vocab_size), its last tenth held out: for
// benchmarks of random weights.
CalibrationSet RandomCalibrationSet(int64_t tokens, int64_t vocab_size, uint64_t seed);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_QUANTIZE_CALIBRATION_H_
