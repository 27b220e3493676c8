// The text with which a model is calibrated.
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
  Samples samples;           // for the statistics
  Samples held_out;          // a tenth of the set, for choosing settings and for the report
  std::string digest;        // of all token ids: "fnv1a64:..."
  int64_t known_tokens = 0;  // tokens of the tokenizer; 0: all tokens of the model

  int64_t tokens() const;
};

inline constexpr int64_t kMinCalibrationTokens = 256;
inline constexpr int64_t kMinCalibrationSamples = 10;
inline constexpr int64_t kMinSampleTokens = 2;  // a sample of one token predicts nothing

struct CalibrationOptions {
  int64_t max_samples = 512;
  int64_t max_tokens = 512;  // per sample; the rest of a document is left out
};

// `text` is either JSON lines, each an object with "text" (a document), or plain text, which is cut
// into samples of max_tokens, or shorter ones if there would be too few. The first max_samples
// samples are used, in their order; the last tenth of them is held out. Returns INVALID_ARGUMENT,
// naming the line, for malformed JSON lines, and for too few tokens or samples, naming their
// number.
absl::StatusOr<CalibrationSet> MakeCalibrationSet(std::string_view text, const Tokenizer& tokenizer,
                                                  const CalibrationOptions& options);

// Makes a sample of tokens drawn uniformly from [0, vocab_size) and holds its last tenth out. For
// benchmarks of random weights.
CalibrationSet RandomCalibrationSet(int64_t tokens, int64_t vocab_size, uint64_t seed);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_QUANTIZE_CALIBRATION_H_
