#include <google/protobuf/util/time_util.h>

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/status.h"
#include "server/cli/generate.h"
#include "server/cli/input.h"
#include "server/request_size.h"

namespace whipsnake::server {
namespace {

template <typename Message>
absl::Status SetPromptOf(const PromptFlags& flags, Message& message) {
  message.set_state(flags.state);
  message.mutable_tokenization()->set_omit_special_tokens(flags.omit_special_tokens);
  message.mutable_tokenization()->set_plain_text(flags.plain_text);
  if (!flags.ids.empty() && flags.text) {
    return absl::InvalidArgumentError("a prompt and --prompt-ids seen, expected one of them");
  }
  if (!flags.ids.empty()) {
    message.mutable_token_ids()->mutable_ids()->Assign(flags.ids.begin(), flags.ids.end());
  } else if (flags.text) {
    ASSIGN_OR_RETURN(*message.mutable_text(), TextOrInput(*flags.text));
  } else if (flags.state.empty()) {
    return absl::InvalidArgumentError(
        "no prompt: give it as the last argument, as '-' to read it from stdin, or as token ids "
        "with --prompt-ids");
  }
  return absl::OkStatus();
}

absl::Status SetStructured(const GenerateFlags& flags, v1::GenerationParameters& parameters) {
  if (flags.regex) parameters.mutable_structured()->set_regex(*flags.regex);
  for (const std::string& choice : flags.choices) {
    parameters.mutable_structured()->mutable_choices()->add_texts(choice);
  }
  if (flags.any_json) parameters.mutable_structured()->set_json_schema("");
  if (!flags.json_schema) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::string schema, ReadInput(*flags.json_schema, kMaxRequestBytes));
  if (schema.empty()) {  // which means any JSON in a request
    return engine::InvalidField("--json-schema", "an empty file", "a JSON schema");
  }
  RETURN_IF_ERROR(CheckRequestText("--json-schema", schema));
  parameters.mutable_structured()->set_json_schema(std::move(schema));
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

absl::Status SetSampling(const GenerateFlags& flags, v1::Sampling& sampling) {
  if (flags.temperature) sampling.set_temperature(*flags.temperature);
  if (flags.top_k) sampling.set_top_k(*flags.top_k);
  if (flags.top_p) sampling.set_top_p(*flags.top_p);
  if (flags.min_p) sampling.set_min_p(*flags.min_p);
  if (flags.repetition_penalty) sampling.set_repetition_penalty(*flags.repetition_penalty);
  if (flags.presence_penalty) sampling.set_presence_penalty(*flags.presence_penalty);
  if (flags.frequency_penalty) sampling.set_frequency_penalty(*flags.frequency_penalty);
  if (flags.no_repeat_ngram_size) sampling.set_no_repeat_ngram_size(*flags.no_repeat_ngram_size);
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

void AddPromptFlags(Command command, PromptFlags& flags) {
  command.AddOption("prompt", flags.text, "The text to continue; '-' reads it from stdin");
  command.AddOption("--prompt-ids", flags.ids, "The prompt as token ids: 70,1394,358")
      .CommaSeparated()
      .TypeName("ID,...");
  command
      .AddOption("--state", flags.state, "A saved state that the prompt continues, if there is one")
      .TypeName("HANDLE");
  command.AddFlag("--omit-special-tokens", flags.omit_special_tokens,
                  "Adds no tokens around the prompt, such as one for its beginning");
  command.AddFlag("--plain-text", flags.plain_text,
                  "Takes special tokens that are spelled in the prompt as plain text");
}

absl::Status SetPrompt(const PromptFlags& flags, v1::GenerationParameters& parameters) {
  return SetPromptOf(flags, parameters);
}

absl::Status SetPrompt(const PromptFlags& flags, v1::SaveStateRequest& request) {
  return SetPromptOf(flags, request);
}

void AddRetentionFlags(Command command, RetentionFlags& flags, const std::string& heading) {
  command.AddOption("--ttl", flags.seconds, "Seconds that the state is kept [3600]")
      .RealRange(0.001, 2592000.0)
      .TypeName("SECONDS")
      .Heading(heading);
  command
      .AddFlag("--on-disk", flags.on_disk,
               "Stores the state in the server's --data directory, where it survives a restart")
      .Heading(heading);
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

void AddSamplingFlags(Command command, GenerateFlags& flags) {
  // Omitted values come from the model's generation_config.json, otherwise they are as in the
  // brackets.
  const std::string sampling = "Sampling";
  const auto sample = [&](const char* name, auto& value, const char* description) {
    command.AddOption(name, value, description).TypeName("X").Heading(sampling);
  };
  sample("--temperature", flags.temperature,
         "0 always chooses the most likely token [the model's, else 1]");
  sample("--top-k", flags.top_k, "Only the K most likely tokens; 0: all [the model's, else 0]");
  sample("--top-p", flags.top_p,
         "Only the most likely tokens that together reach this probability [the model's, else 1]");
  sample("--min-p", flags.min_p,
         "Only tokens at least this fraction as likely as the most likely one [0]");
  sample("--repetition-penalty", flags.repetition_penalty,
         "Above 1: penalizes tokens of the prompt and the output; 0.01 to 100 [1]");
  sample("--presence-penalty", flags.presence_penalty,
         "Above 0: penalizes tokens that the output already has [0]");
  sample("--frequency-penalty", flags.frequency_penalty,
         "Above 0: penalizes tokens by how often the output has them [0]");
  command
      .AddOption("--no-repeat-ngram-size", flags.no_repeat_ngram_size,
                 "Excludes tokens that would repeat N tokens of the prompt and the output [0]")
      .TypeName("N")
      .Heading(sampling);
  command.AddOption("--logit-bias", flags.logit_bias, "Added to a token's logit; repeatable")
      .TypeName("ID=BIAS")
      .Repeatable()
      .Heading(sampling);
  sample("--seed", flags.seed, "The same seed gives the same text [random]");
}

void AddGenerateFlags(Command command, GenerateFlags& flags) {
  AddClientFlags(command, flags.client);
  AddPromptFlags(command, flags.prompt);
  AddModelFlag(command, flags.model, "The model's name; optional if the server has one model");
  command.AddOption("--request-id", flags.request_id, "A name that appears in the server's log")
      .TypeName("ID");
  command.AddOption("--priority", flags.priority, "Priority of the request in the queue")
      .Choices({"high", "normal", "low"})
      .ShowDefault();
  command
      .AddOption(
          "--client", flags.client_name,
          "Client that the request counts for; clients get equal shares (default: this machine's "
          "address)")
      .TypeName("NAME");
  AddTimeoutFlag(command, flags.client, "Seconds after which to give up");

  AddSamplingFlags(command, flags);

  const std::string stopping = "Stopping";
  command
      .AddOption("--max-tokens", flags.max_tokens,
                 "Maximum number of new tokens [the model's, else 256]")
      .TypeName("N")
      .Heading(stopping);
  command.AddOption("--stop", flags.stop_texts, "Stops before this text; repeatable")
      .TypeName("TEXT")
      .Repeatable()
      .Heading(stopping);
  command.AddOption("--stop-ids", flags.stop_ids, "Stops at any of these token ids: 5,6")
      .CommaSeparated()
      .TypeName("ID,...")
      .Heading(stopping);
  command.AddFlag("--ignore-eos", flags.ignore_eos, "Continues past the end-of-sequence token")
      .Heading(stopping);
  command.AddOption("--min-tokens", flags.min_tokens, "Minimum number of new tokens [0]")
      .TypeName("N")
      .Heading(stopping);

  const std::string form = "Structured output (one of them)";
  Option regex =
      command.AddOption("--regex", flags.regex, "The output matches this regular expression")
          .TypeName("RE")
          .Heading(form);
  Option choice = command.AddOption("--choice", flags.choices, "The output is one of these")
                      .TypeName("TEXT")
                      .Repeatable()
                      .Excludes(regex)
                      .Heading(form);
  Option schema =
      command.AddOption("--json-schema", flags.json_schema, "The output is JSON of this schema")
          .TypeName("FILE")
          .Excludes(regex)
          .Excludes(choice)
          .Heading(form);
  command.AddFlag("--any-json", flags.any_json, "The output is any JSON value")
      .Excludes(regex)
      .Excludes(choice)
      .Excludes(schema)
      .Heading(form);

  const std::string printing = "Output";
  command.AddOption("--n", flags.n, "Number of completions of the prompt [1]")
      .TypeName("N")
      .Heading(printing);
  command
      .AddOption("--best-of", flags.best_of,
                 "Generates N completions and returns the most likely ones [n]")
      .TypeName("N")
      .Heading(printing);
  command.AddFlag("--echo", flags.echo, "Starts the text with the prompt").Heading(printing);
  command.AddFlag("--token-ids", flags.token_ids, "Prints the token ids after the text")
      .Heading(printing);
  command
      .AddOption("--logprobs", flags.logprobs,
                 "Prints each token's log-probability and this many best alternatives")
      .TypeName("N")
      .Heading(printing);

  const std::string saving = "Saving";
  command
      .AddFlag("--save-state", flags.save_state,
               "Saves the state at the end; another generation continues it with --state")
      .Heading(saving);
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
