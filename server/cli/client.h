// What the client commands share: the channel, and errors in plain words.
#ifndef WHIPSNAKE_SERVER_CLI_CLIENT_H_
#define WHIPSNAKE_SERVER_CLI_CLIENT_H_

#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"

namespace whipsnake::server {

// The flags of every command that talks to a server.
struct ClientFlags {
  std::string server = "127.0.0.1:8500";
};
void AddClientFlags(CLI::App& command, ClientFlags& flags);

std::shared_ptr<grpc::Channel> Connect(const ClientFlags& flags);

// A failed call's status with a message for people: what is wrong, with the details that the server
// sent (field, retry time), and what to do next. The details are attached for --json.
absl::Status ClientError(const grpc::Status& status, const ClientFlags& flags);

// Turns Ctrl-C into the cancellation of a call. Must be made before the first thread of gRPC, so
// that all of them leave the signal to the one that waits for it here: a handler could not call
// TryCancel.
class CancelOnInterrupt {
 public:
  // `context` outlives it.
  explicit CancelOnInterrupt(grpc::ClientContext* context);
  ~CancelOnInterrupt();
  CancelOnInterrupt(const CancelOnInterrupt&) = delete;
  CancelOnInterrupt& operator=(const CancelOnInterrupt&) = delete;

  bool interrupted() const { return interrupted_; }

 private:
  std::atomic<bool> done_ = false;
  std::atomic<bool> interrupted_ = false;
  std::thread waiter_;
};

inline constexpr int kInterrupted = 128 + SIGINT;  // the exit code then, as shells report it

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_CLIENT_H_
