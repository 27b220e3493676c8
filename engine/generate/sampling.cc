#include "engine/generate/sampling.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// SplitMix64's output function (Steele, Lea & Flood, 2014): a bijection that spreads every input
// bit.
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// In [0,1), a function of its arguments alone.
double Uniform(uint64_t seed, uint64_t completion, uint64_t position) {
  return static_cast<double>(Mix(Mix(Mix(seed) ^ completion) ^ position) >> 11) * 0x1p-53;
}

// Best first; the lower id among equals.
constexpr auto kBetter = [](const auto& a, const auto& b) {
  return a.score != b.score ? a.score > b.score : a.id < b.id;
};

absl::Status CheckRange(const char* field, float value, float low, float high,
                        bool low_open = false) {
  const bool inside =
      std::isfinite(value) && value <= high && (low_open ? value > low : value >= low);
  if (inside) return absl::OkStatus();
  return InvalidField(field, absl::StrCat(value),
                      absl::StrCat("a number ", low_open ? "above " : "from ", low, " to ", high));
}

// ln Σ exp(logit), over the finite ones.
double LogSumExp(std::span<const float> logits, float best) {
  double sum = 0;
  for (const float logit : logits) {
    if (std::isfinite(logit)) sum += std::exp(logit - best);
  }
  return best + std::log(sum);
}

std::vector<TokenLogprob> BestLogprobs(std::span<const float> logits, double normalizer,
                                       int count) {
  std::vector<TokenLogprob> best;  // a min-heap of the best so far: its front is the worst of them
  const auto better = [](const TokenLogprob& a, const TokenLogprob& b) {
    return a.logprob != b.logprob ? a.logprob > b.logprob : a.id < b.id;
  };
  for (int32_t id = 0; id < static_cast<int32_t>(logits.size()); ++id) {
    const TokenLogprob candidate{id, logits[id]};
    if (!std::isfinite(candidate.logprob)) continue;
    if (static_cast<int>(best.size()) == count) {
      if (count == 0 || !better(candidate, best.front())) continue;
      std::pop_heap(best.begin(), best.end(), better);
      best.pop_back();
    }
    best.push_back(candidate);
    std::push_heap(best.begin(), best.end(), better);
  }
  std::sort_heap(best.begin(), best.end(), better);
  for (TokenLogprob& token : best) token.logprob = static_cast<float>(token.logprob - normalizer);
  return best;
}

// Side by side, so that the compiler can use vector registers: a vocabulary is long, and every
// sequence of a batch goes through it in each step.
float Largest(std::span<const float> values) {
  constexpr size_t kLanes = 16;
  std::array<float, kLanes> lanes;
  lanes.fill(-std::numeric_limits<float>::infinity());
  const size_t whole = values.size() - values.size() % kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float value = values[i + lane];
      lanes[lane] = value > lanes[lane] ? value : lanes[lane];
    }
  }
  float largest = *std::max_element(lanes.begin(), lanes.end());
  for (const float value : values.subspan(whole)) largest = std::max(largest, value);
  return largest;
}

// The place of the largest, the first among equals.
int32_t PlaceOfLargest(std::span<const float> values) {
  constexpr size_t kBlock = 1024;
  size_t best_block = 0;
  float best = -std::numeric_limits<float>::infinity();
  for (size_t begin = 0; begin < values.size(); begin += kBlock) {
    const float largest = Largest(values.subspan(begin, std::min(kBlock, values.size() - begin)));
    if (largest <= best) continue;
    best = largest;
    best_block = begin;
  }
  return static_cast<int32_t>(std::find(values.begin() + best_block, values.end(), best) -
                              values.begin());
}

}  // namespace

absl::Status Validate(const SamplingParameters& p, int64_t vocab_size) {
  RETURN_IF_ERROR(CheckRange("sampling.temperature", p.temperature, 0, 100));
  if (p.top_k < 0) return InvalidField("sampling.top_k", absl::StrCat(p.top_k), "0 (all) or more");
  RETURN_IF_ERROR(CheckRange("sampling.top_p", p.top_p, 0, 1, /*low_open=*/true));
  RETURN_IF_ERROR(CheckRange("sampling.min_p", p.min_p, 0, 1));
  RETURN_IF_ERROR(
      CheckRange("sampling.repetition_penalty", p.repetition_penalty, 0, 100, /*low_open=*/true));
  RETURN_IF_ERROR(CheckRange("sampling.presence_penalty", p.presence_penalty, -100, 100));
  RETURN_IF_ERROR(CheckRange("sampling.frequency_penalty", p.frequency_penalty, -100, 100));
  for (const auto& [id, bias] : p.logit_bias) {
    if (id < 0 || id >= vocab_size) {
      return InvalidField("sampling.logit_bias", absl::StrCat("token id ", id),
                          absl::StrCat("ids from 0 to ", vocab_size - 1));
    }
    RETURN_IF_ERROR(CheckRange("sampling.logit_bias", bias, -1000, 1000));
  }
  return absl::OkStatus();
}

