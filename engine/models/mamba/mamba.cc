#include "engine/models/mamba/mamba.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/base/status.h"
#include "engine/layers/embedding.h"
#include "engine/layers/language_head.h"
#include "engine/layers/weights.h"
#include "engine/models/batch.h"
#include "engine/models/mamba/float_mamba_block.h"
#include "engine/models/mamba/quantized_mamba_block.h"
#include "kernels/context.h"
#include "kernels/cpu/scratch.h"

namespace whipsnake::engine {
namespace {

using kernels::DType;
using kernels::MatrixView;

// The byte offsets of each layer's states in a sequence's blob: the convolution's [W-1,E], then the
// scan's [N,E].
class MambaStateLayout {
 public:
  MambaStateLayout(const MambaConfig& config, MambaStateTypes types)
      : layers_(config.layers),
        conv_bytes_((config.conv_kernel - 1) * config.intermediate_size * ByteSize(types.conv)),
        layer_bytes_(conv_bytes_ +
                     config.state_size * config.intermediate_size * ByteSize(types.scan)) {}

  int64_t bytes() const { return layers_ * layer_bytes_; }
  int64_t conv(int64_t layer) const { return layer * layer_bytes_; }
  int64_t scan(int64_t layer) const { return conv(layer) + conv_bytes_; }

 private:
  int64_t layers_, conv_bytes_, layer_bytes_;
};

class MambaState : public State {
 public:
  MambaState(Ledger* ledger, Buffer blob, int64_t position)
      : ledger_(ledger), blob_(std::move(blob)), position_(position) {}

  int64_t position() const override { return position_; }
  int64_t bytes() const override { return blob_.size(); }
  std::byte* data() const { return blob_.data(); }

  absl::StatusOr<std::unique_ptr<State>> CloneAt(int64_t position) const override {
    if (position != position_) {
      return absl::InvalidArgumentError(absl::StrCat("a recurrent state after ", position_,
                                                     " tokens has forgotten what it was after ",
                                                     position));
    }
    ASSIGN_OR_RETURN(Buffer blob,
                     ledger_->Allocate(blob_.size(), Purpose::kStates, "copy of a state"));
    std::memcpy(blob.data(), blob_.data(), blob_.size());
    return std::make_unique<MambaState>(ledger_, std::move(blob), position_);
  }

  void AppendMemory(std::vector<std::span<const std::byte>>& pieces) const override {
    pieces.push_back(blob_.bytes());
  }

  void Save(std::span<std::byte> out) const override {
    std::memcpy(out.data(), blob_.data(), blob_.size());
  }

  void Advance(int64_t tokens) { position_ += tokens; }

