#include "engine/models/gpt2/gpt2.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "engine/layers/embedding.h"
#include "engine/layers/language_head.h"
#include "engine/layers/weights.h"
#include "engine/models/batch.h"
#include "engine/models/gpt2/gpt2_names.h"
#include "engine/models/kv_state.h"
#include "kernels/context.h"
#include "kernels/cpu/scratch.h"

namespace whipsnake::engine {
namespace {

using kernels::DType;
using kernels::MatrixView;

struct Gpt2Weights {
  Embedding tokens;
  Buffer positions;  // [P,d]
  std::vector<TransformerBlock> blocks;
  LanguageHead head;
};

// The types in which the parts of a model are held.
struct Gpt2Types {
  Scheme scheme = Scheme::kFp32;
  DType table = DType::kF32;  // embedding and head
  TransformerTypes block;
};

absl::StatusOr<Gpt2Types> ChooseTypes(const Gpt2Config& config, const ModelOptions& options) {
  std::optional<Scheme> quantized;
  if (config.quantization) quantized = Scheme::kW8A8;
  ASSIGN_OR_RETURN(const Scheme scheme, ChooseScheme(options, quantized));
  if (!quantized) {
    const DType type = scheme == Scheme::kBf16 ? DType::kBF16 : DType::kF32;
    return Gpt2Types{.scheme = scheme, .table = type, .block = {.matrix = type}};
  }
  const TransformerQuantization& quantization = *config.quantization;
  return Gpt2Types{.scheme = scheme,
                   .table = quantization.head_bits == 8 ? DType::kI8 : DType::kBF16,
                   .block = {.matrix = DType::kI8,
                             .inputs = quantization.static_activations ? Inputs::kStaticCodes
                                                                       : Inputs::kDynamicCodes}};
}

LanguageHead::Shape HeadShape(const Gpt2Config& config, const Gpt2Types& types,
                              const std::string& prefix, const std::string& table) {
  LanguageHead::Shape shape = {
      .outputs = config.vocab_size,
      .norm = {NormKind::kLayer, config.hidden_size, config.norm_epsilon},
      .norm_name = prefix + "ln_f",
      .weight_name = config.tie_embeddings ? table : "lm_head.weight",
      .tied = config.tie_embeddings,
      .type = types.table,
      .inputs = types.table == DType::kI8 ? types.block.inputs : Inputs::kFloats,
      .batch_invariant = config.quantization.has_value()};
  if (config.labels == 0) return shape;
  // A classifier's head is small and stays in fp32.
  shape.outputs = config.labels;
  shape.weight_name = "score.weight";
  shape.tied = false;
  shape.type = DType::kF32;
  shape.inputs = Inputs::kFloats;
  return shape;
}

absl::StatusOr<Gpt2Weights> LoadWeights(WeightLoader& loader, const Gpt2Config& config,
                                        const Gpt2Types& types, TransformerObserver* observer) {
  const std::string prefix = Gpt2Prefix(loader.checkpoint());
  const std::string table = prefix + "wte.weight";
  Gpt2Weights weights;
  ASSIGN_OR_RETURN(weights.tokens, Embedding::Load(loader, table, config.vocab_size,
                                                   config.hidden_size, types.table));
  ASSIGN_OR_RETURN(weights.positions,
                   loader.Floats(prefix + "wpe.weight", {config.positions, config.hidden_size}));
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    auto block = TransformerBlock::Load(loader, absl::StrCat(prefix, "h.", layer, "."),
                                        config.block(layer), types.block, layer, observer);
    if (!block.ok()) return std::move(block).status();
    weights.blocks.push_back(*std::move(block));
  }
  ASSIGN_OR_RETURN(weights.head, LanguageHead::Load(loader, HeadShape(config, types, prefix, table),
                                                    weights.tokens));
  return weights;
}

class Gpt2 : public Model {
 public:
  Gpt2(const Gpt2Config& config, ModelInfo info, const KvShape& kv,
       std::shared_ptr<const Checkpoint> checkpoint, Gpt2Weights weights,
       const ModelEnvironment& environment, TransformerObserver* observer)
      : hidden_size_(config.hidden_size),
        inner_size_(config.inner_size),
        info_(std::move(info)),
        kv_(kv),
        checkpoint_(std::move(checkpoint)),
        weights_(std::move(weights)),
        environment_(environment),
        observer_(observer),
        workspace_(environment) {}

