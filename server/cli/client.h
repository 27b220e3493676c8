// What the client commands share: the channel, and errors in plain words.
#ifndef WHIPSNAKE_SERVER_CLI_CLIENT_H_
#define WHIPSNAKE_SERVER_CLI_CLIENT_H_

#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <functional>
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

// Calls `action` at the first Ctrl-C, from a thread of its own: unlike a signal handler it may lock
// and call gRPC. Must be made before the first thread of gRPC, so that all of them leave the signal
// to that thread.
class OnInterrupt {
 public:
  // What `action` uses outlives this object.
  explicit OnInterrupt(std::function<void()> action);
  ~OnInterrupt();
  OnInterrupt(const OnInterrupt&) = delete;
  OnInterrupt& operator=(const OnInterrupt&) = delete;

  bool interrupted() const { return interrupted_; }

 private:
  std::atomic<bool> done_ = false;
  std::atomic<bool> interrupted_ = false;
  std::thread waiter_;
};

inline constexpr int kInterrupted = 128 + SIGINT;  // the exit code then, as shells report it

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_CLIENT_H_
