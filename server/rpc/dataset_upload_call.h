// A gRPC reactor that receives a data set.
#ifndef WHIPSNAKE_SERVER_RPC_DATASET_UPLOAD_CALL_H_
#define WHIPSNAKE_SERVER_RPC_DATASET_UPLOAD_CALL_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <chrono>
#include <utility>

#include "server/datasets/dataset_store.h"
#include "server/rpc/active_calls.h"
#include "server/rpc/upload_places.h"
#include "server/work/task_pool.h"

namespace whipsnake::server {

// The uploads in progress of a service.
struct DatasetUploads {
  explicit DatasetUploads(UploadPlacesOptions options) : places(std::move(options)) {}

  ActiveCalls calls;
  UploadPlaces places;
};

// What uploads use. All pointers must outlive the calls.
struct DatasetUploadEnvironment {
  DatasetStore* datasets = nullptr;
  TaskPool* pool = nullptr;  // does the work, which waits for the disk
  DatasetUploads* uploads = nullptr;
  // How long a client may send nothing while the server waits for it.
  std::chrono::milliseconds stall_timeout{};
};

// One message at a time is read, and the next one only once that is written, so a call holds at
// most one message. An abort, a timeout, a client that is gone, and another upload that takes the
// place of a silent one cut the upload off. `response` is
// filled before the call finishes. The returned reactor belongs to gRPC.
grpc::ServerReadReactor<grpc::ByteBuffer>* StartDatasetUpload(
    const DatasetUploadEnvironment& environment, grpc::CallbackServerContext* context,
    grpc::ByteBuffer* response);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_DATASET_UPLOAD_CALL_H_
