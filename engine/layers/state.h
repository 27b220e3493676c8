// The state of a sequence: what a model remembers of the tokens that it has read.
#ifndef WHIPSNAKE_ENGINE_LAYERS_STATE_H_
#define WHIPSNAKE_ENGINE_LAYERS_STATE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::engine {

// A piece of the memory that states hold. States that share a piece report the same address.
struct MemoryPiece {
  const void* address = nullptr;  // in the memory of the state's device
  int64_t bytes = 0;
};

// An explicit value that can be copied, forked, saved and restored. Belongs to the model that made
// it. Not thread-safe, but any number of threads may read it at once.
class State {
 public:
  virtual ~State() = default;

  // Tokens consumed so far.
  virtual int64_t position() const = 0;
  // Counts `tokens` more as consumed. Called by the model when a pass over them has succeeded.
  virtual void Advance(int64_t tokens) = 0;

  // Whether the state still contains its earlier states, as a cache of keys and values does. A
  // recurrent state forgets them.
  virtual bool rewindable() const { return false; }
  // Returns the state after `position` tokens: its own position or, if it is rewindable, any from 0
  // to its own. The copy is independent of this state, but both may share memory that neither
  // changes. Returns INVALID_ARGUMENT for any other position, RESOURCE_EXHAUSTED if the ledger
  // refuses.
  virtual absl::StatusOr<std::unique_ptr<State>> CloneAt(int64_t position) const = 0;
  absl::StatusOr<std::unique_ptr<State>> Clone() const { return CloneAt(position()); }

  // Allocates the memory that the sequence needs to reach this many tokens, if the state grows with
  // them, so that no Forward fails for lack of it. Returns RESOURCE_EXHAUSTED if the ledger
  // refuses.
  virtual absl::Status MakeRoom(int64_t /*positions*/) { return absl::OkStatus(); }
  // Frees the part of that memory that no token uses yet.
  virtual void ReleaseRoom() {}

  // The bytes of memory that the state holds.
  virtual int64_t bytes() const = 0;
  // Appends the pieces of that memory, to count the memory that several states hold together.
  virtual void AppendMemory(std::vector<MemoryPiece>& pieces) const = 0;

  // Copies the state to saved_bytes() bytes of host memory, from which a StateFactory of the same
  // kind restores it.
  virtual int64_t saved_bytes() const { return bytes(); }
  virtual void Save(std::span<std::byte> out) const = 0;
};

// Makes the states of one model. Thread-safe. The states do not refer to it.
class StateFactory {
 public:
  virtual ~StateFactory() = default;

  // The state of a sequence that has not begun. Returns RESOURCE_EXHAUSTED if the ledger refuses.
  virtual absl::StatusOr<std::unique_ptr<State>> New() const = 0;
  // Restores a state that was saved after `position` tokens. Returns INVALID_ARGUMENT if a state at
  // that position does not have as many bytes, RESOURCE_EXHAUSTED if the ledger refuses. Does not
  // check the contents: the caller must know that they are valid.
  virtual absl::StatusOr<std::unique_ptr<State>> Restore(
      int64_t position, std::span<const std::byte> saved) const = 0;

  // The bytes of a state with room for this many tokens.
  virtual int64_t Bytes(int64_t positions) const = 0;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_STATE_H_
