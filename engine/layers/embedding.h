// The table of a model's input embedding.
//
// Letters: V tokens, d model width.
#ifndef WHIPSNAKE_ENGINE_LAYERS_EMBEDDING_H_
#define WHIPSNAKE_ENGINE_LAYERS_EMBEDDING_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/layers/weights.h"

namespace whipsnake::engine {

// Immutable; movable; thread-safe.
class Embedding {
 public:
  // Loads the tensor `name` [V,d] as `type`. kI8 has one scale per token. Errors as from
  // WeightLoader.
  static absl::StatusOr<Embedding> Load(WeightLoader& loader, const std::string& name, int64_t V,
                                        int64_t d, kernels::DType type);

  // Writes the row of `token`, which must be in [0,V), to out[d] in fp32.
  void Lookup(int32_t token, float* out) const;

  // The table, which a tied head shares.
  const WeightMatrix& table() const { return table_; }

 private:
  WeightMatrix table_;  // [V,d]
  Buffer scale_;        // [V], only for codes
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_EMBEDDING_H_
