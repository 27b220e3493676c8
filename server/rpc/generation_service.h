// GenerationService on gRPC's callback API. Nothing here computes or blocks for long.
#ifndef WHIPSNAKE_SERVER_RPC_GENERATION_SERVICE_H_
#define WHIPSNAKE_SERVER_RPC_GENERATION_SERVICE_H_

#include "server/rpc/generation_call.h"
#include "whipsnake/v1/generation.grpc.pb.h"

namespace whipsnake::server {

using RawGenerationService = v1::GenerationService::WithRawCallbackMethod_Generate<
    v1::GenerationService::WithRawCallbackMethod_StreamGenerate<
        v1::GenerationService::WithRawCallbackMethod_CountTokens<
            v1::GenerationService::WithRawCallbackMethod_Detokenize<
                v1::GenerationService::Service>>>>;

class GenerationService final : public RawGenerationService {
 public:
  explicit GenerationService(const GenerationEnvironment& environment)
      : environment_(environment) {}

  grpc::ServerUnaryReactor* Generate(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* StreamGenerate(
      grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* CountTokens(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override;

 private:
  const GenerationEnvironment environment_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_GENERATION_SERVICE_H_
