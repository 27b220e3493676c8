#include "server/rpc/fine_tuning_service.h"

#include <utility>

#include "engine/base/exceptions.h"
#include "engine/base/status.h"
#include "engine/models/config.h"
#include "engine/models/trainable_model.h"
#include "server/client_names.h"
#include "server/errors.h"
#include "server/json_message.h"
#include "server/registry/model_name.h"
#include "server/rpc/call_context.h"
#include "server/rpc/deferred_call.h"
#include "server/rpc/fine_tuning_messages.h"
#include "server/rpc/job_list.h"
#include "server/rpc/job_watch.h"
#include "server/rpc/messages.h"
#include "server/rpc/model_service.h"
#include "server/rpc/paging.h"

namespace whipsnake::server {
namespace {

using nlohmann::json;

constexpr int32_t kMaxPriority = 100;
constexpr size_t kMaxPageBytes = 2 << 20;  // and one job more

// A plan without a job: its progress is for nobody.
class PlanRun final : public JobRun {
 public:
  PlanRun(grpc::CallbackServerContext* context, JobQueue& jobs)
      : context_(*context),
        ledger_(jobs.available_bytes(), jobs.ledger(), engine::Purpose::kJobs) {}

  absl::Status CheckStop() const override {
    return context_.IsCancelled() ? absl::CancelledError("the client left") : absl::OkStatus();
  }
  engine::Ledger& ledger() override { return ledger_; }
  void Report(JobProgress) override {}
  void AddEvent(EventLevel, std::string_view, json) override {}
  absl::Status Commit(std::vector<Write>) override { return absl::OkStatus(); }

