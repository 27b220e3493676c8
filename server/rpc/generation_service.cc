#include "server/rpc/generation_service.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
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

grpc::ServerUnaryReactor* GenerationService::Detokenize(grpc::CallbackServerContext* context,
                                                        const grpc::ByteBuffer* request,
                                                        grpc::ByteBuffer* response) {
  const auto decode = [this](const v1::DetokenizeRequest& query,
                             v1::DetokenizeResponse* answer) -> absl::Status {
    ASSIGN_OR_RETURN(const ModelHandle model, environment_.models->Acquire(query.model()));
    const engine::Tokenizer& tokenizer = model.tokenizer();
    const int64_t most = environment_.limits->Get().prompt_tokens;
    if (query.token_ids_size() > most) {
      return engine::InvalidField("token_ids", absl::StrCat(query.token_ids_size(), " ids"),
                                  absl::StrCat("at most ", most));
    }
    for (int i = 0; i < query.token_ids_size(); ++i) {
      if (const int32_t id = query.token_ids(i); id < 0 || id >= tokenizer.size()) {
        return engine::InvalidField(absl::StrCat("token_ids[", i, "]"), absl::StrCat(id),
                                    absl::StrCat("an id from 0 to ", tokenizer.size() - 1));
      }
    }
    answer->set_text(
        tokenizer.Decode({query.token_ids().data(), static_cast<size_t>(query.token_ids_size())}));
    return absl::OkStatus();
  };
  return AnswerUnary<v1::DetokenizeRequest, v1::DetokenizeResponse>(context, request, response,
                                                                    decode);
}

}  // namespace whipsnake::server
