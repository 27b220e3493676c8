#include "engine/generate/repeated_ngrams.h"

#include <algorithm>

namespace whipsnake::engine {
namespace {

// The hash of n-1 tokens is a polynomial in this odd number, modulo 2^64, so that it rolls along
// the sequence. Equal hashes are compared by their tokens.
constexpr uint64_t kFactor = 0x9e3779b97f4a7c15u;

uint64_t Coefficient(int32_t token) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(token)) + 1) * 0xbf58476d1ce4e5b9u;
}

}  // namespace

RepeatedNgrams::RepeatedNgrams(int64_t n) : n_(n) {
  for (int64_t i = 1; i < n_ - 1; ++i) outgoing_factor_ *= kFactor;
}

void RepeatedNgrams::Append(int32_t token) {
  if (n_ == 0) return;
  tokens_.push_back(token);
  const int64_t begin = std::ssize(tokens_) - n_;
  if (begin >= 0) {
    // The token completes an n-gram. A second list entry for the same n-gram would do no harm.
    const uint64_t all = hash_ * kFactor + Coefficient(token);
    const auto [known, is_new] = by_all_.try_emplace(all, static_cast<int32_t>(begin));
    if (is_new || !AreEqual(known->second, begin, n_)) {
      int32_t& head = by_first_.try_emplace(hash_, -1).first->second;
      ngrams_.push_back({static_cast<int32_t>(begin), head});
      head = static_cast<int32_t>(ngrams_.size()) - 1;
    }
  }
  if (n_ == 1) return;
  if (begin >= 0) hash_ -= Coefficient(tokens_[begin]) * outgoing_factor_;
  hash_ = hash_ * kFactor + Coefficient(token);
}

std::span<const int32_t> RepeatedNgrams::Find() {
  found_.clear();
  const auto list = by_first_.find(hash_);
  const int64_t last = std::ssize(tokens_) - (n_ - 1);
  for (int32_t i = list == by_first_.end() ? -1 : list->second; i >= 0; i = ngrams_[i].previous) {
    const int64_t begin = ngrams_[i].begin;
    if (AreEqual(begin, last, n_ - 1)) found_.push_back(tokens_[begin + n_ - 1]);
  }
  return found_;
}

bool RepeatedNgrams::AreEqual(int64_t a, int64_t b, int64_t length) const {
  return std::equal(tokens_.begin() + a, tokens_.begin() + a + length, tokens_.begin() + b);
}

}  // namespace whipsnake::engine
