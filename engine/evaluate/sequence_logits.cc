#include "engine/evaluate/sequence_logits.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

// More rows per pass do not make the matrix products faster.
constexpr int64_t kMaxRowsPerPass = 2048;

int64_t RowsPerPass(const ModelInfo& info, int64_t max_logits_bytes) {
  const int64_t row_bytes = info.outputs() * static_cast<int64_t>(sizeof(float));
  return std::clamp<int64_t>(max_logits_bytes / row_bytes, 1, kMaxRowsPerPass);
}

// A sequence and the position reached in it.
class SequenceReader {
 public:
  SequenceReader(const FedSequence& sequence, int64_t index, std::unique_ptr<State> state)
      : sequence_(sequence), index_(index), state_(std::move(state)) {}

  bool done() const { return position_ == std::ssize(sequence_.tokens); }

  // Returns the next run, of at most `rows` tokens, and adds the places of its logits. A run that
  // begins before the first wanted row ends with it at the latest, so only its last row can be
  // wanted.
  Run Next(int64_t rows, std::vector<LogitsPlace>& places) {
    const int64_t first = sequence_.first_wanted, begin = position_;
    const int64_t end = begin < first ? first + 1 : std::ssize(sequence_.tokens);
    position_ = std::min(begin + rows, end);
    for (int64_t i = std::max(begin, first); i < position_; ++i) places.push_back({index_, i});
    const LogitsOf before = position_ > first ? LogitsOf::kLast : LogitsOf::kNone;
    return {sequence_.tokens.subspan(begin, position_ - begin), state_.get(),
            begin < first ? before : LogitsOf::kAll};
  }

 private:
  FedSequence sequence_;
  int64_t index_;
  std::unique_ptr<State> state_;
  int64_t position_ = 0;
};

// Advances each reader by up to `rows` tokens a pass until all are done.
absl::Status RunSideBySide(Model& model, std::span<SequenceReader> readers, int64_t rows,
                           const LogitsReceiver& receive) {
  while (true) {
    std::vector<Run> runs;
    std::vector<LogitsPlace> places;
    for (SequenceReader& reader : readers) {
      if (!reader.done()) runs.push_back(reader.Next(rows, places));
    }
    if (runs.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(const kernels::MatrixView<const float> logits, model.Forward(runs));
    if (!places.empty()) RETURN_IF_ERROR(receive(logits, places));
  }
}

}  // namespace

absl::Status ComputeLogits(Model& model, std::span<const FedSequence> sequences,
                           int64_t max_logits_bytes, const LogitsReceiver& receive) {
  const int64_t rows = RowsPerPass(model.info(), max_logits_bytes);
  for (int64_t next = 0; next < std::ssize(sequences);) {
    std::vector<SequenceReader> readers;  // as many as fit in a pass, at least one
    int64_t room = rows;
    do {
      ASSIGN_OR_RETURN(std::unique_ptr<State> state, model.NewState());
      readers.emplace_back(sequences[next], next, std::move(state));
      room -= std::ssize(sequences[next++].tokens);
    } while (next < std::ssize(sequences) && std::ssize(sequences[next].tokens) <= room);
    RETURN_IF_ERROR(RunSideBySide(model, readers, rows, receive));
  }
  return absl::OkStatus();
}

}  // namespace whipsnake::engine
