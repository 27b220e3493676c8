#include "engine/layers/kv_state.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/base/status.h"

namespace whipsnake::engine {

using kernels::kKvBlock;

absl::Status KvState::AddBlock(std::span<const std::byte> contents) {
  ASSIGN_OR_RETURN(Buffer block, ledger_->Allocate(shape_.BlockBytes(), Purpose::kStates,
                                                   "keys and values of a sequence"));
  if (!contents.empty()) std::memcpy(block.data(), contents.data(), contents.size());
  pointers_.push_back(block.data());
  blocks_.push_back(std::make_shared<const Buffer>(std::move(block)));
  return absl::OkStatus();
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
    RETURN_IF_ERROR(clone->AddBlock(blocks_[full]->bytes()));
    if (position < position_) clone->ClearAfter(position);
  }
  clone->position_ = position;
  return clone;
}

// Clears the last block, which only this state holds, from `position` on, so that its contents do
// not depend on the state that it was copied from.
void KvState::ClearAfter(int64_t position) {
  const kernels::KvLayout& layout = shape_.layer;
  const int64_t row = position % kKvBlock, element = ByteSize(layout.dtype);
  const auto clear = [](std::byte* begin, int64_t bytes) { std::memset(begin, 0, bytes); };
  for (int64_t layer = 0; layer < shape_.layers; ++layer) {
    for (int64_t head = 0; head < layout.heads; ++head) {
      std::byte* at = pointers_.back() + layer * shape_.LayerBytes() + head * layout.HeadBytes();
      for (int64_t d = 0; d < layout.head_dim; ++d) {
        clear(at + (d * kKvBlock + row) * element, (kKvBlock - row) * element);
      }
      const int64_t value = layout.PaddedDim() * element;
      clear(at + layout.ValuesBegin() + row * value, (kKvBlock - row) * value);
      if (layout.dtype != kernels::DType::kI8) continue;
      auto* scales = reinterpret_cast<float*>(at + layout.ScalesBegin());
      for (float* scale : {scales, scales + kKvBlock}) std::fill(scale + row, scale + kKvBlock, 0);
    }
  }
}

absl::Status KvState::MakeRoom(int64_t positions) {
  while (std::ssize(blocks_) < KvShape::Blocks(positions)) RETURN_IF_ERROR(AddBlock({}));
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

void KvState::Save(std::span<std::byte> out) const {
  for (int64_t i = 0; i < KvShape::Blocks(position_); ++i) {
    std::memcpy(out.data() + i * shape_.BlockBytes(), pointers_[i], shape_.BlockBytes());
  }
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
    RETURN_IF_ERROR(state->AddBlock(saved.subspan(begin, block)));
  }
  state->position_ = position;
  return state;
}

}  // namespace whipsnake::engine
