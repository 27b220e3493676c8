// Quantizations from start to end, as clients see them.
#include "server/jobs/quantization_kind.h"
#include "tests/server/quantization_support.h"

namespace whipsnake::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST_F(QuantizationServiceTest, IsSeenFromItsStartToItsEnd) {
  quantizer_.steps.Close();
  v1::Quantization created;
  v1::QuantizeModelRequest request = RequestFor("out");
  request.set_scheme("quamba-w8a8-norot");
  ASSERT_TRUE(Quantize(request, &created).ok());
  EXPECT_EQ(created.state(), v1::QUANTIZATION_STATE_QUEUED);
  EXPECT_EQ(created.path(), "one");
  EXPECT_EQ(created.output_path(), "out");
  EXPECT_EQ(created.scheme(), "quamba-w8a8-norot");
  EXPECT_TRUE(created.has_create_time());
  EXPECT_FALSE(created.has_start_time());

  grpc::ClientContext context;
  const Reader reader = Watch(context, created.id());
  double before = -1;
  // No step runs without a permit, so that the watch cannot miss one.
  for (int step = 0; step < FakeQuantizer::kSteps; ++step) {
    quantizer_.steps.Permit(1);
    v1::Quantization seen;
    do {
      seen = Next(reader);
    } while (seen.stage() != "step " + std::to_string(step));
    EXPECT_GT(seen.fraction(), before);
    EXPECT_TRUE(seen.has_start_time());
    before = seen.fraction();
    if (step + 1 < FakeQuantizer::kSteps) {
      EXPECT_EQ(seen.state(), v1::QUANTIZATION_STATE_RUNNING);
      EXPECT_FALSE(seen.has_end_time());
      EXPECT_FALSE(seen.has_report());
    }
  }
  Last(reader);
  const v1::Quantization end = WaitForEnd(created.id());
  EXPECT_EQ(end.state(), v1::QUANTIZATION_STATE_SUCCEEDED);
  EXPECT_EQ(end.fraction(), 1);
  EXPECT_EQ(end.error(), "");
  EXPECT_TRUE(end.has_end_time());
  EXPECT_EQ(end.report().percentile(), 0.9999);
  ASSERT_EQ(end.report().trials_size(), 2);
  EXPECT_EQ(end.report().trials(0).percentile(), 0.9995);
  EXPECT_EQ(end.report().trials(0).nll(), 2.5);
  EXPECT_EQ(end.report().calibration_tokens(), 1234);
  EXPECT_EQ(end.report().calibration_digest(), "fnv1a64:0123");
  EXPECT_EQ(end.report().float_bytes(), 4000);
  EXPECT_EQ(end.report().quantized_bytes(), 1001);
  EXPECT_EQ(Get(created.id()).SerializeAsString(), end.SerializeAsString());
}

TEST_F(QuantizationServiceTest, AWatchFromTheMiddleBeginsWithHowItStands) {
  quantizer_.steps.Close();
  const std::string id = Start("out");
  quantizer_.steps.Permit(2);
  quantizer_.steps.WaitForArrivals(3);
  grpc::ClientContext context;
  const Reader reader = Watch(context, id);
  const v1::Quantization first = Next(reader);
  EXPECT_EQ(first.state(), v1::QUANTIZATION_STATE_RUNNING);
  EXPECT_EQ(first.stage(), "step 1");
  EXPECT_EQ(first.fraction(), 0.25);
  quantizer_.steps.Open();
  EXPECT_EQ(Last(reader).state(), v1::QUANTIZATION_STATE_SUCCEEDED);
}

