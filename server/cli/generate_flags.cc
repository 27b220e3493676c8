#include <iostream>
#include <iterator>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/status.h"
#include "server/cli/generate.h"

namespace whipsnake::server {
namespace {

absl::Status SetPrompt(const GenerateFlags& flags, v1::GenerationParameters& parameters) {
  if (!flags.prompt_ids.empty()) {
    parameters.mutable_token_ids()->mutable_ids()->Assign(flags.prompt_ids.begin(),
                                                          flags.prompt_ids.end());
  } else if (flags.prompt == "-") {
    parameters.set_text(std::string(std::istreambuf_iterator<char>(std::cin), {}));
  } else if (!flags.prompt.empty()) {
    parameters.set_text(flags.prompt);
  } else {
    return absl::InvalidArgumentError(
        "no prompt: give it as the last argument, as '-' to read it from stdin, or as token ids "
        "with --prompt-ids");
  }
  return absl::OkStatus();
}

absl::Status SetSampling(const GenerateFlags& flags, v1::Sampling& sampling) {
  if (flags.temperature) sampling.set_temperature(*flags.temperature);
  if (flags.top_k) sampling.set_top_k(*flags.top_k);
  if (flags.top_p) sampling.set_top_p(*flags.top_p);
  if (flags.min_p) sampling.set_min_p(*flags.min_p);
  if (flags.repetition_penalty) sampling.set_repetition_penalty(*flags.repetition_penalty);
  if (flags.presence_penalty) sampling.set_presence_penalty(*flags.presence_penalty);
  if (flags.frequency_penalty) sampling.set_frequency_penalty(*flags.frequency_penalty);
  if (flags.seed) sampling.set_seed(*flags.seed);
  for (const std::string& entry : flags.logit_bias) {
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(entry, absl::MaxSplits('=', 1));
    int32_t id = 0;
    float bias = 0;
    if (!absl::SimpleAtoi(parts.first, &id) || !absl::SimpleAtof(parts.second, &bias)) {
      return engine::InvalidField("--logit-bias", entry, "ID=BIAS, such as 42=-1.5");
    }
    (*sampling.mutable_logit_bias())[id] = bias;
  }
  return absl::OkStatus();
}

void SetStopping(const GenerateFlags& flags, v1::Stopping& stopping) {
  if (flags.max_tokens) stopping.set_max_new_tokens(*flags.max_tokens);
  for (const std::string& text : flags.stop_texts) stopping.add_stop_texts(text);
  for (const int32_t id : flags.stop_ids) stopping.add_stop_token_ids(id);
  stopping.set_ignore_eos(flags.ignore_eos);
}

}  // namespace

void AddGenerateFlags(CLI::App& command, GenerateFlags& flags) {
  AddClientFlags(command, flags.client);
  command.add_option("prompt", flags.prompt, "The text to continue; '-' reads it from stdin");
  command.add_option("--prompt-ids", flags.prompt_ids, "The prompt as token ids: 70,1394,358")
      ->delimiter(',')
      ->type_name("ID,...")
      ->allow_extra_args(false);
  command
      .add_option("--model", flags.model,
                  "The model's name; may be left out where the server has one")
      ->type_name("NAME");
  command.add_option("--request-id", flags.request_id, "A name for the server's log")
      ->type_name("ID");
  command.add_option("--priority", flags.priority, "Who goes first where many wait")
      ->check(CLI::IsMember({"high", "normal", "low"}))
      ->capture_default_str();
  command
      .add_option("--client", flags.client_name,
                  "For whom it is: clients get equal parts (default: this machine's address)")
      ->type_name("NAME");
  command.add_option("--timeout", flags.timeout_seconds, "Seconds after which to give up")
      ->check(CLI::Range(0.001, 86400.0))
      ->type_name("SECONDS");

  // What is left out comes from the model's generation_config.json, or is as in brackets.
  const std::string sampling = "Sampling";
  const auto sample = [&](const char* name, auto& value, const char* description) {
    command.add_option(name, value, description)->type_name("X")->group(sampling);
  };
  sample("--temperature", flags.temperature, "0 always takes the likeliest token [1]");
  sample("--top-k", flags.top_k, "Only the K likeliest tokens; 0 is all [0]");
  sample("--top-p", flags.top_p, "Only the likeliest that together reach this probability [1]");
  sample("--min-p", flags.min_p, "Only those at least this share as likely as the likeliest [0]");
  sample("--repetition-penalty", flags.repetition_penalty,
         "Above 1: against tokens of prompt and output [1]");
  sample("--presence-penalty", flags.presence_penalty,
         "Above 0: against tokens that the output has [0]");
  sample("--frequency-penalty", flags.frequency_penalty,
         "Above 0: the more often the output has them [0]");
  command.add_option("--logit-bias", flags.logit_bias, "Added to a token's logit; repeatable")
      ->type_name("ID=BIAS")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(sampling);
  sample("--seed", flags.seed, "The same seed gives the same text [random]");

  const std::string stopping = "Stopping";
  command.add_option("--max-tokens", flags.max_tokens, "At most so many new tokens [256]")
      ->type_name("N")
      ->group(stopping);
  command.add_option("--stop", flags.stop_texts, "Ends before this text; repeatable")
      ->type_name("TEXT")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(stopping);
  command.add_option("--stop-ids", flags.stop_ids, "Ends at any of these token ids: 5,6")
      ->delimiter(',')
      ->type_name("ID,...")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(stopping);
  command.add_flag("--ignore-eos", flags.ignore_eos, "Goes on past the end-of-sequence token")
      ->group(stopping);

  const std::string printing = "Output";
  command.add_flag("--token-ids", flags.token_ids, "Prints the token ids after the text")
      ->group(printing);
  command
      .add_option("--logprobs", flags.logprobs,
                  "Prints each token's log-probability and this many best alternatives")
      ->type_name("N")
      ->group(printing);
}

absl::StatusOr<v1::GenerationParameters> ParametersOf(const GenerateFlags& flags, bool json) {
  v1::GenerationParameters parameters;
  parameters.set_model(flags.model);
  parameters.set_request_id(flags.request_id);
  parameters.set_client(flags.client_name);
  parameters.set_priority(flags.priority == "high"  ? v1::REQUEST_PRIORITY_HIGH
                          : flags.priority == "low" ? v1::REQUEST_PRIORITY_LOW
                                                    : v1::REQUEST_PRIORITY_NORMAL);
  RETURN_IF_ERROR(SetSampling(flags, *parameters.mutable_sampling()));
  SetStopping(flags, *parameters.mutable_stopping());
  parameters.mutable_output()->set_token_ids(flags.token_ids || json);
  if (flags.logprobs) parameters.mutable_output()->set_logprobs(*flags.logprobs);
  RETURN_IF_ERROR(SetPrompt(flags, parameters));
  return parameters;
}

}  // namespace whipsnake::server
