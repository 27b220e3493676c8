// whipsnake generate
#include "server/cli/generate.h"

#include <memory>

#include "engine/base/status.h"
#include "server/cli/client.h"
#include "server/cli/command.h"
#include "server/cli/model_defaults.h"
#include "whipsnake/v1/generation.grpc.pb.h"

namespace whipsnake::server {
namespace {

// A stream cannot take back what it has sent, so best_of uses the unary call.
grpc::Status Run(const v1::GenerationParameters& parameters, const GenerateFlags& flags,
                 grpc::ClientContext* context, StreamPrinter& printer) {
  const auto stub = v1::GenerationService::NewStub(Connect(flags.client));
  if (flags.best_of) {
    v1::GenerateRequest request;
    v1::GenerateResponse response;
    *request.mutable_parameters() = parameters;
    const grpc::Status status = stub->Generate(context, request, &response);
    if (status.ok()) printer.Print(response);
    return status;
  }
  v1::StreamGenerateRequest request;
  *request.mutable_parameters() = parameters;
  const auto reader = stub->StreamGenerate(context, request);
  for (v1::StreamGenerateResponse event; reader->Read(&event);) printer.Print(event);
  return reader->Finish();
}

absl::StatusOr<int> Generate(const GenerateFlags& flags, const Output& output) {
  ASSIGN_OR_RETURN(const v1::GenerationParameters parameters, ParametersOf(flags, output.json()));
  RETURN_IF_ERROR(CheckRequestSize(parameters));
  grpc::ClientContext context;
  const OnInterrupt interrupt([&] { context.TryCancel(); });
  SetDeadline(flags.client, context);
  StreamPrinter printer(output, flags);
  const grpc::Status status = Run(parameters, flags, &context, printer);
  if (status.ok()) return 0;

  printer.BreakOff();
  if (!interrupt.interrupted()) return ClientError(status, flags.client);
  output.Error(absl::CancelledError("interrupted; the server was told to stop"));
  return kInterrupted;
}

}  // namespace

void AddGenerateCommand(CommandLine& line) {
  auto flags = std::make_shared<GenerateFlags>();
  Command command =
      line.Add("generate", "Generates text on a server and prints it as it comes",
               "  whipsnake generate --model demo --max-tokens 40 \"Elizabeth was\"\n"
               "  whipsnake generate --temperature 0.8 --top-p 0.9 --seed 7 \"Once upon a time\"\n"
               "  cat letter.txt | whipsnake generate --temperature 0 --stop \"Yours\" -\n"
               "  whipsnake generate --choice yes --choice no \"Is it true? \"\n"
               "  whipsnake generate --save-state \"Elizabeth was\"   prints a handle, and then\n"
               "  whipsnake generate --state st-0123...               goes on from there\n",
               [flags](const Output& output) { return Generate(*flags, output); });
  AddGenerateFlags(command, *flags);
  line.AddHelpNote(command, [flags] { return DefaultsNote(flags->client, flags->model); });
}

}  // namespace whipsnake::server
