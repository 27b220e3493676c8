// whipsnake convert
#include "engine/checkpoint/convert.h"

#include <iostream>
#include <memory>
#include <string>

#include "engine/base/status.h"
#include "engine/checkpoint/gpt2_config.h"
#include "server/cli/command.h"
#include "server/errors.h"

namespace whipsnake::server {
namespace {

struct ConvertFlags {
  std::string model;
  std::string activation;
  float epsilon = engine::kInitialEpsilon;
  std::string out;
};

absl::StatusOr<int> Convert(const ConvertFlags& flags, const Output& output) {
  const absl::Status status =
      engine::ConvertActivation(flags.model, flags.activation, flags.epsilon, flags.out);
  if (!status.ok()) return WithFieldPrefix(status, "--");
  if (output.json()) {
    output.Object({{"path", flags.out}, {"activation", flags.activation}});
  } else {
    std::cout << "Wrote " << flags.out << " with the activation " << flags.activation
              << ". It computes something else now: fine-tune it before it is of use.\n";
  }
  return 0;
}

}  // namespace

void AddConvertCommand(CommandLine& line) {
  auto flags = std::make_shared<ConvertFlags>();
  CLI::App& command = line.Add(
      "convert", "Writes a GPT-2 with another activation, ready to be fine-tuned",
      "  whipsnake convert --model models/gpt2 --activation crrelu --out models/gpt2-crrelu\n",
      [flags](const Output& output) { return Convert(*flags, output); });
  command.add_option("--model", flags->model, "The model directory, in float")
      ->required()
      ->type_name("DIR");
  command.add_option("--activation", flags->activation, engine::ActivationNames())
      ->required()
      ->type_name("NAME");
  command
      .add_option("--epsilon", flags->epsilon,
                  "Of crrelu: what every layer's epsilon begins with; any sign")
      ->type_name("E")
      ->capture_default_str();
  command.add_option("--out", flags->out, "The directory to write; must not exist or be empty")
      ->required()
      ->type_name("DIR");
}

}  // namespace whipsnake::server
