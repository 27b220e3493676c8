#include <atomic>
#include <future>
#include <new>

#include "engine/generate/notifier.h"
#include "server/logging.h"
#include "tests/server/support.h"

namespace whipsnake::server {
namespace {

using testing::HasSubstr;

class GenerationServiceTest : public testing::Test {
 protected:
  TestServer& server() {
    if (!server_) server_.emplace(FakeOptions(engine_));
    return *server_;
  }

  grpc::Status Generate(const v1::GenerationParameters& parameters,
                        v1::GenerateResponse* response = nullptr) {
    v1::GenerateResponse unused;
    v1::GenerateRequest request;
    *request.mutable_parameters() = parameters;
    grpc::ClientContext context;
    return server().generation->Generate(&context, request, response ? response : &unused);
  }

  static v1::StreamGenerateRequest StreamRequest(const v1::GenerationParameters& parameters) {
    v1::StreamGenerateRequest request;
    *request.mutable_parameters() = parameters;
    return request;
  }

  // Waits until no request is running, by unloading the model.
  void WaitUntilIdle() {
    grpc::ClientContext context;
    v1::UnloadModelRequest request;
    v1::UnloadModelResponse response;
    request.set_name("alphabet");
    EXPECT_TRUE(server().models->UnloadModel(&context, request, &response).ok());
  }

