#include "server/cli/client.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/status.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/base/human.h"
#include "engine/base/status.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/cli/output.h"
#include "server/cli/server_address.h"
#include "server/request_size.h"

namespace whipsnake::server {
namespace {

constexpr int kKeepaliveMs = 30'000, kLongestReconnectMs = 2'000;

// Whether the call did not reach a server: this server always sends details with UNAVAILABLE.
bool NotConnected(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE && status.error_details().empty();
}

Json DetailsOf(const google::rpc::Status& status) {
  Json details = Json::object();
  google::rpc::ErrorInfo info;
  google::rpc::BadRequest bad_request;
  google::rpc::ResourceInfo resource;
  google::rpc::RetryInfo retry;
  google::rpc::PreconditionFailure precondition;
  for (const google::protobuf::Any& detail : status.details()) {
    if (detail.UnpackTo(&info)) {
      details["reason"] = info.reason();
      details["domain"] = info.domain();
      for (const auto& [key, value] : info.metadata()) details["metadata"][key] = value;
    } else if (detail.UnpackTo(&bad_request)) {
      for (const auto& violation : bad_request.field_violations()) {
        details["fields"].push_back(
            {{"field", violation.field()}, {"description", violation.description()}});
      }
    } else if (detail.UnpackTo(&resource)) {
      details["resource"] = {{"type", resource.resource_type()},
                             {"name", resource.resource_name()}};
    } else if (detail.UnpackTo(&retry)) {
      details["retry_seconds"] = retry.retry_delay().seconds() + retry.retry_delay().nanos() * 1e-9;
    } else if (detail.UnpackTo(&precondition)) {
      for (const auto& violation : precondition.violations()) {
        details["preconditions"].push_back(
            {{"subject", violation.subject()}, {"description", violation.description()}});
      }
    }
  }
  return details;
}

// The flags that set fields of GenerationParameters, where a flag's name is not its field's.
constexpr std::pair<std::string_view, std::string_view> kFlagsOfFields[] = {
    {"text", "the prompt"},
    {"token_ids", "--prompt-ids"},
    {"stopping.max_new_tokens", "--max-tokens"},
    {"stopping.min_new_tokens", "--min-tokens"},
    {"stopping.stop_texts", "--stop"},
    {"stopping.stop_token_ids", "--stop-ids"},
    {"structured.choices", "--choice"},
    {"output.save_state", "--save-state"},
    {"output.save_state.time_to_live", "--ttl"},
};

std::string FlagOf(std::string_view field) {
  for (const auto& [path, flag] : kFlagsOfFields) {
    if (path == field) return std::string(flag);
  }
  const size_t dot = field.rfind('.');
  const std::string_view name = dot == field.npos ? field : field.substr(dot + 1);
  return absl::StrCat("--", absl::StrReplaceAll(engine::ToAbsl(name), {{"_", "-"}}));
}

// Replaces a field of GenerationParameters at the message's beginning by the flag.
std::string WithFlag(const std::string& message) {
  constexpr std::string_view kParameters = "parameters.";
  const size_t end = message.find_first_of(":[ ");  // "parameters.token_ids[3]: "
  if (!message.starts_with(kParameters) || end == message.npos) return message;
  const std::string_view field(message.data() + kParameters.size(), end - kParameters.size());
  return FlagOf(field) + message.substr(end);
}

// Returns what the details add to the message, and what to do next.
std::string Advice(const grpc::Status& status, const Json& details, const ClientFlags& flags) {
  std::string advice;
  const std::string message = status.error_message();
  for (const Json& violation : details.value("fields", Json::array())) {
    const std::string field = violation["field"];
    if (!absl::StrContains(message, field)) {
      absl::StrAppend(&advice, "; ", field, ": ", violation["description"].get<std::string>());
    }
  }
  for (const Json& violation : details.value("preconditions", Json::array())) {
    const std::string description = violation["description"];
    if (!absl::StrContains(message, description)) absl::StrAppend(&advice, "; ", description);
  }
  if (details.contains("retry_seconds")) {
    absl::StrAppend(&advice, "; try again in ", engine::HumanDuration(details["retry_seconds"]));
  }
  if (status.error_code() == grpc::StatusCode::NOT_FOUND && details.contains("resource") &&
      absl::EndsWithIgnoreCase(details["resource"]["type"].get<std::string>(), "model")) {
    absl::StrAppend(&advice, "; 'whipsnake models list --server ", flags.server,
                    "' shows the models that are there");
  }
  return advice;
}

}  // namespace

void AddClientFlags(Command command, ClientFlags& flags) {
  command.AddOption("--server", flags.server, "The server's address; without a port, 8500")
      .TypeName("HOST[:PORT]")
      .Check([](const std::string& text) { return ParseServerAddress(text).status(); })
      .Environment("WHIPSNAKE_SERVER")
      .ShowDefault();
  AddSecurityFlags(command, flags.security);
  command.Prepare([&flags] { return PrepareClient(flags); });
}

absl::Status PrepareClient(ClientFlags& flags) {
  const absl::StatusOr<ServerAddress> address = ParseServerAddress(flags.server);
  return Prepare(flags.security, address.ok() && address->loopback);
}

Option AddTimeoutFlag(Command command, ClientFlags& flags, const std::string& description) {
  return command.AddOption("--timeout", flags.timeout_seconds, description)
      .RealRange(0.001, 86400.0)
      .TypeName("SECONDS");
}

void SetDeadline(const ClientFlags& flags, grpc::ClientContext& context) {
  if (!flags.timeout_seconds) return;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::microseconds(std::llround(*flags.timeout_seconds * 1e6)));
}