 private:
  Ledger* ledger_;
  Buffer blob_;
  int64_t position_;
};

struct MambaWeights {
  Embedding embedding;
  std::vector<std::unique_ptr<MambaBlock>> blocks;
  LanguageHead head;
};

// The types in which the parts of a model are held.
struct MambaTypes {
  Scheme scheme = Scheme::kFp32;
  DType table = DType::kF32;  // embedding and head
  DType matrix = DType::kF32;
  MambaStateTypes state;
};

absl::StatusOr<MambaTypes> ChooseTypes(const MambaConfig& config, const ModelOptions& options) {
  std::optional<Scheme> quantized;
  if (config.quantization) quantized = config.quantization->scheme;
  ASSIGN_OR_RETURN(const Scheme scheme, ChooseScheme(options, quantized));
  if (!quantized) {
    const DType type = scheme == Scheme::kBf16 ? DType::kBF16 : DType::kF32;
    return MambaTypes{.scheme = scheme, .table = type, .matrix = type, .state = {}};
  }
  return MambaTypes{
      .scheme = scheme,
      .table = config.quantization->head_bits == 8 ? DType::kI8 : DType::kBF16,
      .matrix = DType::kI8,
      .state = {.conv = DType::kI8, .scan = options.state_type.value_or(DType::kF32)}};
}

absl::StatusOr<MambaWeights> LoadWeights(WeightLoader& loader, const MambaConfig& config,
                                         const MambaTypes& types, MambaObserver* observer) {
  MambaWeights weights;
  // Only this name differs between the original and the Hugging Face layout.
  const std::string original = "backbone.embedding.weight";
  const bool is_original =
      loader.checkpoint().Contains(original) || loader.checkpoint().Contains(CodesName(original));
  const std::string name = is_original ? original : "backbone.embeddings.weight";
  ASSIGN_OR_RETURN(weights.embedding, Embedding::Load(loader, name, config.vocab_size,
                                                      config.hidden_size, types.table));
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = absl::StrCat("backbone.layers.", i, ".");
    auto block = types.matrix == DType::kI8
                     ? LoadQuantizedMambaBlock(loader, prefix, config, types.state.scan)
                     : LoadFloatMambaBlock(loader, prefix, config, types.matrix, i, observer);
    if (!block.ok()) return std::move(block).status();
    weights.blocks.push_back(*std::move(block));
  }
  const LanguageHead::Shape head = {
      .outputs = config.vocab_size,
      .norm = {NormKind::kRms, config.hidden_size, config.norm_epsilon},
      .norm_name = "backbone.norm_f",
      .weight_name = config.tie_embeddings ? name : "lm_head.weight",
      .tied = config.tie_embeddings,
      .type = types.table,
      .inputs = types.table == DType::kI8 ? Inputs::kStaticCodes : Inputs::kFloats,
      .batch_invariant = config.quantization.has_value()};
  ASSIGN_OR_RETURN(weights.head, LanguageHead::Load(loader, head, weights.embedding));
  return weights;
}

class Mamba : public Model {
 public:
  Mamba(const MambaConfig& config, ModelInfo info, MambaStateLayout layout,
        std::shared_ptr<const Checkpoint> checkpoint, MambaWeights weights,
        const ModelEnvironment& environment, MambaObserver* observer)
      : hidden_size_(config.hidden_size),
        intermediate_size_(config.intermediate_size),
        info_(std::move(info)),
        layout_(layout),
        checkpoint_(std::move(checkpoint)),
        weights_(std::move(weights)),
        environment_(environment),
        observer_(observer),
        workspace_(environment) {}

  const ModelInfo& info() const override { return info_; }

  absl::StatusOr<std::unique_ptr<State>> NewState() override {
    ASSIGN_OR_RETURN(Buffer blob, environment_.ledger->Allocate(info_.state_bytes, Purpose::kStates,
                                                                "a new state"));
    return std::make_unique<MambaState>(environment_.ledger, std::move(blob), /*position=*/0);
  }

  absl::StatusOr<std::unique_ptr<State>> RestoreState(int64_t position,
                                                      std::span<const std::byte> saved) override {
    if (std::ssize(saved) != info_.state_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("a state of ", saved.size(), " bytes seen, expected ", info_.state_bytes));
    }
    ASSIGN_OR_RETURN(Buffer blob, environment_.ledger->Allocate(info_.state_bytes, Purpose::kStates,
                                                                "a saved state"));
    std::memcpy(blob.data(), saved.data(), saved.size());
    return std::make_unique<MambaState>(environment_.ledger, std::move(blob), position);
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
    MatrixView<float> logits;    // [R,V]
    Arena scratch;               // for a block or the head
  };

  Activations Lay(Arena& arena, const BatchSize& size) const {
    return {arena.Matrix<float>(size.rows, hidden_size_),
            arena.Matrix<float>(size.rows, hidden_size_),
            arena.Matrix<float>(size.logit_rows, info_.vocab_size), arena};
  }
  Workspace::Need NeedOf(const BatchSize& size) const;
  void Embed(std::span<const Run> runs, MatrixView<float> residual) const;
  void RunBlocks(const kernels::Context& context, std::span<const Run> runs,
                 const Activations& activations) const;
  void RunHead(const kernels::Context& context, std::span<const Run> runs,
               const Activations& activations) const;

  const int64_t hidden_size_, intermediate_size_;
  const ModelInfo info_;
  const MambaStateLayout layout_;
  const std::shared_ptr<const Checkpoint> checkpoint_;  // null if no weights point into it
  const MambaWeights weights_;
  const ModelEnvironment environment_;
  MambaObserver* const observer_;
  Workspace workspace_;
};

