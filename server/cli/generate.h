// The request of `whipsnake generate`, and the printing of the response.
#ifndef WHIPSNAKE_SERVER_CLI_GENERATE_H_
#define WHIPSNAKE_SERVER_CLI_GENERATE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/cli/client.h"
#include "server/cli/command.h"
#include "server/cli/output.h"
#include "whipsnake/v1/generation.pb.h"
#include "whipsnake/v1/state.pb.h"

namespace whipsnake::server {

// The prompt.
struct PromptFlags {
  std::optional<std::string> text;  // "-" reads it from stdin
  std::vector<int32_t> ids;
  std::string state;  // a saved state that the prompt continues
  bool omit_special_tokens = false;
  bool plain_text = false;
};
void AddPromptFlags(Command command, PromptFlags& flags);
// Sets the prompt in either message; both use the same field names. INVALID_ARGUMENT if there is no
// prompt and no state.
absl::Status SetPrompt(const PromptFlags& flags, v1::GenerationParameters& parameters);
absl::Status SetPrompt(const PromptFlags& flags, v1::SaveStateRequest& request);

// How long and where a state is kept.
struct RetentionFlags {
  std::optional<double> seconds;
  bool on_disk = false;
};
void AddRetentionFlags(Command command, RetentionFlags& flags, const std::string& heading);
v1::StateRetention RetentionOf(const RetentionFlags& flags);

// Every field of GenerationParameters, and the timeout.
struct GenerateFlags {
  ClientFlags client;
  std::string model;
  PromptFlags prompt;
  std::string request_id;
  std::string priority = "normal";
  std::string client_name;
  std::optional<float> temperature;
  std::optional<int32_t> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
  std::optional<float> presence_penalty;
  std::optional<float> frequency_penalty;
  std::optional<int32_t> no_repeat_ngram_size;
  std::vector<std::string> logit_bias;  // "ID=BIAS"
  std::optional<uint64_t> seed;
  std::optional<int32_t> max_tokens;
  std::vector<std::string> stop_texts;
  std::vector<int32_t> stop_ids;
  bool ignore_eos = false;
  std::optional<int32_t> min_tokens;
  std::optional<int32_t> n;
  std::optional<int32_t> best_of;
  std::optional<std::string> regex;
  std::vector<std::string> choices;
  std::optional<std::string> json_schema;  // a file
  bool any_json = false;
  bool token_ids = false;
  bool echo = false;
  bool save_state = false;
  RetentionFlags retention;
  std::optional<int32_t> logprobs;
};
void AddSamplingFlags(Command command, GenerateFlags& flags);  // temperature, seed, ...
void AddGenerateFlags(Command command, GenerateFlags& flags);  // all

// Sets what the flags give. INVALID_ARGUMENT for a --logit-bias that is none.
absl::Status SetSampling(const GenerateFlags& flags, v1::Sampling& sampling);

// Converts the flags. Reads the prompt from stdin if it is "-".
absl::StatusOr<v1::GenerationParameters> ParametersOf(const GenerateFlags& flags, bool json);

std::string FinishReasonName(v1::FinishReason reason);  // "eos"

// Prints a generation's events as they arrive, and the result after the last one.
class StreamPrinter {
 public:
  explicit StreamPrinter(const Output& output, const GenerateFlags& flags)
      : output_(output), flags_(flags) {}

  void Print(const v1::StreamGenerateResponse& event);
  // Prints a whole response.
  void Print(const v1::GenerateResponse& response);
  // Ends the line of an interrupted stream.
  void BreakOff() const;

 private:
  // Several completions are each printed once complete, because parallel streams would be
  // unreadable.
  bool several() const { return resolved_.n() > 1; }
  // Keeps the parameters, and prints their warnings to stderr.
  void SetResolved(const v1::ResolvedParameters& resolved);
  v1::Completion& CompletionAt(int index);
  void PrintDelta(const v1::StreamGenerateResponse::Delta& delta);
  void PrintResult(const v1::Usage& usage, const v1::Timings& timings);
  void PrintCompletion(const v1::Completion& completion) const;

  const Output& output_;
  const GenerateFlags& flags_;
  v1::ResolvedParameters resolved_;
  std::vector<v1::Completion> completions_;  // as far as they have been received
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_GENERATE_H_
