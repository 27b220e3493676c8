// A model's input embedding: a table of tokens and, unless the order of tokens comes from
// elsewhere, one of positions.
//
// Letters: V tokens, P positions, d model width.
#ifndef WHIPSNAKE_ENGINE_LAYERS_EMBEDDING_H_
#define WHIPSNAKE_ENGINE_LAYERS_EMBEDDING_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/layers/parameter.h"
#include "engine/layers/weights.h"

namespace whipsnake::engine {

// Immutable; movable; thread-safe.
class Embedding {
 public:
  // Loads the tensor `name` [V,d] as `type`. kI8 has one scale per token. Errors as from
  // WeightLoader.
  static absl::StatusOr<Embedding> Load(WeightLoader& loader, const std::string& name, int64_t V,
                                        int64_t d, kernels::DType type);
  // Loads the tensor `name` [P,d], whose rows are added to those of the tokens.
  absl::Status LoadPositions(WeightLoader& loader, const std::string& name, int64_t P, int64_t d);

  // Writes the row of `token`, which must be in [0,V), to out[d] in fp32, and adds the row of
  // `position`, which must be in [0,P), if there are positions.
  void Lookup(int32_t token, int64_t position, float* out) const;

  // The table of tokens, which a tied head shares.
  const std::string& name() const { return name_; }
  const WeightMatrix& table() const { return table_; }

  // `tied`: whether a head multiplies with the table of tokens.
  void VisitParameters(bool tied, ParameterVisitor visit) const;

 private:
  std::string name_;
  WeightMatrix table_;  // [V,d]
  Buffer scale_;        // [V], only for codes
  std::string positions_name_;
  int64_t position_count_ = 0;  // P
  Buffer positions_;            // [P,d] or empty
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_EMBEDDING_H_
