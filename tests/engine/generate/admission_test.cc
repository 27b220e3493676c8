// A request's memory needs are known before it starts. Under a tight limit requests wait for each
// other or are refused on arrival, and a request that has started never fails.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <random>
#include <semaphore>
#include <string>
#include <utility>
#include <vector>

#include "engine/generate/generator.h"
#include "engine/tokenizer/tokenizer.h"
#include "kernels/cpu/scratch.h"
#include "tests/engine/quantize/support.h"

namespace whipsnake::engine {
namespace {

constexpr const char* kTransformer = R"({"model_type": "gpt2", "vocab_size": 300, "n_layer": 2,
    "n_embd": 48, "n_head": 3, "n_positions": 200, "activation_function": "gelu_new"})";

// One request and its result.
struct Answer {
  std::counting_semaphore<> ready{0};
  std::shared_ptr<GenerationStream> stream;
  absl::Status status;
  bool accepted = false;
  int64_t tokens = 0;
  Finished finished;

  // Waits for the stream's end and returns its status.
  const absl::Status& Wait() {
    while (stream != nullptr) {
      ready.acquire();
      const GenerationStream::Event event = stream->Take();
      if (!event.done) continue;
      status = event.status;
      finished = event.finished;
      tokens = finished.usage.generated_tokens;
      stream = nullptr;
    }
    return status;
  }
};

class AdmissionTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    directory_ = RandomModel(GetParam());
    auto tokenizer = Tokenizer::Load(directory_ + "/tokenizer.json");
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
  }

  // Starts an engine with `beside` bytes of memory in addition to the model's weights.
  absl::Status Start(int64_t beside, GeneratorOptions options = {}) {
    Stop();
    Ledger measured;
    const auto alone = LoadModel(directory_, {}, {&executor_, &measured});
    if (!alone.ok()) return alone.status();
    ledger_ = std::make_unique<Ledger>(measured.used() + beside);
    auto model = LoadModel(directory_, {}, {&executor_, ledger_.get()});
    if (!model.ok()) return model.status();
    model_ = *std::move(model);
    options.ledger = ledger_.get();
    options.executor = &executor_;
    auto generator = MakeGenerator(model_.get(), tokenizer_.get(), options, nullptr);
    if (!generator.ok()) return generator.status();
    generator_ = *std::move(generator);
    return absl::OkStatus();
  }

  void Stop() {
    generator_.reset();
    model_.reset();
    EXPECT_EQ(ledger_ != nullptr ? ledger_->used() : 0, 0);
    ledger_.reset();
  }
  void TearDown() override { Stop(); }

  static GenerationRequest Request(int64_t prompt_tokens, int64_t new_tokens, uint32_t seed) {
    GenerationRequest request;
    request.prompt = RandomTokens(prompt_tokens, 300, seed);
    request.sampling.temperature = 0;
    request.max_new_tokens = new_tokens;
    return request;
  }

  void Submit(GenerationRequest request, Answer& answer) {
    auto stream = generator_->Submit(std::move(request), [&answer] { answer.ready.release(); });
    if (stream.ok()) {
      answer.stream = *std::move(stream);
      answer.accepted = true;
    } else {
      answer.status = stream.status();
    }
  }

  std::string directory_;
  Executor executor_{2};
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Generator> generator_;
};

// Memory for little more than the smallest steps and one request.
int64_t Tight() { return kernels::ScratchBound(64, 192, 2) + (600 << 10); }

TEST_P(AdmissionTest, UnderATightLimitSimultaneousRequestsWaitForEachOther) {
  ASSERT_TRUE(Start(Tight()).ok());
  std::vector<Answer> answers(32);
  for (int i = 0; i < 32; ++i) Submit(Request(100, 8, i), answers[i]);
  for (Answer& answer : answers) {
    EXPECT_TRUE(answer.Wait().ok()) << answer.status;
    EXPECT_EQ(answer.tokens, 8);
  }
}

