// The state of a recurrent model: a block of memory of fixed size, which forgets its earlier
// values.
#ifndef WHIPSNAKE_ENGINE_LAYERS_RECURRENT_STATE_H_
#define WHIPSNAKE_ENGINE_LAYERS_RECURRENT_STATE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/layers/state.h"

namespace whipsnake::engine {

// The blocks of the model decide what is where in the memory. Its saved form is that memory.
class RecurrentState : public State {
 public:
  RecurrentState(Ledger* ledger, Buffer memory, int64_t position)
      : ledger_(ledger), memory_(std::move(memory)), position_(position) {}

  int64_t position() const override { return position_; }
  void Advance(int64_t tokens) override { position_ += tokens; }
  int64_t bytes() const override { return memory_.size(); }
  absl::StatusOr<std::unique_ptr<State>> CloneAt(int64_t position) const override;
  void AppendMemory(std::vector<MemoryPiece>& pieces) const override;
  void Save(std::span<std::byte> out) const override;

  // Zeros in a new state. Blocks read and write it while they compute.
  std::byte* data() const { return memory_.data(); }

 private:
  Ledger* ledger_;
  Buffer memory_;
  int64_t position_;
};

class RecurrentStates : public StateFactory {
 public:
  // Makes states of `bytes` bytes each. The ledger must outlive them.
  RecurrentStates(Ledger* ledger, int64_t bytes) : ledger_(ledger), bytes_(bytes) {}

  absl::StatusOr<std::unique_ptr<State>> New() const override;
  absl::StatusOr<std::unique_ptr<State>> Restore(int64_t position,
                                                 std::span<const std::byte> saved) const override;
  int64_t Bytes(int64_t /*positions*/) const override { return bytes_; }

 private:
  Ledger* const ledger_;
  const int64_t bytes_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_RECURRENT_STATE_H_