TEST_F(QuantizationServiceTest, AWatchOfWhatHasEndedIsOneMessage) {
  const std::string id = Start("out");
  WaitForEnd(id);
  grpc::ClientContext context;
  const Reader reader = Watch(context, id);
  EXPECT_EQ(Next(reader).state(), v1::QUANTIZATION_STATE_SUCCEEDED);
  v1::WatchQuantizationResponse more;
  EXPECT_FALSE(reader->Read(&more));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(QuantizationServiceTest, OneRunsAtATimeInTheOrderOfArrival) {
  quantizer_.steps.Close();
  const std::vector<std::string> ids = {Start("a"), Start("b"), Start("c")};
  quantizer_.steps.WaitForArrivals(1);
  const v1::ListQuantizationsResponse list = Page(0, "");
  ASSERT_EQ(list.quantizations_size(), 3);
  EXPECT_EQ(list.quantizations(2).id(), ids[0]);
  EXPECT_EQ(list.quantizations(2).state(), v1::QUANTIZATION_STATE_RUNNING);
  EXPECT_EQ(list.quantizations(1).state(), v1::QUANTIZATION_STATE_QUEUED);
  EXPECT_EQ(list.quantizations(0).id(), ids[2]);
  EXPECT_THAT(server_->Metrics(), HasSubstr("\nwhipsnake_quantizations_running 1\n"));
  EXPECT_THAT(server_->Metrics(), HasSubstr("\nwhipsnake_quantizations_waiting 2\n"));
  quantizer_.steps.Open();
  for (const std::string& id : ids) {
    EXPECT_EQ(WaitForEnd(id).state(), v1::QUANTIZATION_STATE_SUCCEEDED);
  }
  EXPECT_THAT(quantizer_.outputs(), ElementsAre("a", "b", "c"));
  EXPECT_THAT(server_->Metrics(),
              HasSubstr("\nwhipsnake_quantizations_total{result=\"succeeded\"} 3\n"));
  EXPECT_THAT(server_->Metrics(), HasSubstr("\nwhipsnake_quantizations_running 0\n"));
}

TEST_F(QuantizationServiceTest, TheQueueIsBounded) {
  quantizer_.steps.Close();
  Start("running");
  quantizer_.steps.WaitForArrivals(1);
  std::string id;
  for (int i = 0; i < QuantizationKind::kMaxWaiting; ++i) id = Start("out" + std::to_string(i));
  const grpc::Status full = Quantize(RequestFor("more"));
  EXPECT_EQ(full.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(full), "TOO_MANY_QUANTIZATIONS");
  EXPECT_TRUE(HasRetry(full));
  ASSERT_TRUE(Cancel(id).ok());
  EXPECT_TRUE(Quantize(RequestFor("more")).ok());
}

TEST_F(QuantizationServiceTest, ACancelledOneThatWaitsNeverRuns) {
  quantizer_.steps.Close();
  const std::string running = Start("a");
  quantizer_.steps.WaitForArrivals(1);
  const std::string waiting = Start("b");
  grpc::ClientContext context;
  const Reader reader = Watch(context, waiting);
  EXPECT_EQ(Next(reader).state(), v1::QUANTIZATION_STATE_QUEUED);
  v1::Quantization cancelled;
  ASSERT_TRUE(Cancel(waiting, &cancelled).ok());
  EXPECT_EQ(cancelled.state(), v1::QUANTIZATION_STATE_CANCELLED);
  EXPECT_EQ(Last(reader).state(), v1::QUANTIZATION_STATE_CANCELLED);
  EXPECT_THAT(cancelled.error(), HasSubstr("by a client"));
  quantizer_.steps.Open();
  EXPECT_EQ(WaitForEnd(running).state(), v1::QUANTIZATION_STATE_SUCCEEDED);
  WaitForEnd(Start("c"));
  EXPECT_THAT(quantizer_.outputs(), ElementsAre("a", "c"));
}

TEST_F(QuantizationServiceTest, ACancelledOneThatRunsEndsAtItsNextStep) {
  quantizer_.steps.Close();
  const std::string id = Start("out");
  quantizer_.steps.WaitForArrivals(1);
  v1::Quantization asked;
  ASSERT_TRUE(Cancel(id, &asked).ok());
  EXPECT_EQ(asked.state(), v1::QUANTIZATION_STATE_RUNNING);
  EXPECT_TRUE(Cancel(id).ok());
  quantizer_.steps.Permit(1);  // one more step is enough
  const v1::Quantization end = WaitForEnd(id);
  EXPECT_EQ(end.state(), v1::QUANTIZATION_STATE_CANCELLED);
  EXPECT_TRUE(end.has_end_time());
  EXPECT_FALSE(end.has_report());
  EXPECT_TRUE(Cancel(id).ok());  // it is cancelled, as requested
  EXPECT_THAT(server_->Metrics(),
              HasSubstr("\nwhipsnake_quantizations_total{result=\"cancelled\"} 1\n"));
}

TEST_F(QuantizationServiceTest, WhatIsFinishedCannotBeCancelled) {
  quantizer_.steps.Close();
  const std::string id = Start("out");
  quantizer_.steps.Permit(FakeQuantizer::kSteps - 1);
  quantizer_.steps.WaitForArrivals(FakeQuantizer::kSteps);
  EXPECT_TRUE(Cancel(id).ok());
  quantizer_.steps.Open();  // in the last step the output exists
  EXPECT_EQ(WaitForEnd(id).state(), v1::QUANTIZATION_STATE_SUCCEEDED);
  const grpc::Status late = Cancel(id);
  ASSERT_EQ(late.error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonOf(late), "QUANTIZATION_ENDED");
  EXPECT_EQ(DetailOf<google::rpc::PreconditionFailure>(late)->violations(0).subject(), id);
}

TEST_F(QuantizationServiceTest, AFailureIsShownAndTheNextOneRuns) {
  const v1::Quantization no_disk = WaitForEnd(Start("no-disk"));
  EXPECT_EQ(no_disk.state(), v1::QUANTIZATION_STATE_FAILED);
  EXPECT_THAT(no_disk.error(), HasSubstr("no space"));
  EXPECT_EQ(no_disk.stage(), "step 1");
  EXPECT_FALSE(no_disk.has_report());
  EXPECT_EQ(WaitForEnd(Start("no-memory")).state(), v1::QUANTIZATION_STATE_FAILED);
  // CANCELLED without a request to cancel is a failure.
  EXPECT_EQ(WaitForEnd(Start("confused")).state(), v1::QUANTIZATION_STATE_FAILED);
  EXPECT_EQ(WaitForEnd(Start("good")).state(), v1::QUANTIZATION_STATE_SUCCEEDED);
  EXPECT_EQ(Cancel(no_disk.id()).error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_THAT(server_->Metrics(),
              HasSubstr("\nwhipsnake_quantizations_total{result=\"failed\"} 3\n"));
}

TEST_F(QuantizationServiceTest, AnUnknownIdIsNotFound) {
  for (const std::string id : {"", "q-nobody"}) {
    Get(id, grpc::NOT_FOUND);
    const grpc::Status cancelled = Cancel(id);
    ASSERT_EQ(cancelled.error_code(), grpc::NOT_FOUND);
    EXPECT_EQ(DetailOf<google::rpc::ResourceInfo>(cancelled)->resource_name(), id);
    grpc::ClientContext context;
    const Reader reader = Watch(context, id);
    v1::WatchQuantizationResponse response;
    EXPECT_FALSE(reader->Read(&response));
    EXPECT_EQ(reader->Finish().error_code(), grpc::NOT_FOUND);
  }
}

TEST_F(QuantizationServiceTest, TheLastHundredAreKeptAndPaged) {
  quantizer_.steps.Close();
  const std::string running = Start("running");
  quantizer_.steps.WaitForArrivals(1);
  std::vector<std::string> ids;
  for (int i = 0; i < QuantizationKind::kMaxEnded + 3; ++i) {
    ids.push_back(Start("out"));
    ASSERT_TRUE(Cancel(ids.back()).ok());
  }
  for (int i = 0; i < 3; ++i) Get(ids[i], grpc::NOT_FOUND);
  std::vector<std::string> expected(ids.rbegin(), ids.rend() - 3);
  expected.push_back(running);  // it came first, but has not ended
  std::vector<std::string> listed;
  std::string token;
  do {
    const v1::ListQuantizationsResponse page = Page(30, token);
    EXPECT_LE(page.quantizations_size(), 30);
    for (const auto& quantization : page.quantizations()) listed.push_back(quantization.id());
    token = page.next_page_token();
  } while (!token.empty());
  EXPECT_EQ(listed, expected);
  EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), ids.size());

  grpc::Status status;
  Page(-1, "", &status);
  EXPECT_EQ(FieldOf(status), "page_size");
  Page(1001, "", &status);
  EXPECT_EQ(FieldOf(status), "page_size");
  for (const char* bad : {"x", "-1", "0", "99999999999999999999"}) {
    Page(1, bad, &status);
    EXPECT_EQ(FieldOf(status), "page_token") << bad;
  }
}