TEST_P(AdmissionTest, AnIdleGeneratorAcceptsWhatAFreshOneAccepts) {
  ASSERT_TRUE(Start(Tight()).ok());
  for (int i = 0; i < 10; ++i) {
    // Many short requests at once, each of which leaves a state in the cache; then a long one,
    // whose own states are in the cache from the second round on.
    std::vector<Answer> many(16);
    for (int j = 0; j < 16; ++j) Submit(Request(60, 4, 100 * i + j), many[j]);
    for (Answer& answer : many) EXPECT_TRUE(answer.Wait().ok()) << answer.status;
    Answer alone;
    Submit(Request(150, 50, 1000), alone);
    EXPECT_TRUE(alone.Wait().ok()) << alone.status;
  }
}

// Limits range from no memory beside the model to plenty. Either the engine does not start and says
// how much is missing, or every request succeeds or is refused on arrival, because the queue is
// full or the memory can never suffice.
TEST_P(AdmissionTest, NoAcceptedRequestFailsUnderAnyLimit) {
  int started = 0, succeeded = 0, refused = 0;
  for (int64_t beside = 0; beside < Tight() + (1 << 20); beside += 50'000) {
    const absl::Status status = Start(beside);
    if (!status.ok()) {
      EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
      EXPECT_THAT(std::string(status.message()), testing::HasSubstr("are missing"));
      EXPECT_EQ(started, 0) << "a smaller limit was enough";
      continue;
    }
    ++started;
    std::vector<Answer> answers(12);
    for (int i = 0; i < 12; ++i) {
      GenerationRequest request = Request(5 + 13 * i, 4 + i % 30, i);
      request.completions = 1 + i % 3;
      Submit(std::move(request), answers[i]);
    }
    for (Answer& answer : answers) {
      if (answer.accepted) {
        EXPECT_TRUE(answer.Wait().ok()) << answer.status << ", " << beside << " bytes beside";
        ++succeeded;
      } else if (absl::IsInvalidArgument(answer.status)) {
        EXPECT_THAT(std::string(answer.status.message()), testing::HasSubstr("bytes of memory"));
        ++refused;
      } else {
        EXPECT_TRUE(absl::IsResourceExhausted(answer.status)) << answer.status;
      }
    }
  }
  EXPECT_GT(started, 3);
  EXPECT_GT(succeeded, 0);
  EXPECT_GT(refused, 0);
}

// Random requests with cancellations under random limits. In the end the ledger is what it was.
TEST_P(AdmissionTest, RandomRequestsWithCancellationsLeaveTheLedgerAsItWas) {
  for (uint32_t seed = 0; seed < 8; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](uint32_t n) { return static_cast<int64_t>(random() % n); };
    const bool caches = seed % 2 == 0;
    const BatcherOptions batching{.max_running = 1 + below(20),
                                  .prefill_chunk_tokens = 8 + below(60),
                                  .mixed_chunk_tokens = 1 + below(30)};
    ASSERT_TRUE(Start(Tight() + below(1 << 19),
                      {.batching = batching,
                       .cache = {.max_bytes = caches ? 1 << 20 : 0, .interval_tokens = 16}})
                    .ok());
    const int64_t idle = ledger_->used();
    std::vector<Answer> answers(40);
    std::vector<bool> cancelled(answers.size());
    for (size_t i = 0; i < answers.size(); ++i) {
      GenerationRequest request = Request(1 + below(150), 1 + below(40), below(5));
      request.completions = static_cast<int>(below(3) == 0 ? 1 + below(8) : 1);
      request.top_logprobs = static_cast<int>(below(5)) - 1;
      request.priority = static_cast<RequestPriority>(below(3));
      request.client = std::string(1, static_cast<char>('a' + below(3)));
      Submit(std::move(request), answers[i]);
      const auto stream = answers[below(i + 1)].stream;
      if (below(6) != 0 || stream == nullptr) continue;
      stream->Cancel();
      for (size_t j = 0; j <= i; ++j) cancelled[j] = cancelled[j] || answers[j].stream == stream;
    }
    for (size_t i = 0; i < answers.size(); ++i) {
      const absl::Status& status = answers[i].Wait();
      const bool expected =
          !answers[i].accepted || status.ok() || (cancelled[i] && absl::IsCancelled(status));
      EXPECT_TRUE(expected) << status << ", seed " << seed << ", request " << i;
    }
    generator_.reset();
    EXPECT_EQ(ledger_->used(), idle) << "seed " << seed;
  }
}

