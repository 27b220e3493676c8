#include "server/rpc/state_service.h"

#include <utility>

#include "engine/base/exceptions.h"
#include "engine/base/field_errors.h"
#include "engine/base/status.h"
#include "server/registry/state_store.h"
#include "server/rpc/generation_reactors.h"
#include "server/rpc/messages.h"
#include "server/rpc/paging.h"
#include "server/rpc/peer.h"

namespace whipsnake::server {

grpc::ServerUnaryReactor* StateService::SaveState(grpc::CallbackServerContext* context,
                                                  const grpc::ByteBuffer* request,
                                                  grpc::ByteBuffer* response) {
  return StartSavingState(environment_, context, *request, response);
}

grpc::ServerUnaryReactor* StateService::ForkState(grpc::CallbackServerContext* context,
                                                  const grpc::ByteBuffer* request,
                                                  grpc::ByteBuffer* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto end = [reactor, response](const absl::StatusOr<StateInfo>& info) {
    reactor->Finish(MakeEnd([&] {
      if (info.ok()) {
        v1::ForkStateResponse answer;
        *answer.mutable_state() = ToProto(*info);
        *response = SerializeMessage(answer);
      }
      return ToGrpc(info.status());
    }));
  };
  const absl::Status status = engine::CatchExceptions([&]() -> absl::Status {
    v1::ForkStateRequest message;
    RETURN_IF_ERROR(ReceiveRequest(context, *request, &message));
    const StateRetention retention = RetentionOf(message.retention());
    RETURN_IF_ERROR(
        engine::WithFieldPrefix(environment_.states->Validate(retention), "retention."));
    environment_.states->Fork(message.handle(), retention, PeerHost(*context), end);
    return absl::OkStatus();
  });
  if (!status.ok()) end(status);
  return reactor;
}

grpc::ServerUnaryReactor* StateService::GetState(grpc::CallbackServerContext* context,
                                                 const grpc::ByteBuffer* request,
                                                 grpc::ByteBuffer* response) {
  const auto get = [this](const v1::GetStateRequest& query,
                          v1::GetStateResponse* answer) -> absl::Status {
    ASSIGN_OR_RETURN(const StateInfo info, environment_.states->Get(query.handle()));
    *answer->mutable_state() = ToProto(info);
    return absl::OkStatus();
  };
  return AnswerUnary<v1::GetStateRequest, v1::GetStateResponse>(context, request, response, get);
}

grpc::ServerUnaryReactor* StateService::ListStates(grpc::CallbackServerContext* context,
                                                   const grpc::ByteBuffer* request,
                                                   grpc::ByteBuffer* response) {
  return AnswerUnary<v1::ListStatesRequest, v1::ListStatesResponse>(
      context, request, response,
      [this](const auto& query, auto* answer) { return List(query, answer); });
}

absl::Status StateService::List(const v1::ListStatesRequest& request,
                                v1::ListStatesResponse* response) const {
  ASSIGN_OR_RETURN(const int page_size, PageSize(request.page_size()));
  // The token is the last name of the previous page, so it stays valid when states are added or
  // removed.
  for (const StateInfo& info : environment_.states->List(request.model())) {
    if (info.name <= request.page_token()) continue;
    if (response->states_size() == page_size) {
      response->set_next_page_token(response->states(page_size - 1).name());
      break;
    }
    *response->add_states() = ToProto(info);
  }
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* StateService::DeleteState(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request,
                                                    grpc::ByteBuffer* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto end = UnaryEnd(reactor);
  const absl::Status status = engine::CatchExceptions([&]() -> absl::Status {
    v1::DeleteStateRequest message;
    RETURN_IF_ERROR(ReceiveRequest(context, *request, &message));
    *response = SerializeMessage(v1::DeleteStateResponse());
    environment_.states->Delete(message.handle(), PeerHost(*context), end);
    return absl::OkStatus();
  });
  if (!status.ok()) end(status);
  return reactor;
}

}  // namespace whipsnake::server
