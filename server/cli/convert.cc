// whipsnake convert
#include "engine/models/convert.h"

#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include "engine/base/field_errors.h"
#include "engine/base/status.h"
#include "engine/layers/activation.h"
#include "server/cli/command.h"

namespace whipsnake::server {
namespace {

struct ConvertFlags {
  std::string model;
  std::string activation;
  std::optional<float> epsilon;
  std::string out;
};

void Print(const engine::Conversion& conversion, const ConvertFlags& flags) {
  std::cout << "Wrote " << flags.out << " with the activation " << flags.activation << ". ";
  if (const std::string names = conversion.left_out.text(); !names.empty()) {
    std::cout << "Left out, because nothing here computes with their types: " << names << ". ";
  }
  if (conversion.kept_epsilons) {
    std::cout << "The model had it already: every layer keeps its epsilon; --epsilon sets them.\n";
    return;
  }
  if (conversion.epsilon) std::cout << "Every epsilon is " << *conversion.epsilon << ". ";
  std::cout << "It computes something else now: fine-tune it before it is of use.\n";
}

absl::StatusOr<int> Convert(const ConvertFlags& flags, const Output& output) {
  const auto conversion =
      engine::ConvertActivation(flags.model, flags.activation, flags.epsilon, flags.out);
  if (!conversion.ok()) return engine::WithFieldPrefix(conversion.status(), "--");
  if (!output.json()) {
    Print(*conversion, flags);
    return 0;
  }
  output.Object({{"path", flags.out},
                 {"activation", flags.activation},
                 {"left_out", conversion->left_out.count},
                 {"kept_epsilons", conversion->kept_epsilons},
                 {"epsilon", conversion->epsilon ? Json(*conversion->epsilon) : Json()}});
  return 0;
}

}  // namespace

void AddConvertCommand(CommandLine& line) {
  auto flags = std::make_shared<ConvertFlags>();
  Command command = line.Add(
      "convert", "Writes a GPT-2 with another activation, ready to be fine-tuned",
      "  whipsnake convert --model models/gpt2 --activation crrelu --out models/gpt2-crrelu\n",
      [flags](const Output& output) { return Convert(*flags, output); });
  command.AddOption("--model", flags->model, "The model directory, with float weights")
      .Required()
      .TypeName("DIR");
  command.AddOption("--activation", flags->activation, engine::ActivationNames())
      .Required()
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
