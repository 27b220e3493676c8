// Calls whose answers cannot be made, over gRPC.
#include <new>

#include "server/rpc/messages.h"
#include "server/work/background.h"
#include "tests/server/admitted_calls.h"
#include "tests/server/support.h"

namespace whipsnake::server {
namespace {

// A service with one method, which a test defines.
struct OneMethodService final
    : v1::AdminService::WithRawCallbackMethod_GetMetrics<v1::AdminService::Service> {
  using Method = std::function<grpc::ServerUnaryReactor*(
      grpc::CallbackServerContext*, const grpc::ByteBuffer*, grpc::ByteBuffer*)>;

  grpc::ServerUnaryReactor* GetMetrics(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override {
    return method(context, request, response);
  }
  Method method;
};

grpc::Status Call(OneMethodService::Method method) {
  OneMethodService service;
  service.method = std::move(method);
  grpc::ServerBuilder builder;
  builder.RegisterService(&service);
  builder.SetContextAllocator(AdmitEveryCall());
  const auto server = builder.BuildAndStart();
  const auto stub = v1::AdminService::NewStub(server->InProcessChannel({}));
  grpc::ClientContext context;
  v1::GetMetricsResponse response;
  return stub->GetMetrics(&context, {}, &response);
}

TEST(UnaryCallTest, AnExceptionOfItsWorkIsItsError) {
  const grpc::Status status = Call([](auto* context, auto* request, auto* response) {
    return AnswerUnary<v1::GetMetricsRequest, v1::GetMetricsResponse>(
        context, request, response,
        [](const auto&, auto*) -> absl::Status { throw std::bad_alloc(); });
  });
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_TRUE(HasRetry(status));
}

TEST(UnaryCallTest, AnAnswerThatCannotBeMadeEndsTheCallAllTheSame) {
  Background background(/*max_tasks=*/1);
  const grpc::Status status = Call([&](auto* context, auto*, auto*) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const auto end = [reactor](const absl::Status&) {
      reactor->Finish(MakeEnd([]() -> grpc::Status { throw std::bad_alloc(); }));
    };
    EXPECT_TRUE(background.Run([] { return absl::OkStatus(); }, end).ok());
    return reactor;
  });
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_EQ(status.error_message(), "");
}

}  // namespace
}  // namespace whipsnake::server
