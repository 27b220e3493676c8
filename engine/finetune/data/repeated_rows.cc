#include "engine/finetune/data/repeated_rows.h"

#include <algorithm>
#include <string>
#include <utility>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

constexpr int64_t kSmallestRoom = 64;
constexpr size_t kListed = 10;

Digest::Value DigestOf(const Row& row) {
  Digest digest;
  const auto add = [&](const std::string& text) {
    digest.Add(absl::StrCat(text.size(), " "));
    digest.Add(text);
  };
  add(row.input);
  for (const std::string& response : row.responses) add(response);
  return digest.value();
}

void Count(RepeatedRow row, RepeatedRows* rows) {
  ++rows->count;
  if (rows->first.size() < kListed) rows->first.push_back(row);
}

}  // namespace

absl::Status RepeatedRowFinder::Grow() {
  if (std::ssize(first_) < room_) return absl::OkStatus();
  const int64_t room = std::max(2 * room_, kSmallestRoom);
  // The table has a byte of control data per slot, and a power of two of slots, which are at most
  // 7/8 full.
  constexpr int64_t kEntryBytes = sizeof(decltype(first_)::value_type) + 1;
  ASSIGN_OR_RETURN(Reservation larger, ledger_->Reserve(2 * room * kEntryBytes, Purpose::kWorkspace,
                                                        "the search for repeated rows"));
  first_.reserve(room);
  reservation_ = std::move(larger);
  room_ = room;
  return absl::OkStatus();
}

absl::Status RepeatedRowFinder::Add(const Row& row, int64_t line, int64_t label) {
  RETURN_IF_ERROR(Grow());
  const auto [entry, added] = first_.try_emplace(DigestOf(row), First{line, label});
  if (added) return absl::OkStatus();
  const First& first = entry->second;
  Count({line, first.line}, &repeated_);
  if (label != first.label) Count({line, first.line}, &contradicting_);
  return absl::OkStatus();
}

}  // namespace whipsnake::engine
