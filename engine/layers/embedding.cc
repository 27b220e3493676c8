#include "engine/layers/embedding.h"

#include <cstring>
#include <vector>

#include "engine/base/status.h"

namespace whipsnake::engine {

using kernels::DType;

absl::StatusOr<Embedding> Embedding::Load(WeightLoader& loader, const std::string& name, int64_t V,
                                          int64_t d, DType type) {
  Embedding embedding;
  ASSIGN_OR_RETURN(embedding.table_, loader.Matrix(name, V, d, type));
  if (type != DType::kI8) return embedding;
  ASSIGN_OR_RETURN(const std::vector<float> scale, loader.Scales(ScaleName(name), V));
  ASSIGN_OR_RETURN(embedding.scale_,
                   loader.Derived(ScaleName(name), V, [&](int64_t token) { return scale[token]; }));
  return embedding;
}

void Embedding::Lookup(int32_t token, float* out) const {
  const kernels::WeightView& table = table_.view();
  const std::byte* const stored = table.row(token);
  switch (table.format.dtype) {
    case DType::kF32:
      std::memcpy(out, stored, table.row_bytes());
      break;
    case DType::kI8: {
      const auto* row = reinterpret_cast<const int8_t*>(stored);
      const float scale = scale_.as<float>()[token];
      for (int64_t i = 0; i < table.k; ++i) out[i] = row[i] * scale;
      break;
    }
    default: {
      const auto* row = reinterpret_cast<const uint16_t*>(stored);
      for (int64_t i = 0; i < table.k; ++i) out[i] = kernels::FromBF16(row[i]);
    }
  }
}

}  // namespace whipsnake::engine
