#include "server/cli/load_run.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "absl/strings/str_cat.h"

namespace whipsnake::server {
namespace {

using ::testing::ElementsAre;

TEST(TokenArrivals, WhatComesInOneMessageHasOneGapAndTheWholeOfIt) {
  TokenArrivals arrivals;
  arrivals.Add(1.0, 2);
  arrivals.Add(1.5, 1);
  arrivals.Add(3.5, 8);  // after a stall of two seconds
  arrivals.Add(3.75, 1);
  EXPECT_EQ(arrivals.first, 1.0);
  EXPECT_THAT(arrivals.gaps, ElementsAre(0.5, 2.0, 0.25));
  EXPECT_EQ(arrivals.tokens, 12);
  EXPECT_EQ(arrivals.merged, 8);
}

TEST(Percentile, IsTheNearestRankAndNothingOfNothing) {
  EXPECT_EQ(Percentile({}, 50), std::nullopt);
  EXPECT_EQ(Percentile({3}, 99), 3);
  EXPECT_EQ(Percentile({4, 1, 3, 2}, 50), 2);
  EXPECT_EQ(Percentile({4, 1, 3, 2}, 95), 4);
}

// Answers with a message of one token and one of three, and fails every other request. If `waits`
// is set, leaves all requests unanswered until they are released.
class FakeGeneration : public v1::GenerationService::Service {
 public:
  grpc::Status StreamGenerate(grpc::ServerContext*, const v1::StreamGenerateRequest* request,
                              grpc::ServerWriter<v1::StreamGenerateResponse>* writer) override {
    const int number = seen_++;
    if (waits) {
      v1::StreamGenerateResponse started;
      started.mutable_started();
      writer->Write(started);
      if (number == 0) waiting.set_value();
      released_.wait();
      return grpc::Status::CANCELLED;
    }
    if (number % 2 == 1) {
      return {grpc::StatusCode::INTERNAL, absl::StrCat("request ", number, " failed")};
    }
    for (const int tokens : {1, 3}) {
      v1::StreamGenerateResponse event;
      for (int i = 0; i < tokens; ++i) event.mutable_delta()->add_token_ids(i);
      writer->Write(event);
    }
    v1::StreamGenerateResponse end;
    v1::Usage& usage = *end.mutable_finished()->mutable_usage();
    usage.set_prompt_tokens(request->parameters().token_ids().ids_size());
    usage.set_cached_prompt_tokens(5);
    writer->Write(end);
    return grpc::Status::OK;
  }

  bool waits = false;
  std::promise<void> waiting;  // set when a request waits
  std::promise<void> release;

 private:
  const std::shared_future<void> released_{release.get_future()};
  std::atomic<int> seen_ = 0;
};

class LoadRunTest : public ::testing::Test {
 protected:
  void Start() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    channel_ =
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials());
  }

  LoadShape shape_{
      .model = "m", .vocab_size = 100, .requests = 10, .concurrency = 2, .prompt_tokens = 7};
  FakeGeneration service_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  LoadRun run_;
};

TEST_F(LoadRunTest, CountsWhatFailedAndTimesWhatSucceeded) {
  Start();
  const LoadResult result = run_.Run(channel_, shape_, [](double) {});
  EXPECT_EQ(result.succeeded, 5);
  EXPECT_EQ(result.failed(), 5);
  EXPECT_EQ(result.unfinished, 0);
  ASSERT_TRUE(result.failures.contains("INTERNAL"));
  EXPECT_THAT(result.failures.at("INTERNAL").message, ::testing::HasSubstr("failed"));
  EXPECT_EQ(result.prompt_tokens, 5 * 7);
  EXPECT_EQ(result.cached_prompt_tokens, 5 * 5);
  EXPECT_EQ(result.output_tokens, 5 * 4);
  EXPECT_EQ(result.merged_tokens, 5 * 2);
  EXPECT_EQ(result.first_token.size(), 5u);
  EXPECT_EQ(result.inter_token.size(), 5u);
  EXPECT_EQ(result.request.size(), 5u);
}

TEST_F(LoadRunTest, StopsWithAReportWhateverItIsDoing) {
  service_.waits = true;
  Start();
  for (const double rate : {0.0, 0.001}) {
    SCOPED_TRACE(rate);
    LoadRun run;
    shape_.rate = rate;
    auto result =
        std::async(std::launch::async, [&] { return run.Run(channel_, shape_, [](double) {}); });
    if (rate == 0) service_.waiting.get_future().wait();
    run.Stop();
    run.Stop();
    const LoadResult stopped = result.get();
    EXPECT_EQ(stopped.succeeded, 0);
    EXPECT_EQ(stopped.failed(), 0);
    EXPECT_EQ(stopped.unfinished, 10);
  }
  service_.release.set_value();
}

}  // namespace
}  // namespace whipsnake::server
