#include "server/rpc/dataset_service.h"

#include <limits>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "engine/base/status.h"
#include "server/errors.h"
#include "server/rpc/call_context.h"
#include "server/rpc/deferred_call.h"
#include "server/rpc/messages.h"
#include "server/rpc/paging.h"

namespace whipsnake::server {
namespace {

absl::Status CheckHasDatasets(const DatasetServiceEnvironment& environment) {
  return environment.datasets != nullptr ? absl::OkStatus() : NoDataDirectory();
}

}  // namespace

grpc::ServerReadReactor<grpc::ByteBuffer>* DatasetService::UploadDataset(
    grpc::CallbackServerContext* context, grpc::ByteBuffer* response) {
  absl::Status status = CheckAdmission(context);
  if (status.ok()) status = CheckHasDatasets(environment_);
  if (!status.ok()) {
    return new RefusedStream<grpc::ServerReadReactor<grpc::ByteBuffer>>(status);
  }
  return StartDatasetUpload({.datasets = environment_.datasets,
                             .pool = environment_.pool,
                             .uploads = &uploads_,
                             .stall_timeout = environment_.stall_timeout},
                            context, response);
}

grpc::ServerUnaryReactor* DatasetService::GetDataset(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* request,
                                                     grpc::ByteBuffer* response) {
  const auto get = [this](const v1::GetDatasetRequest& query,
                          v1::GetDatasetResponse* answer) -> absl::Status {
    RETURN_IF_ERROR(CheckHasDatasets(environment_));
    ASSIGN_OR_RETURN(*answer->mutable_dataset(), environment_.datasets->Get(query.id()));
    return absl::OkStatus();
  };
  return AnswerFromDisk<v1::GetDatasetRequest, v1::GetDatasetResponse>(*environment_.disk, context,
                                                                       request, response, get);
}

grpc::ServerUnaryReactor* DatasetService::ListDatasets(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* request,
                                                       grpc::ByteBuffer* response) {
  return AnswerUnary<v1::ListDatasetsRequest, v1::ListDatasetsResponse>(
      context, request, response,
      [this](const auto& query, auto* answer) { return List(query, answer); });
}

absl::Status DatasetService::List(const v1::ListDatasetsRequest& request,
                                  v1::ListDatasetsResponse* response) const {
  RETURN_IF_ERROR(CheckHasDatasets(environment_));
  ASSIGN_OR_RETURN(const int page_size, PageSize(request.page_size()));
  // The token is a number that data sets have in the order of their creation, so it stays valid
  // when some are added or deleted.
  int64_t before = std::numeric_limits<int64_t>::max();
  const std::string& token = request.page_token();
  if (!token.empty() && (!absl::SimpleAtoi(token, &before) || before < 1)) {
    return BadPageToken(token);
  }
  DatasetStore::Page page = environment_.datasets->List(before, page_size);
  for (v1::Dataset& dataset : page.datasets) *response->add_datasets() = std::move(dataset);
  if (page.next > 0) response->set_next_page_token(std::to_string(page.next));
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* DatasetService::DeleteDataset(grpc::CallbackServerContext* context,
                                                        const grpc::ByteBuffer* request,
                                                        grpc::ByteBuffer* response) {
  const auto erase = [this](const v1::DeleteDatasetRequest& query,
                            v1::DeleteDatasetResponse*) -> absl::Status {
    RETURN_IF_ERROR(CheckHasDatasets(environment_));
    return environment_.datasets->Delete(query.id(), query.etag());
  };
  return AnswerFromDisk<v1::DeleteDatasetRequest, v1::DeleteDatasetResponse>(
      *environment_.disk, context, request, response, erase);
}

void DatasetService::Close() {
  uploads_.calls.Close();
  uploads_.calls.AbortAll();
}

void DatasetService::WaitUntilIdle(std::chrono::steady_clock::time_point deadline) {
  uploads_.calls.WaitUntilIdle(deadline);
}

}  // namespace whipsnake::server