 private:
  grpc::CallbackServerContext& context_;
  engine::Ledger ledger_;
};

absl::Status CheckPriority(int32_t priority) {
  if (priority >= -kMaxPriority && priority <= kMaxPriority) return absl::OkStatus();
  return engine::InvalidField("priority", std::to_string(priority), "-100 to 100");
}

}  // namespace

absl::Status FineTuningService::CheckDirectory() const {
  return environment_.kind != nullptr ? absl::OkStatus() : NoDataDirectory();
}

absl::StatusOr<JobDataset> FineTuningService::FindDataset(const char* field, const std::string& id,
                                                          json& spec) const {
  absl::StatusOr<JobDataset> dataset = environment_.find_dataset(id);
  if (!dataset.ok()) return engine::WithContext(dataset.status(), field);
  if (!spec.contains("task")) spec["task"] = dataset->task;
  if (spec.at("task") != dataset->task) {
    return engine::InvalidField(field, absl::StrCat("data set ", id, " for ", dataset->task),
                                absl::StrCat("one for ", spec.at("task").get<std::string>()));
  }
  return dataset;
}

absl::StatusOr<json> FineTuningService::MakeRequest(const v1::FineTuningJobSpec& proto) const {
  json spec = MessageToJson(proto);
  RETURN_IF_ERROR(FineTuningKind::ParseSpec(spec).status());
  json request;
  request["given"] = spec;
  for (const char* field : {"train", "eval"}) {
    if (!spec.contains(field)) continue;
    ASSIGN_OR_RETURN(const JobDataset dataset, FindDataset(field, spec.at(field), spec));
    request[field] = {{"id", dataset.id}, {"uid", dataset.uid}, {"digest", dataset.digest}};
  }
  RETURN_IF_ERROR(FineTuningKind::ParseSpec(spec).status());  // with the task of the data
  ASSIGN_OR_RETURN(const std::string directory, environment_.find_model(proto.model()));
  const auto config = engine::ReadModelConfig(directory);
  if (!config.ok()) return AsCheckpointError(config.status());
  RETURN_IF_ERROR(engine::TrainableModel::CheckCanTrain(*config));
  request["spec"] = std::move(spec);
  return request;
}

grpc::ServerUnaryReactor* FineTuningService::CreateFineTuningJob(Context* context,
                                                                 const Bytes* request,
                                                                 Bytes* response) {
  const auto create = [this](const v1::CreateFineTuningJobRequest& query,
                             v1::CreateFineTuningJobResponse* answer) -> absl::Status {
    RETURN_IF_ERROR(CheckDirectory());
    NewJob job{.kind = std::string(kFineTuning), .id = query.id(), .priority = query.priority()};
    job.labels.insert(query.labels().begin(), query.labels().end());
    if (!job.id.empty()) RETURN_IF_ERROR(CheckName("id", job.id));
    RETURN_IF_ERROR(CheckLabels(job.labels));
    RETURN_IF_ERROR(CheckPriority(job.priority));
    // What was created before is found even if its data set or model is gone.
    if (const auto existing = environment_.jobs->Get(kFineTuning, job.id);
        existing.ok() && existing->request.at("given") == MessageToJson(query.spec())) {
      job.request = existing->request;
    } else {
      ASSIGN_OR_RETURN(job.request, MakeRequest(query.spec()));
    }
    ASSIGN_OR_RETURN(const Job created, environment_.jobs->Create(job));
    *answer->mutable_job() = ToProto(created);
    return absl::OkStatus();
  };
  return AnswerFromDisk<v1::CreateFineTuningJobRequest, v1::CreateFineTuningJobResponse>(
      *environment_.disk, context, request, response, create);
}

grpc::ServerUnaryReactor* FineTuningService::GetFineTuningJob(Context* context,
                                                              const Bytes* request,
                                                              Bytes* response) {
  const auto get = [this](const v1::GetFineTuningJobRequest& query,
                          v1::GetFineTuningJobResponse* answer) -> absl::Status {
    RETURN_IF_ERROR(CheckDirectory());
    ASSIGN_OR_RETURN(const Job job, environment_.jobs->Get(kFineTuning, query.id()));
    *answer->mutable_job() = ToProto(job);
    return absl::OkStatus();
  };
  return AnswerUnary<v1::GetFineTuningJobRequest, v1::GetFineTuningJobResponse>(context, request,
                                                                                response, get);
}

grpc::ServerUnaryReactor* FineTuningService::ListFineTuningJobs(Context* context,
                                                                const Bytes* request,
                                                                Bytes* response) {
  const auto list = [this](const v1::ListFineTuningJobsRequest& query,
                           v1::ListFineTuningJobsResponse* answer) -> absl::Status {
    RETURN_IF_ERROR(CheckDirectory());
    const JobQuery asked = {.page_size = query.page_size(),
                            .page_token = query.page_token(),
                            .filter = query.filter(),
                            .order_by = query.order_by()};
    ASSIGN_OR_RETURN(const JobSelection selection, ParseJobQuery(asked));
    const JobPage page = ToPage(environment_.jobs->List(kFineTuning, selection), selection, asked);
    answer->set_next_page_token(page.next_page_token);
    for (size_t i = 0; i < page.jobs.size(); ++i) {
      *answer->add_jobs() = ToProto(page.jobs[i]);
      // A client's limit for a message is 4 MiB, unless it sets another.
      if (answer->ByteSizeLong() < kMaxPageBytes || i + 1 == page.jobs.size()) continue;
      answer->set_next_page_token(page.tokens[i]);
      break;
    }
    return absl::OkStatus();
  };
  return AnswerUnary<v1::ListFineTuningJobsRequest, v1::ListFineTuningJobsResponse>(
      context, request, response, list);
}

grpc::ServerUnaryReactor* FineTuningService::CancelFineTuningJob(Context* context,
                                                                 const Bytes* request,
                                                                 Bytes* response) {
  const auto cancel = [this](const v1::CancelFineTuningJobRequest& query,
                             v1::CancelFineTuningJobResponse* answer) -> absl::Status {
    RETURN_IF_ERROR(CheckDirectory());
    ASSIGN_OR_RETURN(const Job job,
                     environment_.jobs->Cancel(kFineTuning, query.id(), query.etag()));
    *answer->mutable_job() = ToProto(job);
    return absl::OkStatus();
  };
  return AnswerFromDisk<v1::CancelFineTuningJobRequest, v1::CancelFineTuningJobResponse>(
      *environment_.disk, context, request, response, cancel);
}

grpc::ServerUnaryReactor* FineTuningService::PauseFineTuningJob(Context* context,
                                                                const Bytes* request,
                                                                Bytes* response) {
  const auto pause = [this](const v1::PauseFineTuningJobRequest& query,
                            v1::PauseFineTuningJobResponse* answer) -> absl::Status {
    RETURN_IF_ERROR(CheckDirectory());
    ASSIGN_OR_RETURN(const Job job,
                     environment_.jobs->Pause(kFineTuning, query.id(), query.etag()));
    *answer->mutable_job() = ToProto(job);
    return absl::OkStatus();
  };
  return AnswerFromDisk<v1::PauseFineTuningJobRequest, v1::PauseFineTuningJobResponse>(
      *environment_.disk, context, request, response, pause);
}

grpc::ServerUnaryReactor* FineTuningService::ResumeFineTuningJob(Context* context,
                                                                 const Bytes* request,
                                                                 Bytes* response) {
  const auto resume = [this](const v1::ResumeFineTuningJobRequest& query,
                             v1::ResumeFineTuningJobResponse* answer) -> absl::Status {
    RETURN_IF_ERROR(CheckDirectory());
    ASSIGN_OR_RETURN(const Job job,
                     environment_.jobs->Resume(kFineTuning, query.id(), query.etag()));
    *answer->mutable_job() = ToProto(job);
    return absl::OkStatus();
  };
  return AnswerFromDisk<v1::ResumeFineTuningJobRequest, v1::ResumeFineTuningJobResponse>(
      *environment_.disk, context, request, response, resume);
}

grpc::ServerUnaryReactor* FineTuningService::DeleteFineTuningJob(Context* context,
                                                                 const Bytes* request,
                                                                 Bytes* response) {
  const auto erase = [this](const v1::DeleteFineTuningJobRequest& query,
                            v1::DeleteFineTuningJobResponse*) -> absl::Status {
    RETURN_IF_ERROR(CheckDirectory());
    return environment_.jobs->Delete(kFineTuning, query.id(), query.etag());
  };
  return AnswerFromDisk<v1::DeleteFineTuningJobRequest, v1::DeleteFineTuningJobResponse>(
      *environment_.disk, context, request, response, erase);
}

absl::Status FineTuningService::Plan(const v1::PlanFineTuningJobRequest& request, Context* context,
                                     v1::PlanFineTuningJobResponse* response) const {
  RETURN_IF_ERROR(CheckDirectory());
  Job job{.kind = std::string(kFineTuning), .id = "plan", .uid = "plan"};
  ASSIGN_OR_RETURN(job.request, MakeRequest(request.spec()));
  PlanRun run(context, *environment_.jobs);
  Preparation preparation;
  const absl::Status prepared = environment_.kind->Prepare(job, run, preparation);
  const json& details = preparation.details;
  if (!details.contains("plan")) return prepared;
  // A plan that does not fit is an answer.
  response->set_fits(prepared.ok());
  response->set_available_bytes(environment_.jobs->available_bytes());
  JsonToMessage(details.at("plan"), response->mutable_plan());
  *response->mutable_resolved_spec() = request.spec();
  JsonToMessage(details.at("settings"), response->mutable_resolved_spec());
  for (const json& candidate : details.at("candidates")) {
    JsonToMessage(candidate, response->add_candidates());
  }
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* FineTuningService::PlanFineTuningJob(Context* context,
                                                               const Bytes* request,
                                                               Bytes* response) {
  const auto plan = [this, context](const v1::PlanFineTuningJobRequest& query,
                                    v1::PlanFineTuningJobResponse* answer) {
    return Plan(query, context, answer);
  };
  return AnswerInBackground<v1::PlanFineTuningJobRequest, v1::PlanFineTuningJobResponse>(
      *environment_.background, *environment_.active_calls, context, request, response, plan);
}

absl::Status FineTuningService::Promote(const v1::PromoteCheckpointRequest& request,
                                        v1::PromoteCheckpointResponse* response) const {
  RETURN_IF_ERROR(CheckDirectory());
  if (request.step() < 0) {
    return engine::InvalidField("step", std::to_string(request.step()),
                                "the step of a checkpoint, or 0 for the result");
  }
  RETURN_IF_ERROR(CheckModelName(request.model(), "model"));
  if (!request.alias().empty()) RETURN_IF_ERROR(CheckAlias(request.alias(), "alias"));
  CheckpointPromotion promotion{
      .job = request.id(), .step = request.step(), .scheme = request.scheme()};
  promotion.promotion.name = request.model();
  promotion.promotion.state_type = request.state_type();
  promotion.promotion.alias = request.alias();
  promotion.promotion.keep_loaded = request.keep_loaded();
  promotion.promotion.etag = request.etag();
  ASSIGN_OR_RETURN(const ModelVersion version, environment_.promoter->Promote(promotion));
  *response->mutable_version() = ToProto(version);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* FineTuningService::PromoteCheckpoint(Context* context,
                                                               const Bytes* request,
                                                               Bytes* response) {
  const auto promote = [this](const v1::PromoteCheckpointRequest& query,
                              v1::PromoteCheckpointResponse* answer) {
    return Promote(query, answer);
  };
  return AnswerInBackground<v1::PromoteCheckpointRequest, v1::PromoteCheckpointResponse>(
      *environment_.background, *environment_.active_calls, context, request, response, promote);
}

grpc::ServerUnaryReactor* FineTuningService::ListFineTuningEvents(Context* context,
                                                                  const Bytes* request,
                                                                  Bytes* response) {
  const auto list = [this](const v1::ListFineTuningEventsRequest& query,
                           v1::ListFineTuningEventsResponse* answer) -> absl::Status {
    RETURN_IF_ERROR(CheckDirectory());
    ASSIGN_OR_RETURN(const int page_size, PageSize(query.page_size()));
    if (query.after_event_id() < 0) {
      return engine::InvalidField("after_event_id", std::to_string(query.after_event_id()),
                                  "an event's id, or 0");
    }
    ASSIGN_OR_RETURN(
        const JobEvents page,
        environment_.jobs->Events(kFineTuning, query.id(), query.after_event_id(), page_size));
    for (const JobEvent& event : page.events) *answer->add_events() = ToProto(event);
    answer->set_more(page.more);
    return absl::OkStatus();
  };
  return AnswerFromDisk<v1::ListFineTuningEventsRequest, v1::ListFineTuningEventsResponse>(
      *environment_.disk, context, request, response, list);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* FineTuningService::WatchFineTuningJob(
    Context* context, const Bytes* request) {
  absl::Status status = CheckAdmission(context);
  if (status.ok()) status = CheckDirectory();
  if (!status.ok()) {
    return new RefusedStream<grpc::ServerWriteReactor<Bytes>>(status);
  }
  return StartJobWatch(*environment_.jobs, *environment_.disk, environment_.end_timeout, context,
                       *request);
}

grpc::ServerUnaryReactor* FineTuningService::ListCheckpoints(Context* context, const Bytes* request,
                                                             Bytes* response) {
  const auto list = [this](const v1::ListCheckpointsRequest& query,
                           v1::ListCheckpointsResponse* answer) -> absl::Status {
    RETURN_IF_ERROR(CheckDirectory());
    ASSIGN_OR_RETURN(const Job job, environment_.jobs->Get(kFineTuning, query.id()));
    ASSIGN_OR_RETURN(const std::vector<Record> records,
                     environment_.jobs->Children(job, Collection::kCheckpoints));
    for (const Record& record : records) {
      ASSIGN_OR_RETURN(v1::Checkpoint checkpoint, ToCheckpoint(record));
      if (!environment_.kind->HasCheckpoint(job.uid, checkpoint.step())) continue;
      *answer->add_checkpoints() = std::move(checkpoint);
    }
    return absl::OkStatus();
  };
  return AnswerFromDisk<v1::ListCheckpointsRequest, v1::ListCheckpointsResponse>(
      *environment_.disk, context, request, response, list);
}

}  // namespace whipsnake::server
