// With fewer states than sequences: which requests wait or take turns, and which memory is
// released.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <latch>
#include <memory>
#include <span>
#include <vector>

#include "tests/engine/generate/support.h"

namespace whipsnake::engine {
namespace {

using ::testing::ElementsAre;

class MemoryShortageTest : public GeneratorTest {};

TEST_F(MemoryShortageTest, ARequestWithoutMemoryWaitsForAnotherToEnd) {
  HoldFirstPass();
  model_.max_states = 1;
  Start({.cache = {.max_bytes = 0}, .memory_timeout = {}});
  Collector one, two;
  Submit(one, Request({0}, 3));
  busy_.wait();
  Submit(two, Request({0}, 3));
  release_.count_down();
  EXPECT_TRUE(one.Wait().status.ok());
  EXPECT_TRUE(two.Wait().status.ok()) << two.Wait().status;
  EXPECT_THAT(two.ids(), ElementsAre(1, 2, 3));

  model_.max_states = 0;
  Collector none;
  Submit(none, Request({0}, 3));
  EXPECT_EQ(none.Wait().status.code(), absl::StatusCode::kResourceExhausted);
}

// As if another model held the memory, or a client had not read its output.
TEST_F(MemoryShortageTest, ARequestWithoutMemoryWaitsForMemoryHeldElsewhere) {
  model_.max_states = 0;
  Start({.cache = {.max_bytes = 0}, .memory_timeout = std::chrono::hours(1)});
  Collector one, two, cancelled;
  Submit(one, Request({0}, 3));
  Submit(two, Request({1}, 3));
  Submit(cancelled, Request({2}, 3));
  cancelled.stream().Cancel();
  EXPECT_EQ(cancelled.reason(), FinishReason::kCancelled);
  model_.max_states = 1;
  EXPECT_TRUE(one.Wait().status.ok()) << one.Wait().status;
  EXPECT_TRUE(two.Wait().status.ok()) << two.Wait().status;
}

// One client's second sequence gives up its memory for another client's first.
TEST_F(MemoryShortageTest, MemoryIsSharedAmongClients) {
  std::latch all_run(1), release(1);
  std::atomic<bool> waits{false};
  std::atomic<int> passes{0}, other_ran{-1};
  model_.max_states = 4;
  model_.before_forward = [&](std::span<const engine::Run> runs) {
    ++passes;
    if (other_ran < 0 && std::ranges::any_of(runs, [](const auto& r) { return r.tokens[0] == 5; }))
      other_ran = passes.load();
    if (runs.size() < 3 || waits.exchange(true)) return;
    all_run.count_down();
    release.wait();
    passes = 0;
  };
  Start({.cache = {.max_bytes = 0}, .max_unread_tokens = kUnlimited});
  GenerationRequest many = Request({0}, 12);
  many.completions = 5;
  many.client = "many";
  many.sampling.logit_bias[5] = -1000;
  Collector greedy, one;
  Submit(greedy, many);
  all_run.wait();
  GenerationRequest request = Request({5}, 1);
  request.client = "one";
  Submit(one, request);
  release.count_down();
  EXPECT_TRUE(one.Wait().status.ok()) << one.Wait().status;
  EXPECT_EQ(other_ran, 1) << "in the first pass after it came";
  ASSERT_TRUE(greedy.Wait().status.ok()) << greedy.Wait().status;
  for (int i = 0; i < 5; ++i) {
    EXPECT_THAT(greedy.ids(i), ElementsAre(1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2)) << i;
  }
  EXPECT_EQ(model_.live_states(), 0);
}

// A completion that gives up its fresh copy of the prompt's state takes another copy later and
// reads nothing again, because the prompt's state still exists.
TEST_F(MemoryShortageTest, AFreshCopyOfThePromptsStateMayBeReleased) {
  for (const int states : {2, 3, 4}) {
    SCOPED_TRACE(states);
    std::latch busy(1), release(1);
    std::atomic<bool> first{true};
    FakeModel model(8);
    model.max_states = states;
    model.before_forward = [&](std::span<const engine::Run>) {
      if (!first.exchange(false)) return;
      busy.count_down();
      release.wait();
    };
    const auto generator = *MakeGenerator(
        &model, &tokenizer_, {.cache = {.max_bytes = 0}, .max_unread_tokens = kUnlimited}, nullptr);
    GenerationRequest many = Request({0}, 6);
    many.completions = 5;
    many.client = "many";
    Collector greedy, one;
    greedy.Watch(*generator->Submit(many, greedy.on_ready()));
    busy.wait();
    GenerationRequest request = Request({3}, 1);
    request.client = "one";
    one.Watch(*generator->Submit(request, one.on_ready()));
    release.count_down();
    EXPECT_TRUE(one.Wait().status.ok()) << one.Wait().status;
    ASSERT_TRUE(greedy.Wait().status.ok()) << greedy.Wait().status;
    for (int i = 0; i < 5; ++i) EXPECT_THAT(greedy.ids(i), ElementsAre(1, 2, 3, 4, 5, 6)) << i;
  }
}

// Completions that find no memory for their copies wait for the first to end.
TEST_F(MemoryShortageTest, CompletionsTakeTurnsIfMemoryIsShort) {
  model_.max_states = 2;
  Start({.cache = {.max_bytes = 0}});
  GenerationRequest request = Request({0}, 4);
  request.completions = 4;
  Collector collector;
  Submit(collector, request);
  ASSERT_TRUE(collector.Wait().status.ok()) << collector.Wait().status;
  for (int i = 0; i < 4; ++i) EXPECT_THAT(collector.ids(i), ElementsAre(1, 2, 3, 4)) << i;
  EXPECT_EQ(model_.live_states(), 0);
}

// One state suffices: the other completions read the prompt again.
TEST_F(MemoryShortageTest, CompletionsTakeTurnsWithASingleState) {
  model_.max_states = 1;
  Start({.cache = {.max_bytes = 0}});
  GenerationRequest request = Request({0, 1}, 4);
  request.completions = 3;
  Collector collector;
  Submit(collector, request);
  ASSERT_TRUE(collector.Wait().status.ok()) << collector.Wait().status;
  for (int i = 0; i < 3; ++i) EXPECT_THAT(collector.ids(i), ElementsAre(2, 3, 4, 5)) << i;
  EXPECT_EQ(model_.live_states(), 0);
}

// Two requests of several completions together hold all the memory: each could continue if the
// other ended.
TEST_F(MemoryShortageTest, RequestsThatTogetherHoldAllMemoryBothSucceed) {
  HoldFirstPass();
  model_.max_states = 2;
  Start({.cache = {.max_bytes = 0}});
  Collector first, one, two;
  Submit(first, Request({0}, 1));
  busy_.wait();
  GenerationRequest request = Request({0}, 6);
  request.completions = 3;
  Submit(one, request);
  Submit(two, request);
  release_.count_down();
  for (Collector* collector : {&one, &two}) {
    ASSERT_TRUE(collector->Wait().status.ok()) << collector->Wait().status;
    for (int i = 0; i < 3; ++i) EXPECT_THAT(collector->ids(i), ElementsAre(1, 2, 3, 4, 5, 6)) << i;
  }
  EXPECT_EQ(model_.live_states(), 0);
}

// Room takes one byte per position, in a ledger of 100 bytes.
class RoomTest : public GeneratorTest {
 protected:
  RoomTest() { model_.room_ledger = &ledger_; }
  ~RoomTest() override { generator_.reset(); }

