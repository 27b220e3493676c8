#include "engine/models/trainable_model.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <set>
#include <utility>

#include "absl/memory/memory.h"
#include "engine/base/status.h"
#include "engine/layers/training/write_zeros.h"
#include "engine/models/family.h"
#include "engine/models/parameter_spec.h"
#include "kernels/cpu/parallel.h"

namespace whipsnake::engine {
namespace {

// Heads, which a model of another task has in place of its own.
bool IsHead(std::string_view name) { return name == "lm_head.weight" || name == "score.weight"; }

// Where the values of a parameter come from.
struct Source {
  ParameterSpec spec;
  std::optional<TensorView> tensor;  // unset: they are drawn
};

absl::StatusOr<Source> FindSource(const Family& family, const Checkpoint* checkpoint,
                                  ParameterSpec spec) {
  if (checkpoint == nullptr) return Source{std::move(spec), {}};
  const std::string name = family.stored_name(*checkpoint, spec);
  if (!checkpoint->Contains(name) && spec.may_be_missing) return Source{std::move(spec), {}};
  // A number may be stored with the shape [] instead of [1].
  const bool scalar = checkpoint->Get(name, {}).ok();
  ASSIGN_OR_RETURN(TensorView tensor,
                   checkpoint->Get(name, scalar && spec.elements() == 1 ? std::span<const int64_t>()
                                                                        : spec.shape));
  if (tensor.dtype == kernels::DType::kI8) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", Quoted(name), ": codes seen, expected floats"));
  }
  return Source{std::move(spec), std::move(tensor)};
}

bool AllFinite(const kernels::Context& context, kernels::MatrixView<const float> values) {
  constexpr double kNanosecondsEach = 0.5;
  const int64_t count = values.rows * values.cols;
  std::atomic<bool> all = true;
  kernels::ParallelChannels(context, count, kNanosecondsEach * static_cast<double>(count),
                            [&](const kernels::Context&, int64_t begin, int64_t end) {
                              const bool finite =
                                  std::all_of(values.data + begin, values.data + end,
                                              [](float value) { return std::isfinite(value); });
                              if (!finite) all = false;
                            });
  kernels::Pause(context);
  return all;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TrainableModel>> TrainableModel::Load(
    const ModelConfig& config, const Checkpoint& checkpoint, const TrainableOptions& options,
    Ledger& ledger) {
  RETURN_IF_ERROR(CheckCanTrain(config));
  auto model = absl::WrapUnique(new TrainableModel(config, options, ledger));
  RETURN_IF_ERROR(model->CheckUnused(checkpoint));
  RETURN_IF_ERROR(model->LoadParameters(&checkpoint));
  RETURN_IF_ERROR(model->MakeLayers());
  return model;
}

absl::StatusOr<std::unique_ptr<TrainableModel>> TrainableModel::Fresh(
    const ModelConfig& config, const TrainableOptions& options, Ledger& ledger) {
  RETURN_IF_ERROR(CheckCanTrain(config));
  auto model = absl::WrapUnique(new TrainableModel(config, options, ledger));
  RETURN_IF_ERROR(model->LoadParameters(nullptr));
  RETURN_IF_ERROR(model->MakeLayers());
  return model;
}

absl::StatusOr<std::unique_ptr<TrainableModel>> TrainableModel::WithoutValues(
    const ModelConfig& config, const TrainableOptions& options, std::vector<std::string> fresh,
    Ledger& ledger) {
  RETURN_IF_ERROR(CheckCanTrain(config));
  auto model = absl::WrapUnique(new TrainableModel(config, options, ledger));
  model->fresh_ = std::move(fresh);
  for (const ParameterSpec& spec : config.family->parameters(config)) {
    RETURN_IF_ERROR(model->parameters_.Add(spec.name, spec.shape, spec.role).status());
  }
  RETURN_IF_ERROR(model->MakeLayers());
  return model;
}

absl::Status TrainableModel::CheckCanTrain(const ModelConfig& config) {
  if (config.family->make_trainable == nullptr) {
    return absl::UnimplementedError(
        absl::StrCat("models of the family ", Quoted(config.family->name), " cannot be trained"));
  }
  if (!config.quantized) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the model is quantized with ", ToAbsl(Name(*config.quantized)),
                   ", expected float weights; train the model that it was quantized from"));
}

absl::Status TrainableModel::MakeLayers() {
  ASSIGN_OR_RETURN(layers_, config_.family->make_trainable(config_, options_.dropout, parameters_));
  block_ends_.resize(layers_.blocks.size());
  const std::vector<TrainableLayer>& layers = parameters_.layers();
  for (int64_t i = 0; i < std::ssize(layers); ++i) {
    if (layers[i].block >= 0) block_ends_[layers[i].block] = i + 1;
  }
  return absl::OkStatus();
}

