// A prompt of the console: a stream of the generation service, as lines of JSON.
#ifndef WHIPSNAKE_SERVER_CONSOLE_PROMPT_STREAM_H_
#define WHIPSNAKE_SERVER_CONSOLE_PROMPT_STREAM_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/base/mutex.h"
#include "server/http/http_message.h"
#include "whipsnake/v1/generation.grpc.pb.h"

namespace whipsnake::server {

// Reads the body of a request: an object with `text`, and perhaps `model`, `max_new_tokens` and
// `temperature`. INVALID_ARGUMENT names the field. Values are checked by the service.
absl::StatusOr<v1::StreamGenerateRequest> ParsePrompt(std::string_view body);

// An object `error` with `code`, `reason` and `message`.
nlohmann::json ErrorJson(const absl::Status& status);

// A call of the generation service over a channel inside the process, so that the service treats it
// like every other call: its limits, queue, metrics, log and drain.
//
// The lines are {"started": {"model", "prompt_tokens", "cached_prompt_tokens"}}, {"text": ...}, and
// at the end {"finished": {"reason", "generated_tokens", "seconds_to_first_token",
// "tokens_per_second"}} or {"error": ...}. The next message is read once the one before was taken,
// so a browser that does not read is noticed by the service.
class PromptStream final : public HttpStream,
                           public grpc::ClientReadReactor<v1::StreamGenerateResponse>,
                           public std::enable_shared_from_this<PromptStream> {
 public:
  using Stub = v1::GenerationService::Stub;

  // The call is made with `token`, unless that is empty. `ended` is called once, by the destructor:
  // when the call and the HTTP request have ended.
  PromptStream(std::shared_ptr<Stub> stub, v1::StreamGenerateRequest request,
               const std::string& token, std::function<void()> ended);
  ~PromptStream() override;

  void Begin(std::function<void()> wake) override;
  Part Take() override;
  void Cancel() override;

  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  void AddLine(const nlohmann::json& object) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::shared_ptr<Stub> stub_;
  const v1::StreamGenerateRequest request_;
  const std::function<void()> ended_;
  grpc::ClientContext context_;
  v1::StreamGenerateResponse response_;  // being read
  std::function<void()> wake_;           // set by Begin
  std::shared_ptr<PromptStream> self_;   // from Begin to OnDone

  engine::Mutex mutex_;
  std::string lines_ ABSL_GUARDED_BY(mutex_);
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  // gRPC's hold on the call, which allows reads that do not begin in a callback. Released when
  // there will be none.
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CONSOLE_PROMPT_STREAM_H_
