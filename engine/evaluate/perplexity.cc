#include "engine/evaluate/perplexity.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "engine/base/status.h"
#include "kernels/cpu/team.h"

namespace whipsnake::engine {
namespace {

// More rows than this in one pass make the matrix products no faster.
constexpr int64_t kMaxRows = 2048;

// A window and how far it has been read.
struct Reader {
  std::span<const int32_t> tokens;
  std::unique_ptr<State> state;
  int64_t position = 0;

  // The last token is only ever predicted.
  int64_t left() const { return static_cast<int64_t>(tokens.size()) - 1 - position; }
};

absl::Status Validate(const ModelInfo& info, std::span<const int32_t> tokens, int64_t window) {
  RETURN_IF_ERROR(CheckLanguageModel(info));
  if (window < 2) {
    return InvalidField("window", absl::StrCat(window), "at least 2 tokens");
  }
  if (info.max_positions > 0 && window > info.max_positions) {
    return InvalidField("window", absl::StrCat(window),
                        absl::StrCat("at most the model's ", info.max_positions, " positions"));
  }
  if (tokens.size() < 2) {
    return InvalidField("text", absl::StrCat(tokens.size(), " tokens"), "at least 2 tokens");
  }
  for (const int32_t token : tokens) {
    if (token < 0 || token >= info.vocab_size) {
      return InvalidField("text", absl::StrCat("token ", token),
                          absl::StrCat("ids below the model's vocabulary of ", info.vocab_size));
    }
  }
  return absl::OkStatus();
}

// -ln softmax(logits)[target], by log-sum-exp. The sum is in double: a vocabulary has many small
// terms.
double TokenLoss(const float* logits, int64_t vocab_size, int32_t target) {
  const float largest = *std::max_element(logits, logits + vocab_size);
  double sum = 0;
  for (int64_t v = 0; v < vocab_size; ++v) sum += std::exp(logits[v] - largest);
  return std::log(sum) + largest - logits[target];
}

// Advances each reader by up to `chunk` tokens in one forward pass; the summed loss of what follows
// each.
absl::StatusOr<double> Advance(Model& model, Executor& executor, std::span<Reader> readers,
                               int64_t chunk, Priority priority) {
  std::vector<Run> runs;
  std::vector<int32_t> targets;
  for (Reader& reader : readers) {
    const int64_t count = std::min(chunk, reader.left());
    if (count == 0) continue;
    runs.push_back(
        {reader.tokens.subspan(reader.position, count), reader.state.get(), LogitsOf::kAll});
    const auto next = reader.tokens.subspan(reader.position + 1, count);
    targets.insert(targets.end(), next.begin(), next.end());
    reader.position += count;
  }
  ASSIGN_OR_RETURN(const kernels::MatrixView<const float> logits, model.Forward(runs));
  std::vector<double> losses(targets.size());
  executor.Run(priority, [&] {
    kernels::Team& team = kernels::Team::Current();
    team.Run([&](int member) {
      for (int64_t r = member; r < static_cast<int64_t>(targets.size()); r += team.threads()) {
        losses[r] = TokenLoss(logits.row(r), logits.cols, targets[r]);
      }
    });
  });
  double sum = 0;  // in the order of the tokens, whatever the number of threads
  for (const double loss : losses) sum += loss;
  return sum;
}

}  // namespace

double Perplexity::perplexity() const { return std::exp(nll); }

int64_t DefaultWindow(const ModelInfo& info) {
  const int64_t usual = PerplexityOptions{}.window;
  return info.max_positions > 0 ? std::min(usual, info.max_positions) : usual;
}

absl::StatusOr<Perplexity> EvaluatePerplexity(Model& model, Executor& executor,
                                              std::span<const int32_t> tokens,
                                              const PerplexityOptions& options,
                                              const std::function<void(double)>& progress) {
  const int64_t window = options.window;
  RETURN_IF_ERROR(Validate(model.info(), tokens, window));

  const int64_t row_bytes = model.info().vocab_size * static_cast<int64_t>(sizeof(float));
  const int64_t rows = std::clamp<int64_t>(options.max_logits_bytes / row_bytes, 1, kMaxRows);
  const int64_t side_by_side = std::max<int64_t>(rows / window, 1);
  const int64_t chunk = rows / side_by_side;

  Perplexity result;
  result.tokens = static_cast<int64_t>(tokens.size());
  double loss = 0;
  for (int64_t begin = 0; begin < result.tokens; begin += side_by_side * window) {
    std::vector<Reader> readers;
    for (int64_t at = begin; at < std::min(begin + side_by_side * window, result.tokens);
         at += window) {
      const int64_t count = std::min(window, result.tokens - at);
      if (count < 2) continue;
      ASSIGN_OR_RETURN(std::unique_ptr<State> state, model.NewState());
      readers.push_back({tokens.subspan(at, count), std::move(state)});
      result.predicted += count - 1;
    }
    // The first window of a batch is its longest.
    while (!readers.empty() && readers.front().left() > 0) {
      ASSIGN_OR_RETURN(const double sum,
                       Advance(model, executor, readers, chunk, options.priority));
      loss += sum;
      if (progress) {
        const int64_t done = begin + readers.front().position * readers.size();
        progress(static_cast<double>(done) / result.tokens);
      }
    }
  }
  result.nll = loss / result.predicted;
  if (progress) progress(1);
  return result;
}

}  // namespace whipsnake::engine
