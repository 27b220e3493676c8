// Tests the health service alone, on a server of its own.
#include "server/rpc/health_service.h"

#include <unistd.h>

#include "tests/server/admitted_calls.h"
#include "tests/server/support.h"

namespace whipsnake::server {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using testing::HasSubstr;
using testing::Not;

class HealthServiceTest : public testing::Test {
 protected:
  using Reader = std::unique_ptr<grpc::ClientReader<HealthCheckResponse>>;

  HealthServiceTest() {
    service_.Set("known", true);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    const std::string local = "unix-abstract:whipsnake-health-" + std::to_string(getpid());
    builder.AddListeningPort(local, grpc::InsecureServerCredentials());
    builder.RegisterService(&service_);
    builder.SetContextAllocator(AdmitEveryCall());
    server_ = builder.BuildAndStart();
    stub_ = Health::NewStub(grpc::CreateChannel("127.0.0.1:" + std::to_string(port),
                                                grpc::InsecureChannelCredentials()));
    local_stub_ = Health::NewStub(grpc::CreateChannel(local, grpc::InsecureChannelCredentials()));
  }

  grpc::Status Check(const std::string& name) {
    grpc::ClientContext context;
    HealthCheckRequest request;
    HealthCheckResponse response;
    request.set_service(name);
    return stub_->Check(&context, request, &response);
  }
  Reader Watch(grpc::ClientContext& context, const std::string& name) {
    HealthCheckRequest request;
    request.set_service(name);
    return stub_->Watch(&context, request);
  }
  // The same from another host.
  Reader WatchFromOtherHost(grpc::ClientContext& context, const std::string& name) {
    HealthCheckRequest request;
    request.set_service(name);
    return local_stub_->Watch(&context, request);
  }
  static HealthCheckResponse::ServingStatus Next(const Reader& reader) {
    HealthCheckResponse response;
    EXPECT_TRUE(reader->Read(&response));
    return response.status();
  }

  static constexpr int kMaxWatches = 3, kMaxWatchesOfHost = 2;
  HealthService service_{kMaxWatches, kMaxWatchesOfHost};
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Health::Stub> stub_, local_stub_;
};

TEST_F(HealthServiceTest, AWatchSeesEachChangeThatLasts) {
  grpc::ClientContext context;
  const Reader reader = Watch(context, "known");
  EXPECT_EQ(Next(reader), HealthCheckResponse::SERVING);
  service_.Set("known", false);
  EXPECT_EQ(Next(reader), HealthCheckResponse::NOT_SERVING);
  service_.Remove("known");
  EXPECT_EQ(Next(reader), HealthCheckResponse::SERVICE_UNKNOWN);
  service_.Set("known", true);
  EXPECT_EQ(Next(reader), HealthCheckResponse::SERVING);
  service_.ShutDown();
  EXPECT_EQ(Next(reader), HealthCheckResponse::NOT_SERVING);
  context.TryCancel();
}

TEST_F(HealthServiceTest, WatchesAreBounded) {
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<Reader> readers;
  const auto watch = [&](bool from_elsewhere) {
    grpc::ClientContext& context = *contexts.emplace_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(from_elsewhere ? WatchFromOtherHost(context, "known")
                                     : Watch(context, "known"));
  };
  const auto expect_refusal = [&](bool from_elsewhere, const std::string& why) {
    watch(from_elsewhere);
    HealthCheckResponse response;
    EXPECT_FALSE(readers.back()->Read(&response));
    const grpc::Status full = readers.back()->Finish();
    EXPECT_EQ(full.error_code(), grpc::RESOURCE_EXHAUSTED);
    EXPECT_EQ(ReasonOf(full), "TOO_MANY_WATCHES");
    EXPECT_THAT(full.error_message(), HasSubstr(why));
    EXPECT_TRUE(HasRetry(full));
    readers.pop_back();
  };
  for (int i = 0; i < kMaxWatchesOfHost; ++i) {
    watch(false);
    EXPECT_EQ(Next(readers.back()), HealthCheckResponse::SERVING);
  }
  expect_refusal(false, "too many health watches from ipv4:127.0.0.1 (limit 2)");
  watch(true);
  EXPECT_EQ(Next(readers.back()), HealthCheckResponse::SERVING) << "another host has room";
  expect_refusal(true, "too many health watches (limit 3)");
  EXPECT_TRUE(Check("known").ok());
  service_.Set("known", false);
  for (const Reader& reader : readers) EXPECT_EQ(Next(reader), HealthCheckResponse::NOT_SERVING);
  // A watch that ends makes room. Its client sees the end before the server removes the watch, so
  // the test retries.
  contexts.front()->TryCancel();
  HealthCheckResponse response;
  EXPECT_FALSE(readers.front()->Read(&response));
  readers.front()->Finish();
  do watch(false);
  while (!readers.back()->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  for (const auto& context : contexts) context->TryCancel();
}

// No service has such a long name, and the name is neither kept nor sent back.
TEST_F(HealthServiceTest, AnOverlongNameIsUnknownAndNotKept) {
  for (const size_t length : {size_t{257}, size_t{1} << 20}) {
    const std::string name(length, 'x');
    const grpc::Status status = Check(name);
    EXPECT_EQ(status.error_code(), grpc::NOT_FOUND);
    EXPECT_THAT(status.error_message(), Not(HasSubstr(std::string(257, 'x'))));
    service_.Set(name, true);
    grpc::ClientContext context;
    const Reader reader = Watch(context, name);
    EXPECT_EQ(Next(reader), HealthCheckResponse::SERVICE_UNKNOWN) << "it watches another name";
    context.TryCancel();
    service_.Remove(name);
  }
}

}  // namespace
}  // namespace whipsnake::server
