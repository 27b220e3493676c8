#include "engine/generate/generator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "tests/engine/generate/support.h"

namespace whipsnake::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(GeneratorTest, CountsUpToTheLimit) {
  Start();
  Collector collector;
  Submit(collector, Request({0}, 3));
  EXPECT_EQ(collector.reason(), FinishReason::kLength);
  EXPECT_TRUE(collector.Wait().status.ok());
  EXPECT_THAT(collector.ids(), ElementsAre(1, 2, 3));
  EXPECT_EQ(collector.text(), "bcd");
  EXPECT_EQ(collector.started(), 1);
  EXPECT_EQ(collector.Wait().finished.usage.prompt_tokens, 1);
  EXPECT_EQ(collector.Wait().finished.usage.generated_tokens, 3);
}

TEST_F(GeneratorTest, EosEndsWithoutItsTextUnlessIgnored) {
  Start();
  GenerationRequest request = Request({5}, 10);
  request.eos_token_ids = {7};
  Collector stops;
  Submit(stops, request);
  EXPECT_EQ(stops.reason(), FinishReason::kEos);
  EXPECT_EQ(stops.text(), "g");
  EXPECT_THAT(stops.ids(), ElementsAre(6, 7));

  request.eos_token_ids = {};
  request.max_new_tokens = 3;
  Collector goes_on;
  Submit(goes_on, request);
  EXPECT_EQ(goes_on.reason(), FinishReason::kLength);
  EXPECT_EQ(goes_on.text(), "g<eos>a");
}

TEST_F(GeneratorTest, StopTextAcrossTokensIsNotReturned) {
  Start();
  GenerationRequest request = Request({0}, 10);
  request.stop_texts = {"cd"};
  Collector collector;
  Submit(collector, request);
  EXPECT_EQ(collector.reason(), FinishReason::kStop);
  EXPECT_EQ(collector.text(), "b");
}

TEST_F(GeneratorTest, AStopTokensTextIsNotReturnedButHeldBackTextIs) {
  Start();
  GenerationRequest request = Request({0}, 10);
  request.stop_texts = {"cX"};
  request.stop_token_ids = {3};
  Collector collector;
  Submit(collector, request);
  EXPECT_EQ(collector.reason(), FinishReason::kStop);
  EXPECT_EQ(collector.text(), "bc");
}

TEST_F(GeneratorTest, ACharacterOfTwoTokensIsReturnedWhole) {
  Start();
  Collector whole, half;
  Submit(whole, Request({3}, 2));
  EXPECT_EQ(whole.reason(), FinishReason::kLength);
  EXPECT_EQ(whole.text(), "\xe2\x82\xac");
  Submit(half, Request({3}, 1));
  EXPECT_EQ(half.reason(), FinishReason::kLength);
  EXPECT_EQ(half.text(), "\xef\xbf\xbd");
}

TEST_F(GeneratorTest, LongPromptsArePrefilledInChunksAndOnlyTheLastNeedsLogits) {
  std::vector<std::pair<size_t, LogitsOf>> passes;
  model_.before_forward = [&](std::span<const engine::Run> runs) {
    passes.emplace_back(runs[0].tokens.size(), runs[0].logits);
  };
  Start({.batching = {.prefill_chunk_tokens = 4}});
  Collector collector;
  Submit(collector, Request({0, 1, 2, 3, 4, 5, 6, 0, 1}, 2));
  EXPECT_EQ(collector.reason(), FinishReason::kLength);
  EXPECT_THAT(collector.ids(), ElementsAre(2, 3));
  using Pass = std::pair<size_t, LogitsOf>;
  EXPECT_THAT(passes, ElementsAre(Pass(4, LogitsOf::kNone), Pass(4, LogitsOf::kNone),
                                  Pass(1, LogitsOf::kLast), Pass(1, LogitsOf::kLast)));
}

