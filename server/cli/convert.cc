// whipsnake convert
#include "engine/models/convert.h"

#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include "engine/base/field_errors.h"
#include "engine/base/human.h"
#include "engine/base/status.h"
#include "engine/layers/activation.h"
#include "engine/models/convert_format.h"
#include "server/cli/command.h"
#include "server/cli/training_flags.h"

namespace whipsnake::server {
namespace {

struct ConvertFlags {
  std::string model;
  std::string activation;
  std::optional<float> epsilon;
  std::string format;  // of the weights
  std::string out;
};

void PrintLeftOut(const engine::UnusedTensors& left_out) {
  if (left_out.count == 0) return;
  std::cout << "Left out, because nothing here computes with their types: " << left_out.text()
            << ".\n";
}

void Print(const engine::Conversion& conversion, const ConvertFlags& flags) {
  std::cout << "Wrote " << flags.out << " with the activation " << flags.activation << ". ";
  if (conversion.kept_epsilons) {
    std::cout << "The model had it already: every layer keeps its epsilon; --epsilon sets them.\n";
    return;
  }
  if (conversion.epsilon) std::cout << "Every epsilon is " << *conversion.epsilon << ". ";
  std::cout << "It computes something else now: fine-tune it before it is of use.\n";
}

absl::StatusOr<int> ConvertActivation(const ConvertFlags& flags, const Output& output) {
  ASSIGN_OR_RETURN(
      const engine::Conversion conversion,
      engine::ConvertActivation(flags.model, flags.activation, flags.epsilon, flags.out));
  if (!output.json()) {
    Print(conversion, flags);
    PrintLeftOut(conversion.left_out);
    return 0;
  }
  output.Object({{"path", flags.out},
                 {"activation", flags.activation},
                 {"kept_epsilons", conversion.kept_epsilons},
                 {"epsilon", conversion.epsilon ? Json(*conversion.epsilon) : Json()},
                 {"left_out", conversion.left_out.count}});
  return 0;
}

absl::StatusOr<int> ConvertFormat(const ConvertFlags& flags, const Output& output) {
  ASSIGN_OR_RETURN(const engine::FormatConversion conversion,
                   engine::ConvertToSafetensors(flags.model, flags.out));
  if (!output.json()) {
    std::cout << "Wrote " << flags.out << " with the same " << conversion.tensors
              << " tensors in model.safetensors, " << engine::HumanBytes(conversion.bytes) << ". ";
    if (conversion.repeats > 0) {
      std::cout << "Tied tensors that the model stored again are left out: " << conversion.repeats
                << ". ";
    }
    std::cout << "\n";
    PrintLeftOut(conversion.left_out);
    return 0;
  }
  output.Object({{"path", flags.out},
                 {"tensors", conversion.tensors},
                 {"bytes", conversion.bytes},
                 {"repeats", conversion.repeats},
                 {"left_out", conversion.left_out.count}});
  return 0;
}

absl::StatusOr<int> Convert(const ConvertFlags& flags, const Output& output) {
  if (flags.activation.empty() == flags.format.empty()) {
    return absl::InvalidArgumentError(
        flags.format.empty() ? "nothing to convert: give --activation NAME or --to safetensors"
                             : "--to and --activation seen, expected one of them");
  }
  if (!flags.format.empty() && flags.epsilon) {
    return engine::InvalidField("--epsilon", absl::StrCat(*flags.epsilon), "none with --to");
  }
  auto status =
      flags.format.empty() ? ConvertActivation(flags, output) : ConvertFormat(flags, output);
  if (!status.ok()) return WithFieldAsOption(status.status());
  return status;
}

}  // namespace

void AddConvertCommand(CommandLine& line) {
  auto flags = std::make_shared<ConvertFlags>();
  Command command = line.Add(
      "convert",
      "Writes a model with its weights as safetensors, or a GPT-2 with another activation",
      "  whipsnake convert --to safetensors --model models/mamba-130m --out models/mamba\n"
      "  whipsnake convert --model models/gpt2 --activation crrelu --out models/gpt2-crrelu\n",
      [flags](const Output& output) { return Convert(*flags, output); });
  command.AddOption("--model", flags->model, "The model directory")
      .ModelDirectory()
      .Required()
      .TypeName("DIR");
  command
      .AddOption("--to", flags->format,
                 "Format of the weights of the same model, for one that has pytorch_model.bin")
      .Choices({"safetensors"});
  command
      .AddOption("--activation", flags->activation,
                 "Of a GPT-2 with float weights, to be fine-tuned then: " +
                     std::string(engine::ActivationNames()))
      .TypeName("NAME");
  command
      .AddOption("--epsilon", flags->epsilon,
                 "With crrelu: every layer's epsilon, of any sign (default: those of a model that "
                 "already has crrelu, otherwise 0.01)")
      .TypeName("E");
  command.AddOption("--out", flags->out, "The directory to write; must not exist or be empty")
      .Required()
      .TypeName("DIR");
}

}  // namespace whipsnake::server
