// whipsnake generate
#include "server/cli/generate.h"

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "engine/base/status.h"
#include "server/cli/command.h"
#include "whipsnake/v1/generation.grpc.pb.h"

namespace whipsnake::server {
namespace {

constexpr int kInterrupted = 128 + SIGINT;  // as shells report it

// Turns Ctrl-C into the cancellation of a call. Must be made before the first thread of gRPC, so
// that all of them leave the signal to the one that waits for it here: a handler could not call
// TryCancel.
class CancelOnInterrupt {
 public:
  explicit CancelOnInterrupt(grpc::ClientContext* context) {
    sigset_t interrupt;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    pthread_sigmask(SIG_BLOCK, &interrupt, nullptr);
    waiter_ = std::thread([this, context, interrupt] {
      int signal = 0;
      sigwait(&interrupt, &signal);
      if (done_) return;
      interrupted_ = true;
      context->TryCancel();
    });
  }
  ~CancelOnInterrupt() {
    done_ = true;
    pthread_kill(waiter_.native_handle(), SIGINT);
    waiter_.join();
  }

  bool interrupted() const { return interrupted_; }

 private:
  std::atomic<bool> done_ = false;
  std::atomic<bool> interrupted_ = false;
  std::thread waiter_;
};

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
