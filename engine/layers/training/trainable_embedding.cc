#include "engine/layers/training/trainable_embedding.h"

#include <vector>

#include "absl/strings/strip.h"
#include "engine/base/status.h"
#include "kernels/embedding/embedding.h"

namespace whipsnake::engine {
namespace {

std::vector<kernels::EmbeddingRun> RunsOf(const TrainingPass& pass,
                                          std::span<const int32_t> tokens) {
  std::vector<kernels::EmbeddingRun> runs;
  runs.reserve(pass.sequences.size());
  for (const kernels::RowRange& sequence : pass.sequences) {
    runs.push_back({tokens.subspan(sequence.begin, sequence.length), 0});
  }
  return runs;
}

}  // namespace

absl::StatusOr<TrainableEmbedding> TrainableEmbedding::Make(TrainableParameters& parameters,
                                                            const std::string& tokens,
                                                            const std::string& positions,
                                                            float dropout, int64_t site) {
  TrainableEmbedding embedding;
  const auto add_layer = [&](const std::string& name, TrainableParameter* table) {
    parameters.AddLayer(
        {.name = std::string(absl::StripSuffix(name, ".weight")), .parameters = {table}});
  };
  ASSIGN_OR_RETURN(embedding.tokens_, parameters.Use(tokens));
  add_layer(tokens, embedding.tokens_);
  if (!positions.empty()) {
    ASSIGN_OR_RETURN(embedding.positions_, parameters.Use(positions));
    add_layer(positions, embedding.positions_);
  }
  embedding.dropout_ = dropout;
  embedding.site_ = site;
  embedding.end_layer_ = std::ssize(parameters.layers());
  return embedding;
}

absl::StatusOr<Tensor> TrainableEmbedding::Forward(TrainingPass& pass,
                                                   std::span<const int32_t> tokens) const {
  const int64_t V = tokens_->shape[0], d = tokens_->shape[1];
  ASSIGN_OR_RETURN(Tensor rows, pass.New(std::ssize(tokens), d));
  const kernels::EmbeddingTables tables{
      .tokens = {tokens_->data(), {kernels::DType::kF32}, V, d},
      .positions = positions_ != nullptr ? positions_->data() : nullptr};
  pass.Compute(PassCost::Numbers(4 * rows.elements()), [&] {
    kernels::Embed(pass.context, RunsOf(pass, tokens), tables, *rows);
    kernels::Dropout(pass.context, pass.Mask(site_, dropout_), *rows, *rows);
  });
  return rows;
}

absl::Status TrainableEmbedding::Backward(TrainingPass& pass, std::span<const int32_t> tokens,
                                          kernels::MatrixView<float> g) const {
  ASSIGN_OR_RETURN(float* const gtokens, pass.gradients->SumOf(pass.context, tokens_));
  ASSIGN_OR_RETURN(float* const gpositions, pass.gradients->SumOf(pass.context, positions_));
  pass.Compute(PassCost::Numbers(4 * g.rows * g.cols), [&] {
    kernels::Dropout(pass.context, pass.Mask(site_, dropout_), g, g);
    kernels::EmbedBackward(pass.context, RunsOf(pass, tokens), g, gtokens, gpositions);
  });
  RETURN_IF_ERROR(pass.gradients->Added(tokens_));
  return pass.gradients->Added(positions_);
}

}  // namespace whipsnake::engine
