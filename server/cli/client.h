// The common part of the client commands: the channel, and readable errors.
#ifndef WHIPSNAKE_SERVER_CLI_CLIENT_H_
#define WHIPSNAKE_SERVER_CLI_CLIENT_H_

#include <atomic>
#include <csignal>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "absl/status/status.h"
#include "server/cli/client_security.h"
#include "server/cli/command.h"

namespace google::rpc {
class ErrorInfo;
}
namespace google::protobuf {
class MessageLite;
}
namespace grpc {
class ChannelInterface;
class ClientContext;
class Status;
}  // namespace grpc

namespace whipsnake::server {

// The flags of every command that talks to a server.
struct ClientFlags {
  std::string server = "127.0.0.1:8500";
  std::optional<double> timeout_seconds = std::nullopt;  // of each call, for commands that have it
  ClientSecurity security = {};
};
// `flags` must live as long as the command line: the files that they name are read before the
// command runs.
void AddClientFlags(Command command, ClientFlags& flags);
// Reads the files that the flags name. AddClientFlags has it called before the command runs.
absl::Status PrepareClient(ClientFlags& flags);
// Adds --timeout.
Option AddTimeoutFlag(Command command, ClientFlags& flags, const std::string& description);
// Adds --model for the name of a model on the server, which WHIPSNAKE_MODEL may give too.
Option AddModelFlag(Command command, std::string& model, const std::string& description);

// A command for the user to type, quoted: "'whipsnake models list --server host:8500'". The server
// is named if it is not the default.
std::string CommandText(const ClientFlags& flags, std::string_view command);

// Limits a call to the time that the flags give, if they do.
void SetDeadline(const ClientFlags& flags, grpc::ClientContext& context);

std::shared_ptr<grpc::ChannelInterface> Connect(const ClientFlags& flags);

// Returns INVALID_ARGUMENT for a request that is larger than the server takes.
absl::Status CheckRequestSize(const google::protobuf::MessageLite& request);

// Converts a failed call's status to one with a readable message: what is wrong, with the details
// that the server sent (field, retry time), and what to do next. A field of GenerationParameters at
// its beginning becomes the flag that sets it. The details are attached for
// --json.
absl::Status ClientError(const grpc::Status& status, const ClientFlags& flags);

// Returns what a program can know of a failed call: the reason and its metadata; empty if the
// server sent none.
google::rpc::ErrorInfo ErrorInfoOf(const grpc::Status& status);

// Calls `action` on the first Ctrl-C, on its own thread, so that it may, unlike a signal handler,
// lock and call gRPC. A second one ends the process at once. Must be constructed before gRPC's
// first thread, so that all of gRPC's threads inherit the blocked signal.
class OnInterrupt {
 public:
  // Everything that `action` uses must outlive this object.
  explicit OnInterrupt(std::function<void()> action);
  ~OnInterrupt();
  OnInterrupt(const OnInterrupt&) = delete;
  OnInterrupt& operator=(const OnInterrupt&) = delete;

  bool interrupted() const { return interrupted_; }
  // The same; the next Ctrl-C is then a first one again.
  bool Take() { return interrupted_.exchange(false); }

 private:
  std::atomic<bool> done_ = false;
  std::atomic<bool> interrupted_ = false;
  std::thread waiter_;
};

inline constexpr int kInterrupted = 128 + SIGINT;  // exit code after Ctrl-C, as in shells

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_CLIENT_H_