// Output that the client has not read stays booked until the stream is gone; output that was not
// made does not.
TEST_P(AdmissionTest, TheOutputIsBookedUntilItHasBeenTaken) {
  ASSERT_TRUE(Start(int64_t{1} << 28, {.cache = {.max_bytes = 0}}).ok());
  GenerationRequest request = Request(10, 20, 1);
  request.completions = 4;
  request.top_logprobs = 20;
  request.result_token_bytes = 10'000;
  const int64_t idle = ledger_->used(Purpose::kRequests);
  Answer answer;
  Submit(std::move(request), answer);
  std::shared_ptr<GenerationStream> stream = answer.stream;
  EXPECT_TRUE(answer.Wait().ok()) << answer.status;
  generator_.reset();
  EXPECT_EQ(answer.tokens, 4 * 20);
  const int64_t booked = ledger_->used(Purpose::kRequests) - idle;
  EXPECT_GE(booked, 4 * 20 * (10'000 + 20 * 8));
  stream.reset();
  EXPECT_EQ(ledger_->used(Purpose::kRequests), idle);
}

TEST_P(AdmissionTest, UngeneratedOutputIsNotBookedAtTheEnd) {
  ASSERT_TRUE(Start(int64_t{1} << 28, {.cache = {.max_bytes = 0}}).ok());
  const int64_t idle = ledger_->used(Purpose::kRequests);
  Answer answer;
  GenerationRequest request = Request(10, 100, 1);
  request.completions = 4;
  request.result_token_bytes = 10'000;
  Submit(std::move(request), answer);
  answer.stream->Cancel();
  const absl::Status status = answer.Wait();
  const int64_t booked = ledger_->used(Purpose::kRequests) - idle;
  EXPECT_LE(booked, (answer.tokens + 1) * 11'000) << status;
}

// The last token chosen needs no position, after a prompt as well as after a saved state.
TEST_P(AdmissionTest, APromptOfAllPositionsHasOneNewToken) {
  ASSERT_TRUE(Start(int64_t{1} << 28, {.cache = {.max_bytes = 0}}).ok());
  Answer whole, read, resumed;
  Submit(Request(200, 1, 1), whole);
  EXPECT_TRUE(whole.Wait().ok()) << whole.status;
  EXPECT_EQ(whole.tokens, 1);
  GenerationRequest request = Request(200, 0, 1);
  request.save_state = true;
  Submit(request, read);
  ASSERT_TRUE(read.Wait().ok()) << read.status;
  request.max_new_tokens = 1;
  request.resume = read.finished.completions[0].state;
  Submit(request, resumed);
  ASSERT_TRUE(resumed.Wait().ok()) << resumed.status;
  EXPECT_EQ(resumed.tokens, 1);
  EXPECT_EQ(resumed.finished.usage.cached_prompt_tokens, 199);
}

constexpr const char* kRecurrent = R"({"model_type": "mamba", "vocab_size": 300,
    "num_hidden_layers": 2, "state_size": 16, "hidden_size": 48})";

INSTANTIATE_TEST_SUITE_P(Models, AdmissionTest, testing::Values(kTransformer, kRecurrent),
                         [](const auto& model) { return model.index == 0 ? "gpt2" : "mamba"; });

}  // namespace
}  // namespace whipsnake::engine
