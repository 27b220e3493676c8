// whipsnake load
#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/human.h"
#include "engine/base/status.h"
#include "server/cli/client.h"
#include "server/cli/command.h"
#include "server/cli/load_run.h"
#include "server/cli/progress.h"
#include "whipsnake/v1/model.grpc.pb.h"

namespace whipsnake::server {
namespace {

struct LoadFlags {
  ClientFlags client;
  LoadShape shape;
  std::optional<uint64_t> seed;
  bool allow_overload = false;
};

// The server's answer to a request that it has no room for, as expected under overload.
constexpr char kOverload[] = "RESOURCE_EXHAUSTED";

uint64_t AnySeed() {
  std::random_device device;
  return device();
}

// Sets the model's vocabulary size, and its name if the server has only one model.
absl::Status CompleteShape(const std::shared_ptr<grpc::ChannelInterface>& channel,
                           const ClientFlags& client, LoadShape& shape) {
  const auto stub = v1::ModelService::NewStub(channel);
  if (shape.model.empty()) {
    grpc::ClientContext context;
    v1::ListModelsResponse models;
    const grpc::Status status = stub->ListModels(&context, {}, &models);
    if (!status.ok()) return ClientError(status, client);
    if (models.models_size() != 1) {
      return engine::InvalidField("--model", "nothing",
                                  absl::StrCat("one of the server's ", models.models_size(),
                                               " models; 'whipsnake models list' shows them"));
    }
    shape.model = models.models(0).name();
  }
  grpc::ClientContext context;
  v1::GetModelRequest request;
  request.set_name(shape.model);
  v1::GetModelResponse response;
  const grpc::Status status = stub->GetModel(&context, request, &response);
  if (!status.ok()) return ClientError(status, client);
  if (response.model().vocab_size() < 1) {
    return absl::FailedPreconditionError(absl::StrCat("model \"", shape.model, "\" is not ready"));
  }
  shape.vocab_size = response.model().vocab_size();
  return absl::OkStatus();
}

constexpr int kPercentiles[] = {50, 95, 99};

Json Milliseconds(const std::vector<double>& seconds) {
  Json json;
  for (const int p : kPercentiles) {
    const std::optional<double> value = Percentile(seconds, p);
    json[absl::StrCat("p", p)] = value ? Json(*value * 1e3) : Json();
  }
  return json;
}

Json ResultJson(const LoadResult& result, uint64_t seed) {
  Json counts = Json::object(), messages = Json::object();
  for (const auto& [code, failure] : result.failures) {
    counts[code] = failure.requests;
    messages[code] = failure.message;
  }
  return {{"seed", seed},
          {"requests", result.succeeded + result.failed()},
          {"succeeded", result.succeeded},
          {"unfinished", result.unfinished},
          {"errors", result.failed()},
          {"errors_by_code", counts},
          {"first_error_by_code", messages},
          {"seconds", result.seconds},
          {"prompt_tokens", result.prompt_tokens},
          {"cached_prompt_tokens", result.cached_prompt_tokens},
          {"output_tokens", result.output_tokens},
          {"merged_tokens", result.merged_tokens},
          {"output_tokens_per_second", result.output_tokens / result.seconds},
          {"requests_per_second", result.succeeded / result.seconds},
          {"ttft_ms", Milliseconds(result.first_token)},
          {"itl_ms", Milliseconds(result.inter_token)},
          {"request_ms", Milliseconds(result.request)}};
}

// A histogram with bins whose bounds grow by the square root of 2.
std::string HistogramOf(const std::vector<double>& seconds) {
  if (seconds.empty()) return "";
  constexpr int kWidth = 50;
  const auto bin = [](double value) {
    return static_cast<int>(std::floor(2 * std::log2(std::max(value, 1e-6))));
  };
  const auto [least, most] = std::ranges::minmax(seconds);
  std::vector<int64_t> counts(bin(most) - bin(least) + 1);
  for (const double value : seconds) ++counts[bin(value) - bin(least)];
  const int64_t largest = *std::ranges::max_element(counts);
  std::string text;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double upper = std::exp2((bin(least) + static_cast<int>(i) + 1) / 2.0);
    const int length = static_cast<int>((counts[i] * kWidth + largest - 1) / largest);
    absl::StrAppendFormat(&text, "  under %9s  %-*s %d\n", engine::HumanDuration(upper), kWidth,
                          std::string(length, '#'), counts[i]);
  }
  return text;
}

std::string PercentileTable(const LoadResult& result) {
  std::vector<std::vector<std::string>> rows = {{"OF WHAT SUCCEEDED", "P50", "P95", "P99"}};
  const auto row = [&](const char* name, const std::vector<double>& seconds) {
    rows.push_back({name});
    for (const int p : kPercentiles) {
      const std::optional<double> value = Percentile(seconds, p);
      rows.back().push_back(value ? engine::HumanDuration(*value) : "-");
    }
  };
  row("time to first token", result.first_token);
  row("inter-token latency", result.inter_token);
  row("whole request", result.request);
  return Table(rows);
}

void Print(const LoadResult& result, uint64_t seed) {
  std::cout << PercentileTable(result);
  const auto histogram = [](const char* title, const std::vector<double>& seconds) {
    if (!seconds.empty()) std::cout << "\n" << title << "\n" << HistogramOf(seconds);
  };
  histogram("Time to first token", result.first_token);
  histogram("Inter-token latency", result.inter_token);
  std::cout << absl::StrFormat(
      "\n%d requests succeeded, %d failed in %s: %s output tokens a second\n", result.succeeded,
      result.failed(), engine::HumanDuration(result.seconds),
      engine::HumanNumber(result.output_tokens / result.seconds, 3));
  for (const auto& [code, failure] : result.failures) {
    std::cout << "  failed: " << failure.requests << " " << code << ": " << failure.message << "\n";
  }
  if (result.unfinished > 0) {
    std::cout << "  interrupted: " << result.unfinished << " were cancelled or not begun\n";
  }
  std::cout << "Prompt tokens from the server's cache: " << result.cached_prompt_tokens << " of "
            << result.prompt_tokens << "\n";
  if (result.merged_tokens > 0) {
    std::cout << "Output tokens that came with the one before, without a latency: "
              << result.merged_tokens << " of " << result.output_tokens << "\n";
  }
  std::cout << "--seed " << seed << " repeats these prompts\n";
}

// Returns 1 if a request failed unexpectedly.
int ExitCode(const LoadResult& result, bool allow_overload) {
  const auto expected = [&](const auto& failure) {
    return allow_overload && failure.first == kOverload;
  };
  return std::ranges::all_of(result.failures, expected) ? 0 : 1;
}

absl::StatusOr<int> Load(const LoadFlags& flags, const Output& output) {
  LoadShape shape = flags.shape;
  shape.seed = flags.seed ? *flags.seed : AnySeed();
  std::shared_ptr<grpc::ChannelInterface>
      channel;  // outlives the run and the thread that may stop it
  LoadRun run;
  const OnInterrupt interrupt([&] { run.Stop(); });
  channel = Connect(flags.client);
  RETURN_IF_ERROR(CompleteShape(channel, flags.client, shape));
  LoadResult result;
  {
    Progress progress("Loading the server");
    result = run.Run(channel, shape, [&](double fraction) { progress.Set(fraction); });
  }
  if (output.json()) {
    output.Object(ResultJson(result, shape.seed));
  } else {
    Print(result, shape.seed);
  }
  return interrupt.interrupted() ? kInterrupted : ExitCode(result, flags.allow_overload);
}

}  // namespace

