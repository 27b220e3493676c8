// whipsnake init
#include <cstdint>
#include <iostream>
#include <memory>
#include <string>

#include "engine/base/human.h"
#include "engine/base/status.h"
#include "engine/models/config.h"
#include "engine/models/random_model.h"
#include "server/cli/command.h"
#include "server/cli/input.h"
#include "server/cli/progress.h"

namespace whipsnake::server {
namespace {

struct InitFlags {
  std::string config;
  uint64_t seed = 0;
  std::string out;
};

absl::StatusOr<int> Init(const InitFlags& flags, const Output& output) {
  ASSIGN_OR_RETURN(const std::string config, ReadInput(flags.config));
  absl::StatusOr<engine::ModelConfig> parsed = engine::ParseModelConfig(config);
  if (!parsed.ok()) return engine::WithContext(parsed.status(), flags.config);
  {
    Progress progress("Writing " + flags.out);
    RETURN_IF_ERROR(engine::WriteRandomModel(config, flags.seed, flags.out,
                                             [&](double fraction) { progress.Set(fraction); }));
  }
  if (output.json()) {
    output.Object({{"path", flags.out}, {"seed", flags.seed}, {"parameters", parsed->parameters}});
  } else {
    std::cout << "Wrote " << flags.out << ", " << engine::HumanNumber(parsed->parameters / 1e6, 3)
              << " million random parameters.\n";
  }
  return 0;
}

}  // namespace

void AddInitCommand(CommandLine& line) {
  auto flags = std::make_shared<InitFlags>();
  Command command =
      line.Add("init", "Writes a model directory with random weights and a byte-level tokenizer",
               "  whipsnake init --config config.json --seed 1 --out models/random\n",
               [flags](const Output& output) { return Init(*flags, output); });
  command.AddOption("--config", flags->config, "A config.json with the model's shape")
      .Required()
      .TypeName("FILE");
  command.AddOption("--seed", flags->seed, "The same seed gives the same bytes")
      .TypeName("N")
      .ShowDefault();
  command.AddOption("--out", flags->out, "The directory to write; must not exist or be empty")
      .TypeName("DIR")
      .Required();
}

}  // namespace whipsnake::server
