// Requests for several completions of one prompt.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <latch>
#include <set>
#include <vector>

#include "tests/engine/generate/support.h"

namespace whipsnake::engine {
namespace {

using ::testing::ElementsAre;

TEST_F(GeneratorTest, CompletionsReadThePromptOnce) {
  model_.logits = [](std::span<const int32_t>) { return std::vector<float>(8, 1.0f); };
  PassRecorder passes(model_);
  Start({.cache = {.max_bytes = 0}});
  GenerationRequest request = Request({0, 1, 2, 3}, 5);
  request.sampling.temperature = 1;
  request.sampling.seed = 7;
  request.completions = 3;
  Collector collector;
  Submit(collector, request);
  ASSERT_TRUE(collector.Wait().status.ok());
  const Finished& finished = collector.Wait().finished;
  EXPECT_EQ(finished.usage.prompt_tokens, 4);
  EXPECT_EQ(finished.usage.generated_tokens, 15);
  ASSERT_EQ(finished.completions.size(), 3u);
  EXPECT_NE(collector.ids(0), collector.ids(1));
  EXPECT_NE(collector.ids(1), collector.ids(2));
  const std::vector<int32_t> first = collector.ids(0);
  EXPECT_EQ(model_.live_states(), 0);
  EXPECT_THAT(passes.Take(), ElementsAre(ElementsAre(4), ElementsAre(1, 1, 1), ElementsAre(1, 1, 1),
                                         ElementsAre(1, 1, 1), ElementsAre(1, 1, 1)));
  // The first completion equals a single one.
  request.completions = 1;
  Collector alone;
  Submit(alone, request);
  EXPECT_EQ(alone.reason(), FinishReason::kLength);
  EXPECT_EQ(alone.ids(), first);
}

// Another client's request starts in the first step after its arrival, however many sequences the
// first request has.
TEST_F(GeneratorTest, ARequestOfManyCompletionsDoesNotDelayOtherClients) {
  std::latch all_run(1), release(1);
  int passes_until_start = 0;
  std::atomic<bool> waits{false};
  model_.before_forward = [&](std::span<const engine::Run> runs) {
    if (runs.size() == 64 && !waits.exchange(true)) {
      all_run.count_down();
      release.wait();
      return;
    }
    const bool is_here = std::ranges::any_of(runs, [](const auto& r) { return r.tokens[0] == 5; });
    if (waits && passes_until_start <= 0) passes_until_start += is_here ? 1000 : -1;
  };
  Start({.cache = {.max_bytes = 0}, .max_unread_tokens = kUnlimited});
  GenerationRequest many = Request({0}, 100000);
  many.completions = 64;
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
  greedy.stream().Cancel();
  EXPECT_EQ(greedy.reason(), FinishReason::kCancelled);
  EXPECT_EQ(passes_until_start, 1000) << "it was in the first pass after it came";
}

TEST_F(GeneratorTest, CompletionsEndIndependently) {
  // The seed chooses the first token; each next token counts up, and 7 ends the sequence.
  model_.logits = [](std::span<const int32_t> history) {
    std::vector<float> row(8, history.size() == 1 ? 0.0f : -1000.0f);
    row[0] = -1000;
    if (history.size() > 1) row[history.back() + 1] = 0;
    return row;
  };
  Start({.batching = {.max_running = 3}});
  GenerationRequest request = Request({0}, 100);
  request.sampling.temperature = 1;
  request.completions = 16;
  request.eos_token_ids = {7};
  request.save_state = true;
  Collector collector;
  Submit(collector, request);
  ASSERT_TRUE(collector.Wait().status.ok()) << collector.Wait().status;
  const Finished& finished = collector.Wait().finished;
  std::set<size_t> lengths;
  for (int i = 0; i < 16; ++i) {
    const std::vector<int32_t>& ids = collector.ids(i);
    lengths.insert(ids.size());
    EXPECT_EQ(ids.back(), 7);
    EXPECT_EQ(std::ssize(ids), 8 - ids.front());
    EXPECT_EQ(finished.completions[i].generated_tokens, std::ssize(ids));
    // The state has seen all tokens except the one that ended it.
    std::vector<int32_t> seen = {0};
    seen.insert(seen.end(), ids.begin(), ids.end() - 1);
    const SavedState& saved = *finished.completions[i].state;
    EXPECT_EQ(saved.tokens, seen);
    EXPECT_EQ(static_cast<const FakeState&>(*saved.state).history, seen);
  }
  EXPECT_GT(lengths.size(), 3u);
  EXPECT_TRUE(lengths.contains(1)) << "one that ends at once";
}

TEST_F(GeneratorTest, CancellingARequestEndsAllItsCompletions) {
  HoldFirstPass();
  Start(
      {.batching = {.max_running = 2}, .cache = {.max_bytes = 0}, .max_unread_tokens = kUnlimited});
  GenerationRequest request = Request({0}, 1000000);
  request.completions = 5;
  Collector collector, next;
  Submit(collector, request);
  busy_.wait();
  release_.count_down();
  collector.stream().Cancel();
  EXPECT_EQ(collector.reason(), FinishReason::kCancelled);
  EXPECT_EQ(collector.Wait().finished.completions.size(), 5u);
  Submit(next, Request({0}, 2));
  EXPECT_THAT(next.reason(), FinishReason::kLength);
  EXPECT_EQ(model_.live_states(), 0);
  EXPECT_EQ(generator_->load().running + generator_->load().waiting, 0);
}

}  // namespace
}  // namespace whipsnake::engine
