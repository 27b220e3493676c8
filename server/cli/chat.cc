// whipsnake chat: a session with a model, line by line.
//
// Each reply ends in a saved state, and the next line continues it: the server reads only what is
// new, however long the session is. The states of all replies are kept, so /undo costs nothing.
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/base/mutex.h"
#include "engine/base/status.h"
#include "server/cli/client.h"
#include "server/cli/command.h"
#include "server/cli/generate.h"
#include "server/cli/model_defaults.h"
#include "server/cli/unary_call.h"
#include "whipsnake/v1/generation.grpc.pb.h"
#include "whipsnake/v1/state.grpc.pb.h"

namespace whipsnake::server {
namespace {

constexpr char kHelp[] =
    "/undo    takes back the last line and its reply\n"
    "/reset   begins anew\n"
    "/state   shows the handle of the session, for 'whipsnake generate --state'\n"
    "/quit    ends the session, as Ctrl-D does\n"
    "Ctrl-C takes back the line whose reply is being written.\n";

struct ChatFlags {
  GenerateFlags generation;
  std::string system;
  std::string user_prefix, reply_prefix;
  std::vector<std::string> stop_texts;  // empty: the end of the line
};

// Where the session is after a reply.
struct Turn {
  std::string state;
  v1::FinishReason finish_reason = v1::FINISH_REASON_UNSPECIFIED;
};

class Chat {
 public:
  Chat(const ChatFlags& flags, const Output& output) : flags_(flags), output_(output) {
    stop_texts_ = flags.stop_texts;
    if (stop_texts_.empty()) stop_texts_ = {"\n"};
  }
  // Deletes the session's states.
  ~Chat() { Forget(0); }
  Chat(const Chat&) = delete;
  Chat& operator=(const Chat&) = delete;

  absl::StatusOr<int> Run();

 private:
  // Returns false at the end of the input.
  bool ReadLine(std::string& line);
  // Runs a command of the session. Returns false for /quit.
  bool Obey(const std::string& command);
  absl::Status Reply(const std::string& line);
  v1::GenerationParameters ParametersFor(const std::string& line) const;
  grpc::Status Stream(const v1::StreamGenerateRequest& request, std::string& text,
                      std::optional<Turn>& turn);
  void OnCtrlC();
  void SetCall(grpc::ClientContext* context);
  void PrintState(const Turn& turn) const;
  // Deletes the states of the replies from `first` on.
  void Forget(size_t first);
  absl::Status Delete(const Turn& turn) const;

