#include "engine/layers/kv_state.h"

#include <algorithm>
#include <utility>

#include "engine/base/status.h"

namespace whipsnake::engine {

using kernels::kKvBlock;

namespace {

// Clears the block of all layers from its position `first` on, so that its contents do not depend
// on the state that it was copied from.
absl::Status ClearFrom(int64_t first, const KvShape& shape, const Buffer& block) {
  if (block.device() != kernels::Device::kCpu) {
    return absl::UnimplementedError("keys and values on a GPU cannot be cut inside a block");
  }
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    kernels::ClearKvPositions({}, shape.layer, first, block.data() + layer * shape.LayerBytes());
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Buffer> KvState::NewBlock() const {
  return ledger_->Allocate(shape_.BlockBytes(), Purpose::kStates, "keys and values of a sequence");
}

void KvState::Append(Buffer block) {
  pointers_.push_back(block.data());
  blocks_.push_back(std::make_shared<const Buffer>(std::move(block)));
}

absl::StatusOr<std::unique_ptr<State>> KvState::CloneAt(int64_t position) const {
  if (position < 0 || position > position_) {
    return absl::InvalidArgumentError(
        absl::StrCat("position ", position, " seen, expected 0 to ", position_));
  }
  auto clone = std::make_unique<KvState>(ledger_, shape_);
  const int64_t full = position / kKvBlock;
  clone->blocks_.assign(blocks_.begin(), blocks_.begin() + full);
  clone->pointers_.assign(pointers_.begin(), pointers_.begin() + full);
  if (full < KvShape::Blocks(position)) {
    ASSIGN_OR_RETURN(Buffer block, NewBlock());
    RETURN_IF_ERROR(block.CopyFrom(*blocks_[full]));
    if (position < position_) RETURN_IF_ERROR(ClearFrom(position % kKvBlock, shape_, block));
    clone->Append(std::move(block));
  }
  clone->position_ = position;
  return clone;
}

absl::Status KvState::MakeRoom(int64_t positions) {
  while (std::ssize(blocks_) < KvShape::Blocks(positions)) {
    ASSIGN_OR_RETURN(Buffer block, NewBlock());
    Append(std::move(block));
  }
  return absl::OkStatus();
}

void KvState::ReleaseRoom() {
  const int64_t used = std::min(KvShape::Blocks(position_), std::ssize(blocks_));
  blocks_.resize(used);
  pointers_.resize(used);
}

void KvState::AppendMemory(std::vector<MemoryPiece>& pieces) const {
  for (const auto& block : blocks_) pieces.push_back({block->data(), block->size()});
}

absl::Status KvState::Save(std::span<std::byte> out) const {
  const int64_t bytes = shape_.BlockBytes();
  for (int64_t i = 0; i < KvShape::Blocks(position_); ++i) {
    RETURN_IF_ERROR(blocks_[i]->CopyToHost(out.subspan(i * bytes, bytes)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<State>> KvStates::Restore(int64_t position,
                                                         std::span<const std::byte> saved) const {
  const int64_t block = shape_.BlockBytes(), expected = KvShape::Blocks(position) * block;
  if (std::ssize(saved) != expected) {
    return absl::InvalidArgumentError(absl::StrCat("a state of ", saved.size(), " bytes after ",
                                                   position, " tokens seen, expected ", expected));
  }
  auto state = std::make_unique<KvState>(ledger_, shape_);
  for (int64_t begin = 0; begin < expected; begin += block) {
    ASSIGN_OR_RETURN(Buffer copy, state->NewBlock());
    RETURN_IF_ERROR(copy.CopyFromHost(saved.subspan(begin, block)));
    state->Append(std::move(copy));
  }
  state->position_ = position;
  return state;
}

}  // namespace whipsnake::engine
