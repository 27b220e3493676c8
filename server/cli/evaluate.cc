// whipsnake evaluate
#include <chrono>
#include <cstdint>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "engine/base/human.h"
#include "engine/base/resources.h"
#include "engine/base/status.h"
#include "engine/evaluate/perplexity.h"
#include "engine/models/logits.h"
#include "engine/tokenizer/tokenizer.h"
#include "server/cli/command.h"
#include "server/cli/evaluate_data.h"
#include "server/cli/input.h"
#include "server/cli/progress.h"

namespace whipsnake::server {
namespace {

constexpr int64_t kMaxTextBytes = int64_t{1} << 30;

struct EvaluateFlags {
  std::string model;
  std::string text;
  std::optional<int64_t> window;
  TaskFlags task;
  std::string scheme;
  std::string state_type;
  int threads = engine::DetectResources().threads;
};

absl::StatusOr<std::vector<int32_t>> Tokenize(const engine::Tokenizer& tokenizer,
                                              const std::string& file) {
  ASSIGN_OR_RETURN(const std::string text, ReadInput(file, kMaxTextBytes));
  absl::StatusOr<std::vector<int32_t>> tokens =
      tokenizer.Encode(text, {.add_special_tokens = true});
  if (!tokens.ok()) return engine::WithContext(tokens.status(), file);
  return tokens;
}

absl::StatusOr<Findings> EvaluateText(const EvaluateFlags& flags, const EvaluatedModel& evaluated) {
  ASSIGN_OR_RETURN(const std::vector<int32_t> tokens, Tokenize(*evaluated.tokenizer, flags.text));
  const engine::ModelInfo& info = evaluated.model->info();
  engine::PerplexityOptions options;
  options.window = flags.window.value_or(engine::DefaultWindow(info));
  options.known_tokens = engine::KnownTokens(info, evaluated.tokenizer->size());
  Progress progress("Evaluating");
  ASSIGN_OR_RETURN(
      const engine::Perplexity result,
      engine::EvaluatePerplexity(*evaluated.model, *evaluated.environment.executor, tokens, options,
                                 [&](double fraction) { progress.Set(fraction); }));
  return Findings{{{"tokens", result.tokens},
                   {"predicted", result.predicted},
                   {"window", options.window},
                   {"nll", result.nll},
                   {"perplexity", result.perplexity()}},
                  absl::StrFormat("perplexity %.4f  loss %.5f nats a token\n"
                                  "%d tokens, %d of them predicted, windows of %d",
                                  result.perplexity(), result.nll, result.tokens, result.predicted,
                                  options.window)};
}

absl::StatusOr<int> Evaluate(const EvaluateFlags& flags, const Output& output) {
  const auto start = std::chrono::steady_clock::now();
  engine::Executor executor(flags.threads);
  engine::Ledger ledger(engine::DetectResources().memory_bytes);
  EvaluatedModel evaluated;
  evaluated.directory = flags.model;
  evaluated.environment = {.executor = &executor, .ledger = &ledger};
  ASSIGN_OR_RETURN(evaluated.options, engine::ParseModelOptions(flags.scheme, flags.state_type));
  ASSIGN_OR_RETURN(const auto model,
                   engine::LoadModel(flags.model, evaluated.options, evaluated.environment));
  ASSIGN_OR_RETURN(const auto tokenizer, engine::Tokenizer::LoadDirectory(flags.model));
  evaluated.model = model.get();
  evaluated.tokenizer = tokenizer.get();

  ASSIGN_OR_RETURN(Findings findings, flags.text.empty() ? EvaluateData(flags.task, evaluated)
                                                         : EvaluateText(flags, evaluated));
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const std::string scheme(engine::Name(model->info().scheme));
  if (output.json()) {
    findings.json["scheme"] = scheme;
    findings.json["seconds"] = seconds;
    output.Object(findings.json);
  } else {
    std::cout << findings.text << ", " << scheme << ", " << engine::HumanDuration(seconds) << "\n";
  }
  return 0;
}

}  // namespace

void AddEvaluateCommand(CommandLine& line) {
  auto flags = std::make_shared<EvaluateFlags>();
  Command command = line.Add(
      "evaluate", "Measures how well a model directory predicts a text (perplexity) or does a task",
      "  whipsnake evaluate --model deploy/models/mamba-demo --text book.txt --window 256\n"
      "  whipsnake evaluate --model models/reviews --data test.csv --task classification\n"
      "  whipsnake evaluate --model models/tuned --data pairs.jsonl --task dpo --reference "
      "models/base\n",
      [flags](const Output& output) { return Evaluate(*flags, output); });
  command.AddOption("--model", flags->model, "The model directory")
      .ModelDirectory()
      .Required()
      .TypeName("DIR");
  OptionGroup source = command.AddOneOf("Input", "One of the two");
  Option text = source.AddOption("--text", flags->text, "A UTF-8 text file").TypeName("FILE");
  Option data = source
                    .AddOption("--data", flags->task.data,
                               "Rows for the task: JSON lines, or CSV for all but choice")
                    .TypeName("FILE");
  AddTaskFlags(command, data, flags->task);
  command
      .AddOption("--window", flags->window,
                 "Tokens per window; each window starts from an empty state (default: 2048 or the "
                 "model's maximum)")
      .Needs(text)
      .TypeName("N");
  command
      .AddOption("--scheme", flags->scheme,
                 "Type of float weights: fp32 or bf16 (default: fp32). A quantized model has only "
                 "its own scheme")
      .TypeName("SCHEME");
  command
      .AddOption("--state-type", flags->state_type,
                 "Type of states: fp32, bf16 or int8 (default: the type of the weights for a "
                 "transformer, fp32 for a Mamba). A Mamba with float weights has only fp32")
      .TypeName("TYPE");
  command.AddOption("--threads", flags->threads, "Threads to compute with")
      .IntegerRange(1, 1024)
      .TypeName("N")
      .ShowDefault();
}

}  // namespace whipsnake::server
