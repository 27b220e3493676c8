#include "server/console/prompt_stream.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "engine/base/exceptions.h"
#include "engine/base/json.h"
#include "engine/base/json_reader.h"
#include "engine/base/status.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/errors.h"

namespace whipsnake::server {
namespace {

using nlohmann::json;

constexpr char kClient[] = "console";

json ErrorObject(std::string_view reason, const std::string& message) {
  return {{"error", {{"reason", reason}, {"message", message}}}};
}

std::string ReasonOf(const grpc::Status& status) {
  google::rpc::Status rich;
  google::rpc::ErrorInfo info;
  rich.ParseFromString(status.error_details());
  for (const google::protobuf::Any& detail : rich.details()) {
    if (detail.UnpackTo(&info)) return info.reason();
  }
  return absl::StatusCodeToString(static_cast<absl::StatusCode>(status.error_code()));
}

std::string NameOf(v1::FinishReason reason) {
  constexpr std::string_view kPrefix = "FINISH_REASON_";
  return absl::AsciiStrToLower(v1::FinishReason_Name(reason).substr(kPrefix.size()));
}

json ToJson(const v1::StreamGenerateResponse::Started& started) {
  return {{"started",
           {{"model", started.resolved().model()},
            {"prompt_tokens", started.prompt_tokens()},
            {"cached_prompt_tokens", started.cached_prompt_tokens()}}}};
}

json ToJson(const v1::StreamGenerateResponse::Finished& finished) {
  const double seconds = finished.timings().mean_inter_token_seconds();
  json object = {{"generated_tokens", finished.usage().generated_tokens()},
                 {"seconds_to_first_token", finished.timings().time_to_first_token_seconds()}};
  if (finished.finish_reasons_size() > 0) object["reason"] = NameOf(finished.finish_reasons(0));
  if (seconds > 0) object["tokens_per_second"] = 1 / seconds;
  return {{"finished", std::move(object)}};
}

json ToJson(const v1::StreamGenerateResponse& response) {
  if (response.has_started()) return ToJson(response.started());
  if (response.has_finished()) return ToJson(response.finished());
  return {{"text", response.delta().text()}};
}

}  // namespace

absl::StatusOr<v1::StreamGenerateRequest> ParsePrompt(std::string_view body) {
  ASSIGN_OR_RETURN(const json document, engine::ParseJsonObject(body));
  for (const auto& [key, value] : document.items()) {
    if (key != "model" && key != "text" && key != "max_new_tokens" && key != "temperature") {
      return engine::InvalidField(key, "a field", "model, text, max_new_tokens or temperature");
    }
  }
  engine::JsonObjectReader reader(document);
  v1::StreamGenerateRequest request;
  v1::GenerationParameters& parameters = *request.mutable_parameters();
  parameters.set_client(kClient);
  parameters.set_model(reader.Text("model", ""));
  parameters.set_text(reader.Text("text", ""));
  if (reader.Has("max_new_tokens")) {
    parameters.mutable_stopping()->set_max_new_tokens(static_cast<int32_t>(
        reader.Integer("max_new_tokens", 1, 1, std::numeric_limits<int32_t>::max())));
  }
  if (reader.Has("temperature")) {
    parameters.mutable_sampling()->set_temperature(
        static_cast<float>(reader.Number("temperature", 1, 0, 100)));
  }
  RETURN_IF_ERROR(reader.status());
  return request;
}

json ErrorJson(const absl::Status& status) {
  return ErrorObject(server::ReasonOf(status), std::string(engine::ClientMessage(status)));
}

PromptStream::PromptStream(std::shared_ptr<Stub> stub, v1::StreamGenerateRequest request,
                           const std::string& token, std::function<void()> ended)
    : stub_(std::move(stub)), request_(std::move(request)), ended_(std::move(ended)) {
  if (!token.empty()) context_.AddMetadata("authorization", "Bearer " + token);
}

PromptStream::~PromptStream() { ended_(); }

void PromptStream::Begin(std::function<void()> wake) {
  wake_ = std::move(wake);
  self_ = shared_from_this();
  {
    engine::MutexLock lock(mutex_);
    reading_ = held_ = true;
  }
  stub_->async()->StreamGenerate(&context_, &request_, this);
  AddHold();
  StartRead(&response_);
  StartCall();
}

HttpStream::Part PromptStream::Take() {
  Part part;
  bool read = false;
  {
    engine::MutexLock lock(mutex_);
    part.bytes = std::exchange(lines_, "");
    part.end = done_;
    read = held_ && !reading_ && !cancelled_;
    if (read) reading_ = true;
  }
  if (read) StartRead(&response_);
  return part;
}

void PromptStream::Cancel() {
  bool release = false;
  {
    engine::MutexLock lock(mutex_);
    cancelled_ = true;
    release = held_ && !reading_;
    if (release) held_ = false;
  }
  context_.TryCancel();
  if (release) RemoveHold();
}

void PromptStream::OnReadDone(bool ok) {
  bool release = false;
  {
    engine::MutexLock lock(mutex_);
    reading_ = false;
    if (ok) AddLine(ToJson(response_));
    release = !ok || cancelled_;
    if (release) held_ = false;
  }
  if (release) RemoveHold();
  wake_();
}

void PromptStream::OnDone(const grpc::Status& status) {
  {
    engine::MutexLock lock(mutex_);
    done_ = true;
    if (!status.ok()) AddLine(ErrorObject(ReasonOf(status), status.error_message()));
  }
  wake_();
  self_.reset();
}

void PromptStream::AddLine(const json& object) {
  lines_ += object.dump(-1, ' ', false, json::error_handler_t::replace);
  lines_ += '\n';
}

}  // namespace whipsnake::server
