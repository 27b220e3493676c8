// FineTuningService: translates for the queue of jobs.
#ifndef WHIPSNAKE_SERVER_RPC_FINE_TUNING_SERVICE_H_
#define WHIPSNAKE_SERVER_RPC_FINE_TUNING_SERVICE_H_

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "server/jobs/fine_tuning_kind.h"
#include "server/jobs/job_inputs.h"
#include "server/jobs/job_queue.h"
#include "server/jobs/promotion.h"
#include "server/rpc/active_calls.h"
#include "server/work/background.h"
#include "server/work/disk_queue.h"
#include "whipsnake/v1/fine_tuning.grpc.pb.h"

namespace whipsnake::server {

// Everything must outlive the service.
struct FineTuningEnvironment {
  JobQueue* jobs = nullptr;
  FineTuningKind* kind = nullptr;    // null if the server has no data directory
  DiskQueue* disk = nullptr;         // for calls that wait for the store
  Background* background = nullptr;  // for plans and promotions
  const ActiveCalls* active_calls = nullptr;
  const Promoter* promoter = nullptr;  // null if the server has no data directory
  DatasetFinder find_dataset;
  ModelFinder find_model;
  std::chrono::milliseconds end_timeout{30'000};
};

class FineTuningService final
    : public v1::FineTuningService::WithRawCallbackMethod_CreateFineTuningJob<
          v1::FineTuningService::WithRawCallbackMethod_PromoteCheckpoint<
              v1::FineTuningService::WithRawCallbackMethod_GetFineTuningJob<
                  v1::FineTuningService::WithRawCallbackMethod_ListFineTuningJobs<
                      v1::FineTuningService::WithRawCallbackMethod_CancelFineTuningJob<
                          v1::FineTuningService::WithRawCallbackMethod_PauseFineTuningJob<
                              v1::FineTuningService::WithRawCallbackMethod_ResumeFineTuningJob<
                                  v1::FineTuningService::WithRawCallbackMethod_DeleteFineTuningJob<
                                      v1::FineTuningService::WithRawCallbackMethod_PlanFineTuningJob<
                                          v1::FineTuningService::
                                              WithRawCallbackMethod_ListFineTuningEvents<
                                                  v1::FineTuningService::
                                                      WithRawCallbackMethod_WatchFineTuningJob<
                                                          v1::FineTuningService::
                                                              WithRawCallbackMethod_ListCheckpoints<
                                                                  v1::FineTuningService::
                                                                      Service>>>>>>>>>>>> {
 public:
  explicit FineTuningService(FineTuningEnvironment environment)
      : environment_(std::move(environment)) {}

  using Context = grpc::CallbackServerContext;
  using Bytes = grpc::ByteBuffer;
  grpc::ServerUnaryReactor* CreateFineTuningJob(Context* context, const Bytes* request,
                                                Bytes* response) override;
  grpc::ServerUnaryReactor* GetFineTuningJob(Context* context, const Bytes* request,
                                             Bytes* response) override;
  grpc::ServerUnaryReactor* ListFineTuningJobs(Context* context, const Bytes* request,
                                               Bytes* response) override;
  grpc::ServerUnaryReactor* CancelFineTuningJob(Context* context, const Bytes* request,
                                                Bytes* response) override;
  grpc::ServerUnaryReactor* PauseFineTuningJob(Context* context, const Bytes* request,
                                               Bytes* response) override;
  grpc::ServerUnaryReactor* ResumeFineTuningJob(Context* context, const Bytes* request,
                                                Bytes* response) override;
  grpc::ServerUnaryReactor* DeleteFineTuningJob(Context* context, const Bytes* request,
                                                Bytes* response) override;
  grpc::ServerUnaryReactor* PlanFineTuningJob(Context* context, const Bytes* request,
                                              Bytes* response) override;
  grpc::ServerUnaryReactor* ListFineTuningEvents(Context* context, const Bytes* request,
                                                 Bytes* response) override;
  grpc::ServerWriteReactor<Bytes>* WatchFineTuningJob(Context* context,
                                                      const Bytes* request) override;
  grpc::ServerUnaryReactor* ListCheckpoints(Context* context, const Bytes* request,
                                            Bytes* response) override;
  // A promotion continues if its client disconnects.
  grpc::ServerUnaryReactor* PromoteCheckpoint(Context* context, const Bytes* request,
                                              Bytes* response) override;

 private:
  // FAILED_PRECONDITION without a data directory.
  absl::Status CheckDirectory() const;
  // The request of a job with this specification, checked as far as that needs no data.
  absl::StatusOr<nlohmann::json> MakeRequest(const v1::FineTuningJobSpec& spec) const;
  absl::StatusOr<JobDataset> FindDataset(const char* field, const std::string& id,
                                         nlohmann::json& spec) const;
  absl::Status Promote(const v1::PromoteCheckpointRequest& request,
                       v1::PromoteCheckpointResponse* response) const;
  absl::Status Plan(const v1::PlanFineTuningJobRequest& request, Context* context,
                    v1::PlanFineTuningJobResponse* response) const;

  const FineTuningEnvironment environment_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_FINE_TUNING_SERVICE_H_
