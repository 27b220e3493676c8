// whipsnake bench
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/human.h"
#include "engine/base/resources.h"
#include "engine/base/status.h"
#include "engine/models/config.h"
#include "engine/models/random_model.h"
#include "engine/quantize/quantize.h"
#include "kernels/cpu/isa.h"
#include "server/cli/bench_model.h"
#include "server/cli/command.h"
#include "server/cli/input.h"
#include "server/cli/progress.h"
#include "server/cli/quantize_flags.h"

namespace whipsnake::server {
namespace {

struct BenchFlags {
  std::string model;
  std::string config;
  bool random_weights = false;
  std::string calibration;
  std::vector<std::string> schemes;  // empty: the directory's own
  std::string state_type;
  int64_t repeat = 3;
  BenchShape shape;
  int threads = engine::DetectResources().threads;
};

// A temporary directory, removed with this object.
class TemporaryDirectory {
 public:
  static absl::StatusOr<std::unique_ptr<TemporaryDirectory>> Make() {
    std::error_code error;
    std::string path = (std::filesystem::temp_directory_path(error) / "whipsnake-XXXXXX").string();
    if (error || mkdtemp(path.data()) == nullptr) {
      return absl::InternalError(absl::StrCat("cannot make a directory such as ", path,
                                              "; TMPDIR names another place for it"));
    }
    return std::unique_ptr<TemporaryDirectory>(new TemporaryDirectory(path));
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  std::string operator/(std::string_view name) const {
    return (std::filesystem::path(path_) / name).string();
  }

 private:
  explicit TemporaryDirectory(std::string path) : path_(std::move(path)) {}

  const std::string path_;
};

absl::Status WriteRandomModel(const std::string& config_path, const std::string& directory) {
  ASSIGN_OR_RETURN(const std::string config, ReadInput(config_path));
  const absl::Status valid = engine::ParseModelConfig(config).status();
  if (!valid.ok()) return engine::WithContext(valid, config_path);
  Progress progress("Drawing random weights");
  return engine::WriteRandomModel(config, /*seed=*/1, directory,
                                  [&](double fraction) { progress.Set(fraction); });
}

// Reads the given calibration text, or, for random weights without one, draws random tokens.
absl::StatusOr<engine::CalibrationSet> Calibration(const BenchFlags& flags,
                                                   const std::string& directory) {
  if (flags.random_weights && flags.calibration.empty()) {
    ASSIGN_OR_RETURN(const engine::ModelConfig config, engine::ReadModelConfig(directory));
    return engine::RandomCalibrationSet(/*tokens=*/512, config.tokenizer_size, /*seed=*/1);
  }
  if (flags.calibration.empty()) {
    return engine::InvalidField("--calibration", "nothing",
                                "a file of text, which quantized schemes are calibrated with");
  }
  return ReadCalibration(flags.calibration, directory, {});
}

absl::Status Quantize(const BenchFlags& flags, engine::Scheme scheme, const std::string& directory,
                      const std::string& out, const engine::ModelEnvironment& environment) {
  ASSIGN_OR_RETURN(const engine::CalibrationSet calibration, Calibration(flags, directory));
  engine::QuantizeOptions options{.recipe = engine::RecipeOf(scheme), .percentile = {}};
  // The speed does not depend on the percentile.
  if (options.recipe.percentile) options.percentile = 0.99999;
  Progress progress("Calibrating");
  return engine::QuantizeModel(directory, calibration, options, out, environment, ShowOn(progress))
      .status();
}

Json ResultJson(const ModelBench& bench, const BenchShape& shape) {
  const engine::ModelInfo& info = bench.model().info();
  const double prefill = Median(bench.samples().prefill);
  const double step = Median(bench.samples().decode_step);
  return {{"scheme", engine::Name(info.scheme)},
          {"isa", kernels::Name(kernels::ActiveIsa())},
          {"device", "cpu"},
          {"prefill_tokens_per_second", shape.prompt_tokens / prefill},
          {"decode_tokens_per_second", shape.batch / step},
          {"time_to_first_token_ms", prefill * 1e3},
          {"time_per_output_token_ms", step * 1e3},
          {"streaming_read_ms", Median(bench.samples().streaming_read) * 1e3},
          {"streaming_read_bytes", bench.streamed_bytes()},
          {"weights_bytes", info.weights_bytes},
          {"state_bytes_per_sequence", info.state_bytes},
          {"peak_rss_bytes", engine::PeakResidentBytes()}};
}

std::string ResultTable(const std::vector<Json>& results) {
  std::vector<std::vector<std::string>> rows = {{"SCHEME", "ISA", "PREFILL tok/s", "DECODE tok/s",
                                                 "FIRST TOKEN ms", "NEXT TOKEN ms", "READ ms",
                                                 "WEIGHTS", "STATE"}};
  const auto number = [](const Json& value) { return engine::HumanNumber(value.get<double>(), 3); };
  for (const Json& result : results) {
    rows.push_back({result["scheme"], result["isa"], number(result["prefill_tokens_per_second"]),
                    number(result["decode_tokens_per_second"]),
                    number(result["time_to_first_token_ms"]),
                    number(result["time_per_output_token_ms"]), number(result["streaming_read_ms"]),
                    engine::HumanBytes(result["weights_bytes"]),
                    engine::HumanBytes(result["state_bytes_per_sequence"])});
  }
  return Table(rows);
}

absl::Status Measure(std::vector<ModelBench>& benches, int64_t repeat) {
  Progress progress("Measuring");
  int64_t done = 0;
  const double steps =
      static_cast<double>(repeat) * benches.size() * benches.front().steps_per_round();
  for (ModelBench& bench : benches) RETURN_IF_ERROR(bench.WarmUp());
  for (int64_t round = 0; round < repeat; ++round) {
    for (ModelBench& bench : benches) {
      RETURN_IF_ERROR(bench.Round([&] { progress.Set(++done / steps); }));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<int> Bench(const BenchFlags& flags, const Output& output) {
  std::vector<engine::ModelOptions> options;
  for (const std::string& name : flags.schemes) {
    ASSIGN_OR_RETURN(options.emplace_back(), engine::ParseModelOptions(name, flags.state_type));
  }
  if (options.empty()) {
    ASSIGN_OR_RETURN(options.emplace_back(), engine::ParseModelOptions("", flags.state_type));
  }
  ASSIGN_OR_RETURN(const auto temporary, TemporaryDirectory::Make());
  std::string directory = flags.model;
  if (flags.random_weights) {
    directory = *temporary / "float";
    RETURN_IF_ERROR(WriteRandomModel(flags.config, directory));
  }

  ASSIGN_OR_RETURN(const engine::ModelConfig config, engine::ReadModelConfig(directory));

  // A directory that is already quantized is used as it is, or refused by LoadModel.
  const auto quantized_here = [&](const engine::ModelOptions& option) {
    return option.scheme && engine::IsQuantized(*option.scheme) && !config.quantized;
  };
  if (!flags.calibration.empty() && std::ranges::none_of(options, quantized_here)) {
    return engine::InvalidField("--calibration", flags.calibration,
                                "none, as no scheme here has to be calibrated");
  }

  engine::Executor executor(flags.threads);
  engine::Ledger ledger(engine::DetectResources().memory_bytes);
  const engine::ModelEnvironment environment{.executor = &executor, .ledger = &ledger};
  std::vector<std::unique_ptr<engine::Model>> models;
  std::vector<ModelBench> benches;
  for (const engine::ModelOptions& option : options) {
    std::string source = directory;
    if (quantized_here(option)) {
      source = *temporary / engine::Name(*option.scheme);
      RETURN_IF_ERROR(Quantize(flags, *option.scheme, directory, source, environment));
    }
    ASSIGN_OR_RETURN(models.emplace_back(), engine::LoadModel(source, option, environment));
    benches.emplace_back(models.back().get(), &executor, flags.shape);
  }
  RETURN_IF_ERROR(Measure(benches, flags.repeat));

  std::vector<Json> results;
  for (const ModelBench& bench : benches) results.push_back(ResultJson(bench, flags.shape));
  if (output.json()) {
    for (const Json& result : results) output.Object(result);
  } else {
    std::cout << ResultTable(results) << "Peak resident memory of this process: "
              << engine::HumanBytes(engine::PeakResidentBytes()) << "\n";
  }
  return 0;
}

}  // namespace

void AddBenchCommand(CommandLine& line) {
  auto flags = std::make_shared<BenchFlags>();
  Command command =
      line.Add("bench", "Times a model's prefill and decode in this process",
               "  whipsnake bench --model deploy/models/mamba-demo --scheme fp32,bf16\n"
               "  whipsnake bench --config config.json --random-weights --batch 4 --json\n"
               "  whipsnake bench --config config.json --random-weights "
               "--scheme fp32,bf16,quamba-w8a8\n",
               [flags](const Output& output) { return Bench(*flags, output); });
  OptionGroup source = command.AddOneOf("Model", "One of the two");
  source.AddOption("--model", flags->model, "A model directory").ModelDirectory().TypeName("DIR");
  Option config = source.AddOption("--config", flags->config, "A config.json").TypeName("FILE");
  Option random = command.AddFlag("--random-weights", flags->random_weights,
                                  "With --config: draws its weights, in a directory under TMPDIR");
  random.Needs(config);
  config.Needs(random);
  command
      .AddOption("--scheme", flags->schemes,
                 engine::SchemeNames(engine::AllSchemes()) +
                     "; several, separated by commas, alternate (default: the directory's own, "
                     "or fp32)")
      .CommaSeparated()
      .TypeName("S,...");
  command
      .AddOption(
          "--calibration", flags->calibration,
          "Text with which quantized schemes are calibrated (default with --random-weights: random "
          "tokens)")
      .TypeName("FILE");
  command
      .AddOption("--state-type", flags->state_type,
                 "Type of states: fp32, bf16 or int8 (default: the type of the weights for a "
                 "transformer, fp32 for a Mamba). A Mamba with float weights has only fp32")
      .TypeName("TYPE");
  const auto count = [&](const char* name, auto& value, const char* description) {
    command.AddOption(name, value, description)
        .IntegerRange(1, 1 << 20)
        .TypeName("N")
        .ShowDefault();
  };
  count("--repeat", flags->repeat, "Rounds; the medians are over all of them");
  count("--batch", flags->shape.batch, "Sequences that decode together");
  count("--prompt-tokens", flags->shape.prompt_tokens, "Tokens of a prompt");
  count("--generate-tokens", flags->shape.generate_tokens, "Decode steps of a round");
  count("--threads", flags->threads, "Threads to compute with");
}

}  // namespace whipsnake::server
