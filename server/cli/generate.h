// The request of `whipsnake generate` and what is printed of the answer.
#ifndef WHIPSNAKE_SERVER_CLI_GENERATE_H_
#define WHIPSNAKE_SERVER_CLI_GENERATE_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/cli/client.h"
#include "server/cli/output.h"
#include "whipsnake/v1/generation.pb.h"

namespace whipsnake::server {

// Every field of GenerationParameters, and how long to wait.
struct GenerateFlags {
  ClientFlags client;
  std::string model;
  std::string prompt;
  std::vector<int32_t> prompt_ids;
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
  std::vector<std::string> logit_bias;  // "ID=BIAS"
  std::optional<uint64_t> seed;
  std::optional<int32_t> max_tokens;
  std::vector<std::string> stop_texts;
  std::vector<int32_t> stop_ids;
  bool ignore_eos = false;
  bool token_ids = false;
  std::optional<int32_t> logprobs;
  std::optional<double> timeout_seconds;
};
void AddGenerateFlags(CLI::App& command, GenerateFlags& flags);

// Reads the prompt from stdin where it is "-".
absl::StatusOr<v1::GenerationParameters> ParametersOf(const GenerateFlags& flags, bool json);

// Takes a stream's events, prints them as they come, and the result after the last.
class StreamPrinter {
 public:
  explicit StreamPrinter(const Output& output, const GenerateFlags& flags)
      : output_(output), flags_(flags) {}

  void Print(const v1::StreamGenerateResponse& event);
  // Ends the line of a stream that broke off.
  void BreakOff() const;

 private:
  void PrintDelta(const v1::StreamGenerateResponse::Delta& delta);
  void PrintResult(const v1::StreamGenerateResponse::Finished& finished);

  const Output& output_;
  const GenerateFlags& flags_;
  v1::ResolvedParameters resolved_;
  // All deltas in one.
  v1::StreamGenerateResponse::Delta whole_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_GENERATE_H_