TEST_F(QuantizationServiceTest, AWatcherThatLeavesDisturbsNothing) {
  quantizer_.steps.Close();
  const std::string id = Start("out");
  {
    grpc::ClientContext context;
    const Reader reader = Watch(context, id);
    Next(reader);
    context.TryCancel();
    v1::WatchQuantizationResponse response;
    while (reader->Read(&response)) continue;
    EXPECT_EQ(reader->Finish().error_code(), grpc::CANCELLED);
  }
  grpc::ClientContext context;
  const Reader stays = Watch(context, id);
  quantizer_.steps.Open();
  EXPECT_EQ(Last(stays).state(), v1::QUANTIZATION_STATE_SUCCEEDED);
}

TEST_F(QuantizationServiceTest, ADrainCancelsAllAndRefusesMore) {
  quantizer_.steps.Close();
  const std::string running = Start("a");
  quantizer_.steps.WaitForArrivals(1);
  const std::string waiting = Start("b");
  grpc::ClientContext running_context, waiting_context;
  const Reader running_reader = Watch(running_context, running);
  const Reader waiting_reader = Watch(waiting_context, waiting);
  EXPECT_EQ(Next(running_reader).state(), v1::QUANTIZATION_STATE_RUNNING);
  EXPECT_EQ(Next(waiting_reader).state(), v1::QUANTIZATION_STATE_QUEUED);

  server_->daemon->RequestDrain();
  const v1::Quantization waited = Last(waiting_reader);
  EXPECT_EQ(waited.state(), v1::QUANTIZATION_STATE_CANCELLED);
  EXPECT_THAT(waited.error(), HasSubstr("shutting down"));
  const grpc::Status refused = Quantize(RequestFor("c"));
  EXPECT_EQ(refused.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(refused), "SERVER_DRAINING");
  EXPECT_TRUE(HasRetry(refused));

  quantizer_.steps.Permit(1);
  EXPECT_EQ(Last(running_reader).state(), v1::QUANTIZATION_STATE_CANCELLED);
  server_->daemon->Wait();
  EXPECT_THAT(quantizer_.outputs(), ElementsAre("a"));
}