  const ModelInfo& info() const override { return info_; }

  absl::StatusOr<std::unique_ptr<State>> NewState() override {
    return std::make_unique<KvState>(environment_.ledger, kv_);
  }

  absl::StatusOr<std::unique_ptr<State>> RestoreState(int64_t position,
                                                      std::span<const std::byte> saved) override {
    return KvState::Restore(environment_.ledger, kv_, position, saved);
  }

  int64_t StateBytes(int64_t positions) const override {
    return KvShape::Blocks(std::min(positions, info_.max_positions)) * kv_.BlockBytes();
  }
  int64_t WorkspaceBytes(const BatchSize& size) const override {
    const Workspace::Need need = NeedOf(size);
    return need.own + need.shared;
  }
  absl::Status ReserveWorkspace(const BatchSize& largest) override {
    return workspace_.Reserve(NeedOf(largest));
  }

  absl::StatusOr<MatrixView<const float>> Forward(std::span<const Run> runs) override;
  std::vector<std::span<const std::byte>> DecodeWeights() const override;
  absl::Status CheckWeights() const override {
    return checkpoint_ != nullptr ? checkpoint_->Check() : absl::OkStatus();
  }

 private:
  // The parts of the workspace for one batch, laid out in this order.
  struct Activations {
    MatrixView<float> residual;  // [T,d]
    MatrixView<float> hidden;    // [T,d], the output of a block
    MatrixView<float> logits;    // [R, outputs()]
    Arena scratch;               // for a block or the head
  };

  Activations Lay(Arena& arena, const BatchSize& size) const {
    return {arena.Matrix<float>(size.rows, hidden_size_),
            arena.Matrix<float>(size.rows, hidden_size_),
            arena.Matrix<float>(size.logit_rows, info_.outputs()), arena};
  }
  absl::Status MakeRoom(std::span<const Run> runs) const;
  Workspace::Need NeedOf(const BatchSize& size) const;
  void Embed(std::span<const Run> runs, MatrixView<float> residual) const;
  void RunBlocks(const kernels::Context& context, std::span<const Run> runs,
                 const Activations& activations) const;
  void RunHead(const kernels::Context& context, std::span<const Run> runs,
               const Activations& activations) const;

