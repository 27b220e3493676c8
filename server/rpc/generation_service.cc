#include "server/rpc/generation_service.h"

#include <memory>
#include <utility>

#include "engine/base/status.h"
#include "server/rpc/generation_reactors.h"
#include "server/rpc/generation_request.h"
#include "server/rpc/messages.h"

namespace whipsnake::server {

grpc::ServerUnaryReactor* GenerationService::Generate(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) {
  return StartUnaryGeneration(environment_, context, *request, response);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerationService::StreamGenerate(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  return StartStreamingGeneration(environment_, context, *request);
}

grpc::ServerUnaryReactor* GenerationService::CountTokens(grpc::CallbackServerContext* context,
                                                         const grpc::ByteBuffer* request,
                                                         grpc::ByteBuffer* response) {
  const auto count = [this](const v1::CountTokensRequest& query,
                            v1::CountTokensResponse* answer) -> absl::Status {
    ASSIGN_OR_RETURN(const ModelHandle model, environment_.models->Acquire(query.model()));
    ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                     model.tokenizer().Encode(query.text(), EncodeOptionsOf(query.tokenization())));
    answer->set_tokens(static_cast<int32_t>(ids.size()));
    if (query.token_ids()) answer->mutable_token_ids()->Assign(ids.begin(), ids.end());
    return absl::OkStatus();
  };
  return AnswerUnary<v1::CountTokensRequest, v1::CountTokensResponse>(context, request, response,
                                                                      count);
}

}  // namespace whipsnake::server
