#include "engine/models/convert.h"

#include <cmath>

#include "engine/base/status.h"
#include "engine/layers/activation.h"
#include "engine/models/config.h"
#include "engine/models/family.h"

namespace whipsnake::engine {
namespace {

using kernels::Activation;

constexpr std::string_view kRegistration =
    R"py("""CRReLU for transformers: import this before a model whose activation is "crrelu" is made.

    import crrelu
    model = GPT2LMHeadModel.from_pretrained(directory)

The activation is max(0, x) + epsilon x exp(-x^2 / 2) (arXiv 2405.12954) with an epsilon of its own
in every layer, the parameter `act.lr` of the authors' name. Where config.json has
crrelu_epsilon_init, pass that to `crrelu.CRReLU.initial` first; checkpoints bring their own values.
"""

import torch
from transformers.activations import ACT2FN


class CRReLU(torch.nn.Module):
    initial = 0.01

    def __init__(self):
        super().__init__()
        self.lr = torch.nn.Parameter(torch.tensor([self.initial]))

    def forward(self, x):
        wide = x.float()
        bounded = wide.clamp(-16, 16)  # where the correction is 0 in fp32
        correction = bounded * torch.exp(-bounded * bounded / 2)
        return (torch.relu(wide) + self.lr.float() * correction).to(x.dtype)


ACT2FN["crrelu"] = CRReLU
)py";

absl::Status CheckEpsilon(Activation activation, std::optional<float> epsilon) {
  if (!epsilon) return absl::OkStatus();
  if (activation != Activation::kCRRelu) {
    return InvalidField("epsilon", absl::StrCat(*epsilon),
                        absl::StrCat("none with the activation ", ToAbsl(Name(activation))));
  }
  if (std::isfinite(*epsilon)) return absl::OkStatus();
  return InvalidField("epsilon", absl::StrCat(*epsilon), "a finite number");
}

// "gpt2": the families whose activation can be changed, quoted.
std::string ConvertibleFamilies() {
  std::string names;
  for (const Family* family : Families()) {
    if (family->convert_activation == nullptr) continue;
    absl::StrAppend(&names, names.empty() ? "" : " or ", Quoted(family->name));
  }
  return names;
}

absl::StatusOr<ModelConfig> ReadConvertible(const std::string& directory) {
  ASSIGN_OR_RETURN(ModelConfig config, ReadModelConfig(directory));
  if (config.quantized) {
    return absl::FailedPreconditionError(
        absl::StrCat(directory, ": the model is quantized with ", ToAbsl(Name(*config.quantized)),
                     ", expected float weights, which can be fine-tuned"));
  }
  const Family& family = *config.family;
  if (family.convert_activation != nullptr) return config;
  return absl::UnimplementedError(absl::StrCat(directory, ": model_type ", Quoted(family.name),
                                               " seen, expected ", ConvertibleFamilies(), ": ",
                                               ToAbsl(family.fixed_activation)));
}

}  // namespace

std::string_view CrreluRegistration() { return kRegistration; }

absl::StatusOr<Conversion> ConvertActivation(const std::string& directory,
                                             std::string_view activation,
                                             std::optional<float> epsilon, const std::string& out) {
  const auto parsed = ParseActivation(activation);
  if (!parsed) return InvalidField("activation", Quoted(activation), ActivationNames());
  RETURN_IF_ERROR(CheckEpsilon(*parsed, epsilon));
  ASSIGN_OR_RETURN(const ModelConfig config, ReadConvertible(directory));
  return config.family->convert_activation(directory, config, activation, epsilon, out);
}

}  // namespace whipsnake::engine
