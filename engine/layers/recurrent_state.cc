#include "engine/layers/recurrent_state.h"

#include <utility>

#include "engine/base/status.h"

namespace whipsnake::engine {

absl::StatusOr<std::unique_ptr<State>> RecurrentState::CloneAt(int64_t position) const {
  if (position != position_) {
    return absl::InvalidArgumentError(
        absl::StrCat("position ", position, " seen, expected ", position_,
                     ": a recurrent state does not keep its earlier positions"));
  }
  ASSIGN_OR_RETURN(Buffer copy,
                   ledger_->Allocate(memory_.size(), Purpose::kStates, "copy of a state"));
  RETURN_IF_ERROR(copy.CopyFrom(memory_));
  return std::make_unique<RecurrentState>(ledger_, std::move(copy), position_);
}

void RecurrentState::AppendMemory(std::vector<MemoryPiece>& pieces) const {
  pieces.push_back({memory_.data(), memory_.size()});
}

absl::Status RecurrentState::Save(std::span<std::byte> out) const {
  return memory_.CopyToHost(out);
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
  ASSIGN_OR_RETURN(Buffer memory, ledger_->Allocate(bytes_, Purpose::kStates, "a saved state"));
  RETURN_IF_ERROR(memory.CopyFromHost(saved));
  return std::make_unique<RecurrentState>(ledger_, std::move(memory), position);
}

}  // namespace whipsnake::engine
