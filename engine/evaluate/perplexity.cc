#include "engine/evaluate/perplexity.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "engine/base/status.h"
#include "engine/models/logits.h"
#include "kernels/cpu/parallel.h"

namespace whipsnake::engine {
namespace {

// More rows per pass do not make the matrix products faster.
constexpr int64_t kMaxRows = 2048;

// A window and the position reached in it.
struct Reader {
  std::span<const int32_t> tokens;
  std::unique_ptr<State> state;
  int64_t position = 0;

  // The last token is predicted but never fed.
  int64_t left() const { return static_cast<int64_t>(tokens.size()) - 1 - position; }
};

// The number of logit columns that take part in the softmax.
int64_t VocabularyOf(const ModelInfo& info, const PerplexityOptions& options) {
  return options.known_tokens > 0 ? KnownTokens(info, options.known_tokens) : info.vocab_size;
}

absl::Status Validate(const ModelInfo& info, std::span<const int32_t> tokens,
                      const PerplexityOptions& options) {
  const int64_t window = options.window, vocabulary = VocabularyOf(info, options);
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
    if (token < 0 || token >= vocabulary) {
      return InvalidField("text", absl::StrCat("token ", token),
                          absl::StrCat("ids below the model's vocabulary of ", vocabulary));
    }
  }
  return absl::OkStatus();
}

// Advances each reader by up to `chunk` tokens in one forward pass. Returns the summed loss of the
// tokens that follow them.
absl::StatusOr<double> Advance(Model& model, Executor& executor, std::span<Reader> readers,
                               int64_t chunk, const PerplexityOptions& options) {
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
  const int64_t vocabulary = VocabularyOf(model.info(), options);
  std::vector<double> losses(targets.size());
  RETURN_IF_ERROR(executor.TryRun(options.priority, [&](const kernels::Context& context) {
    const int threads = kernels::Threads(context);
    kernels::ForEachShare(context, [&](const kernels::Context&, int64_t share) {
      std::vector<float> scratch;
      for (int64_t r = share; r < std::ssize(targets); r += threads) {
        const std::span<const float> row(logits.row(r), vocabulary);
        losses[r] = LogNormalizer(row, scratch) - row[targets[r]];
      }
    });
  }));
  double sum = 0;  // in token order, so that it does not depend on the number of threads
  for (const double loss : losses) sum += loss;
  if (std::isfinite(sum)) return sum;
  return absl::InternalError("the model's logits are not finite numbers");
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
  RETURN_IF_ERROR(Validate(model.info(), tokens, options));

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
    // The first window of a batch is the longest.
    while (!readers.empty() && readers.front().left() > 0) {
      ASSIGN_OR_RETURN(const double sum, Advance(model, executor, readers, chunk, options));
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
