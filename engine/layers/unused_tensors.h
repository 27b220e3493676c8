// Tensors of a checkpoint that its model does not have.
#ifndef WHIPSNAKE_ENGINE_LAYERS_UNUSED_TENSORS_H_
#define WHIPSNAKE_ENGINE_LAYERS_UNUSED_TENSORS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace whipsnake::engine {

// What a tensor that a model does not have can be, by its name.
enum class Surplus {
  kLeftover,  // of tools that wrote it, and known to mean nothing
  kOfLayers,  // in a layer that the model's family has: a model with it would compute something
              // else
  kForeign    // beside the model
};

// Whether the tensor is a buffer that any family's files may have and that is computed from the
// config: the positions 0, 1, 2, ..., or the frequencies of rotary embeddings.
bool IsLeftoverBuffer(std::string_view name);

// The foreign tensors of a checkpoint. Bounded, however many there are.
struct UnusedTensors {
  static constexpr int kNamed = 5;

  int64_t count = 0;
  std::vector<std::string> first;  // the names and types of the first kNamed, for messages

  void Add(std::string_view name, std::string_view type);
  // "2: "a.bias" (I64), "b" (F32)"; "" if there are none.
  std::string text() const;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_UNUSED_TENSORS_H_