Option AddModelFlag(Command command, std::string& model, const std::string& description) {
  return command.AddOption("--model", model, description)
      .TypeName("NAME")
      .Environment("WHIPSNAKE_MODEL");
}

std::string CommandText(const ClientFlags& flags, std::string_view command) {
  return absl::StrCat("'whipsnake ", engine::ToAbsl(command),
                      flags.server == ClientFlags().server ? "" : " --server ",
                      flags.server == ClientFlags().server ? "" : flags.server, "'");
}

std::shared_ptr<grpc::ChannelInterface> Connect(const ClientFlags& flags) {
  // The libraries' own messages are not for people; errors of calls say what matters.
  gpr_set_log_function([](gpr_log_func_args*) {});
  google::protobuf::SetLogHandler(nullptr);
  const absl::StatusOr<ServerAddress> address = ParseServerAddress(flags.server);
  grpc::ChannelArguments arguments;
  if (address.ok() && address->loopback) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // A call that waits, such as a watch, ends if the machine at the other end disappears.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // no limit
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kLongestReconnectMs);
  AddChannelArguments(flags.security, arguments);
  return grpc::experimental::CreateCustomChannelWithInterceptors(
      address.ok() ? address->target : flags.server, CredentialsOf(flags.security), arguments,
      TokenInterceptors(flags.security));
}

absl::Status CheckRequestSize(const google::protobuf::MessageLite& request) {
  const size_t bytes = request.ByteSizeLong();
  if (bytes <= kMaxRequestBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("a request of ", bytes, " bytes seen, expected at most ", kMaxRequestBytes));
}

absl::Status ClientError(const grpc::Status& status, const ClientFlags& flags) {
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  if (NotConnected(status)) {
    return absl::Status(
        code, absl::StrCat("cannot reach a server at ", flags.server, " (", status.error_message(),
                           "). Is it running? Start one with 'whipsnake serve --model NAME=DIR', "
                           "or name another with --server.",
                           SecurityAdvice(status, flags.security, /*connected=*/false)));
  }
  if (code == absl::StatusCode::kDeadlineExceeded && flags.timeout_seconds) {
    return absl::Status(
        code, absl::StrCat("no end within ", engine::HumanDuration(*flags.timeout_seconds),
                           ", the --timeout; give the server more time with a higher one"));
  }
  google::rpc::Status rich;
  rich.ParseFromString(status.error_details());
  const Json details = DetailsOf(rich);
  absl::Status error(code,
                     absl::StrCat(WithFlag(status.error_message()), Advice(status, details, flags),
                                  SecurityAdvice(status, flags.security, /*connected=*/true)));
  SetErrorDetails(error, details);
  return error;
}

google::rpc::ErrorInfo ErrorInfoOf(const grpc::Status& status) {
  google::rpc::Status rich;
  google::rpc::ErrorInfo info;
  rich.ParseFromString(status.error_details());
  for (const google::protobuf::Any& detail : rich.details()) {
    if (detail.UnpackTo(&info)) break;
  }
  return info;
}

OnInterrupt::OnInterrupt(std::function<void()> action) {
  sigset_t interrupt;
  sigemptyset(&interrupt);
  sigaddset(&interrupt, SIGINT);
  pthread_sigmask(SIG_BLOCK, &interrupt, nullptr);
  waiter_ = std::thread([this, interrupt, action = std::move(action)] {
    while (true) {
      int signal = 0;
      sigwait(&interrupt, &signal);
      if (done_) return;
      if (interrupted_.exchange(true)) _exit(kInterrupted);
      action();
    }
  });
}

OnInterrupt::~OnInterrupt() {
  done_ = true;
  pthread_kill(waiter_.native_handle(), SIGINT);
  waiter_.join();
}

}  // namespace whipsnake::server