void AddLoadCommand(CommandLine& line) {
  auto flags = std::make_shared<LoadFlags>();
  LoadShape& shape = flags->shape;
  Command command = line.Add(
      "load", "Sends a server many requests at once and says what they took",
      "  whipsnake load --concurrency 32 --requests 200 --prompt-tokens 128 --max-tokens 64\n"
      "  whipsnake load --rate 5 --requests 300\n"
      "  whipsnake load --rate 500 --requests 2000 --allow-overload\n"
      "\nTimes and tokens are of the requests that succeeded. Inter-token latency is the time from "
      "one\n"
      "message with tokens to the next; tokens that come together in one message, as after a "
      "pause,\n"
      "have one latency, the whole of it, and are counted apart. Ctrl-C ends with a report of what "
      "was\n"
      "done. Exit code: 1 when a request failed.\n",
      [flags](const Output& output) { return Load(*flags, output); });
  AddClientFlags(command, flags->client);
  AddModelFlag(command, shape.model, "The model's name; optional if the server has one model");
  const auto count = [&](const char* name, int64_t& value, const char* description) {
    return command.AddOption(name, value, description)
        .IntegerRange(1, 1 << 24)
        .TypeName("N")
        .ShowDefault();
  };
  Option concurrency =
      count("--concurrency", shape.concurrency, "Requests at once: the next begins when one ends");
  command
      .AddOption("--rate", shape.rate,
                 "Requests a second instead, at random times, whether others have ended or not")
      .RealRange(1e-3, 1e6)
      .TypeName("R")
      .Excludes(concurrency);
  count("--requests", shape.requests, "Requests in all");
  count("--prompt-tokens", shape.prompt_tokens, "Random tokens of each prompt");
  count("--max-tokens", shape.max_tokens, "Tokens that each generates; none ends before");
  command.AddOption("--temperature", shape.temperature, "0 always chooses the most likely token")
      .TypeName("X")
      .ShowDefault();
  command
      .AddOption("--top-p", shape.top_p,
                 "Only the most likely tokens that together reach this probability")
      .TypeName("X")
      .ShowDefault();
  command.AddOption("--timeout", shape.timeout_seconds, "Seconds that a request may take")
      .RealRange(0.001, 86400.0)
      .TypeName("SECONDS")
      .ShowDefault();
  command.AddOption("--seed", flags->seed,
                    "Seed of the prompts and the arrivals. Repeated prompts are found in the "
                    "server's prefix cache (default: a new one each time)");
  command.AddFlag("--allow-overload", flags->allow_overload,
                  "The exit code ignores requests that the server refuses because it is full "
                  "(RESOURCE_EXHAUSTED)");
}

}  // namespace whipsnake::server
