#include "engine/finetune/data/packed_windows.h"

#include <algorithm>
#include <utility>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

// The tokens of all texts and of the end-of-text tokens between them.
int64_t JoinedTokens(const Dataset& dataset) {
  return std::max<int64_t>(dataset.report().tokens + dataset.size() - 1, 0);
}

}  // namespace

PackedWindows::PackedWindows(const Dataset* dataset, Ledger* ledger)
    : dataset_(dataset), begins_(ledger, Purpose::kWorkspace, "the order of a data set") {}

int64_t PackedWindows::size() const {
  const int64_t length = dataset_->options().max_length, tokens = JoinedTokens(*dataset_);
  return tokens / length + (tokens % length >= 2 ? 1 : 0);
}

absl::Status PackedWindows::Reserve() { return begins_.Resize(dataset_->size()); }

void PackedWindows::SetOrder(std::span<const int64_t> rows) {
  int64_t begin = 0;
  for (int64_t k = 0; k < std::ssize(rows); ++k) {
    begins_[k] = begin;
    begin += dataset_->length(rows[k]) + 1;
  }
  rows_ = rows;
}

absl::StatusOr<std::span<const int32_t>> PackedWindows::TextOf(int64_t row) {
  if (row != cached_row_) {
    cached_row_ = -1;
    ASSIGN_OR_RETURN(cached_, dataset_->ReadText(row));
    cached_.push_back(dataset_->options().end_of_text);
    cached_row_ = row;
  }
  return std::span<const int32_t>(cached_);
}

absl::StatusOr<std::vector<int32_t>> PackedWindows::Read(int64_t i) {
  const int64_t length = dataset_->options().max_length;
  const int64_t begin = i * length, end = std::min(begin + length, JoinedTokens(*dataset_));
  std::vector<int32_t> window;
  // The text that contains the first token.
  int64_t k = std::upper_bound(begins_.begin(), begins_.end(), begin) - begins_.begin() - 1;
  for (; begin + std::ssize(window) < end; ++k) {
    ASSIGN_OR_RETURN(const std::span<const int32_t> text, TextOf(rows_[k]));
    const int64_t from = begin + std::ssize(window) - begins_[k];
    const int64_t count = std::min(std::ssize(text) - from, end - begin - std::ssize(window));
    const auto part = text.subspan(from, count);
    window.insert(window.end(), part.begin(), part.end());
  }
  return window;
}

}  // namespace whipsnake::engine
