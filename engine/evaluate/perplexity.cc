#include "engine/evaluate/perplexity.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "engine/base/status.h"
#include "engine/evaluate/token_losses.h"
#include "engine/models/logits.h"

namespace whipsnake::engine {
namespace {

// Bounds the memory of what is known of each window.
constexpr int64_t kWindowsAtOnce = 1024;

// The number of logit columns that take part in the softmax.
int64_t VocabularySize(const ModelInfo& info, const PerplexityOptions& options) {
  return options.known_tokens > 0 ? KnownTokens(info, options.known_tokens) : info.vocab_size;
}

absl::Status Validate(const ModelInfo& info, std::span<const int32_t> tokens,
                      const PerplexityOptions& options) {
  const int64_t window = options.window, vocabulary = VocabularySize(info, options);
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
  return CheckTokens(tokens, vocabulary);
}

}  // namespace

double Perplexity::perplexity() const { return std::exp(nll); }

int64_t DefaultWindow(const ModelInfo& info) {
  const int64_t default_window = PerplexityOptions{}.window;
  return info.max_positions > 0 ? std::min(default_window, info.max_positions) : default_window;
}

absl::StatusOr<Perplexity> EvaluatePerplexity(Model& model, Executor& executor,
                                              std::span<const int32_t> tokens,
                                              const PerplexityOptions& options,
                                              const std::function<void(double)>& progress) {
  RETURN_IF_ERROR(Validate(model.info(), tokens, options));

  Perplexity result;
  result.tokens = std::ssize(tokens);
  const int64_t window = std::min(options.window, result.tokens);
  const TokenLossOptions loss_options{.known_tokens = VocabularySize(model.info(), options),
                                      .max_logits_bytes = options.max_logits_bytes,
                                      .priority = options.priority};
  int64_t done = 0;
  const auto advance = [&](int64_t predicted) {
    done += predicted;
    if (progress) progress(static_cast<double>(done) / static_cast<double>(result.tokens));
  };
  double loss = 0;
  std::vector<PredictedSequence> windows;
  for (int64_t at = 0; at < result.tokens; at += window) {
    windows.push_back({tokens.subspan(at, std::min(window, result.tokens - at))});
    result.predicted += std::ssize(windows.back().tokens) - 1;
    if (std::ssize(windows) < kWindowsAtOnce && at + window < result.tokens) continue;
    ASSIGN_OR_RETURN(const std::vector<double> sums,
                     SumTokenLosses(model, executor, windows, loss_options, advance));
    loss = std::accumulate(sums.begin(), sums.end(), loss);
    windows.clear();
  }
  result.nll = loss / static_cast<double>(result.predicted);
  if (progress) progress(1);
  return result;
}

}  // namespace whipsnake::engine