Workspace::Need Mamba::NeedOf(const BatchSize& size) const {
  Arena measured;
  Lay(measured, size);
  int64_t scratch = weights_.head.ScratchBytes(size.logit_rows);
  for (const auto& block : weights_.blocks) {
    scratch = std::max(scratch, block->ScratchBytes(size.rows));
  }
  return {measured.bytes() + scratch,
          kernels::ScratchBound(size.rows, std::max(hidden_size_, intermediate_size_),
                                environment_.executor->threads())};
}

absl::StatusOr<MatrixView<const float>> Mamba::Forward(std::span<const Run> runs) {
  RETURN_IF_ERROR(CheckRuns(runs, info_.vocab_size));
  RETURN_IF_ERROR(CheckWeights());
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
  for (const Run& run : runs) static_cast<MambaState*>(run.state)->Advance(run.tokens.size());
  return activations.logits;
}

void Mamba::Embed(std::span<const Run> runs, MatrixView<float> residual) const {
  int64_t row = 0;
  for (const Run& run : runs) {
    for (const int32_t token : run.tokens) weights_.embedding.Lookup(token, residual.row(row++));
  }
}

// The next norm adds a block's output to the residual stream.
void Mamba::RunBlocks(const kernels::Context& context, std::span<const Run> runs,
                      const Activations& activations) const {
  std::vector<MambaRun> block_runs(runs.size());
  MatrixView<const float> addend;  // nothing to add before the first layer
  for (size_t layer = 0; layer < weights_.blocks.size(); ++layer) {
    int64_t begin = 0;
    for (size_t i = 0; i < runs.size(); ++i) {
      std::byte* state = static_cast<const MambaState*>(runs[i].state)->data();
      const int64_t length = runs[i].tokens.size();
      block_runs[i] = {begin, length, state + layout_.conv(layer), state + layout_.scan(layer)};
      begin += length;
    }
    weights_.blocks[layer]->Forward(context, block_runs, addend, activations.residual,
                                    activations.scratch, activations.hidden);
    addend = activations.hidden;
    environment_.executor->Yield();
  }
}

// Runs the head on the rows whose logits are wanted.
void Mamba::RunHead(const kernels::Context& context, std::span<const Run> runs,
                    const Activations& activations) const {
  const MatrixView<float> hidden = KeepLogitRows(runs, activations.hidden);
  weights_.head.Forward(context, hidden, KeepLogitRows(runs, activations.residual),
                        activations.scratch, activations.logits);
  if (observer_ != nullptr) {
    const int64_t layers = weights_.blocks.size();
    observer_->Observe(context, layers, MambaSite::kHeadInput, hidden);
  }
}

std::vector<std::span<const std::byte>> Mamba::DecodeWeights() const {
  std::vector<std::span<const std::byte>> weights;
  for (const auto& block : weights_.blocks) block->AppendWeights(weights);
  weights_.head.AppendWeights(weights);
  return weights;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> MakeMamba(const MambaConfig& config,
                                                 std::shared_ptr<const Checkpoint> checkpoint,
                                                 const ModelOptions& options,
                                                 const ModelEnvironment& environment,
                                                 MambaObserver* observer) {
  ASSIGN_OR_RETURN(const MambaTypes types, ChooseTypes(config, options));
  WeightLoader plan(checkpoint.get(), nullptr);
  RETURN_IF_ERROR(LoadWeights(plan, config, types, observer).status());
  RETURN_IF_ERROR(plan.CheckAllTaken([](std::string_view) { return false; },
                                     absl::StrCat("a Mamba of ", config.layers, " layers")));
  RETURN_IF_ERROR(environment.ledger->CheckFits(plan.bytes(), "the model's weights"));
  WeightLoader loader(checkpoint.get(), environment.ledger);
  ASSIGN_OR_RETURN(MambaWeights weights, LoadWeights(loader, config, types, observer));

  const MambaStateLayout layout(config, types.state);
  ModelInfo info;
  info.architecture = "mamba";
  info.scheme = types.scheme;
  info.vocab_size = config.vocab_size;
  info.parameters = config.parameters();
  info.weights_bytes = loader.bytes();
  if (!loader.in_place()) checkpoint = nullptr;  // all weights were copied
  info.state_bytes = layout.bytes();
  return std::make_unique<Mamba>(config, std::move(info), layout, std::move(checkpoint),
                                 std::move(weights), environment, observer);
}

}  // namespace whipsnake::engine
