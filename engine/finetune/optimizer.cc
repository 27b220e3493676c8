#include "engine/finetune/optimizer.h"

#include <algorithm>
#include <cmath>

#include "engine/base/status.h"
#include "engine/finetune/name_pattern.h"
#include "engine/finetune/number_range.h"
#include "engine/layers/training/write_zeros.h"

namespace whipsnake::engine {
namespace {

constexpr std::string_view kOptimizerNames[] = {"adamw", "sgd"};
constexpr std::string_view kMomentNames[] = {"keep", "8bit", "drop"};

bool Decays(ParameterRole role) {
  return role == ParameterRole::kMatrix || role == ParameterRole::kConvolution ||
         role == ParameterRole::kEmbedding;
}

}  // namespace

std::string_view Name(OptimizerKind kind) { return kOptimizerNames[static_cast<int>(kind)]; }

absl::StatusOr<OptimizerKind> ParseOptimizerKind(std::string_view name) {
  const auto found = std::ranges::find(kOptimizerNames, name);
  if (found == std::end(kOptimizerNames)) {
    return InvalidField("optimizer", Quoted(name), "adamw or sgd");
  }
  return static_cast<OptimizerKind>(found - std::begin(kOptimizerNames));
}

std::string_view Name(MomentKind kind) { return kMomentNames[static_cast<int>(kind)]; }

absl::StatusOr<MomentKind> ParseMomentKind(std::string_view name) {
  const auto found = std::ranges::find(kMomentNames, name);
  if (found == std::end(kMomentNames)) {
    return InvalidField("moments", Quoted(name), "keep, 8bit or drop");
  }
  return static_cast<MomentKind>(found - std::begin(kMomentNames));
}

absl::Status Validate(const OptimizerOptions& options) {
  constexpr double kBelowOne = 0.999999;
  RETURN_IF_ERROR(CheckNumber("beta1", options.beta1, 0, kBelowOne));
  RETURN_IF_ERROR(CheckNumber("beta2", options.beta2, 0, kBelowOne));
  RETURN_IF_ERROR(CheckNumber("adam_epsilon", options.epsilon, 1e-30, 1));
  RETURN_IF_ERROR(CheckNumber("momentum", options.momentum, 0, kBelowOne));
  RETURN_IF_ERROR(CheckNumber("weight_decay", options.weight_decay, 0, 1));
  RETURN_IF_ERROR(CheckNumber("crrelu_epsilon_factor", options.crrelu_epsilon_factor, 0, 1e6));
  if (options.kind == OptimizerKind::kSgd && options.moments == MomentKind::k8Bit) {
    return InvalidField("moments", "8bit",
                        "keep or drop with sgd, whose momentum has no 8-bit form");
  }
  for (const ParameterGroup& group : options.groups) {
    RETURN_IF_ERROR(CheckNumber("groups.lr_factor", group.learning_rate_factor, 0, 1e6));
    RETURN_IF_ERROR(CheckNumber("groups.weight_decay", group.weight_decay.value_or(0), 0, 1));
  }
  return absl::OkStatus();
}

absl::StatusOr<Optimizer> Optimizer::Create(const OptimizerOptions& options,
                                            const TrainableParameters& parameters, Ledger* ledger) {
  RETURN_IF_ERROR(Validate(options));
  for (const ParameterGroup& group : options.groups) {
    RETURN_IF_ERROR(CheckMatchesAny("groups.pattern", group.pattern, parameters));
  }
  return Optimizer(options, ledger);
}

Optimizer::Setting Optimizer::SettingOf(const TrainableParameter& parameter) const {
  Setting setting;
  if (Decays(parameter.role)) setting.weight_decay = options_.weight_decay;
  if (parameter.role == ParameterRole::kScalar) {
    setting.learning_rate_factor = options_.crrelu_epsilon_factor;
  }
  for (const ParameterGroup& group : options_.groups) {
    if (!MatchesPattern(group.pattern, parameter.name)) continue;
    setting.learning_rate_factor = group.learning_rate_factor;
    if (group.weight_decay) setting.weight_decay = *group.weight_decay;
  }
  return setting;
}

absl::Status Optimizer::Allocate(const kernels::Context& context,
                                 const TrainableParameter& parameter, Moments& moments) const {
  const int64_t elements = parameter.elements();
  const auto allocate = [&](int64_t bytes, Buffer& buffer) -> absl::Status {
    ASSIGN_OR_RETURN(buffer, ledger_->Allocate(bytes, Purpose::kOptimizer,
                                               absl::StrCat("the moments of ", parameter.name),
                                               /*zeroed=*/false));
    if (ledger_->has_memory()) WriteZeros(context, buffer.data(), bytes);
    return absl::OkStatus();
  };
  Moments made;
  if (options_.kind == OptimizerKind::kSgd) {
    if (options_.momentum > 0) RETURN_IF_ERROR(allocate(elements * 4, made.m));
  } else if (options_.moments == MomentKind::k8Bit) {
    RETURN_IF_ERROR(allocate(elements, made.m));
    RETURN_IF_ERROR(allocate(elements, made.v));
    RETURN_IF_ERROR(allocate(kernels::MomentBlocks(elements) * 4, made.m_scale));
    RETURN_IF_ERROR(allocate(kernels::MomentBlocks(elements) * 4, made.v_scale));
  } else {
    RETURN_IF_ERROR(allocate(elements * 4, made.m));
    RETURN_IF_ERROR(allocate(elements * 4, made.v));
  }
  moments = std::move(made);
  return absl::OkStatus();
}

absl::Status Optimizer::Update(const kernels::Context& context, TrainableParameter& parameter,
                               const float* gradient, double learning_rate, double gradient_scale,
                               kernels::UpdateMeasure* measure) {
  const auto [found, added] = moments_.try_emplace(parameter.name);
  Moments& moments = found->second;
  if (added) {
    if (absl::Status status = Allocate(context, parameter, moments); !status.ok()) {
      moments_.erase(found);
      return status;
    }
  }
  const Setting setting = SettingOf(parameter);
  const double rate = learning_rate * setting.learning_rate_factor;
  const int64_t n = parameter.elements();
  auto* const bf16 = parameter.rounded.size() > 0 ? parameter.rounded.as<uint16_t>() : nullptr;
  ++moments.step;
  if (!ledger_->has_memory()) return absl::OkStatus();
  if (options_.kind == OptimizerKind::kSgd) {
    const kernels::Sgd sgd{.learning_rate = rate,
                           .momentum = options_.momentum,
                           .weight_decay = setting.weight_decay,
                           .gradient_scale = gradient_scale,
                           .step = moments.step};
    kernels::Update(context, sgd, gradient, n, parameter.data(), moments.m.as<float>(), bf16,
                    measure);
    return absl::OkStatus();
  }
  const kernels::AdamW adamw{.learning_rate = rate,
                             .beta1 = options_.beta1,
                             .beta2 = options_.beta2,
                             .epsilon = options_.epsilon,
                             .weight_decay = setting.weight_decay,
                             .gradient_scale = gradient_scale,
                             .step = moments.step};
  if (options_.moments == MomentKind::k8Bit) {
    kernels::Update(context, adamw, gradient, n, parameter.data(),
                    kernels::Moments8{.m = moments.m.as<uint8_t>(),
                                      .v = moments.v.as<uint8_t>(),
                                      .m_scale = moments.m_scale.as<float>(),
                                      .v_scale = moments.v_scale.as<float>()},
                    bf16, measure);
  } else {
    kernels::Update(context, adamw, gradient, n, parameter.data(), moments.m.as<float>(),
                    moments.v.as<float>(), bf16, measure);
  }
  return absl::OkStatus();
}

void Optimizer::Drop(const TrainableParameter& parameter) { moments_.erase(parameter.name); }

void Optimizer::Visit(
    absl::FunctionRef<void(const std::string& name, std::span<std::byte> bytes)> visit) {
  for (const auto& [name, moments] : moments_) {
    const auto part = [&visit, &parameter = name](const char* suffix, const Buffer& buffer) {
      if (buffer.size() == 0) return;
      visit(parameter + suffix, {buffer.data(), static_cast<size_t>(buffer.size())});
    };
    part(".m", moments.m);
    part(".v", moments.v);
    part(".m_scale", moments.m_scale);
    part(".v_scale", moments.v_scale);
  }
}

int64_t Optimizer::step(const TrainableParameter& parameter) const {
  const auto found = moments_.find(parameter.name);
  return found == moments_.end() ? 0 : found->second.step;
}

absl::Status Optimizer::Restore(const TrainableParameter& parameter, int64_t step) {
  if (step == 0) return absl::OkStatus();
  Moments moments;
  RETURN_IF_ERROR(Allocate(kernels::Context(), parameter, moments));
  moments.step = step;
  moments_[parameter.name] = std::move(moments);
  return absl::OkStatus();
}

int64_t Optimizer::bytes() const {
  int64_t bytes = 0;
  for (const auto& [name, moments] : moments_) {
    bytes += moments.m.size() + moments.v.size() + moments.m_scale.size() + moments.v_scale.size();
  }
  return bytes;
}

}  // namespace whipsnake::engine
