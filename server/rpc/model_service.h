// ModelService on gRPC's callback API.
#ifndef WHIPSNAKE_SERVER_RPC_MODEL_SERVICE_H_
#define WHIPSNAKE_SERVER_RPC_MODEL_SERVICE_H_

#include <chrono>
#include <string>

#include "server/jobs/job_queue.h"
#include "server/live_limits.h"
#include "server/registry/model_registry.h"
#include "server/registry/model_versions.h"
#include "server/rpc/active_calls.h"
#include "server/work/background.h"
#include "server/work/disk_queue.h"
#include "whipsnake/v1/model.grpc.pb.h"

namespace whipsnake::server {

// What the service uses. All pointers must outlive its calls.
struct ModelServiceEnvironment {
  ModelRegistry* models = nullptr;
  ModelVersions* versions = nullptr;
  ActiveCalls* active_calls = nullptr;  // once closed, no model is loaded
  Background* background = nullptr;     // runs loads, unloads and changes of versions
  JobQueue* jobs = nullptr;
  DiskQueue* disk = nullptr;  // for calls that wait for the store
  std::string model_root;     // empty: clients cannot load models
  const LiveLimits* limits = nullptr;
  // How long a client may take to read the rest of a watch after the quantization's end.
  std::chrono::milliseconds end_timeout{30'000};
};

v1::ModelVersion ToProto(const ModelVersion& version);

using RawModelService = v1::ModelService::WithRawCallbackMethod_ListModels<
    v1::ModelService::WithRawCallbackMethod_GetModel<
        v1::ModelService::WithRawCallbackMethod_LoadModel<
            v1::ModelService::WithRawCallbackMethod_UnloadModel<v1::ModelService::Service>>>>;
using RawQuantizationMethods = v1::ModelService::WithRawCallbackMethod_QuantizeModel<
    v1::ModelService::WithRawCallbackMethod_GetQuantization<
        v1::ModelService::WithRawCallbackMethod_ListQuantizations<
            v1::ModelService::WithRawCallbackMethod_WatchQuantization<
                v1::ModelService::WithRawCallbackMethod_CancelQuantization<RawModelService>>>>>;

using RawVersionMethods = v1::ModelService::WithRawCallbackMethod_ListModelVersions<
    v1::ModelService::WithRawCallbackMethod_RollBackModel<
        v1::ModelService::WithRawCallbackMethod_SetModelAlias<
            v1::ModelService::WithRawCallbackMethod_DeleteModelAlias<
                v1::ModelService::WithRawCallbackMethod_DeleteModelVersion<
                    RawQuantizationMethods>>>>>;

class ModelService final : public RawVersionMethods {
 public:
  explicit ModelService(const ModelServiceEnvironment& environment) : environment_(environment) {}

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  // A load continues if its client disconnects.
  grpc::ServerUnaryReactor* LoadModel(grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* request,
                                      grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* UnloadModel(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* response) override;

  // Changes of versions continue if their client disconnects.
  grpc::ServerUnaryReactor* ListModelVersions(grpc::CallbackServerContext* context,
                                              const grpc::ByteBuffer* request,
                                              grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* RollBackModel(grpc::CallbackServerContext* context,
                                          const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* SetModelAlias(grpc::CallbackServerContext* context,
                                          const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* DeleteModelAlias(grpc::CallbackServerContext* context,
                                             const grpc::ByteBuffer* request,
                                             grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* DeleteModelVersion(grpc::CallbackServerContext* context,
                                               const grpc::ByteBuffer* request,
                                               grpc::ByteBuffer* response) override;

  // A quantization continues if its client disconnects.
  grpc::ServerUnaryReactor* QuantizeModel(grpc::CallbackServerContext* context,
                                          const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetQuantization(grpc::CallbackServerContext* context,
                                            const grpc::ByteBuffer* request,
                                            grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* ListQuantizations(grpc::CallbackServerContext* context,
                                              const grpc::ByteBuffer* request,
                                              grpc::ByteBuffer* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* WatchQuantization(
      grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* CancelQuantization(grpc::CallbackServerContext* context,
                                               const grpc::ByteBuffer* request,
                                               grpc::ByteBuffer* response) override;

 private:
  v1::Model ToProto(const ModelSnapshot& snapshot) const;
  absl::Status Quantize(const v1::QuantizeModelRequest& request,
                        v1::QuantizeModelResponse* response) const;
  absl::Status List(const v1::ListModelsRequest& request, v1::ListModelsResponse* response) const;
  absl::Status List(const v1::ListQuantizationsRequest& request,
                    v1::ListQuantizationsResponse* response) const;
  absl::Status List(const v1::ListModelVersionsRequest& request,
                    v1::ListModelVersionsResponse* response) const;
  // Checks the request and adds its model to the registry.
  absl::StatusOr<ModelSource> RegisterModel(const grpc::CallbackServerContext* context,
                                            const grpc::ByteBuffer& bytes) const;

  const ModelServiceEnvironment environment_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_MODEL_SERVICE_H_
