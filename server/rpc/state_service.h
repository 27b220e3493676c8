// StateService on gRPC's callback API.
#ifndef WHIPSNAKE_SERVER_RPC_STATE_SERVICE_H_
#define WHIPSNAKE_SERVER_RPC_STATE_SERVICE_H_

#include "server/rpc/generation_call.h"
#include "whipsnake/v1/state.grpc.pb.h"

namespace whipsnake::server {

using RawStateService = v1::StateService::WithRawCallbackMethod_SaveState<
    v1::StateService::WithRawCallbackMethod_ForkState<
        v1::StateService::WithRawCallbackMethod_GetState<
            v1::StateService::WithRawCallbackMethod_ListStates<
                v1::StateService::WithRawCallbackMethod_DeleteState<v1::StateService::Service>>>>>;

class StateService final : public RawStateService {
 public:
  explicit StateService(const GenerationEnvironment& environment) : environment_(environment) {}

  grpc::ServerUnaryReactor* SaveState(grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* request,
                                      grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* ForkState(grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* request,
                                      grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetState(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* ListStates(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* DeleteState(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* response) override;

 private:
  absl::Status List(const v1::ListStatesRequest& request, v1::ListStatesResponse* response) const;

  const GenerationEnvironment environment_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_RPC_STATE_SERVICE_H_
