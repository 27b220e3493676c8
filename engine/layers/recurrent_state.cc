#include "engine/layers/recurrent_state.h"

#include <cstring>
#include <utility>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

// Returns a state with a copy of `contents`. `what` names its memory in errors.
absl::StatusOr<std::unique_ptr<State>> CopyOf(Ledger* ledger, std::span<const std::byte> contents,
                                              int64_t position, std::string_view what) {
  ASSIGN_OR_RETURN(Buffer memory, ledger->Allocate(std::ssize(contents), Purpose::kStates, what));
  std::memcpy(memory.data(), contents.data(), contents.size());
  return std::make_unique<RecurrentState>(ledger, std::move(memory), position);
}

}  // namespace

absl::StatusOr<std::unique_ptr<State>> RecurrentState::CloneAt(int64_t position) const {
  if (position != position_) {
    return absl::InvalidArgumentError(absl::StrCat("a recurrent state after ", position_,
                                                   " tokens has forgotten what it was after ",
                                                   position));
  }
  return CopyOf(ledger_, memory_.bytes(), position_, "copy of a state");
}

void RecurrentState::AppendMemory(std::vector<MemoryPiece>& pieces) const {
  pieces.push_back({memory_.data(), memory_.size()});
}

void RecurrentState::Save(std::span<std::byte> out) const {
  std::memcpy(out.data(), memory_.data(), memory_.size());
}

absl::StatusOr<std::unique_ptr<State>> RecurrentStates::New() const {
  ASSIGN_OR_RETURN(Buffer memory, ledger_->Allocate(bytes_, Purpose::kStates, "a new state"));
  return std::make_unique<RecurrentState>(ledger_, std::move(memory), /*position=*/0);
}

absl::StatusOr<std::unique_ptr<State>> RecurrentStates::Restore(
    int64_t position, std::span<const std::byte> saved) const {
  if (std::ssize(saved) != bytes_) {
    return absl::InvalidArgumentError(
        absl::StrCat("a state of ", saved.size(), " bytes seen, expected ", bytes_));
  }
  return CopyOf(ledger_, saved, position, "a saved state");
}

}  // namespace whipsnake::engine
