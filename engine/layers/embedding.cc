#include "engine/layers/embedding.h"

#include <cstring>
#include <vector>

#include "engine/base/status.h"

namespace whipsnake::engine {

using kernels::DType;

absl::StatusOr<Embedding> Embedding::Load(WeightLoader& loader, const std::string& name, int64_t V,
                                          int64_t d, DType type) {
  Embedding embedding;
  embedding.name_ = name;
  ASSIGN_OR_RETURN(embedding.table_, loader.Matrix(name, V, d, type));
  if (type != DType::kI8) return embedding;
  ASSIGN_OR_RETURN(const std::vector<float> scale, loader.Scales(ScaleName(name), V));
  ASSIGN_OR_RETURN(embedding.scale_,
                   loader.Derived(ScaleName(name), V, [&](int64_t token) { return scale[token]; }));
  return embedding;
}

absl::Status Embedding::LoadPositions(WeightLoader& loader, const std::string& name, int64_t P,
                                      int64_t d) {
  positions_name_ = name;
  position_count_ = P;
  ASSIGN_OR_RETURN(positions_, loader.Floats(name, {P, d}));
  return absl::OkStatus();
}

void Embedding::Lookup(int32_t token, int64_t position, float* out) const {
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
  if (positions_.size() == 0) return;
  const float* row = positions_.as<float>() + position * table.k;
  for (int64_t i = 0; i < table.k; ++i) out[i] += row[i];
}

void Embedding::VisitParameters(bool tied, ParameterVisitor visit) const {
  const kernels::WeightView& table = table_.view();
  visit({name_,
         {table.n, table.k},
         ParameterRole::kEmbedding,
         table.format.dtype,
         table_.bytes(),
         tied});
  const auto visit_rows = [&](Parameter parameter) {
    parameter.read_by_every_step = false;
    visit(parameter);
  };
  VisitBuffer(visit_rows, ScaleName(name_), {table.n}, ParameterRole::kCodeScale, scale_);
  VisitBuffer(visit_rows, positions_name_, {position_count_, table.k}, ParameterRole::kEmbedding,
              positions_);
}

}  // namespace whipsnake::engine
