// A model in training: writable parameters, and layers with a forward and a backward pass.
//
// Letters: T rows (tokens) of the batch, d model width.
#ifndef WHIPSNAKE_ENGINE_MODELS_TRAINABLE_MODEL_H_
#define WHIPSNAKE_ENGINE_MODELS_TRAINABLE_MODEL_H_

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/layers/training/trainable_block.h"
#include "engine/layers/training/trainable_embedding.h"
#include "engine/layers/training/trainable_linear.h"
#include "engine/layers/training/trainable_norm.h"
#include "engine/layers/training/trainable_parameter.h"
#include "engine/layers/training/training_pass.h"
#include "engine/models/config.h"
#include "kernels/dtype.h"

namespace whipsnake::engine {

// The layers of a model, made by its family. They point to the parameters.
struct TrainableLayers {
  TrainableEmbedding embedding;
  std::vector<std::unique_ptr<TrainableBlock>> blocks;
  TrainableNorm norm;
  TrainableLinear head;
};

struct TrainableOptions {
  kernels::DType arithmetic = kernels::DType::kF32;  // of matrix products: kF32 or kBF16
  // The probability of every dropout; unset: those of the config.
  std::optional<float> dropout;
  uint64_t seed = 0;  // of the values of a new head
};

// Not thread-safe.
class TrainableModel {
 public:
  // Returns UNIMPLEMENTED for a model whose family cannot be trained, and FAILED_PRECONDITION for a
  // quantized one.
  static absl::Status CheckCanTrain(const ModelConfig& config);

  // Makes the model of a config, with the values of a checkpoint. What the config has and the
  // checkpoint need not have, such as the head of a new task, is drawn as in a fresh model. Returns
  // the errors of CheckCanTrain; NOT_FOUND or INVALID_ARGUMENT, naming the tensor,
  // for one that is missing, has another shape or is not of a float type, and for a tensor of the
  // checkpoint that the model does not have; RESOURCE_EXHAUSTED if the ledger refuses. Checks
  // everything before it allocates.
  static absl::StatusOr<std::unique_ptr<TrainableModel>> Load(const ModelConfig& config,
                                                              const Checkpoint& checkpoint,
                                                              const TrainableOptions& options,
                                                              Ledger& ledger);

  // Makes a fresh model, all of whose values are drawn.
  static absl::StatusOr<std::unique_ptr<TrainableModel>> Fresh(const ModelConfig& config,
                                                               const TrainableOptions& options,
                                                               Ledger& ledger);

  // Makes the layers of a model of this config with parameters whose values are undefined and whose
  // memory is not used, for plans. `fresh` are the parameters that count as drawn.
  static absl::StatusOr<std::unique_ptr<TrainableModel>> WithoutValues(
      const ModelConfig& config, const TrainableOptions& options, std::vector<std::string> fresh,
      Ledger& ledger);

  TrainableParameters& parameters() { return parameters_; }
  const TrainableParameters& parameters() const { return parameters_; }
  // The parameters that were drawn.
  const std::vector<std::string>& fresh() const { return fresh_; }
  // The tensors of the checkpoint that the model of this config replaces by others, such as the
  // language-model head of a model that becomes a classifier.
  const std::vector<std::string>& dropped() const { return dropped_; }
  kernels::DType arithmetic() const { return options_.arithmetic; }

  // Returns the inputs of the head, u[T,d], and sets the pass's lowest layer. Returns
  // INVALID_ARGUMENT for a token outside the vocabulary or a sequence longer than the model's
  // positions.
  absl::StatusOr<Tensor> Forward(TrainingPass& pass, std::span<const int32_t> tokens) const;
  // Given gu[T,d] = ∂L/∂u: adds the gradients of all parameters but the head's, down to the lowest
  // layer that trains. gu may be empty if that is the head.
  absl::Status Backward(TrainingPass& pass, std::span<const int32_t> tokens, Tensor gu) const;
  // For messages about values that are not finite: returns the parameter that has one ("the
  // parameter transformer.h.0.ln_1.weight"), or else the first part of the forward pass that makes
  // one ("block 3"), or "the head". The pass must discard its activations.
  absl::StatusOr<std::string> FindNotFinite(TrainingPass& pass,
                                            std::span<const int32_t> tokens) const;
  const TrainableLinear& head() const { return layers_.head; }

 private:
  TrainableModel(const ModelConfig& config, const TrainableOptions& options, Ledger& ledger)
      : config_(config), options_(options), parameters_(options.arithmetic, &ledger) {}
  // Makes the layers over parameters that have been added.
  absl::Status MakeLayers();
  absl::Status CheckUnused(const Checkpoint& checkpoint);
  // Adds the parameters, with values from `checkpoint` or, if it is null, drawn ones.
  absl::Status LoadParameters(const Checkpoint* checkpoint);
  absl::Status CheckBatch(const TrainingPass& pass, std::span<const int32_t> tokens) const;

  const ModelConfig config_;
  const TrainableOptions options_;
  TrainableParameters parameters_;
  std::vector<std::string> fresh_, dropped_;
  TrainableLayers layers_;
  std::vector<int64_t> block_ends_;  // of each block, the number of the first layer above it
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_MODELS_TRAINABLE_MODEL_H_