class ImpatientServerTest : public QuantizationServiceTest {
 protected:
  ImpatientServerTest() { end_timeout_ = std::chrono::milliseconds(200); }

  // Returns once this many watches were cancelled by the server.
  void WaitForCancelled(int watches) {
    const std::string series =
        "method=\"whipsnake.v1.ModelService/WatchQuantization\",code=\"CANCELLED\"} " +
        std::to_string(watches) + "\n";
    while (server_->Metrics().find(series) == std::string::npos) std::this_thread::yield();
  }
};

// Also if it is the first message that the client does not read.
TEST_F(ImpatientServerTest, WhoDoesNotReadTheEndOfAWatchIsCut) {
  quantizer_.steps.Close();
  const std::string id = Start("out");
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 5);  // the least: no message fits
  const auto stub = v1::ModelService::NewStub(grpc::CreateCustomChannel(
      server_->daemon->grpc_address(), grpc::InsecureChannelCredentials(), arguments));
  v1::WatchQuantizationRequest request;
  request.set_id(id);
  grpc::ClientContext during, after;
  const Reader early = stub->WatchQuantization(&during, request);
  quantizer_.steps.WaitForArrivals(1);
  quantizer_.steps.Open();
  WaitForCancelled(1);
  const Reader late = stub->WatchQuantization(&after, request);
  WaitForCancelled(2);
}

}  // namespace
}  // namespace whipsnake::server
