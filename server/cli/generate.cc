// whipsnake generate
#include "server/cli/generate.h"

#include <chrono>
#include <memory>

#include "engine/base/status.h"
#include "server/cli/client.h"
#include "server/cli/command.h"
#include "whipsnake/v1/generation.grpc.pb.h"

namespace whipsnake::server {
namespace {

absl::StatusOr<int> Generate(const GenerateFlags& flags, const Output& output) {
  v1::StreamGenerateRequest request;
  ASSIGN_OR_RETURN(*request.mutable_parameters(), ParametersOf(flags, output.json()));
  grpc::ClientContext context;
  const CancelOnInterrupt interrupt(&context);
  if (flags.timeout_seconds) {
    context.set_deadline(
        std::chrono::system_clock::now() +
        std::chrono::milliseconds(static_cast<int64_t>(*flags.timeout_seconds * 1000)));
  }
  const auto stub = v1::GenerationService::NewStub(Connect(flags.client));
  const auto reader = stub->StreamGenerate(&context, request);
  StreamPrinter printer(output, flags);
  v1::StreamGenerateResponse event;
  while (reader->Read(&event)) printer.Print(event);
  const grpc::Status status = reader->Finish();
  if (status.ok()) return 0;

  printer.BreakOff();
  if (!interrupt.interrupted()) return ClientError(status, flags.client);
  output.Error(absl::CancelledError("interrupted; the server was told to stop"));
  return kInterrupted;
}

}  // namespace

void AddGenerateCommand(CommandLine& line) {
  auto flags = std::make_shared<GenerateFlags>();
  CLI::App& command =
      line.Add("generate", "Generates text on a server and prints it as it comes",
               "  whipsnake generate --model demo --max-tokens 40 \"Elizabeth was\"\n"
               "  whipsnake generate --temperature 0.8 --top-p 0.9 --seed 7 \"Once upon a time\"\n"
               "  cat letter.txt | whipsnake generate --temperature 0 --stop \"Yours\" -\n",
               [flags](const Output& output) { return Generate(*flags, output); });
  AddGenerateFlags(command, *flags);
}

}  // namespace whipsnake::server
