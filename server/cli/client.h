// What the client commands share: the channel, and errors in plain words.
#ifndef WHIPSNAKE_SERVER_CLI_CLIENT_H_
#define WHIPSNAKE_SERVER_CLI_CLIENT_H_

#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

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

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_CLIENT_H_
