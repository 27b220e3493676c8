#include "server/cli/finetune_promote.h"

#include <grpcpp/client_context.h>

#include <chrono>
#include <cmath>
#include <future>
#include <iostream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/base/human.h"
#include "engine/base/status.h"
#include "server/cli/client.h"
#include "server/cli/interruption.h"
#include "server/cli/progress.h"
#include "server/cli/version_output.h"
#include "whipsnake/v1/fine_tuning.grpc.pb.h"

namespace whipsnake::server {
namespace {

struct PromoteFlags {
  ClientFlags client;
  std::string id, model, scheme, alias, etag;
  int64_t step = 0;
  bool keep_loaded = false;
};

v1::PromoteCheckpointRequest RequestOf(const PromoteFlags& flags) {
  v1::PromoteCheckpointRequest request;
  request.set_id(flags.id);
  request.set_step(flags.step);
  request.set_model(flags.model);
  request.set_scheme(flags.scheme);
  request.set_alias(flags.alias);
  request.set_keep_loaded(flags.keep_loaded);
  request.set_etag(flags.etag);
  return request;
}

// Waits for an answer, and shows how long it has taken.
grpc::Status Await(std::future<grpc::Status> answer, const std::string& what) {
  constexpr std::chrono::milliseconds kPause{200};
  const auto start = std::chrono::steady_clock::now();
  Note note;
  while (answer.wait_for(kPause) != std::future_status::ready) {
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    note.Set(absl::StrCat(what, "  ", engine::HumanDuration(std::floor(taken.count()))));
  }
  return answer.get();
}

void PrintPromoted(const v1::ModelVersion& version, const PromoteFlags& flags) {
  std::cout << VersionsTable({version})
            << absl::StrCat(
                   "Requests for ", flags.model, " are answered by it from now on.\nTry it:  ",
                   CommandText(flags.client,
                               absl::StrCat("generate --model ", flags.model, " \"...\"")),
                   "\nGo back: ",
                   CommandText(flags.client, absl::StrCat("models rollback ", flags.model)), "\n");
}

absl::StatusOr<int> Promote(const PromoteFlags& flags, const Output& output) {
  Interruption interruption;
  const auto stub = v1::FineTuningService::NewStub(Connect(flags.client));
  grpc::ClientContext context;
  const Interruption::Cancels cancels(interruption, context);
  const v1::PromoteCheckpointRequest request = RequestOf(flags);
  v1::PromoteCheckpointResponse response;
  const grpc::Status status =
      Await(std::async(std::launch::async,
                       [&] { return stub->PromoteCheckpoint(&context, request, &response); }),
            flags.scheme.empty() ? "Loading" : "Quantizing and loading");
  if (interruption.raised()) {
    output.Error(absl::CancelledError(
        absl::StrCat("interrupted; the promotion continues in the server: ",
                     CommandText(flags.client, "models versions " + flags.model), " shows it")));
    return kInterrupted;
  }
  if (!status.ok()) return ClientError(status, flags.client);
  if (output.json()) {
    output.Object({{"version", VersionJson(response.version())}});
  } else {
    PrintPromoted(response.version(), flags);
  }
  return 0;
}

}  // namespace

void AddPromoteCommand(CommandLine& line, CommandGroup finetune) {
  auto flags = std::make_shared<PromoteFlags>();
  Command command = line.Add(
      finetune, "promote",
      "Lets a job's result, or one of its checkpoints, serve as the next version of a model; no "
      "request fails",
      "  whipsnake finetune promote reviews-1 --model support\n"
      "  whipsnake finetune promote reviews-1 --model support --step 200 --alias stable\n"
      "  whipsnake finetune promote reviews-1 --model support --scheme w8a8\n"
      "  whipsnake models rollback support\n",
      [flags](const Output& output) { return Promote(*flags, output); });
  AddClientFlags(command, flags->client);
  command.AddOption("id", flags->id, "The job's id").TypeName("ID").Required();
  command.AddOption("--model", flags->model, "The name under which it serves: support")
      .TypeName("NAME")
      .Required();
  command
      .AddOption("--step", flags->step,
                 "The step of a checkpoint, as 'finetune checkpoints' shows it (default: the "
                 "result of a job that has succeeded)")
      .TypeName("N");
  command
      .AddOption("--scheme", flags->scheme,
                 "Quantizes the model on the way, calibrated with the texts of its training: "
                 "quamba-w8a8, w8a8, ... as 'models quantize' knows them (default: its float "
                 "weights serve)")
      .TypeName("SCHEME");
  command
      .AddOption("--alias", flags->alias,
                 "An alias of the model that leads to the version, too: stable")
      .TypeName("ALIAS");
  command.AddFlag("--keep-loaded", flags->keep_loaded,
                  "Keeps the version loaded that served until now, so that a way back is quick");
  command
      .AddOption(
          "--etag", flags->etag,
          "Changes only this state of the model's name, as 'models versions --json' shows it")
      .TypeName("ETAG");
}

}  // namespace whipsnake::server
