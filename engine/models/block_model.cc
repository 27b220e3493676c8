#include "engine/models/block_model.h"

#include <algorithm>
#include <utility>

#include "engine/base/arena.h"
#include "engine/base/status.h"
#include "engine/models/batch.h"
#include "engine/models/pass_memory.h"
#include "kernels/cpu/scratch.h"
#include "kernels/embedding/embedding.h"

namespace whipsnake::engine {
namespace {

using kernels::MatrixView;

class BlockModel : public Model {
 public:
  BlockModel(BlockModelSpec spec, std::shared_ptr<const Checkpoint> checkpoint,
             BlockModelWeights weights, const ModelEnvironment& environment)
      : spec_(std::move(spec)),
        checkpoint_(std::move(checkpoint)),
        weights_(std::move(weights)),
        environment_(environment),
        memory_(environment) {}

  const ModelInfo& info() const override { return spec_.info; }

  absl::StatusOr<std::unique_ptr<State>> NewState() override { return spec_.states->New(); }
  absl::StatusOr<std::unique_ptr<State>> RestoreState(int64_t position,
                                                      std::span<const std::byte> saved) override {
    return spec_.states->Restore(position, saved);
  }
  int64_t StateBytes(int64_t positions) const override { return spec_.states->Bytes(positions); }

  int64_t WorkspaceBytes(const BatchSize& size) const override {
    const PassMemory::Need need = WorkspaceNeed(size);
    return need.own + need.shared;
  }
  absl::Status ReserveWorkspace(const BatchSize& largest) override {
    return memory_.Reserve(WorkspaceNeed(largest));
  }

  absl::StatusOr<MatrixView<const float>> Forward(std::span<const Run> runs) override;
  absl::Status CheckWeights() const override {
    return checkpoint_ != nullptr ? checkpoint_->Check() : absl::OkStatus();
  }
  void VisitParameters(ParameterVisitor visit) const override;

 private:
  // The parts of the workspace for one batch, laid out in this order.
  struct Activations {
    ResidualStream stream;
    MatrixView<float> logits;  // [R, outputs()]
    Arena scratch;             // for a block or the head
  };

  Activations LayOut(Arena& arena, const BatchSize& size) const {
    return {{arena.Matrix<float>(size.rows, spec_.hidden_size),
             arena.Matrix<float>(size.rows, spec_.hidden_size)},
            arena.Matrix<float>(size.logit_rows, spec_.info.outputs()),
            arena};
  }
  PassMemory::Need WorkspaceNeed(const BatchSize& size) const;
  void Embed(const kernels::Context& context, std::span<const Run> runs,
             MatrixView<float> out) const;
  void RunBlocks(const kernels::Context& context, std::span<const Run> runs,
                 Activations& activations) const;
  void RunHead(const kernels::Context& context, std::span<const Run> runs,
               Activations& activations) const;

  const BlockModelSpec spec_;
  const std::shared_ptr<const Checkpoint> checkpoint_;  // null if no weights point into it
  const BlockModelWeights weights_;
  const ModelEnvironment environment_;
  PassMemory memory_;
};

PassMemory::Need BlockModel::WorkspaceNeed(const BatchSize& size) const {
  Arena measured;
  LayOut(measured, size);
  int64_t scratch = weights_.head.ScratchBytes(size.logit_rows);
  for (const auto& block : weights_.blocks) {
    scratch = std::max(scratch, block->ScratchBytes(size.rows));
  }
  return {measured.bytes() + scratch,
          kernels::ScratchBound(size.rows, std::max(spec_.hidden_size, spec_.widest_input),
                                environment_.executor->threads())};
}

absl::StatusOr<MatrixView<const float>> BlockModel::Forward(std::span<const Run> runs) {
  RETURN_IF_ERROR(CheckRuns(runs, spec_.info));
  RETURN_IF_ERROR(CheckWeights());
  for (const Run& run : runs) {
    RETURN_IF_ERROR(run.state->MakeRoom(run.state->position() + std::ssize(run.tokens)));
  }
  const BatchSize size = SizeOf(runs);
  RETURN_IF_ERROR(memory_.Reserve(WorkspaceNeed(size)));
  Arena arena(memory_.data());
  Activations activations = LayOut(arena, size);
  RETURN_IF_ERROR(environment_.executor->TryRun(PriorityOf(runs, environment_.background),
                                                [&](const kernels::Context& context) {
                                                  Embed(context, runs, activations.stream.sum);
                                                  RunBlocks(context, runs, activations);
                                                  RunHead(context, runs, activations);
                                                }));
  RETURN_IF_ERROR(CheckWeights());  // the weights have not changed during the pass
  for (const Run& run : runs) run.state->Advance(std::ssize(run.tokens));
  return activations.logits;
}

void BlockModel::Embed(const kernels::Context& context, std::span<const Run> runs,
                       MatrixView<float> out) const {
  std::vector<kernels::EmbeddingRun> embedding_runs;
  for (const Run& run : runs) embedding_runs.push_back({run.tokens, run.state->position()});
  weights_.embedding.Forward(context, embedding_runs, out);
}

void BlockModel::RunBlocks(const kernels::Context& context, std::span<const Run> runs,
                           Activations& activations) const {
  std::vector<BlockRun> block_runs;
  int64_t begin = 0;
  for (const Run& run : runs) {
    block_runs.push_back({begin, std::ssize(run.tokens), run.state});
    begin += std::ssize(run.tokens);
  }
  for (const auto& block : weights_.blocks) {
    block->Forward(context, block_runs, activations.stream, activations.scratch);
    environment_.executor->Yield();
  }
}

// Runs the head on the rows whose logits are wanted.
void BlockModel::RunHead(const kernels::Context& context, std::span<const Run> runs,
                         Activations& activations) const {
  ResidualStream& stream = activations.stream;
  const std::vector<int64_t> rows = LogitRows(runs);
  for (MatrixView<float>* matrix : {&stream.sum, &stream.addend}) {
    kernels::CompactRows(context, rows, *matrix);
    *matrix = matrix->Rows(0, std::ssize(rows));
  }
  weights_.head.Forward(context, stream, activations.scratch, activations.logits);
  if (spec_.observe_head_input) spec_.observe_head_input(context, stream.addend);
}

void BlockModel::VisitParameters(ParameterVisitor visit) const {
  weights_.embedding.VisitParameters(weights_.head.tied(), visit);
  for (const auto& block : weights_.blocks) block->VisitParameters(visit);
  weights_.head.VisitParameters(visit);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> MakeBlockModel(BlockModelSpec spec,
                                                      std::shared_ptr<const Checkpoint> checkpoint,
                                                      const ModelEnvironment& environment) {
  WeightLoader plan(checkpoint.get(), nullptr);
  RETURN_IF_ERROR(spec.load(plan).status());
  ASSIGN_OR_RETURN(spec.info.unused_tensors, plan.FindUnused(spec.surplus, spec.description));
  RETURN_IF_ERROR(environment.ledger->CheckFits(plan.bytes(), "the model's weights"));
  WeightLoader loader(checkpoint.get(), environment.ledger);
  ASSIGN_OR_RETURN(BlockModelWeights weights, spec.load(loader));
  spec.load = nullptr;  // it may refer to what the caller has on its stack
  spec.info.weights_bytes = loader.bytes();
  spec.info.state_bytes = spec.states->Bytes(spec.info.max_positions);
  if (!loader.in_place()) checkpoint = nullptr;  // all weights were copied
  return std::make_unique<BlockModel>(std::move(spec), std::move(checkpoint), std::move(weights),
                                      environment);
}

}  // namespace whipsnake::engine
