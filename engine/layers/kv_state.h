// The state of a transformer's sequence: the keys and values of its tokens, in blocks.
//
// Full blocks never change, so states with a common prefix share them, and a copy takes at most one
// new block. Source: Kwon et al., arXiv 2309.06180.
#ifndef WHIPSNAKE_ENGINE_LAYERS_KV_STATE_H_
#define WHIPSNAKE_ENGINE_LAYERS_KV_STATE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/layers/state.h"
#include "kernels/attention/attention.h"

namespace whipsnake::engine {

// The layout of a block: the parts of the layers, one after another.
struct KvShape {
  kernels::KvLayout layer;
  int64_t layers = 0;

  int64_t LayerBytes() const {
    constexpr int64_t kAlignment = kernels::KvLayout::kAlignment;
    return (layer.bytes() + kAlignment - 1) / kAlignment * kAlignment;
  }
  int64_t BlockBytes() const { return layers * LayerBytes(); }
  static int64_t Blocks(int64_t positions) {
    return (positions + kernels::kKvBlock - 1) / kernels::kKvBlock;
  }
};

// Its saved form is its blocks, one after another, with zeros where the last block has no tokens
// yet.
class KvState : public State {
 public:
  // A state without tokens.
  KvState(Ledger* ledger, const KvShape& shape) : ledger_(ledger), shape_(shape) {}

  int64_t position() const override { return position_; }
  void Advance(int64_t tokens) override { position_ += tokens; }
  bool rewindable() const override { return true; }
  absl::StatusOr<std::unique_ptr<State>> CloneAt(int64_t position) const override;
  absl::Status MakeRoom(int64_t positions) override;
  void ReleaseRoom() override;
  int64_t bytes() const override { return std::ssize(blocks_) * shape_.BlockBytes(); }
  void AppendMemory(std::vector<MemoryPiece>& pieces) const override;
  int64_t saved_bytes() const override { return KvShape::Blocks(position_) * shape_.BlockBytes(); }
  void Save(std::span<std::byte> out) const override;

  // All allocated blocks, including those that no token uses yet.
  kernels::KvBlockTable blocks() const { return {pointers_.data(), std::ssize(pointers_)}; }

 private:
  friend class KvStates;
  absl::Status AddBlock(std::span<const std::byte> contents);
  void ClearAfter(int64_t position);

  Ledger* const ledger_;
  const KvShape shape_;
  int64_t position_ = 0;
  std::vector<std::shared_ptr<const Buffer>> blocks_;
  std::vector<std::byte*> pointers_;  // to the memory of blocks_
};

class KvStates : public StateFactory {
 public:
  // The ledger must outlive the states.
  KvStates(Ledger* ledger, const KvShape& shape, int64_t max_positions)
      : ledger_(ledger), shape_(shape), max_positions_(max_positions) {}

  absl::StatusOr<std::unique_ptr<State>> New() const override {
    return std::make_unique<KvState>(ledger_, shape_);
  }
  absl::StatusOr<std::unique_ptr<State>> Restore(int64_t position,
                                                 std::span<const std::byte> saved) const override;
  int64_t Bytes(int64_t positions) const override {
    return KvShape::Blocks(std::min(positions, max_positions_)) * shape_.BlockBytes();
  }

 private:
  Ledger* const ledger_;
  const KvShape shape_;
  const int64_t max_positions_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_KV_STATE_H_
