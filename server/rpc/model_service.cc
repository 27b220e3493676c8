#include "server/rpc/model_service.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "engine/base/exceptions.h"
#include "engine/base/field_errors.h"
#include "engine/base/files.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/checkpoint/hub_cache.h"
#include "kernels/cpu/isa.h"
#include "server/jobs/quantization_kind.h"
#include "server/json_message.h"
#include "server/registry/model_name.h"
#include "server/registry/model_path.h"
#include "server/registry/quantization_request.h"
#include "server/rpc/deferred_call.h"
#include "server/rpc/generation_request.h"
#include "server/rpc/messages.h"
#include "server/rpc/paging.h"
#include "server/rpc/quantization_messages.h"
#include "server/rpc/quantization_watch.h"

namespace whipsnake::server {
namespace {

v1::ModelState ProtoState(ModelState state) {
  switch (state) {
    case ModelState::kLoading:
      return v1::MODEL_STATE_LOADING;
    case ModelState::kReady:
      return v1::MODEL_STATE_READY;
    case ModelState::kUnloading:
      return v1::MODEL_STATE_UNLOADING;
    case ModelState::kFailed:
      return v1::MODEL_STATE_FAILED;
  }
  return v1::MODEL_STATE_UNSPECIFIED;
}

// Returns the hub's name of a model in its cache, and otherwise the last part of the path.
std::string DefaultName(const std::string& path, const std::string& directory) {
  const std::string name = engine::HubName(directory);
  return name.empty() ? engine::DefaultModelName(path) : name;
}

// Gives an error of the queue the reason that it has for quantizations.
absl::Status AsQuantizationError(const absl::Status& status, std::string_view id) {
  const std::string reason = ReasonOf(status);
  if (reason == "TOO_MANY_JOBS") return WithReason(status, "TOO_MANY_QUANTIZATIONS");
  if (reason != "JOB_STATE") return status;
  return WithPrecondition(WithReason(status, "QUANTIZATION_ENDED"), "QUANTIZATION_STATE", id);
}

// Checks the path again when the load starts: it may now be a link out of the root.
absl::Status CheckAgain(const std::string& root, const ModelSource& source) {
  ASSIGN_OR_RETURN(const std::string directory, ResolveModelPath(root, source.shown_path));
  if (directory == source.directory) return absl::OkStatus();
  return engine::InvalidField("path", "a directory that was replaced while the load waited",
                              "one that stays");
}

}  // namespace

grpc::ServerUnaryReactor* ModelService::ListModels(grpc::CallbackServerContext* context,
                                                   const grpc::ByteBuffer* request,
                                                   grpc::ByteBuffer* response) {
  return AnswerUnary<v1::ListModelsRequest, v1::ListModelsResponse>(
      context, request, response,
      [this](const auto& query, auto* answer) { return List(query, answer); });
}

absl::Status ModelService::List(const v1::ListModelsRequest& request,
                                v1::ListModelsResponse* response) const {
  ASSIGN_OR_RETURN(const int page_size, PageSize(request.page_size()));
  // The token is the last name of the previous page, so it stays valid when models are added or
  // removed.
  const std::string& after = request.page_token();
  if (!after.empty() && !ParseModelName(after).ok()) return BadPageToken(after);
  for (const ModelSnapshot& model : environment_.models->List()) {
    if (model.source.name <= after) continue;
    if (response->models_size() == page_size) {
      response->set_next_page_token(response->models(page_size - 1).name());
      break;
    }
    *response->add_models() = ToProto(model);
  }
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* ModelService::GetModel(grpc::CallbackServerContext* context,
                                                 const grpc::ByteBuffer* request,
                                                 grpc::ByteBuffer* response) {
  const auto get = [this](const v1::GetModelRequest& query,
                          v1::GetModelResponse* answer) -> absl::Status {
    ASSIGN_OR_RETURN(const ModelSnapshot model, environment_.models->Get(query.name()));
    *answer->mutable_model() = ToProto(model);
    return absl::OkStatus();
  };
  return AnswerUnary<v1::GetModelRequest, v1::GetModelResponse>(context, request, response, get);
}

absl::StatusOr<ModelSource> ModelService::RegisterModel(const grpc::CallbackServerContext* context,
                                                        const grpc::ByteBuffer& bytes) const {
  v1::LoadModelRequest request;
  RETURN_IF_ERROR(ReceiveRequest(context, bytes, &request));
  if (environment_.active_calls->closed()) return DrainingError();
  ModelSource source;
  source.shown_path = request.path();
  engine::FieldErrors errors;
  const bool found =
      errors.Add(ResolveModelPath(environment_.model_root, request.path()), &source.directory);
  source.name =
      request.name().empty() ? DefaultName(request.path(), source.directory) : request.name();
  // Do not report a name that was derived from a wrong path, because the client did not choose it.
  if (found || !request.name().empty()) errors.Add(CheckModelName(source.name));
  errors.Add(engine::ParseModelOptions(request.scheme(), request.state_type()), &source.options);
  RETURN_IF_ERROR(errors.status());
  RETURN_IF_ERROR(environment_.models->Register(source));
  return source;
}

grpc::ServerUnaryReactor* ModelService::LoadModel(grpc::CallbackServerContext* context,
                                                  const grpc::ByteBuffer* request,
                                                  grpc::ByteBuffer* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto end = UnaryEnd(reactor);
  const absl::StatusOr<ModelSource> source =
      engine::CatchExceptions([&] { return RegisterModel(context, *request); });
  if (!source.ok()) {
    end(source.status());
    return reactor;
  }
  const auto load = [this, response, source = *source]() -> absl::Status {
    const absl::Status same =
        engine::CatchExceptions([&] { return CheckAgain(environment_.model_root, source); });
    if (!same.ok()) environment_.models->CancelRegistration(source.name);
    RETURN_IF_ERROR(same);
    RETURN_IF_ERROR(environment_.models->Load(source.name));
    ASSIGN_OR_RETURN(const ModelSnapshot model, environment_.models->Get(source.name));
    v1::LoadModelResponse message;
    *message.mutable_model() = ToProto(model);
    *response = SerializeMessage(message);
    return absl::OkStatus();
  };
  const absl::Status status =
      engine::CatchExceptions([&] { return environment_.background->Run(load, end); });
  if (!status.ok()) {
    environment_.models->CancelRegistration(source->name);
    end(status);
  }
  return reactor;
}

grpc::ServerUnaryReactor* ModelService::UnloadModel(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request,
                                                    grpc::ByteBuffer* response) {
  return AnswerInBackground<v1::UnloadModelRequest, v1::UnloadModelResponse>(
      *environment_.background, *environment_.active_calls, context, request, response,
      [this](const auto& query, auto*) { return environment_.models->Unload(query.name()); });
}

grpc::ServerUnaryReactor* ModelService::ListModelVersions(grpc::CallbackServerContext* context,
                                                          const grpc::ByteBuffer* request,
                                                          grpc::ByteBuffer* response) {
  return AnswerFromDisk<v1::ListModelVersionsRequest, v1::ListModelVersionsResponse>(
      *environment_.disk, context, request, response,
      [this](const auto& query, auto* answer) { return List(query, answer); });
}

absl::Status ModelService::List(const v1::ListModelVersionsRequest& request,
                                v1::ListModelVersionsResponse* response) const {
  ASSIGN_OR_RETURN(const int page_size, PageSize(request.page_size()));
  // The token is the number of the page's last version.
  int64_t after = -1;
  const std::string& token = request.page_token();
  if (!token.empty() && !(absl::SimpleAtoi(token, &after) && after >= 0)) {
    return BadPageToken(token);
  }
  ASSIGN_OR_RETURN(const VersionList list, environment_.versions->List(request.name()));
  response->set_etag(list.etag);
  for (const Served& served : list.history) {
    v1::ServedVersion* message = response->add_history();
    message->set_version(served.version);
    *message->mutable_time() = ToTimestamp(served.time);
  }
  for (const ModelVersion& version : list.versions) {
    if (version.number <= after) continue;
    if (response->versions_size() == page_size) {
      response->set_next_page_token(std::to_string(response->versions(page_size - 1).version()));
      break;
    }
    *response->add_versions() = server::ToProto(version);
  }
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* ModelService::RollBackModel(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) {
  const auto roll_back = [this](const v1::RollBackModelRequest& query,
                                v1::RollBackModelResponse* answer) -> absl::Status {
    const auto number =
        query.has_version() ? std::optional<int64_t>(query.version()) : std::nullopt;
    ASSIGN_OR_RETURN(
        const ModelVersion version,
        environment_.versions->RollBack(query.name(), number, query.keep_loaded(), query.etag()));
    *answer->mutable_version() = server::ToProto(version);
    return absl::OkStatus();
  };
  return AnswerInBackground<v1::RollBackModelRequest, v1::RollBackModelResponse>(
      *environment_.background, *environment_.active_calls, context, request, response, roll_back);
}

grpc::ServerUnaryReactor* ModelService::SetModelAlias(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) {
  const auto set = [this](const v1::SetModelAliasRequest& query,
                          v1::SetModelAliasResponse* answer) -> absl::Status {
    ASSIGN_OR_RETURN(const ModelVersion version,
                     environment_.versions->SetAlias(query.alias(), query.version(), query.etag()));
    *answer->mutable_version() = server::ToProto(version);
    return absl::OkStatus();
  };
  return AnswerInBackground<v1::SetModelAliasRequest, v1::SetModelAliasResponse>(
      *environment_.background, *environment_.active_calls, context, request, response, set);
}

grpc::ServerUnaryReactor* ModelService::DeleteModelAlias(grpc::CallbackServerContext* context,
                                                         const grpc::ByteBuffer* request,
                                                         grpc::ByteBuffer* response) {
  return AnswerInBackground<v1::DeleteModelAliasRequest, v1::DeleteModelAliasResponse>(
      *environment_.background, *environment_.active_calls, context, request, response,
      [this](const auto& query, auto*) {
        return environment_.versions->DeleteAlias(query.alias(), query.etag());
      });
}

grpc::ServerUnaryReactor* ModelService::DeleteModelVersion(grpc::CallbackServerContext* context,
                                                           const grpc::ByteBuffer* request,
                                                           grpc::ByteBuffer* response) {
  return AnswerInBackground<v1::DeleteModelVersionRequest, v1::DeleteModelVersionResponse>(
      *environment_.background, *environment_.active_calls, context, request, response,
      [this](const auto& query, auto*) {
        return environment_.versions->Delete(query.name(), query.etag());
      });
}

absl::Status ModelService::Quantize(const v1::QuantizeModelRequest& request,
                                    v1::QuantizeModelResponse* response) const {
  ASSIGN_OR_RETURN(const QuantizationRequest parsed,
                   ParseQuantizationRequest(request, environment_.model_root));
  std::string other;
  environment_.jobs->AnyUnfinished([&](const Job& job) {
    if (job.kind != kQuantization) return false;
    if (job.request.at("resolved").at("output_directory") != parsed.output_directory) return false;
    other = job.id;
    return true;
  });
  if (!other.empty()) {
    return WithResource(WithReason(absl::AlreadyExistsError(absl::StrCat(
                                       "output_path: quantization ", other, " is making ",
                                       engine::Quoted(request.output_path()), " already")),
                                   "OUTPUT_EXISTS"),
                        "quantization", other);
  }
  const absl::StatusOr<Job> job = environment_.jobs->Create(
      {.kind = std::string(kQuantization),
       .id = "",
       .request = QuantizationKind::MakeRequest(MessageToJson(request), parsed)});
  if (!job.ok()) return AsQuantizationError(job.status(), "");
  *response->mutable_quantization() = ToQuantization(*job);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* ModelService::QuantizeModel(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) {
  return AnswerFromDisk<v1::QuantizeModelRequest, v1::QuantizeModelResponse>(
      *environment_.disk, context, request, response,
      [this](const auto& query, auto* answer) { return Quantize(query, answer); });
}

grpc::ServerUnaryReactor* ModelService::GetQuantization(grpc::CallbackServerContext* context,
                                                        const grpc::ByteBuffer* request,
                                                        grpc::ByteBuffer* response) {
  const auto get = [this](const v1::GetQuantizationRequest& query,
                          v1::GetQuantizationResponse* answer) -> absl::Status {
    ASSIGN_OR_RETURN(const Job job, environment_.jobs->Get(kQuantization, query.id()));
    *answer->mutable_quantization() = ToQuantization(job);
    return absl::OkStatus();
  };
  return AnswerUnary<v1::GetQuantizationRequest, v1::GetQuantizationResponse>(context, request,
                                                                              response, get);
}

grpc::ServerUnaryReactor* ModelService::ListQuantizations(grpc::CallbackServerContext* context,
                                                          const grpc::ByteBuffer* request,
                                                          grpc::ByteBuffer* response) {
  return AnswerUnary<v1::ListQuantizationsRequest, v1::ListQuantizationsResponse>(
      context, request, response,
      [this](const auto& query, auto* answer) { return List(query, answer); });
}

absl::Status ModelService::List(const v1::ListQuantizationsRequest& request,
                                v1::ListQuantizationsResponse* response) const {
  ASSIGN_OR_RETURN(const int page_size, PageSize(request.page_size()));
  // The token is the number of the page's last job, so it stays valid when jobs are added or
  // forgotten.
  int64_t before = std::numeric_limits<int64_t>::max();
  const std::string& token = request.page_token();
  if (!token.empty() && !(absl::SimpleAtoi(token, &before) && before > 0)) {
    return BadPageToken(token);
  }
  const JobSelection newest_first = {
      .place = [](const Job& job) { return JobSelection::Place(0, -job.number); },
      .after = JobSelection::Place(0, -before),
      .limit = static_cast<size_t>(page_size) + 1};
  std::vector<Job> jobs = environment_.jobs->List(kQuantization, newest_first);
  if (std::ssize(jobs) > page_size) {
    jobs.pop_back();
    response->set_next_page_token(std::to_string(jobs.back().number));
  }
  for (const Job& job : jobs) *response->add_quantizations() = ToQuantization(job);
  return absl::OkStatus();
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* ModelService::WatchQuantization(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  return StartQuantizationWatch(*environment_.jobs, environment_.end_timeout, context, *request);
}

grpc::ServerUnaryReactor* ModelService::CancelQuantization(grpc::CallbackServerContext* context,
                                                           const grpc::ByteBuffer* request,
                                                           grpc::ByteBuffer* response) {
  const auto cancel = [this](const v1::CancelQuantizationRequest& query,
                             v1::CancelQuantizationResponse* answer) -> absl::Status {
    const absl::StatusOr<Job> job = environment_.jobs->Cancel(kQuantization, query.id(), "");
    if (!job.ok()) return AsQuantizationError(job.status(), query.id());
    *answer->mutable_quantization() = ToQuantization(*job);
    return absl::OkStatus();
  };
  return AnswerFromDisk<v1::CancelQuantizationRequest, v1::CancelQuantizationResponse>(
      *environment_.disk, context, request, response, cancel);
}

v1::ModelVersion ToProto(const ModelVersion& version) {
  v1::ModelVersion message;
  message.set_name(version.key());
  message.set_version(version.number);
  message.set_scheme(version.scheme);
  message.set_state_type(version.state_type);
  message.set_source_job(version.source_job);
  message.set_checkpoint_step(version.checkpoint_step);
  if (version.number > 0) *message.mutable_create_time() = ToTimestamp(version.create_time);
  message.set_serving(version.serves);
  for (const std::string& alias : version.aliases) {
    message.add_aliases(version.name + ":" + alias);
  }
  return message;
}

v1::Model ModelService::ToProto(const ModelSnapshot& snapshot) const {
  v1::Model model;
  model.set_name(snapshot.source.name);
  model.set_state(ProtoState(snapshot.state));
  model.set_path(snapshot.source.shown_path);
  model.set_version(snapshot.version);
  model.mutable_aliases()->Assign(snapshot.aliases.begin(), snapshot.aliases.end());
  model.set_serving(snapshot.serves);
  model.set_source_job(snapshot.source.source_job);
  model.set_checkpoint_step(snapshot.source.checkpoint_step);
  if (snapshot.source.options.scheme) {
    model.set_scheme(std::string(engine::Name(*snapshot.source.options.scheme)));
  }
  model.set_device("cpu");
  model.set_isa(std::string(kernels::Name(kernels::ActiveIsa())));
  if (!snapshot.error.ok()) {
    model.set_error(engine::BoundedUtf8(engine::ClientMessage(snapshot.error), kMaxMessageBytes));
  }
  if (!snapshot.info) return model;
  const engine::ModelInfo& info = *snapshot.info;
  const engine::GenerationLimits limits = engine::LimitsFor(environment_.limits->Get(), info);
  model.set_architecture(info.architecture);
  model.set_scheme(std::string(engine::Name(info.scheme)));
  model.set_parameters(info.parameters);
  model.set_weights_bytes(info.weights_bytes);
  model.set_state_bytes_per_sequence(info.state_bytes);
  model.set_vocab_size(static_cast<int32_t>(info.vocab_size));
  model.set_max_positions(static_cast<int32_t>(info.max_positions));
  model.set_max_prompt_tokens(static_cast<int32_t>(limits.prompt_tokens));
  model.set_max_new_tokens(static_cast<int32_t>(limits.new_tokens));
  *model.mutable_load_time() = ToTimestamp(snapshot.load_time);
  model.set_digest(snapshot.digest);
  *model.mutable_generation_defaults() = GenerationDefaultsOf(snapshot.defaults, limits);
  return model;
}

}  // namespace whipsnake::server
