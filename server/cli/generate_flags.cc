#include <google/protobuf/util/time_util.h>

#include <iostream>
#include <iterator>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/files.h"
#include "engine/base/status.h"
#include "server/cli/generate.h"

namespace whipsnake::server {
namespace {

template <typename Message>
absl::Status SetPromptOf(const PromptFlags& flags, Message& message) {
  message.set_state(flags.state);
  if (!flags.ids.empty()) {
    message.mutable_token_ids()->mutable_ids()->Assign(flags.ids.begin(), flags.ids.end());
  } else if (flags.text == "-") {
    message.set_text(std::string(std::istreambuf_iterator<char>(std::cin), {}));
  } else if (!flags.text.empty()) {
    message.set_text(flags.text);
  } else if (flags.state.empty()) {
    return absl::InvalidArgumentError(
        "no prompt: give it as the last argument, as '-' to read it from stdin, or as token ids "
        "with --prompt-ids");
  }
  return absl::OkStatus();
}

absl::Status SetStructured(const GenerateFlags& flags, v1::GenerationParameters& parameters) {
  if (!flags.regex.empty()) parameters.mutable_structured()->set_regex(flags.regex);
  for (const std::string& choice : flags.choices) {
    parameters.mutable_structured()->mutable_choices()->add_texts(choice);
  }
  if (flags.any_json) parameters.mutable_structured()->set_json_schema("");
  if (flags.json_schema.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(*parameters.mutable_structured()->mutable_json_schema(),
                   engine::ReadTextFile(flags.json_schema));
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
  if (flags.min_tokens) stopping.set_min_new_tokens(*flags.min_tokens);
}

}  // namespace

void AddPromptFlags(CLI::App& command, PromptFlags& flags) {
  command.add_option("prompt", flags.text, "The text to continue; '-' reads it from stdin");
  command.add_option("--prompt-ids", flags.ids, "The prompt as token ids: 70,1394,358")
      ->delimiter(',')
      ->type_name("ID,...")
      ->allow_extra_args(false);
  command
      .add_option("--state", flags.state,
                  "A saved state that the prompt continues, if there is one")
      ->type_name("HANDLE");
}

absl::Status SetPrompt(const PromptFlags& flags, v1::GenerationParameters& parameters) {
  return SetPromptOf(flags, parameters);
}

absl::Status SetPrompt(const PromptFlags& flags, v1::SaveStateRequest& request) {
  return SetPromptOf(flags, request);
}

void AddRetentionFlags(CLI::App& command, RetentionFlags& flags, const std::string& group) {
  command.add_option("--ttl", flags.seconds, "Seconds that the state is kept [3600]")
      ->check(CLI::Range(0.001, 2592000.0))
      ->type_name("SECONDS")
      ->group(group);
  command
      .add_flag("--on-disk", flags.on_disk,
                "Keeps the state in the server's --data, where it survives a restart")
      ->group(group);
}

v1::StateRetention RetentionOf(const RetentionFlags& flags) {
  v1::StateRetention retention;
  if (flags.seconds) {
    *retention.mutable_time_to_live() = google::protobuf::util::TimeUtil::MillisecondsToDuration(
        static_cast<int64_t>(*flags.seconds * 1000));
  }
  retention.set_on_disk(flags.on_disk);
  return retention;
}

void AddGenerateFlags(CLI::App& command, GenerateFlags& flags) {
  AddClientFlags(command, flags.client);
  AddPromptFlags(command, flags.prompt);
  command
      .add_option("--model", flags.model, "The model's name; optional if the server has one model")
      ->type_name("NAME");
  command.add_option("--request-id", flags.request_id, "A name for the server's log")
      ->type_name("ID");
  command.add_option("--priority", flags.priority, "Priority of the request in the queue")
      ->check(CLI::IsMember({"high", "normal", "low"}))
      ->capture_default_str();
  command
      .add_option(
          "--client", flags.client_name,
          "Client that the request counts for; clients get equal shares (default: this machine's "
          "address)")
      ->type_name("NAME");
  command.add_option("--timeout", flags.timeout_seconds, "Seconds after which to give up")
      ->check(CLI::Range(0.001, 86400.0))
      ->type_name("SECONDS");

  // Omitted values come from the model's generation_config.json, otherwise they are as in the
  // brackets.
  const std::string sampling = "Sampling";
  const auto sample = [&](const char* name, auto& value, const char* description) {
    command.add_option(name, value, description)->type_name("X")->group(sampling);
  };
  sample("--temperature", flags.temperature,
         "0 always takes the likeliest token [the model's, else 1]");
  sample("--top-k", flags.top_k, "Only the K likeliest tokens; 0 is all [the model's, else 0]");
  sample("--top-p", flags.top_p,
         "Only the likeliest that together reach this probability [the model's, else 1]");
  sample("--min-p", flags.min_p, "Only those at least this share as likely as the likeliest [0]");
  sample("--repetition-penalty", flags.repetition_penalty,
         "Above 1: against tokens of prompt and output; 0.01 to 100 [1]");
  sample("--presence-penalty", flags.presence_penalty,
         "Above 0: against tokens that the output has [0]");
  sample("--frequency-penalty", flags.frequency_penalty,
         "Above 0: penalizes tokens by how often the output has them [0]");
  command.add_option("--logit-bias", flags.logit_bias, "Added to a token's logit; repeatable")
      ->type_name("ID=BIAS")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(sampling);
  sample("--seed", flags.seed, "The same seed gives the same text [random]");

  const std::string stopping = "Stopping";
  command
      .add_option("--max-tokens", flags.max_tokens,
                  "Maximum number of new tokens [the model's, else 256]")
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
  command.add_option("--min-tokens", flags.min_tokens, "Minimum number of new tokens [0]")
      ->type_name("N")
      ->group(stopping);

  const std::string form = "Structured output (one of them)";
  CLI::Option* regex =
      command.add_option("--regex", flags.regex, "The output matches this regular expression")
          ->type_name("RE")
          ->group(form);
  CLI::Option* choice = command.add_option("--choice", flags.choices, "The output is one of these")
                            ->type_name("TEXT")
                            ->allow_extra_args(false)
                            ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
                            ->excludes(regex)
                            ->group(form);
  CLI::Option* schema =
      command.add_option("--json-schema", flags.json_schema, "The output is JSON of this schema")
          ->type_name("FILE")
          ->excludes(regex, choice)
          ->group(form);
  command.add_flag("--any-json", flags.any_json, "The output is any JSON value")
      ->excludes(regex, choice, schema)
      ->group(form);

  const std::string printing = "Output";
  command.add_option("--n", flags.n, "Number of completions of the prompt [1]")
      ->type_name("N")
      ->group(printing);
  command
      .add_option("--best-of", flags.best_of,
                  "Generates N completions and returns the likeliest [n]")
      ->type_name("N")
      ->group(printing);
  command.add_flag("--echo", flags.echo, "Begins the text with that of the prompt")
      ->group(printing);
  command.add_flag("--token-ids", flags.token_ids, "Prints the token ids after the text")
      ->group(printing);
  command
      .add_option("--logprobs", flags.logprobs,
                  "Prints each token's log-probability and this many best alternatives")
      ->type_name("N")
      ->group(printing);

  const std::string saving = "Saving";
  command
      .add_flag("--save-state", flags.save_state,
                "Keeps the state at the end, for another generation to go on with --state")
      ->group(saving);
  AddRetentionFlags(command, flags.retention, saving);
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
  if (flags.n) parameters.set_n(*flags.n);
  if (flags.best_of) parameters.set_best_of(*flags.best_of);
  RETURN_IF_ERROR(SetStructured(flags, parameters));
  parameters.mutable_output()->set_token_ids(flags.token_ids || json);
  parameters.mutable_output()->set_echo(flags.echo);
  if (flags.save_state) {
    *parameters.mutable_output()->mutable_save_state() = RetentionOf(flags.retention);
  } else if (flags.retention.seconds || flags.retention.on_disk) {
    return absl::InvalidArgumentError(
        "--ttl and --on-disk say how a state is kept: with --save-state");
  }
  if (flags.logprobs) parameters.mutable_output()->set_logprobs(*flags.logprobs);
  RETURN_IF_ERROR(SetPrompt(flags.prompt, parameters));
  return parameters;
}

}  // namespace whipsnake::server