  const int64_t hidden_size_, inner_size_;
  const ModelInfo info_;
  const KvShape kv_;
  const std::shared_ptr<const Checkpoint> checkpoint_;  // null if no weights point into it
  const Gpt2Weights weights_;
  const ModelEnvironment environment_;
  TransformerObserver* const observer_;
  Workspace workspace_;
};

// Makes room in the states for all tokens of the runs. Refuses runs beyond the last position first.
absl::Status Gpt2::MakeRoom(std::span<const Run> runs) const {
  for (size_t i = 0; i < runs.size(); ++i) {
    const int64_t positions = runs[i].state->position() + std::ssize(runs[i].tokens);
    if (positions > info_.max_positions) {
      return absl::InvalidArgumentError(absl::StrCat(
          "run ", i, ": ", positions, " positions seen, expected at most ", info_.max_positions));
    }
  }
  for (const Run& run : runs) {
    RETURN_IF_ERROR(run.state->MakeRoom(run.state->position() + std::ssize(run.tokens)));
  }
  return absl::OkStatus();
}

Workspace::Need Gpt2::NeedOf(const BatchSize& size) const {
  Arena measured;
  Lay(measured, size);
  int64_t scratch = weights_.head.ScratchBytes(size.logit_rows);
  for (const auto& block : weights_.blocks) {
    scratch = std::max(scratch, block.ScratchBytes(size.rows));
  }
  return {measured.bytes() + scratch,
          kernels::ScratchBound(size.rows, std::max(hidden_size_, inner_size_),
                                environment_.executor->threads())};
}

absl::StatusOr<MatrixView<const float>> Gpt2::Forward(std::span<const Run> runs) {
  RETURN_IF_ERROR(CheckRuns(runs, info_.vocab_size));
  RETURN_IF_ERROR(CheckWeights());
  RETURN_IF_ERROR(MakeRoom(runs));
  const BatchSize size = SizeOf(runs);
  RETURN_IF_ERROR(workspace_.Reserve(NeedOf(size)));
  Arena arena(workspace_.data());
  const Activations activations = Lay(arena, size);
  RETURN_IF_ERROR(environment_.executor->TryRun(PriorityOf(runs, environment_.background),
                                                [&](const kernels::Context& context) {
                                                  Embed(runs, activations.residual);
                                                  RunBlocks(context, runs, activations);
                                                  RunHead(context, runs, activations);
                                                }));
  RETURN_IF_ERROR(CheckWeights());  // the weights have not changed during the pass
  for (const Run& run : runs) static_cast<KvState*>(run.state)->Advance(std::ssize(run.tokens));
  return activations.logits;
}

// h = wte[token] + wpe[position]
void Gpt2::Embed(std::span<const Run> runs, MatrixView<float> residual) const {
  int64_t row = 0;
  for (const Run& run : runs) {
    const float* position = weights_.positions.as<float>() + run.state->position() * hidden_size_;
    for (const int32_t token : run.tokens) {
      float* h = residual.row(row++);
      weights_.tokens.Lookup(token, h);
      for (int64_t i = 0; i < hidden_size_; ++i) h[i] += position[i];
      position += hidden_size_;
    }
  }
}

// The next norm adds a block's output to the residual stream.
void Gpt2::RunBlocks(const kernels::Context& context, std::span<const Run> runs,
                     const Activations& activations) const {
  std::vector<kernels::AttentionRun> attention_runs;
  int64_t begin = 0;
  for (const Run& run : runs) {
    const auto* state = static_cast<const KvState*>(run.state);
    const int64_t length = std::ssize(run.tokens);
    attention_runs.push_back({begin, length, state->position(), state->blocks()});
    begin += length;
  }
  MatrixView<const float> addend;  // nothing to add before the first layer
  TransformerBlock::Cache cache{kv_.layer};
  for (const TransformerBlock& block : weights_.blocks) {
    block.Forward(context, attention_runs, cache, addend, activations.residual, activations.scratch,
                  activations.hidden);
    addend = activations.hidden;
    cache.offset += kv_.LayerBytes();
    environment_.executor->Yield();
  }
}

// Runs the head on the rows whose logits are wanted.
void Gpt2::RunHead(const kernels::Context& context, std::span<const Run> runs,
                   const Activations& activations) const {
  const MatrixView<float> hidden = KeepLogitRows(runs, activations.hidden);
  weights_.head.Forward(context, hidden, KeepLogitRows(runs, activations.residual),
                        activations.scratch, activations.logits);
  if (observer_ != nullptr) {
    observer_->Observe(std::ssize(weights_.blocks), TransformerSite::kHeadInput, hidden);
  }
}

std::vector<std::span<const std::byte>> Gpt2::DecodeWeights() const {
  std::vector<std::span<const std::byte>> weights;
  for (const TransformerBlock& block : weights_.blocks) block.AppendWeights(weights);
  weights_.head.AppendWeights(weights);
  return weights;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> MakeGpt2(const Gpt2Config& config,
                                                std::shared_ptr<const Checkpoint> checkpoint,
                                                const ModelOptions& options,
                                                const ModelEnvironment& environment,
                                                TransformerObserver* observer) {
  ASSIGN_OR_RETURN(const Gpt2Types types, ChooseTypes(config, options));
  WeightLoader plan(checkpoint.get(), nullptr);
  RETURN_IF_ERROR(LoadWeights(plan, config, types, observer).status());
  RETURN_IF_ERROR(
      plan.CheckAllTaken(IsMeaningless, absl::StrCat("a GPT-2 of ", config.layers, " layers")));
  RETURN_IF_ERROR(environment.ledger->CheckFits(plan.bytes(), "the model's weights"));
  WeightLoader loader(checkpoint.get(), environment.ledger);
  ASSIGN_OR_RETURN(Gpt2Weights weights, LoadWeights(loader, config, types, observer));

  const KvShape kv{
      {options.state_type.value_or(types.block.matrix), config.heads, config.head_dim()},
      config.layers};
  ModelInfo info;
  info.architecture = "gpt2";
  info.scheme = types.scheme;
  info.vocab_size = config.vocab_size;
  info.labels = config.labels;
  info.max_positions = config.positions;
  info.parameters = config.parameters();
  info.weights_bytes = loader.bytes();
  if (!loader.in_place()) checkpoint = nullptr;  // all weights were copied
  info.state_bytes = KvShape::Blocks(config.positions) * kv.BlockBytes();
  return std::make_unique<Gpt2>(config, std::move(info), kv, std::move(checkpoint),
                                std::move(weights), environment, observer);
}

}  // namespace whipsnake::engine
