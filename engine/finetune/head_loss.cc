#include "engine/finetune/head_loss.h"

#include <algorithm>
#include <functional>

#include "engine/base/status.h"
#include "engine/layers/training/write_zeros.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cross_entropy/cross_entropy.h"

namespace whipsnake::engine {
namespace {

using kernels::MatrixView;

// The bytes of a block's logits. A larger block reads the head's weight, and adds to its gradient,
// less often.
constexpr int64_t kBlockBytes = int64_t{64} << 20;
constexpr int64_t kMinBlockRows = 16;

// Calls copy(i) for each row i of a block.
template <typename Copy>
void ForEachRowOf(const kernels::Context& context, MatrixView<const float> block,
                  const Copy& copy) {
  constexpr double kNanosecondsEach = 0.4;
  kernels::ParallelRows(context, block.rows,
                        kNanosecondsEach * static_cast<double>(block.rows * block.cols),
                        [&](const kernels::Context&, int64_t begin, int64_t end) {
                          for (int64_t i = begin; i < end; ++i) copy(i);
                        });
}

// Copies the rows `rows` of u to the rows of `block`.
void Gather(const kernels::Context& context, MatrixView<const float> u,
            std::span<const int64_t> rows, MatrixView<float> block) {
  ForEachRowOf(context, block,
               [&](int64_t i) { std::copy_n(u.row(rows[i]), u.cols, block.row(i)); });
}

// The inverse.
void Scatter(const kernels::Context& context, MatrixView<const float> block,
             std::span<const int64_t> rows, MatrixView<float> u) {
  ForEachRowOf(context, block,
               [&](int64_t i) { std::copy_n(block.row(i), u.cols, u.row(rows[i])); });
}

// A block of rows: its inputs, logits and place in the results.
struct Block {
  std::span<const int64_t> rows;
  MatrixView<float> u;       // [rows,d]
  MatrixView<float> logits;  // [rows,V]
  int64_t first = 0;         // of its results
  kernels::CrossEntropyOperands operands;
};

// Calls compute(block) for each block, with its logits.
absl::StatusOr<HeadLosses> ForEachBlock(const TrainingPass& pass, const TrainableLinear& head,
                                        const Tensor& u, const HeadTargets& targets,
                                        float smoothing,
                                        const std::function<absl::Status(const Block&)>& compute) {
  const int64_t R = targets.size(), V = head.outputs(), d = u.view().cols;
  const int64_t block_rows = std::clamp(kBlockBytes / (V * static_cast<int64_t>(sizeof(float))),
                                        kMinBlockRows, std::max(R, kMinBlockRows));
  HeadLosses results{std::vector<float>(R), std::vector<int32_t>(R)};
  ASSIGN_OR_RETURN(const Tensor inputs, pass.New(block_rows, d));
  ASSIGN_OR_RETURN(const Tensor logits, pass.New(block_rows, V));
  for (int64_t first = 0; first < R; first += block_rows) {
    const int64_t count = std::min(block_rows, R - first);
    const Block block{.rows = std::span(targets.rows).subspan(first, count),
                      .u = inputs.view().Rows(0, count),
                      .logits = logits.view().Rows(0, count),
                      .first = first,
                      .operands = {.targets = std::span(targets.targets).subspan(first, count),
                                   .smoothing = smoothing,
                                   .losses = results.losses.data() + first,
                                   .predictions = results.predictions.data() + first}};
    pass.Compute(PassCost::Numbers(2 * count * d),
                 [&] { Gather(pass.context, *u, block.rows, block.u); });
    head.Multiply(pass, block.u, block.logits);
    RETURN_IF_ERROR(compute(block));
  }
  return results;
}

}  // namespace

absl::StatusOr<HeadLosses> ComputeLosses(const TrainingPass& pass, const TrainableLinear& head,
                                         const Tensor& u, const HeadTargets& targets,
                                         float smoothing) {
  return ForEachBlock(pass, head, u, targets, smoothing, [&](const Block& block) {
    pass.Compute(PassCost::Numbers(block.logits.rows * block.logits.cols),
                 [&] { kernels::CrossEntropy(pass.context, block.logits, block.operands); });
    return absl::OkStatus();
  });
}

absl::StatusOr<HeadLosses> ComputeLossesAndGradients(TrainingPass& pass,
                                                     const TrainableLinear& head, const Tensor& u,
                                                     const HeadTargets& targets, float smoothing,
                                                     std::span<const float> factors, Tensor* gu) {
  const bool wants_gu = pass.GoesBelow(head.layer());
  if (wants_gu) {
    ASSIGN_OR_RETURN(*gu, pass.New(u.rows(), u.view().cols));
    pass.Compute(PassCost::Numbers(gu->elements()),
                 [&] { WriteZeros(pass.context, gu->data(), gu->elements()); });
  }
  const auto compute = [&](const Block& block) -> absl::Status {
    pass.Compute(PassCost::Numbers(2 * block.logits.rows * block.logits.cols), [&] {
      kernels::CrossEntropyWithGradient(pass.context, block.logits, factors.data() + block.first,
                                        block.operands);
    });
    RETURN_IF_ERROR(head.AddGradients(pass, block.u, block.logits));
    if (!wants_gu) return absl::OkStatus();
    head.MultiplyBackward(pass, block.logits, block.u);  // u is not needed any more
    pass.Compute(PassCost::Numbers(2 * block.u.rows * block.u.cols),
                 [&] { Scatter(pass.context, block.u, block.rows, **gu); });
    return absl::OkStatus();
  };
  ASSIGN_OR_RETURN(HeadLosses results, ForEachBlock(pass, head, u, targets, smoothing, compute));
  RETURN_IF_ERROR(head.AddedGradients(pass));
  return results;
}

}  // namespace whipsnake::engine
