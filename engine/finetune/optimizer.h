// The optimizer of a training run, with its state for every parameter.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_OPTIMIZER_H_
#define WHIPSNAKE_ENGINE_FINETUNE_OPTIMIZER_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/layers/training/trainable_parameter.h"
#include "kernels/context.h"
#include "kernels/optimizer/optimizer.h"

namespace whipsnake::engine {

enum class OptimizerKind { kAdamW, kSgd };
// "adamw", "sgd".
std::string_view Name(OptimizerKind kind);
absl::StatusOr<OptimizerKind> ParseOptimizerKind(std::string_view name);

// How moments are kept.
enum class MomentKind {
  kKeep,  // fp32
  k8Bit,  // AdamW: 8 bits, by blocks
  kDrop,  // fp32, given back by a parameter that does not train for a while: see Optimizer::Drop
};
// "keep", "8bit", "drop".
std::string_view Name(MomentKind kind);
absl::StatusOr<MomentKind> ParseMomentKind(std::string_view name);

// Settings of the parameters whose names match a pattern, in which * stands for any text.
struct ParameterGroup {
  std::string pattern;
  double learning_rate_factor = 1;
  std::optional<double> weight_decay;  // unset: the optimizer's
};

struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::kAdamW;
  // Formulas and letters: kernels/optimizer/optimizer.h.
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;  // AdamW
  double momentum = 0.9;                              // SGD
  // Of matrices, convolutions and embeddings. Biases, norms, CRReLU's ε and Mamba's A and D do not
  // decay unless a group says so.
  double weight_decay = 0.01;
  MomentKind moments = MomentKind::kKeep;
  // The factor of the learning rate of CRReLU's ε, which hardly moves at a rate fit for matrices.
  double crrelu_epsilon_factor = 1;
  std::vector<ParameterGroup> groups = {};  // the last one that matches counts
};

// Returns INVALID_ARGUMENT, naming the first field whose value is out of range.
absl::Status Validate(const OptimizerOptions& options);

// Moments exist from a parameter's first update on, until they are dropped. A parameter that is not
// updated, or whose moments are dropped, keeps its value. Not thread-safe.
class Optimizer {
 public:
  // The parts of one parameter's state.
  struct Moments {
    int64_t step = 0;         // updates since they exist
    Buffer m, v;              // fp32 or codes; v is empty for SGD, both are without momentum
    Buffer m_scale, v_scale;  // of codes
  };

  // Checks the options against the parameters. Returns INVALID_ARGUMENT, naming the field, for a
  // value out of range, and for a pattern that matches no parameter. The ledger must outlive the
  // optimizer.
  static absl::StatusOr<Optimizer> Create(const OptimizerOptions& options,
                                          const TrainableParameters& parameters, Ledger* ledger);

  // Updates the parameter, and its rounded copy. `gradient_scale` multiplies the gradient. Returns
  // RESOURCE_EXHAUSTED, and changes nothing, if the ledger refuses the moments. If `measure` is not
  // null, it becomes the measure of the update. With a ledger without memory, only makes the
  // moments.
  absl::Status Update(const kernels::Context& context, TrainableParameter& parameter,
                      const float* gradient, double learning_rate, double gradient_scale,
                      kernels::UpdateMeasure* measure = nullptr);

  // The factor of the parameter's learning rate: that of its group.
  double LearningRateFactor(const TrainableParameter& parameter) const {
    return SettingOf(parameter).learning_rate_factor;
  }

  // Frees the moments of a parameter and forgets its updates, if there are any, so that the next
  // update is a first one. AdamW's first update is lr · sign(g) beside the decay, however small the
  // gradient: m / (1 - β1) = g and sqrt(v / (1 - β2)) = |g|.
  void Drop(const TrainableParameter& parameter);

  // Calls visit(name, bytes) for each part of the state of each parameter that has one, in the
  // order of names: "NAME.m", "NAME.v", "NAME.m_scale", "NAME.v_scale".
  void Visit(absl::FunctionRef<void(const std::string& name, std::span<std::byte> bytes)> visit);
  // The updates of a parameter since its moments exist.
  int64_t step(const TrainableParameter& parameter) const;
  // Allocates zeroed moments for a parameter that has had `step` updates, to be filled by Visit().
  absl::Status Restore(const TrainableParameter& parameter, int64_t step);

  const OptimizerOptions& options() const { return options_; }
  int64_t bytes() const;  // of all moments

 private:
  // Of one parameter.
  struct Setting {
    double learning_rate_factor = 1;
    double weight_decay = 0;
  };

  Optimizer(const OptimizerOptions& options, Ledger* ledger) : options_(options), ledger_(ledger) {}
  Setting SettingOf(const TrainableParameter& parameter) const;
  // Makes zeroed moments.
  absl::Status Allocate(const kernels::Context& context, const TrainableParameter& parameter,
                        Moments& moments) const;

  OptimizerOptions options_;
  Ledger* ledger_;
  std::map<std::string, Moments> moments_;  // by the parameter's name
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_OPTIMIZER_H_
