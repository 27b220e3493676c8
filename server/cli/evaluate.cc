// whipsnake evaluate
#include <chrono>
#include <cstdint>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "engine/base/files.h"
#include "engine/base/resources.h"
#include "engine/base/status.h"
#include "engine/evaluate/perplexity.h"
#include "engine/models/logits.h"
#include "engine/tokenizer/tokenizer.h"
#include "server/cli/command.h"
#include "server/cli/progress.h"

namespace whipsnake::server {
namespace {

constexpr int64_t kMaxTextBytes = int64_t{1} << 30;

struct EvaluateFlags {
  std::string model;
  std::string text;
  std::optional<int64_t> window;
  std::string scheme;
  std::string state_type;
  int threads = engine::DetectResources().threads;
};

absl::StatusOr<std::vector<int32_t>> Tokenize(const engine::Tokenizer& tokenizer,
                                              const std::string& file) {
  ASSIGN_OR_RETURN(const std::string text, engine::ReadTextFile(file, kMaxTextBytes));
  absl::StatusOr<std::vector<int32_t>> tokens = tokenizer.Encode(text);
  if (!tokens.ok()) return engine::WithContext(tokens.status(), file);
  return tokens;
}

absl::StatusOr<int> Evaluate(const EvaluateFlags& flags, const Output& output) {
  const auto start = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(const auto model_options,
                   engine::ParseModelOptions(flags.scheme, flags.state_type));
  engine::Executor executor(flags.threads);
  engine::Ledger ledger(engine::DetectResources().memory_bytes);
  ASSIGN_OR_RETURN(const auto model, engine::LoadModel(flags.model, model_options,
                                                       {.executor = &executor, .ledger = &ledger}));
  ASSIGN_OR_RETURN(const auto tokenizer, engine::Tokenizer::Load(flags.model + "/tokenizer.json"));
  ASSIGN_OR_RETURN(const std::vector<int32_t> tokens, Tokenize(*tokenizer, flags.text));

  engine::PerplexityOptions options;
  options.window = flags.window.value_or(engine::DefaultWindow(model->info()));
  options.known_tokens = engine::KnownTokens(model->info(), tokenizer->size());
  engine::Perplexity result;
  {
    Progress progress("Evaluating");
    ASSIGN_OR_RETURN(result,
                     engine::EvaluatePerplexity(*model, executor, tokens, options,
                                                [&](double fraction) { progress.Set(fraction); }));
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const std::string scheme(engine::Name(model->info().scheme));
  if (output.json()) {
    output.Object({{"tokens", result.tokens},
                   {"predicted", result.predicted},
                   {"window", options.window},
                   {"nll", result.nll},
                   {"perplexity", result.perplexity()},
                   {"scheme", scheme},
                   {"seconds", seconds}});
  } else {
    std::cout << absl::StrFormat(
        "perplexity %.4f  loss %.5f nats a token\n%d tokens, %d of them predicted, windows of %d, "
        "%s, %s\n",
        result.perplexity(), result.nll, result.tokens, result.predicted, options.window, scheme,
        HumanSeconds(seconds));
  }
  return 0;
}

}  // namespace

void AddEvaluateCommand(CommandLine& line) {
  auto flags = std::make_shared<EvaluateFlags>();
  Command command = line.Add(
      "evaluate", "Measures how well a model directory predicts a text (perplexity)",
      "  whipsnake evaluate --model deploy/models/mamba-demo --text book.txt --window 256\n",
      [flags](const Output& output) { return Evaluate(*flags, output); });
  command.AddOption("--model", flags->model, "The model directory").Required().TypeName("DIR");
  command.AddOption("--text", flags->text, "A UTF-8 text file").Required().TypeName("FILE");
  command
      .AddOption("--window", flags->window,
                 "Tokens per window; each window starts from an empty state (default: 2048 or the "
                 "model's maximum)")
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