  FakeEngine engine_;
  std::optional<TestServer> server_;
};

// More tokens than a test waits for: only a cancellation ends the request.
constexpr int kForever = std::numeric_limits<int32_t>::max();

TEST_F(GenerationServiceTest, GeneratesInOneMessage) {
  v1::GenerationParameters parameters = Greedy("xy", 4);
  parameters.set_request_id("r1");
  parameters.mutable_output()->set_token_ids(true);
  parameters.mutable_output()->set_logprobs(2);
  v1::GenerateResponse response;
  const grpc::Status status = Generate(parameters, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(response.completions_size(), 1);
  const v1::Completion& completion = response.completions(0);
  EXPECT_EQ(completion.text(), "zabc");
  EXPECT_THAT(completion.token_ids(), testing::ElementsAre(25, 0, 1, 2));
  EXPECT_EQ(completion.finish_reason(), v1::FINISH_REASON_LENGTH);
  ASSERT_EQ(completion.logprobs_size(), 4);
  EXPECT_EQ(completion.logprobs(0).chosen().text(), "z");
  EXPECT_LT(completion.logprobs(0).chosen().logprob(), 0);
  EXPECT_EQ(completion.logprobs(0).top_size(), 2);
  EXPECT_EQ(response.resolved().model(), "alphabet");
  EXPECT_EQ(response.resolved().request_id(), "r1");
  EXPECT_EQ(response.resolved().max_new_tokens(), 4);
  EXPECT_EQ(response.usage().prompt_tokens(), 2);
  EXPECT_EQ(response.usage().generated_tokens(), 4);
  EXPECT_GE(response.timings().time_to_first_token_seconds(), response.timings().queue_seconds());
}

TEST_F(GenerationServiceTest, ReturnsNoIdsUnlessAsked) {
  v1::GenerateResponse response;
  ASSERT_TRUE(Generate(Greedy("a", 3), &response).ok());
  EXPECT_EQ(response.completions(0).text(), "bcd");
  EXPECT_EQ(response.completions(0).token_ids_size(), 0);
  EXPECT_EQ(response.completions(0).logprobs_size(), 0);
}

TEST_F(GenerationServiceTest, StreamsStartedDeltasFinished) {
  v1::GenerationParameters parameters = Greedy("a", 10);
  parameters.mutable_output()->set_token_ids(true);
  parameters.mutable_stopping()->add_stop_texts("gh");
  grpc::ClientContext context;
  auto reader = server().generation->StreamGenerate(&context, StreamRequest(parameters));
  std::vector<v1::StreamGenerateResponse> events;
  for (v1::StreamGenerateResponse event; reader->Read(&event);) events.push_back(event);
  ASSERT_TRUE(reader->Finish().ok());

  ASSERT_GE(events.size(), 3);
  ASSERT_TRUE(events.front().has_started());
  EXPECT_EQ(events.front().started().prompt_tokens(), 1);
  EXPECT_EQ(events.front().started().resolved().model(), "alphabet");
  ASSERT_TRUE(events.back().has_finished());
  const auto& finished = events.back().finished();
  EXPECT_THAT(finished.finish_reasons(), testing::ElementsAre(v1::FINISH_REASON_STOP));
  EXPECT_EQ(finished.usage().generated_tokens(), 7);
  std::string text;
  for (size_t i = 1; i + 1 < events.size(); ++i) {
    ASSERT_TRUE(events[i].has_delta());
    EXPECT_EQ(events[i].delta().sequence_number(), static_cast<int64_t>(i) - 1);
    text += events[i].delta().text();
  }
  EXPECT_EQ(text, "bcdef");  // without the "g" that begins the stop text
}

TEST_F(GenerationServiceTest, TheFirstDeltaComesBeforeTheLastStep) {
  engine_.steps.Close();
  engine_.steps.Permit(1);
  grpc::ClientContext context;
  auto reader = server().generation->StreamGenerate(&context, StreamRequest(Greedy("a", 2)));
  std::string text;
  v1::StreamGenerateResponse event;
  while (text.empty() && reader->Read(&event)) text += event.delta().text();
  EXPECT_EQ(text, "b");  // the second step is still blocked
  engine_.steps.Open();
  while (reader->Read(&event)) text += event.delta().text();
  EXPECT_EQ(text, "bc");
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(GenerationServiceTest, CancellingStopsTheEngine) {
  grpc::ClientContext context;
  auto reader = server().generation->StreamGenerate(&context, StreamRequest(Greedy("a", kForever)));
  v1::StreamGenerateResponse event;
  ASSERT_TRUE(reader->Read(&event));
  context.TryCancel();
  while (reader->Read(&event)) continue;
  EXPECT_EQ(reader->Finish().error_code(), grpc::CANCELLED);
  while (server().Metrics().find("whipsnake_requests_finished_total{model=\"alphabet\","
                                 "reason=\"cancelled\"} 1\n") == std::string::npos) {
    std::this_thread::yield();
  }
  WaitUntilIdle();
}

TEST_F(GenerationServiceTest, CancellingAUnaryCallStopsTheEngine) {
  engine_.steps.Close();
  server();
  grpc::ClientContext context;
  std::future<grpc::Status> call = std::async(std::launch::async, [&] {
    v1::GenerateRequest request;
    v1::GenerateResponse response;
    *request.mutable_parameters() = Greedy("a", kForever);
    return server().generation->Generate(&context, request, &response);
  });
  engine_.steps.WaitForArrivals(1);
  context.TryCancel();
  EXPECT_EQ(call.get().error_code(), grpc::CANCELLED);
  engine_.steps.Open();
  WaitUntilIdle();
}

TEST_F(GenerationServiceTest, ADeadlineStopsTheEngine) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
  v1::GenerateRequest request;
  v1::GenerateResponse response;
  *request.mutable_parameters() = Greedy("a", kForever);
  const grpc::Status status = server().generation->Generate(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::DEADLINE_EXCEEDED);
  WaitUntilIdle();
}

TEST_F(GenerationServiceTest, AFullQueueSaysWhenToTryAgain) {
  engine_.generator.batching.max_running = 1;
  engine_.generator.batching.max_waiting = 1;
  engine_.steps.Close();
  server();
  const auto start = [&] {
    return std::async(std::launch::async, [&] { return Generate(Greedy("a", 1)); });
  };
  std::future<grpc::Status> running = start();
  engine_.steps.WaitForArrivals(1);
  std::future<grpc::Status> waiting = start();
  while (server().Metrics().find("whipsnake_requests_waiting{model=\"alphabet\",kind=\"generate\"} "
                                 "1\n") == std::string::npos) {
    std::this_thread::yield();
  }
  EXPECT_THAT(server().Metrics(),
              HasSubstr("whipsnake_requests_running{model=\"alphabet\",kind=\"generate\"} 1\n"));
  const grpc::Status refused = Generate(Greedy("a", 1));
  EXPECT_EQ(refused.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(HasRetry(refused));
  EXPECT_THAT(server().Metrics(), HasSubstr("whipsnake_requests_rejected_total{model=\"alphabet\","
                                            "reason=\"queue_full\"} 1\n"));
  engine_.steps.Open();
  EXPECT_TRUE(running.get().ok());
  EXPECT_TRUE(waiting.get().ok());
}

TEST_F(GenerationServiceTest, ABadFieldIsNamedInBothForms) {
  v1::GenerationParameters parameters = Greedy("a", 1);
  parameters.mutable_sampling()->set_top_p(2);
  const grpc::Status unary = Generate(parameters);
  EXPECT_EQ(unary.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(FieldOf(unary), "parameters.sampling.top_p");
  EXPECT_EQ(ReasonOf(unary), "INVALID_ARGUMENT");

  grpc::ClientContext context;
  auto reader = server().generation->StreamGenerate(&context, StreamRequest(parameters));
  v1::StreamGenerateResponse event;
  EXPECT_FALSE(reader->Read(&event));
  const grpc::Status stream = reader->Finish();
  EXPECT_EQ(FieldOf(stream), "parameters.sampling.top_p");
  EXPECT_THAT(server().Metrics(), HasSubstr("whipsnake_requests_rejected_total{model=\"alphabet\","
                                            "reason=\"invalid\"} 2\n"));
}

// protobuf's own parser refuses such a request, for which gRPC would answer UNIMPLEMENTED.
TEST_F(GenerationServiceTest, TextThatIsNotUtf8IsNamed) {
  const grpc::Status status = Generate(Greedy("\xFF", 1));
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(FieldOf(status), "parameters.text");
  EXPECT_EQ(ReasonOf(status), "INVALID_UTF8");
}

TEST_F(GenerationServiceTest, AnUnknownModelIsNotFound) {
  v1::GenerationParameters parameters = Greedy("a", 1);
  parameters.set_model("other");
  const grpc::Status status = Generate(parameters);
  EXPECT_EQ(status.error_code(), grpc::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("alphabet"));
  EXPECT_EQ(DetailOf<google::rpc::ResourceInfo>(status)->resource_name(), "other");
}

TEST_F(GenerationServiceTest, CountsTokens) {
  grpc::ClientContext context;
  v1::CountTokensRequest request;
  v1::CountTokensResponse response;
  request.set_text("cab");
  request.set_token_ids(true);
  ASSERT_TRUE(server().generation->CountTokens(&context, request, &response).ok());
  EXPECT_EQ(response.tokens(), 3);
  EXPECT_THAT(response.token_ids(), testing::ElementsAre(2, 0, 1));
}

TEST_F(GenerationServiceTest, ManyClientsGetWhatTheyAskedFor) {
  server();
  std::vector<std::future<std::string>> texts;
  for (int i = 0; i < 8; ++i) {
    texts.push_back(std::async(std::launch::async, [this, i] {
      std::string all;
      for (int j = 0; j < 5; ++j) {
        grpc::ClientContext context;
        auto reader = server_->generation->StreamGenerate(
            &context, StreamRequest(Greedy(std::string(1, static_cast<char>('a' + i)), 30)));
        v1::StreamGenerateResponse event;
        while (reader->Read(&event)) all += event.delta().text();
        EXPECT_TRUE(reader->Finish().ok());
      }
      return all;
    }));
  }
  for (int i = 0; i < 8; ++i) {
    std::string expected;
    for (int k = 1; k <= 30; ++k) expected += static_cast<char>('a' + (i + k) % 26);
    EXPECT_EQ(texts[i].get(), expected + expected + expected + expected + expected);
  }
}

TEST_F(GenerationServiceTest, AnEchoComesBeforeTheTextOfEachCompletion) {
  v1::StreamGenerateRequest request;
  *request.mutable_parameters() = Greedy("a", 5);
  request.mutable_parameters()->set_n(3);
  request.mutable_parameters()->mutable_output()->set_echo(true);
  grpc::ClientContext context;
  const auto reader = server().generation->StreamGenerate(&context, request);
  std::vector<std::string> texts(3);
  int64_t next = 0;
  v1::StreamGenerateResponse event;
  while (reader->Read(&event)) {
    if (!event.has_delta()) continue;
    EXPECT_EQ(event.delta().sequence_number(), next++);
    texts[event.delta().index()] += event.delta().text();
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_THAT(texts, testing::Each("abcdef"));
}

// A stream whose first event is lost because there is no memory to take it. It ends when it is
// cancelled.
class LostStream : public engine::GenerationStream {
 public:
  LostStream(std::function<void()> on_ready, engine::Notifier* notifier)
      : on_ready_(std::make_shared<const std::function<void()>>(std::move(on_ready))),
        notifier_(*notifier) {}

  Event Take() override {
    if (!cancelled_) throw std::bad_alloc();
    Event event;
    event.done = true;
    event.status = absl::CancelledError("cancelled");
    event.finished.reason = engine::FinishReason::kCancelled;
    return event;
  }
  bool PollDone() override { return false; }
  void Cancel() override {
    if (!cancelled_.exchange(true)) notifier_.Post(on_ready_);
  }

 private:
  const engine::Notifier::Callback on_ready_;
  engine::Notifier& notifier_;
  std::atomic<bool> cancelled_{false};
};

class LosingGenerator : public engine::Generator {
 public:
  absl::StatusOr<std::shared_ptr<engine::GenerationStream>> Submit(
      engine::GenerationRequest, std::function<void()> on_ready) override {
    return std::make_shared<LostStream>(std::move(on_ready), &notifier_);
  }
  void Drain() override {}
  void SetQueueLimits(const engine::QueueLimits&) override {}
  engine::GeneratorLoad load() const override { return {}; }

 private:
  engine::Notifier notifier_;
};

// Both on the RPC's own thread and on the pool's.
TEST_F(GenerationServiceTest, AnExceptionAfterTheSubmitEndsTheCallOnce) {
  DaemonOptions options = FakeOptions(engine_);
  options.loader = [&](const std::string& directory, const engine::ModelOptions& model_options,
                       engine::GenerationObserver* observer) {
    auto parts = engine_.Load(directory, model_options, observer);
    if (parts.ok()) parts->generator = std::make_unique<LosingGenerator>();
    return parts;
  };
  server_.emplace(std::move(options));
  v1::GenerationParameters pooled = Greedy("a", 4);
  pooled.mutable_structured()->set_regex("[xyz]{2}q");
  for (const v1::GenerationParameters& parameters : {Greedy("a", 4), pooled}) {
    const grpc::Status unary = Generate(parameters);
    EXPECT_EQ(unary.error_code(), grpc::RESOURCE_EXHAUSTED) << unary.error_message();
    grpc::ClientContext context;
    auto reader = server().generation->StreamGenerate(&context, StreamRequest(parameters));
    v1::StreamGenerateResponse event;
    EXPECT_FALSE(reader->Read(&event));
    const grpc::Status stream = reader->Finish();
    EXPECT_EQ(stream.error_code(), grpc::RESOURCE_EXHAUSTED) << stream.error_message();
  }
  WaitUntilIdle();
}

// Requests and failures have limits of their own, so many requests do not hide a failure.
TEST_F(GenerationServiceTest, RequestsFillTheLogNoFasterThanTheLimit) {
  DaemonOptions options = FakeOptions(engine_);
  options.models.push_back({"bad", "/failing"});
  server_.emplace(std::move(options));
  const auto lines = [](const std::string& log, const std::string& text) {
    int count = 0;
    for (size_t at = log.find(text); at != log.npos; at = log.find(text, at + 1)) ++count;
    return count;
  };
  v1::GenerationParameters good = Greedy("a", 1), bad = good;
  good.set_model("alphabet");
  bad.set_model("bad");
  constexpr int kRequests = 10 * LineLimiter::kBurst;
  testing::internal::CaptureStderr();
  for (int i = 0; i < kRequests; ++i) EXPECT_TRUE(Generate(good).ok());
  EXPECT_EQ(Generate(bad).error_code(), grpc::INTERNAL);
  server_.reset();  // a line may be written after its call ends
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_LT(lines(log, "request finished"), kRequests / 2) << log;
  EXPECT_EQ(lines(log, "request failed"), 1) << log;
}

}  // namespace
}  // namespace whipsnake::server
