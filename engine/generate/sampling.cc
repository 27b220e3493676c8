#include "engine/generate/sampling.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include "engine/base/field_errors.h"
#include "engine/base/status.h"
#include "engine/models/logits.h"
#include "kernels/softmax/softmax.h"

namespace whipsnake::engine {
namespace {

constexpr float kExcluded = -std::numeric_limits<float>::infinity();

// The largest magnitude of a score. The difference of two scores is still a finite float.
constexpr float kMaxScore = 1e38f;

float ClampScore(float score) { return std::clamp(score, -kMaxScore, kMaxScore); }

// SplitMix64's output function (Steele, Lea & Flood, 2014), a bijection that spreads every input
// bit.
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// A number in [0,1) that depends only on the arguments.
double Uniform(uint64_t seed, uint64_t completion, uint64_t position) {
  return static_cast<double>(Mix(Mix(Mix(seed) ^ completion) ^ position) >> 11) * 0x1p-53;
}

// Orders the best first and, among equals, the lower id first.
constexpr auto kIsBetter = [](const auto& a, const auto& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
};

// Weights are sorted into buckets by their exponent and the first bits of their mantissa, so that a
// higher bucket holds larger weights. The last bucket holds 1 and all values that are not weights.
constexpr int kBucketBits = 3;
constexpr uint32_t BucketBits(float weight) {
  return std::bit_cast<uint32_t>(weight) >> (23 - kBucketBits);
}
constexpr int kBuckets = BucketBits(1.0f) + 1;
int BucketOf(float weight) {
  return static_cast<int>(std::min<uint32_t>(BucketBits(weight), kBuckets - 1));
}

absl::Status CheckRange(const char* field, float value, float low, float high,
                        bool low_open = false) {
  const bool inside =
      std::isfinite(value) && value <= high && (low_open ? value > low : value >= low);
  if (inside) return absl::OkStatus();
  return InvalidField(field, absl::StrCat(value),
                      absl::StrCat("a number ", low_open ? "above " : "from ", low,
                                   low_open ? " and at most " : " to ", high));
}

// Names only the first wrong entry, as there may be many.
absl::Status CheckLogitBias(const SamplingParameters& p, int64_t vocab_size) {
  if (p.logit_bias.size() > kMaxLogitBiases) {
    return InvalidField("sampling.logit_bias", absl::StrCat(p.logit_bias.size(), " token ids"),
                        absl::StrCat("at most ", kMaxLogitBiases));
  }
  for (const auto& [id, bias] : p.logit_bias) {
    if (id < 0 || id >= vocab_size) {
      return InvalidField("sampling.logit_bias", absl::StrCat("token id ", id),
                          absl::StrCat("ids from 0 to ", vocab_size - 1));
    }
    RETURN_IF_ERROR(CheckRange("sampling.logit_bias", bias, -1000, 1000));
  }
  return absl::OkStatus();
}

std::vector<TokenLogprob> TopLogprobs(std::span<const float> logits, double normalizer, int count) {
  std::vector<TokenLogprob> best;  // a min-heap of the best so far, with the worst of them in front
  const auto better = [](const TokenLogprob& a, const TokenLogprob& b) {
    return a.logprob != b.logprob ? a.logprob > b.logprob : a.id < b.id;
  };
  for (int32_t id = 0; id < static_cast<int32_t>(logits.size()); ++id) {
    if (!std::isfinite(logits[id])) continue;
    const TokenLogprob candidate{id, ClampScore(logits[id])};
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

// The index of the largest value, the first among equals.
int32_t ArgMax(std::span<const float> values) {
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
  FieldErrors errors;
  errors.Add(CheckRange("sampling.temperature", p.temperature, 0, 100));
  if (p.top_k < 0) {
    errors.Add(InvalidField("sampling.top_k", absl::StrCat(p.top_k), "0 (all) or more"));
  }
  errors.Add(CheckRange("sampling.top_p", p.top_p, 0, 1, /*low_open=*/true));
  errors.Add(CheckRange("sampling.min_p", p.min_p, 0, 1));
  errors.Add(CheckRange("sampling.repetition_penalty", p.repetition_penalty, kMinRepetitionPenalty,
                        kMaxRepetitionPenalty));
  errors.Add(CheckRange("sampling.presence_penalty", p.presence_penalty, -100, 100));
  errors.Add(CheckRange("sampling.frequency_penalty", p.frequency_penalty, -100, 100));
  if (p.no_repeat_ngram_size < 0 || p.no_repeat_ngram_size > kMaxNgramSize) {
    errors.Add(InvalidField("sampling.no_repeat_ngram_size", absl::StrCat(p.no_repeat_ngram_size),
                            absl::StrCat("0 to ", kMaxNgramSize)));
  }
  errors.Add(CheckLogitBias(p, vocab_size));
  return errors.status();
}

Sampler::Sampler(const SamplingParameters& parameters, int64_t vocab_size,
                 std::span<const int32_t> prompt)
    : parameters_(parameters),
      vocab_size_(vocab_size),
      seen_(prompt.begin(), prompt.end()),
      ngrams_(parameters.no_repeat_ngram_size) {
  std::erase_if(seen_, [&](int32_t id) { return id < 0 || id >= vocab_size_; });
  for (const int32_t id : prompt) ngrams_.Append(id);
}

absl::StatusOr<SampledToken> Sampler::Sample(std::span<const float> logits, int top_logprobs,
                                             const TokenFilter& filter) {
  logits = logits.first(vocab_size_);
  scores_.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    scores_[i] = std::isfinite(logits[i]) ? ClampScore(logits[i]) : kExcluded;
  }
  const float best_logit = Largest(scores_);
  if (best_logit == kExcluded)
    return absl::InternalError("the model's logits are not finite numbers");
  const double normalizer = top_logprobs < 0 ? 0 : LogNormalizer(scores_, weights_);
  ApplyFilter(filter);
  ModifyScores();
  ExcludeRepeats();

  const std::optional<int32_t> chosen = parameters_.temperature == 0 ? BestToken() : DrawToken();
  if (!chosen) {
    return absl::InternalError("the model's logits of the allowed tokens are not finite numbers");
  }
  SampledToken token{.id = *chosen};
  if (top_logprobs >= 0) {
    token.logprob = static_cast<float>(ClampScore(logits[token.id]) - normalizer);
    token.top = TopLogprobs(logits, normalizer, top_logprobs);
  }
  seen_.insert(token.id);
  ++generated_[token.id];
  ngrams_.Append(token.id);
  ++position_;
  return token;
}

void Sampler::ApplyFilter(const TokenFilter& filter) {
  if (!filter.allowed.empty()) {
    for (int64_t id = 0; id < vocab_size_; ++id) {
      const bool allowed = (filter.allowed[id / 64] >> (id % 64) & 1) != 0;
      scores_[id] = allowed ? scores_[id] : kExcluded;
    }
  }
  for (const int32_t id : filter.banned) {
    if (id < vocab_size_) scores_[id] = kExcluded;
  }
}

// A token that may not be chosen stays excluded, and every other score stays finite.
template <typename Change>
void Sampler::ModifyScore(int32_t id, Change change) {
  float& score = scores_[id];
  if (score != kExcluded) score = ClampScore(change(score));
}

void Sampler::ModifyScores() {
  if (const float penalty = parameters_.repetition_penalty; penalty != 1) {
    for (const int32_t id : seen_) {
      ModifyScore(id, [&](float score) { return score > 0 ? score / penalty : score * penalty; });
    }
  }
  for (const auto& [id, count] : generated_) {
    const float penalty =
        parameters_.presence_penalty + parameters_.frequency_penalty * static_cast<float>(count);
    ModifyScore(id, [&](float score) { return score - penalty; });
  }
  for (const auto& [id, bias] : parameters_.logit_bias) {
    if (id < vocab_size_) ModifyScore(id, [bias = bias](float score) { return score + bias; });
  }
}

// If only repeats may be chosen, as when a constraint leaves one token, none is excluded.
void Sampler::ExcludeRepeats() {
  std::vector<std::pair<int32_t, float>> before;
  for (const int32_t id : ngrams_.Find()) {
    if (id < 0 || id >= vocab_size_ || scores_[id] == kExcluded) continue;
    before.emplace_back(id, std::exchange(scores_[id], kExcluded));
  }
  if (before.empty() || Largest(scores_) != kExcluded) return;
  for (const auto& [id, score] : before) scores_[id] = score;
}

std::optional<int32_t> Sampler::BestToken() const {
  const int32_t best = ArgMax(scores_);
  if (scores_[best] == kExcluded) return std::nullopt;
  return best;
}

std::optional<int32_t> Sampler::DrawToken() {
  const float best = Largest(scores_);
  if (best == kExcluded) return std::nullopt;
  const double total = ComputeWeights(best, parameters_.temperature);
  const double point =
      Uniform(parameters_.seed, static_cast<uint64_t>(parameters_.completion_index), position_);
  const bool top_k = parameters_.top_k > 0 && parameters_.top_k < vocab_size_;
  const bool top_p = parameters_.top_p < 1;
  const bool min_p = parameters_.min_p > 0;
  if (!top_k && !top_p && !min_p) return DrawFromAll(point * total);

  constexpr double kAnySum = std::numeric_limits<double>::infinity();
  if (top_k) {
    GatherBest(parameters_.top_k, kAnySum);
    if (top_p) KeepTopP(parameters_.top_p);
  } else if (top_p) {
    GatherBest(vocab_size_, parameters_.top_p * total);
  } else {
    GatherAtLeast(parameters_.min_p);
  }
  if (min_p) {
    std::erase_if(candidates_, [&](const Candidate& c) { return c.weight < parameters_.min_p; });
  }
  // The best token passes every filter unless its weight was rounded down.
  return candidates_.empty() ? BestToken() : DrawFromCandidates(point);
}

double Sampler::ComputeWeights(float best, float temperature) {
  constexpr float kMaxScale = 1e30f;  // avoids infinity, as 0 times infinity is not a number
  weights_.resize(scores_.size());
  block_sums_.resize(scores_.size() / kernels::kSoftmaxBlock + 1);
  block_sums_.back() = 0;
  kernels::SoftmaxWeights(kernels::Context(), scores_.data(), std::ssize(scores_), best,
                          std::min(1 / temperature, kMaxScale), weights_.data(),
                          block_sums_.data());
  return std::accumulate(block_sums_.begin(), block_sums_.end(), 0.0);
}

int32_t Sampler::DrawFromAll(double point) const {
  int32_t last = 0;  // the last token that can be drawn, in case rounding leaves a remainder
  for (size_t block = 0; block < block_sums_.size(); ++block) {
    if (block_sums_[block] == 0) continue;
    const bool is_here = point < block_sums_[block];
    const size_t begin = block * kernels::kSoftmaxBlock;
    const size_t end = std::min<size_t>(begin + kernels::kSoftmaxBlock, weights_.size());
    for (size_t id = begin; id < end; ++id) {
      if (weights_[id] == 0) continue;
      last = static_cast<int32_t>(id);
      if (!is_here) continue;
      point -= weights_[id];
      if (point < 0) return last;
    }
    if (is_here) return last;
    point -= block_sums_[block];
  }
  return last;
}

int32_t Sampler::DrawFromCandidates(double point) const {
  double left = 0;
  for (const Candidate& candidate : candidates_) left += candidate.weight;
  left *= point;
  for (const Candidate& candidate : candidates_) {
    left -= candidate.weight;
    if (left < 0) return candidate.id;
  }
  return candidates_.back().id;  // rounding left a remainder
}

// Avoids sorting the whole vocabulary: the weights are counted by bucket, and only the bucket in
// which the limit is reached is sorted.
void Sampler::GatherBest(int64_t count, double sum) {
  std::vector<int32_t> counts(kBuckets);
  std::vector<double> sums(kBuckets);
  for (const float weight : weights_) {
    const int bucket = BucketOf(weight);
    ++counts[bucket];
    sums[bucket] += weight;
  }
  int border = kBuckets - 1;
  for (; border > 0 && count > counts[border] && sum > sums[border]; --border) {
    count -= counts[border];
    sum -= sums[border];
  }
  candidates_.clear();
  std::vector<Candidate> at_border;
  for (int32_t id = 0; id < vocab_size_; ++id) {
    const int bucket = BucketOf(weights_[id]);
    if (bucket < border || weights_[id] == 0) continue;
    (bucket > border ? candidates_ : at_border).push_back({weights_[id], id});
  }
  std::sort(at_border.begin(), at_border.end(), kIsBetter);
  for (const Candidate& candidate : at_border) {
    if (count <= 0 || sum <= 0) return;
    candidates_.push_back(candidate);
    --count;
    sum -= candidate.weight;
  }
}

void Sampler::GatherAtLeast(float weight) {
  candidates_.clear();
  for (int32_t id = 0; id < vocab_size_; ++id) {
    if (weights_[id] >= weight) candidates_.push_back({weights_[id], id});
  }
}

void Sampler::KeepTopP(double fraction) {
  std::sort(candidates_.begin(), candidates_.end(), kIsBetter);
  double sum = 0;
  for (const Candidate& candidate : candidates_) sum += fraction * candidate.weight;
  size_t kept = 0;
  while (kept < candidates_.size() && sum > 0) sum -= candidates_[kept++].weight;
  candidates_.resize(kept);
}

}  // namespace whipsnake::engine
