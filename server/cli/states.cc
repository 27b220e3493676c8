// whipsnake states save|fork|get|list|delete
#include <google/protobuf/util/time_util.h>

#include <chrono>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/human.h"
#include "engine/base/status.h"
#include "server/cli/client.h"
#include "server/cli/command.h"
#include "server/cli/generate.h"
#include "server/cli/unary_call.h"
#include "whipsnake/v1/state.grpc.pb.h"

namespace whipsnake::server {
namespace {

using google::protobuf::util::TimeUtil;
using StateStub = v1::StateService::StubInterface;

struct StatesFlags {
  ClientFlags client;
  std::string model;
  std::string handle;
  PromptFlags prompt;
  RetentionFlags retention;
};

// A listed state has no handle.
Json StateJson(const v1::State& state) {
  Json json = {{"name", state.name()},
               {"model", state.model()},
               {"model_digest", state.model_digest()},
               {"tokens", state.tokens()},
               {"position", state.position()},
               {"size_bytes", state.size_bytes()},
               {"create_time", TimeUtil::ToString(state.create_time())},
               {"expire_time", TimeUtil::ToString(state.expire_time())},
               {"on_disk", state.on_disk()}};
  if (!state.handle().empty()) json["handle"] = state.handle();
  return json;
}

// Identifies states by their handles, or by their names if handles are not shown.
std::string StatesTable(const std::vector<v1::State>& states, bool handles) {
  std::vector<std::vector<std::string>> rows = {
      {handles ? "HANDLE" : "NAME", "MODEL", "TOKENS", "SIZE", "KEPT", "EXPIRES IN"}};
  const double now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  for (const v1::State& state : states) {
    const double left = static_cast<double>(state.expire_time().seconds()) - now;
    rows.push_back({handles ? state.handle() : state.name(), state.model(),
                    absl::StrCat(state.tokens()), engine::HumanBytes(state.size_bytes()),
                    state.on_disk() ? "on disk" : "in memory",
                    engine::HumanDuration(std::max(left, 0.0))});
  }
  return Table(rows);
}

void PrintState(const v1::State& state, const Output& output) {
  if (output.json()) {
    output.Object({{"state", StateJson(state)}});
  } else {
    std::cout << StatesTable({state}, /*handles=*/true);
  }
}

absl::StatusOr<int> Save(const StatesFlags& flags, const Output& output) {
  v1::SaveStateRequest request;
  request.set_model(flags.model);
  RETURN_IF_ERROR(SetPrompt(flags.prompt, request));
  *request.mutable_retention() = RetentionOf(flags.retention);
  ASSIGN_OR_RETURN(const auto response,
                   UnaryCall<v1::StateService>(flags.client, &StateStub::SaveState, request));
  PrintState(response.state(), output);
  return 0;
}

absl::StatusOr<int> Fork(const StatesFlags& flags, const Output& output) {
  v1::ForkStateRequest request;
  request.set_handle(flags.handle);
  *request.mutable_retention() = RetentionOf(flags.retention);
  ASSIGN_OR_RETURN(const auto response,
                   UnaryCall<v1::StateService>(flags.client, &StateStub::ForkState, request));
  PrintState(response.state(), output);
  return 0;
}

absl::StatusOr<int> Get(const StatesFlags& flags, const Output& output) {
  v1::GetStateRequest request;
  request.set_handle(flags.handle);
  ASSIGN_OR_RETURN(const auto response,
                   UnaryCall<v1::StateService>(flags.client, &StateStub::GetState, request));
  PrintState(response.state(), output);
  return 0;
}

absl::StatusOr<int> Delete(const StatesFlags& flags, const Output& output) {
  v1::DeleteStateRequest request;
  request.set_handle(flags.handle);
  RETURN_IF_ERROR(
      UnaryCall<v1::StateService>(flags.client, &StateStub::DeleteState, request).status());
  if (output.json()) {
    output.Object({{"deleted", flags.handle}});
  } else {
    std::cout << "Deleted " << flags.handle << ".\n";
  }
  return 0;
}

absl::StatusOr<int> List(const StatesFlags& flags, const Output& output) {
  std::vector<v1::State> states;
  v1::ListStatesRequest request;
  request.set_model(flags.model);
  do {
    ASSIGN_OR_RETURN(auto response,
                     UnaryCall<v1::StateService>(flags.client, &StateStub::ListStates, request));
    for (v1::State& state : *response.mutable_states()) states.push_back(std::move(state));
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());

  if (output.json()) {
    Json list = Json::array();
    for (const v1::State& state : states) list.push_back(StateJson(state));
    output.Object({{"states", list}});
  } else {
    std::cout << StatesTable(states, /*handles=*/false);
    if (states.empty()) {
      std::cerr << "The server keeps no states. Save one with 'whipsnake states save TEXT' or "
                   "'whipsnake generate --save-state TEXT'.\n";
    }
  }
  return 0;
}

}  // namespace

void AddStatesCommands(CommandLine& line) {
  auto flags = std::make_shared<StatesFlags>();
  CommandGroup states =
      line.AddGroup("states", "Saves what a model has read, so that it need not be read again");
  const auto handle = [flags](Command command) {
    command.AddOption("handle", flags->handle, "The state's handle").TypeName("HANDLE").Required();
  };

  Command save = line.Add(states, "save", "Reads a text and keeps the state",
                          "  whipsnake states save --ttl 86400 --on-disk \"It is a truth\"\n"
                          "  cat manual.txt | whipsnake states save --model demo -\n"
                          "  whipsnake generate --state HANDLE \" universally\"\n",
                          [flags](const Output& output) { return Save(*flags, output); });
  AddClientFlags(save, flags->client);
  AddModelFlag(save, flags->model, "The model's name; optional if the server has one model");
  AddPromptFlags(save, flags->prompt);
  AddRetentionFlags(save, flags->retention, "Keeping");

  Command fork = line.Add(states, "fork", "Gives a state a second handle, which lives by itself",
                          "  whipsnake states fork HANDLE --ttl 60\n",
                          [flags](const Output& output) { return Fork(*flags, output); });
  AddClientFlags(fork, flags->client);
  handle(fork);
  AddRetentionFlags(fork, flags->retention, "Keeping");

  Command get = line.Add(states, "get", "Shows a state", "  whipsnake states get HANDLE\n",
                         [flags](const Output& output) { return Get(*flags, output); });
  AddClientFlags(get, flags->client);
  handle(get);

  Command list =
      line.Add(states, "list", "Lists the saved states, without their handles, which are secrets",
               "  whipsnake states list\n  whipsnake states list --model demo\n",
               [flags](const Output& output) { return List(*flags, output); });
  AddClientFlags(list, flags->client);
  list.AddOption("--model", flags->model, "Only those of this model").TypeName("NAME");

  Command erase = line.Add(states, "delete", "Deletes a state before its time",
                           "  whipsnake states delete HANDLE\n",
                           [flags](const Output& output) { return Delete(*flags, output); });
  AddClientFlags(erase, flags->client);
  handle(erase);
}

}  // namespace whipsnake::server