TEST_F(GeneratorTest, CancelStopsBeforeTheNextStep) {
  std::atomic<int> passes{0};
  std::latch second_pass(1), cancelled(1);
  model_.before_forward = [&](std::span<const engine::Run>) {
    if (++passes != 2) return;
    second_pass.count_down();
    cancelled.wait();
  };
  Start();
  Collector collector;
  Submit(collector, Request({0}, 1000));
  second_pass.wait();
  collector.stream().Cancel();
  cancelled.count_down();
  EXPECT_EQ(collector.reason(), FinishReason::kCancelled);
  EXPECT_EQ(collector.Wait().status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(passes, 2);
}

TEST_F(GeneratorTest, ARequestPastItsDeadlineIsNotComputed) {
  std::atomic<int> passes{0};
  model_.before_forward = [&](std::span<const engine::Run>) { ++passes; };
  Start();
  GenerationRequest request = Request({0}, 5);
  request.deadline = Clock::now() - std::chrono::seconds(1);
  Collector collector;
  Submit(collector, request);
  EXPECT_EQ(collector.reason(), FinishReason::kDeadline);
  EXPECT_EQ(collector.Wait().status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(passes, 0);
  EXPECT_EQ(collector.started(), 0);
}

TEST_F(GeneratorTest, AFullQueueAndADrainRefuseButAcceptedRequestsFinish) {
  HoldFirstPass();
  Start({.batching = {.max_running = 1, .max_waiting = 1}});
  Collector running, waiting, refused;
  Submit(running, Request({0}, 2));
  busy_.wait();
  Submit(waiting, Request({0}, 2));
  EXPECT_EQ(generator_->load().running, 1);
  EXPECT_EQ(generator_->load().waiting, 1);
  EXPECT_EQ(generator_->Submit(Request({0}, 2), refused.on_ready()).status().code(),
            absl::StatusCode::kResourceExhausted);
  generator_->Drain();
  EXPECT_EQ(generator_->Submit(Request({0}, 2), refused.on_ready()).status().code(),
            absl::StatusCode::kUnavailable);
  release_.count_down();
  EXPECT_EQ(running.reason(), FinishReason::kLength);
  EXPECT_EQ(waiting.reason(), FinishReason::kLength);
}

TEST_F(GeneratorTest, DestructionEndsEveryStream) {
  HoldFirstPass();
  Start();
  Collector running, waiting;
  Submit(running, Request({0}, 1000000));
  Submit(waiting, Request({0}, 1000000));
  busy_.wait();
  std::thread destroyer([&] { generator_.reset(); });
  release_.count_down();
  destroyer.join();
  EXPECT_EQ(running.Wait().status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(waiting.Wait().status.code(), absl::StatusCode::kUnavailable);
}

TEST_F(GeneratorTest, AFailingModelFailsOnlyItsRequest) {
  Start();
  model_.error = absl::InternalError("broken");
  Collector failed, fine;
  Submit(failed, Request({0}, 2));
  EXPECT_EQ(failed.Wait().status.code(), absl::StatusCode::kInternal);
  model_.error = absl::OkStatus();
  Submit(fine, Request({0}, 2));
  EXPECT_TRUE(fine.Wait().status.ok());
}

TEST_F(GeneratorTest, RequestsShareEachStep) {
  std::vector<size_t> batches;
  std::latch first(1), release(1);
  model_.before_forward = [&](std::span<const engine::Run> runs) {
    batches.push_back(runs.size());
    if (batches.size() > 1) return;
    first.count_down();
    release.wait();
  };
  Start();
  Collector a, b, c;
  Submit(a, Request({0}, 4));
  first.wait();
  Submit(b, Request({1}, 2));
  Submit(c, Request({2}, 3));
  release.count_down();
  EXPECT_EQ(a.reason(), FinishReason::kLength);
  EXPECT_EQ(b.reason(), FinishReason::kLength);
  EXPECT_EQ(c.reason(), FinishReason::kLength);
  EXPECT_THAT(a.ids(), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(b.ids(), ElementsAre(2, 3));
  EXPECT_THAT(c.ids(), ElementsAre(3, 4, 5));
  generator_.reset();
  EXPECT_THAT(batches, ElementsAre(1, 3, 3, 2));
}

TEST_F(GeneratorTest, ACancelledRequestThatWaitsEndsBeforeTheNextStep) {
  std::latch busy(1), release(1);
  std::atomic<int> passes{0};
  model_.before_forward = [&](std::span<const engine::Run>) {
    if (++passes != 1) return;
    busy.count_down();
    release.wait();
  };
  Start({.batching = {.max_running = 1}});
  Collector running, waiting;
  Submit(running, Request({0}, 1000000));
  Submit(waiting, Request({0}, 2));
  busy.wait();
  waiting.stream().Cancel();
  release.count_down();
  EXPECT_EQ(waiting.reason(), FinishReason::kCancelled);  // although the other continues
  EXPECT_EQ(waiting.started(), 0);
  running.stream().Cancel();
  EXPECT_EQ(running.reason(), FinishReason::kCancelled);
}

// A kernel that runs out of memory in the middle of a pass leaves invalid states.
TEST_F(GeneratorTest, APassThatWasAbortedIsNotTriedAgain) {
  HoldFirstPass();
  std::atomic<int> passes{0};
  const auto hold = model_.before_forward;
  model_.before_forward = [&](std::span<const engine::Run> runs) {
    hold(runs);
    model_.error = absl::OkStatus();
    if (++passes == 2) model_.error = absl::AbortedError("std::bad_alloc");
  };
  Start();
  Collector one, two, fine;
  Submit(one, Request({0}, 5));
  busy_.wait();
  Submit(two, Request({1}, 5));
  release_.count_down();
  EXPECT_TRUE(absl::IsInternal(one.Wait().status)) << one.Wait().status;
  EXPECT_TRUE(absl::IsInternal(two.Wait().status)) << two.Wait().status;
  EXPECT_EQ(passes, 2);
  Submit(fine, Request({0, 1}, 2));
  EXPECT_TRUE(fine.Wait().status.ok()) << fine.Wait().status;
  EXPECT_EQ(fine.Wait().finished.usage.cached_prompt_tokens, 0);
}

TEST_F(GeneratorTest, InABatchOnlySequencesThatCannotBeComputedFail) {
  std::latch busy(1), release(1);
  std::atomic<bool> first{true};
  model_.before_forward = [&](std::span<const engine::Run> runs) {
    if (first.exchange(false)) {
      busy.count_down();
      release.wait();
    }
    model_.error = absl::OkStatus();
    for (const engine::Run& run : runs) {
      if (run.tokens.back() == 5) model_.error = absl::InternalError("a five");
    }
  };
  Start();
  Collector fine, failing;
  Submit(fine, Request({0}, 4));
  busy.wait();
  Submit(failing, Request({3}, 4));
  release.count_down();
  EXPECT_TRUE(fine.Wait().status.ok()) << fine.Wait().status;
  EXPECT_THAT(fine.ids(), ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(failing.Wait().status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(failing.ids(), ElementsAre(4, 5));
}

TEST_F(GeneratorTest, NothingEndsACompletionBeforeMinNewTokens) {
  Start();
  GenerationRequest request = Request({0}, 20);
  request.eos_token_ids = {2};
  request.stop_texts = {"d", "b"};
  request.min_new_tokens = 9;
  model_.logits = [](std::span<const int32_t> history) {
    std::vector<float> row(8, 0.0f);
    row[(history.back() + 1) % 8] = 10.0f;
    row[(history.back() + 2) % 8] = 5.0f;
    return row;
  };
  Collector collector;
  Submit(collector, request);
  // "c" (2) would be eos and is skipped; the ninth token is a "d" and may stop.
  EXPECT_EQ(collector.reason(), FinishReason::kStop);
  EXPECT_THAT(collector.ids(), ElementsAre(1, 3, 4, 5, 6, 7, 0, 1, 3));
  EXPECT_EQ(collector.text(), "bd\xe2\x82\xacg<eos>ab");
}

TEST_F(GeneratorTest, AModelsLastPositionEndsTheSequence) {
  model_.mutable_info().max_positions = 4;
  Start();
  Collector collector;
  Submit(collector, Request({0, 1, 2}, 100));
  EXPECT_EQ(collector.reason(), FinishReason::kLength);
  EXPECT_THAT(collector.ids(), ElementsAre(3, 4));
}

TEST_F(GeneratorTest, ARequestWhoseConsumerDoesNotReadIsCancelled) {
  Start({.max_unread_tokens = 10});
  std::shared_ptr<GenerationStream> stream;
  {
    auto submitted = generator_->Submit(Request({0}, 1000000), [] {});
    ASSERT_TRUE(submitted.ok());
    stream = *std::move(submitted);
  }
  // Other requests are not affected, and take more steps than this one has.
  for (int i = 0; i < 5; ++i) {
    Collector reader;
    Submit(reader, Request({0}, 5));
    EXPECT_EQ(reader.reason(), FinishReason::kLength);
  }
  generator_.reset();
  const GenerationStream::Event event = stream->Take();
  ASSERT_TRUE(event.done);
  EXPECT_TRUE(absl::IsCancelled(event.status)) << event.status;
  EXPECT_THAT(std::string(event.status.message()), HasSubstr("too slowly"));
  EXPECT_EQ(event.finished.usage.generated_tokens, 11);
}

// Only a consumer that asks is told of the end while something else waits for it.
TEST_F(GeneratorTest, PollDoneAsksForANoticeOfTheEnd) {
  Start();
  std::binary_semaphore first(0), end(0);
  std::atomic<int> notices = 0;
  auto stream =
      generator_->Submit(Request({0}, 1000), [&] { (++notices == 1 ? first : end).release(); });
  ASSERT_TRUE(stream.ok());
  first.acquire();
  if (!(*stream)->PollDone()) end.acquire();
  EXPECT_TRUE((*stream)->PollDone());
  EXPECT_TRUE((*stream)->Take().done);
}

TEST_F(GeneratorTest, UntakenOutputIsMerged) {
  Start();
  Collector collector;
  std::latch done(1);
  auto stream = generator_->Submit(Request({0}, 5), [&] { done.count_down(); });
  ASSERT_TRUE(stream.ok());
  done.wait();
  generator_.reset();  // now everything is in the buffer, finished or not
  const GenerationStream::Event event = (*stream)->Take();
  EXPECT_TRUE(event.started);
  EXPECT_TRUE(event.done);
  ASSERT_EQ(event.deltas.size(), 1u);
  EXPECT_EQ(std::ssize(event.deltas[0].token_ids), event.finished.usage.generated_tokens);
  EXPECT_FALSE((*stream)->Take().done);
}

}  // namespace
}  // namespace whipsnake::engine