  static GenerationRequest Completions(int completions, int64_t max_new_tokens) {
    GenerationRequest request = Request({0}, max_new_tokens);
    request.completions = completions;
    return request;
  }

  // The seed chooses the first token; each next token counts up, and 7 ends the sequence.
  void CountUpFromAnyToken() {
    model_.logits = [](std::span<const int32_t> history) {
      std::vector<float> row(8, history.size() == 1 ? 0.0f : -1000.0f);
      row[0] = -1000;
      if (history.size() > 1) row[history.back() + 1] = 0;
      return row;
    };
  }

  // Also checks the states that the cache keeps.
  void ExpectNoRoomIsLeft(Collector& collector) {
    EXPECT_TRUE(collector.Wait().done);
    EXPECT_GT(ledger_.peak(), 0);
    EXPECT_EQ(ledger_.used(), 0);
    EXPECT_GT(generator_->load().cache_entries, 0)
        << "if the cache is empty, the test proves nothing";
  }

  Ledger ledger_{100};
};

TEST_F(RoomTest, IsReleasedWhenTheLastCompletionEnds) {
  Start();
  for (const int completions : {1, 2, 5}) {
    SCOPED_TRACE(completions);
    Collector collector;
    Submit(collector, Completions(completions, 12));
    ASSERT_TRUE(collector.Wait().status.ok()) << collector.Wait().status;
    ExpectNoRoomIsLeft(collector);
  }
}

TEST_F(RoomTest, IsReleasedIfAllEndWithTheirFirstToken) {
  Start();
  GenerationRequest request = Completions(3, 12);
  request.eos_token_ids = {1};
  request.save_state = true;
  Collector collector;
  Submit(collector, request);
  ASSERT_TRUE(collector.Wait().status.ok()) << collector.Wait().status;
  ASSERT_NE(collector.Wait().finished.completions[2].state, nullptr);
  ExpectNoRoomIsLeft(collector);
}

// The cache holds the prompt's state. Its room is kept for the completions that will continue from
// it; the last of them takes a copy.
TEST_F(RoomTest, IsReleasedIfSomeEndWithTheirFirstToken) {
  CountUpFromAnyToken();
  Start();
  for (uint64_t seed = 0; seed < 10; ++seed) {
    SCOPED_TRACE(seed);
    GenerationRequest request = Completions(12, 12);
    request.sampling.temperature = 1;
    request.sampling.seed = seed;
    request.eos_token_ids = {7};
    Collector collector;
    Submit(collector, request);
    ASSERT_TRUE(collector.Wait().status.ok()) << collector.Wait().status;
    ExpectNoRoomIsLeft(collector);
  }
}

TEST_F(RoomTest, IsReleasedIfOnlyThePromptIsRead) {
  Start();
  GenerationRequest request = Request({0, 1, 2}, 0);
  request.save_state = true;
  Collector collector;
  Submit(collector, request);
  ASSERT_TRUE(collector.Wait().status.ok()) << collector.Wait().status;
  ExpectNoRoomIsLeft(collector);
}

TEST_F(RoomTest, IsReleasedIfWaitingCompletionsAreCancelled) {
  CountUpFromAnyToken();
  std::latch second_pass(1), cancelled(1);
  std::atomic<int> passes{0};
  model_.before_forward = [&](std::span<const engine::Run>) {
    if (++passes != 2) return;
    second_pass.count_down();
    cancelled.wait();
  };
  Start({.batching = {.max_running = 1}, .max_unread_tokens = kUnlimited});
  GenerationRequest request = Completions(20, 12);
  request.sampling.temperature = 1;
  request.eos_token_ids = {7};
  Collector collector;
  Submit(collector, request);
  second_pass.wait();
  collector.stream().Cancel();
  cancelled.count_down();
  EXPECT_EQ(collector.reason(), FinishReason::kCancelled);
  ExpectNoRoomIsLeft(collector);
}

TEST_F(RoomTest, ARequestWithoutRoomDoesNotDelayOthers) {
  Start({.cache = {.max_bytes = 0}, .memory_timeout = std::chrono::hours(1)});
  auto outside = *ledger_.Reserve(60, Purpose::kStates, "another model's");
  Collector large, small;
  Submit(large, Request({0}, 60));
  Submit(small, Request({0}, 10));
  EXPECT_TRUE(small.Wait().status.ok()) << small.Wait().status;
  outside = Reservation();
  EXPECT_TRUE(large.Wait().status.ok()) << large.Wait().status;
}

// Small requests that always have room keep arriving: they must not restart the large one's
// timeout.
TEST_F(RoomTest, ARequestWithoutRoomTimesOutUnderASteadyLoad) {
  HoldFirstPass();
  Start({.cache = {.max_bytes = 0}, .max_unread_tokens = kUnlimited, .memory_timeout = {}});
  const auto outside = *ledger_.Reserve(60, Purpose::kStates, "another model's");
  std::vector<Collector> small(100);
  std::atomic<int> ended{0}, ended_before{-1};
  std::latch large_ended(1);
  const auto submit = [&](int i) { Submit(small[i], Request({0}, 10)); };
  submit(0);
  busy_.wait();
  const auto large = generator_->Submit(Request({0}, 60), [&] {
    ended_before = ended.load();
    large_ended.count_down();
  });
  ASSERT_TRUE(large.ok()) << large.status();
  for (int i = 1; i < 4; ++i) submit(i);
  release_.count_down();
  for (int i = 0; i < std::ssize(small); ++i) {
    if (i + 4 < std::ssize(small)) submit(i + 4);
    EXPECT_TRUE(small[i].Wait().status.ok()) << small[i].Wait().status;
    ++ended;
  }
  large_ended.wait();
  EXPECT_TRUE(absl::IsResourceExhausted((*large)->Take().status));
  // Not after all of them. The exact number depends on the threads' timing.
  EXPECT_LT(ended_before, 50);
}

}  // namespace
}  // namespace whipsnake::engine
