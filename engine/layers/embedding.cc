#include "engine/layers/embedding.h"

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

void Embedding::Forward(const kernels::Context& context,
                        std::span<const kernels::EmbeddingRun> runs,
                        kernels::MatrixView<float> out) const {
  kernels::Embed(context, runs, {table_.view(), scale_.as<float>(), positions_.as<float>()}, out);
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