absl::Status TrainableModel::CheckUnused(const Checkpoint& checkpoint) {
  const Family& family = *config_.family;
  std::set<std::string, std::less<>> used;
  for (const ParameterSpec& spec : family.parameters(config_)) {
    used.insert(family.stored_name(checkpoint, spec));
  }
  const auto judge = [&](const std::string& name) -> absl::Status {
    if (used.contains(name) || family.surplus(name) == Surplus::kLeftover) return absl::OkStatus();
    if (!IsHead(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", Quoted(name), " seen, expected none of this name in ",
                       ToAbsl(family.noun), " of this config; training would lose it"));
    }
    dropped_.push_back(name);
    return absl::OkStatus();
  };
  for (const auto& [name, tensor] : checkpoint.tensors()) RETURN_IF_ERROR(judge(name));
  for (const auto& [name, tensor] : checkpoint.others()) {
    if (tensor.type->is_float) RETURN_IF_ERROR(judge(name));  // others are no weights
  }
  return absl::OkStatus();
}

absl::Status TrainableModel::LoadParameters(const Checkpoint* checkpoint) {
  std::vector<Source> sources;
  for (ParameterSpec& spec : config_.family->parameters(config_)) {
    ASSIGN_OR_RETURN(sources.emplace_back(),
                     FindSource(*config_.family, checkpoint, std::move(spec)));
  }
  for (const Source& source : sources) {
    const ParameterSpec& spec = source.spec;
    ASSIGN_OR_RETURN(TrainableParameter* const parameter,
                     parameters_.Add(spec.name, spec.shape, spec.role));
    if (source.tensor) {
      ToFloat(*source.tensor, parameter->data());
      continue;
    }
    spec.initial(Randomness(options_.seed, spec.name), 0,
                 {parameter->data(), static_cast<size_t>(spec.elements())});
    fresh_.push_back(spec.name);
  }
  return absl::OkStatus();
}

absl::Status TrainableModel::CheckBatch(const TrainingPass& pass,
                                        std::span<const int32_t> tokens) const {
  const int64_t vocabulary = layers_.embedding.vocabulary();
  for (const int32_t token : tokens) {
    if (token >= 0 && token < vocabulary) continue;
    return InvalidField("token", absl::StrCat(token),
                        absl::StrCat("an id below the model's vocabulary of ", vocabulary));
  }
  const int64_t positions = config_.max_positions;
  for (const kernels::RowRange& sequence : pass.sequences) {
    if (positions == 0 || sequence.length <= positions) continue;
    return InvalidField("sequence", absl::StrCat(sequence.length, " tokens"),
                        absl::StrCat("at most the model's ", positions, " positions"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Tensor> TrainableModel::Forward(TrainingPass& pass,
                                               std::span<const int32_t> tokens) const {
  RETURN_IF_ERROR(CheckBatch(pass, tokens));
  pass.lowest_layer = parameters_.LowestTrainingLayer();
  ASSIGN_OR_RETURN(Tensor x, layers_.embedding.Forward(pass, tokens));
  for (size_t i = 0; i < layers_.blocks.size(); ++i) {
    if (pass.GoesBelow(block_ends_[i])) RETURN_IF_ERROR(pass.store->BeginBlock(pass.context, x));
    ASSIGN_OR_RETURN(x, layers_.blocks[i]->Forward(pass, std::move(x)));
    pass.store->EndBlock();
  }
  return layers_.norm.Forward(pass, x);
}

absl::StatusOr<std::string> TrainableModel::FindNotFinite(TrainingPass& pass,
                                                          std::span<const int32_t> tokens) const {
  for (const TrainableParameter& parameter : parameters_.all()) {
    if (!AllFinite(pass.context, parameter.matrix()))
      return absl::StrCat("the parameter ", parameter.name);
  }
  ASSIGN_OR_RETURN(Tensor x, layers_.embedding.Forward(pass, tokens));
  if (!AllFinite(pass.context, *x)) return "the embedding";
  for (size_t i = 0; i < layers_.blocks.size(); ++i) {
    ASSIGN_OR_RETURN(x, layers_.blocks[i]->Forward(pass, std::move(x)));
    if (!AllFinite(pass.context, *x)) return absl::StrCat("block ", i);
  }
  return "the head";
}

absl::Status TrainableModel::Backward(TrainingPass& pass, std::span<const int32_t> tokens,
                                      Tensor gu) const {
  if (!pass.GoesBelow(layers_.head.layer())) return absl::OkStatus();
  ASSIGN_OR_RETURN(const Tensor g, pass.New(gu.rows(), gu.view().cols));
  pass.Compute(PassCost::Numbers(g.elements()),
               [&] { WriteZeros(pass.context, g.data(), g.elements()); });
  RETURN_IF_ERROR(layers_.norm.Backward(pass, *gu, *g));
  gu = Tensor();
  for (int64_t i = std::ssize(layers_.blocks) - 1; i >= 0; --i) {
    if (!pass.GoesBelow(block_ends_[i])) return absl::OkStatus();
    ASSIGN_OR_RETURN(Tensor input, pass.store->InputToRecompute(pass.context));
    if (!input.empty()) {
      RETURN_IF_ERROR(layers_.blocks[i]->Forward(pass, std::move(input)).status());
    }
    RETURN_IF_ERROR(layers_.blocks[i]->Backward(pass, *g));
  }
  if (!pass.GoesBelow(layers_.embedding.end_layer())) return absl::OkStatus();
  return layers_.embedding.Backward(pass, tokens, *g);
}

}  // namespace whipsnake::engine