  const ChatFlags& flags_;
  const Output& output_;
  std::vector<std::string> stop_texts_;
  const bool asks_ = isatty(STDIN_FILENO) != 0 && StderrIsTerminal();
  std::vector<Turn> turns_;
  engine::Mutex mutex_;
  grpc::ClientContext* call_ ABSL_GUARDED_BY(mutex_) = nullptr;  // of the reply under way
  OnInterrupt on_interrupt_{[this] { OnCtrlC(); }};  // destroyed first, because it uses the others
};

absl::StatusOr<int> Chat::Run() {
  if (asks_) std::cerr << Dim("Type a line; /help shows the commands.") << "\n";
  for (std::string line; ReadLine(line);) {
    if (line.starts_with("/")) {
      if (!Obey(std::string(absl::StripAsciiWhitespace(line)))) break;
      continue;
    }
    RETURN_IF_ERROR(Reply(line));
  }
  return 0;
}

bool Chat::ReadLine(std::string& line) {
  if (asks_) std::cerr << "> " << std::flush;
  const bool read = static_cast<bool>(std::getline(std::cin, line));
  on_interrupt_.Take();
  if (!read && asks_) std::cerr << "\n";
  return read;
}

bool Chat::Obey(const std::string& command) {
  if (command == "/quit" || command == "/exit") return false;
  if (command == "/reset") {
    Forget(0);
  } else if (command == "/undo" && !turns_.empty()) {
    Forget(turns_.size() - 1);
  } else if (command == "/state" && !turns_.empty()) {
    PrintState(turns_.back());
  } else if (command == "/undo" || command == "/state") {
    std::cerr << "Nothing has been said yet.\n";
  } else {
    if (command != "/help") std::cerr << "There is no command " << command << ".\n";
    std::cerr << kHelp;
  }
  return true;
}

void Chat::PrintState(const Turn& turn) const {
  if (output_.json()) {
    output_.Object({{"state", turn.state}});
  } else {
    std::cout << turn.state << std::endl;
  }
}

v1::GenerationParameters Chat::ParametersFor(const std::string& line) const {
  v1::GenerationParameters parameters;
  parameters.set_model(flags_.generation.model);
  std::string text;
  if (turns_.empty()) {
    text = flags_.system;
  } else {
    parameters.set_state(turns_.back().state);
    // A reply that has not come to its stop text has not come to the end of its line.
    if (turns_.back().finish_reason != v1::FINISH_REASON_STOP) text = "\n";
  }
  absl::StrAppend(&text, flags_.user_prefix, line, "\n", flags_.reply_prefix);
  parameters.set_text(text);
  return parameters;
}

absl::Status Chat::Reply(const std::string& line) {
  v1::StreamGenerateRequest request;
  v1::GenerationParameters& parameters = *request.mutable_parameters();
  parameters = ParametersFor(line);
  RETURN_IF_ERROR(SetSampling(flags_.generation, *parameters.mutable_sampling()));
  if (flags_.generation.max_tokens) {
    parameters.mutable_stopping()->set_max_new_tokens(*flags_.generation.max_tokens);
  }
  for (const std::string& text : stop_texts_) parameters.mutable_stopping()->add_stop_texts(text);
  // A model of texts often goes on with an empty line, which is no reply: the first token does not
  // end it.
  parameters.mutable_stopping()->set_min_new_tokens(
      std::min(2, flags_.generation.max_tokens.value_or(2)));
  *parameters.mutable_output()->mutable_save_state() = RetentionOf(flags_.generation.retention);

  std::optional<Turn> turn;
  std::string text;
  const grpc::Status status = Stream(request, text, turn);
  if (!output_.json()) std::cout << std::endl;
  if (on_interrupt_.Take()) {  // the session is where it was
    if (turn) Delete(*turn).IgnoreError();
    return absl::OkStatus();
  }
  if (!status.ok()) return ClientError(status, flags_.generation.client);
  if (!turn) return absl::InternalError("the server ended a reply without a state");
  turns_.push_back(*std::move(turn));
  if (output_.json()) {
    const Turn& last = turns_.back();
    output_.Object({{"reply", text},
                    {"finish_reason", FinishReasonName(last.finish_reason)},
                    {"state", last.state}});
  }
  return absl::OkStatus();
}

grpc::Status Chat::Stream(const v1::StreamGenerateRequest& request, std::string& text,
                          std::optional<Turn>& turn) {
  const ClientFlags& client = flags_.generation.client;
  const auto stub = v1::GenerationService::NewStub(Connect(client));
  grpc::ClientContext context;
  SetDeadline(client, context);
  SetCall(&context);
  const auto reader = stub->StreamGenerate(&context, request);
  for (v1::StreamGenerateResponse event; reader->Read(&event);) {
    text += event.delta().text();
    if (!output_.json()) std::cout << event.delta().text() << std::flush;
    if (!event.has_finished() || event.finished().states_size() == 0) continue;
    turn = Turn{.state = event.finished().states(0),
                .finish_reason = event.finished().finish_reasons(0)};
  }
  const grpc::Status status = reader->Finish();
  SetCall(nullptr);
  return status;
}

void Chat::SetCall(grpc::ClientContext* context) {
  engine::MutexLock lock(mutex_);
  call_ = context;
}

void Chat::OnCtrlC() {
  engine::MutexLock lock(mutex_);
  if (call_ != nullptr) {
    call_->TryCancel();
  } else if (asks_) {
    std::cerr << "\nCtrl-C once more, or Ctrl-D, ends the session.\n> " << std::flush;
  }
}

// The server forgets a state by itself in the end, so a server that does not answer is not asked
// again.
void Chat::Forget(size_t first) {
  absl::Status status;
  while (turns_.size() > first) {
    if (status.ok()) status = Delete(turns_.back());
    turns_.pop_back();
  }
}

absl::Status Chat::Delete(const Turn& turn) const {
  ClientFlags client = flags_.generation.client;
  client.timeout_seconds = 2;
  v1::DeleteStateRequest request;
  request.set_handle(turn.state);
  return UnaryCall<v1::StateService>(client, &v1::StateService::StubInterface::DeleteState, request)
      .status();
}

}  // namespace

void AddChatCommand(CommandLine& line) {
  auto flags = std::make_shared<ChatFlags>();
  GenerateFlags& generation = flags->generation;
  Command command =
      line.Add("chat", "Continues what you type, line by line, from where it was",
               "  whipsnake chat --model demo\n"
               "  whipsnake chat --system \"A talk about snakes.\" --user \"Q: \" --reply \"A: \"\n"
               "  printf 'It was\\nThen\\n' | whipsnake chat --temperature 0 --json\n",
               [flags](const Output& output) {
                 Chat chat(*flags, output);
                 return chat.Run();
               });
  AddClientFlags(command, generation.client);
  AddModelFlag(command, generation.model, "The model's name; optional if the server has one model");
  command.AddOption("--system", flags->system, "A text before the first line").TypeName("TEXT");
  command.AddOption("--user", flags->user_prefix, "A text before each of your lines")
      .TypeName("TEXT");
  command.AddOption("--reply", flags->reply_prefix, "A text before each reply").TypeName("TEXT");
  command
      .AddOption(
          "--stop", flags->stop_texts,
          "Ends a reply before this text, which the session keeps; repeatable (default: the end of "
          "the line)")
      .TypeName("TEXT")
      .Repeatable();
  command
      .AddOption("--max-tokens", generation.max_tokens,
                 "Maximum number of tokens of a reply [the model's, else 256]")
      .TypeName("N");
  AddTimeoutFlag(command, generation.client, "Seconds that a reply may take");
  AddSamplingFlags(command, generation);
  line.AddHelpNote(
      command, [flags] { return DefaultsNote(flags->generation.client, flags->generation.model); });
  AddRetentionFlags(command, generation.retention, "The session's states");
}

}  // namespace whipsnake::server
