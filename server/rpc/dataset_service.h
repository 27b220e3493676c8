// DatasetService on gRPC's callback API.
#ifndef WHIPSNAKE_SERVER_RPC_DATASET_SERVICE_H_
#define WHIPSNAKE_SERVER_RPC_DATASET_SERVICE_H_

#include <chrono>

#include "server/datasets/dataset_store.h"
#include "server/rpc/dataset_upload_call.h"
#include "server/work/disk_queue.h"
#include "server/work/task_pool.h"
#include "whipsnake/v1/dataset.grpc.pb.h"

namespace whipsnake::server {

// What the service uses. All pointers must outlive its calls.
struct DatasetServiceEnvironment {
  DatasetStore* datasets = nullptr;                 // null: the server has no data directory
  DiskQueue* disk = nullptr;                        // answers calls that wait for the disk
  TaskPool* pool = nullptr;                         // receives uploads
  UploadPlacesOptions places = {};                  // of uploads; each holds one message
  std::chrono::milliseconds stall_timeout{60'000};  // see DatasetUploadEnvironment
};

using RawDatasetService = v1::DatasetService::WithRawCallbackMethod_UploadDataset<
    v1::DatasetService::WithRawCallbackMethod_GetDataset<
        v1::DatasetService::WithRawCallbackMethod_ListDatasets<
            v1::DatasetService::WithRawCallbackMethod_DeleteDataset<v1::DatasetService::Service>>>>;

class DatasetService final : public RawDatasetService {
 public:
  explicit DatasetService(const DatasetServiceEnvironment& environment)
      : environment_(environment), uploads_(environment.places) {}

  grpc::ServerReadReactor<grpc::ByteBuffer>* UploadDataset(grpc::CallbackServerContext* context,
                                                           grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetDataset(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* ListDatasets(grpc::CallbackServerContext* context,
                                         const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* DeleteDataset(grpc::CallbackServerContext* context,
                                          const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override;

  // Refuses new uploads and cuts off those in progress, which can be continued. Does not wait.
  void Close();
  // Waits until no upload is left, or until the deadline.
  void WaitUntilIdle(std::chrono::steady_clock::time_point deadline);

 private:
  absl::Status List(const v1::ListDatasetsRequest& request,
                    v1::ListDatasetsResponse* response) const;

  const DatasetServiceEnvironment environment_;
  DatasetUploads uploads_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_DATASET_SERVICE_H_