Sampler::Sampler(const SamplingParameters& parameters, int64_t vocab_size,
                 std::span<const int32_t> prompt)
    : parameters_(parameters), vocab_size_(vocab_size), seen_(prompt.begin(), prompt.end()) {}

absl::StatusOr<SampledToken> Sampler::Next(std::span<const float> logits, int top_logprobs,
                                           const Choice& choice) {
  logits = logits.first(vocab_size_);
  scores_.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    scores_[i] = std::isfinite(logits[i]) ? logits[i] : kNever;
  }
  const float best_logit = Largest(scores_);
  if (best_logit == kNever) return absl::InternalError("the model's logits are not finite numbers");
  Restrict(choice);
  ModifyScores();

  SampledToken token;
  token.id = parameters_.temperature == 0 ? Greedy() : Draw();
  if (scores_[token.id] == kNever) {
    return absl::InternalError("the model's logits of the allowed tokens are not finite numbers");
  }
  if (top_logprobs >= 0) {
    const double normalizer = LogSumExp(logits, best_logit);
    token.logprob = static_cast<float>(logits[token.id] - normalizer);
    token.top = BestLogprobs(logits, normalizer, top_logprobs);
  }
  seen_.insert(token.id);
  ++generated_[token.id];
  ++position_;
  return token;
}

void Sampler::Restrict(const Choice& choice) {
  if (!choice.allowed.empty()) {
    for (int64_t id = 0; id < vocab_size_; ++id) {
      const bool allowed = (choice.allowed[id / 64] >> (id % 64) & 1) != 0;
      scores_[id] = allowed ? scores_[id] : kNever;
    }
  }
  for (const int32_t id : choice.banned) {
    if (id < vocab_size_) scores_[id] = kNever;
  }
}

void Sampler::ModifyScores() {
  if (const float penalty = parameters_.repetition_penalty; penalty != 1) {
    for (const int32_t id : seen_) {
      if (id < vocab_size_)
        scores_[id] = scores_[id] > 0 ? scores_[id] / penalty : scores_[id] * penalty;
    }
  }
  for (const auto& [id, count] : generated_) {
    scores_[id] -= parameters_.presence_penalty + parameters_.frequency_penalty * count;
  }
  for (const auto& [id, bias] : parameters_.logit_bias) {
    if (id < vocab_size_) scores_[id] += bias;
  }
}

int32_t Sampler::Greedy() const { return PlaceOfLargest(scores_); }

int32_t Sampler::Draw() {
  // Scores relative to the best, so that a small temperature cannot overflow.
  const float best = Largest(scores_);
  if (best == kNever) return 0;
  candidates_.clear();
  for (int32_t id = 0; id < vocab_size_; ++id) {
    if (scores_[id] != kNever)
      candidates_.push_back({(scores_[id] - best) / parameters_.temperature, id});
  }
  KeepTopK();
  KeepTopP();
  KeepMinP();

  double total = 0;
  for (const Candidate& candidate : candidates_) total += std::exp(candidate.score);
  double left =
      Uniform(parameters_.seed, static_cast<uint64_t>(parameters_.completion_index), position_) *
      total;
  for (const Candidate& candidate : candidates_) {
    left -= std::exp(candidate.score);
    if (left < 0) return candidate.id;
  }
  return candidates_.back().id;  // rounding left a rest
}

void Sampler::KeepTopK() {
  const auto k = static_cast<size_t>(parameters_.top_k);
  if (k == 0 || k >= candidates_.size()) return;
  std::nth_element(candidates_.begin(), candidates_.begin() + k, candidates_.end(), kBetter);
  candidates_.resize(k);
}

void Sampler::KeepTopP() {
  if (parameters_.top_p >= 1) return;
  double total = 0;
  for (const Candidate& candidate : candidates_) total += std::exp(candidate.score);
  // Tokens below (1 - top_p)/n together have less than 1 - top_p, so those that reach top_p are
  // among the rest: usually a few hundred, and only they need sorting.
  const double least = std::log(total * (1 - parameters_.top_p) / candidates_.size());
  std::erase_if(candidates_, [&](const Candidate& candidate) { return candidate.score < least; });
  std::sort(candidates_.begin(), candidates_.end(), kBetter);
  double sum = 0;
  size_t kept = 0;
  while (kept < candidates_.size() && sum < parameters_.top_p * total)
    sum += std::exp(candidates_[kept++].score);
  candidates_.resize(std::max<size_t>(kept, 1));
}

void Sampler::KeepMinP() {
  if (parameters_.min_p <= 0) return;
  // The best candidate's score is 0, its share e^0.
  const float least = std::log(parameters_.min_p);
  std::erase_if(candidates_, [&](const Candidate& candidate) { return candidate.score < least; });
}

}  // namespace whipsnake::engine
