// The logits of whole sequences, in passes of bounded size.
#ifndef WHIPSNAKE_ENGINE_EVALUATE_SEQUENCE_LOGITS_H_
#define WHIPSNAKE_ENGINE_EVALUATE_SEQUENCE_LOGITS_H_

#include <cstdint>
#include <functional>
#include <span>

#include "absl/status/status.h"
#include "engine/models/model.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

// Limits the logits of one forward pass where nothing else is said, in bytes.
inline constexpr int64_t kDefaultLogitsBytes = int64_t{64} << 20;

// A sequence to feed to a model, from an empty state.
struct FedSequence {
  std::span<const int32_t> tokens;  // at least one
  // The logits after this token and after each one that follows it are wanted. In
  // [0, tokens.size()).
  int64_t first_wanted = 0;
};

// Which logits a row has.
struct LogitsPlace {
  int64_t sequence = 0;  // index in the sequences
  int64_t position = 0;  // the logits are those after the token at this position
};

// Receives the wanted rows of one pass: logits[i], which has Model::info().outputs() columns, is
// that of places[i]. An error ends the computation with that error.
using LogitsReceiver = std::function<absl::Status(kernels::MatrixView<const float> logits,
                                                  std::span<const LogitsPlace> places)>;

// Calls `receive` with all wanted rows, those of each sequence in order. Short sequences run side
// by side; long ones run alone in several passes. No pass has more tokens than the rows of logits
// that fit in `max_logits_bytes`, or 1 if none do. Errors as from Model::Forward and NewState, and
// those of `receive`.
absl::Status ComputeLogits(Model& model, std::span<const FedSequence> sequences,
                           int64_t max_logits_bytes, const LogitsReceiver& receive);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_EVALUATE_SEQUENCE_LOGITS_H_
