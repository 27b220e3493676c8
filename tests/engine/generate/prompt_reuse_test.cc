// Prompts that continue a cached or a saved state.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/generate/support.h"

namespace whipsnake::engine {
namespace {

using ::testing::ElementsAre;

TEST_F(GeneratorTest, TheNextTurnReadsOnlyWhatIsNew) {
  PassRecorder passes(model_);
  Start();
  Collector first, second, other;
  Submit(first, Request({0, 1, 2}, 3));
  EXPECT_EQ(first.reason(), FinishReason::kLength);
  EXPECT_THAT(first.ids(), ElementsAre(3, 4, 5));
  passes.Take();
  Submit(second, Request({0, 1, 2, 3, 4, 5, 0, 1}, 2));
  EXPECT_EQ(second.reason(), FinishReason::kLength);
  EXPECT_THAT(second.ids(), ElementsAre(2, 3));
  EXPECT_EQ(second.Wait().finished.usage.prompt_tokens, 8);
  EXPECT_EQ(second.Wait().finished.usage.cached_prompt_tokens, 5);  // the last token was never read
  EXPECT_THAT(passes.Take(), ElementsAre(ElementsAre(3), ElementsAre(1)));
  // A prefix that differs in one token does not match.
  Submit(other, Request({0, 1, 3, 3, 4, 5, 0, 1}, 1));
  EXPECT_EQ(other.reason(), FinishReason::kLength);
  EXPECT_EQ(other.Wait().finished.usage.cached_prompt_tokens, 0);
}

TEST_F(GeneratorTest, ACachedPrefixTakesNoneOfTheBudget) {
  PassRecorder passes(model_);
  Start({.batching = {.prefill_chunk_tokens = 4}, .cache = {.interval_tokens = 4}});
  Collector first, second;
  Submit(first, Request({0, 1, 2, 3, 4, 5, 6, 0, 1, 2}, 1));
  EXPECT_EQ(first.reason(), FinishReason::kLength);
  EXPECT_THAT(passes.Take(), ElementsAre(ElementsAre(4), ElementsAre(4), ElementsAre(2)));
  // The two prompts share nine tokens, but the cached state is after eight.
  Submit(second, Request({0, 1, 2, 3, 4, 5, 6, 0, 1, 3, 4, 5, 6}, 1));
  EXPECT_EQ(second.reason(), FinishReason::kLength);
  EXPECT_THAT(second.ids(), ElementsAre(7));
  EXPECT_EQ(second.Wait().finished.usage.cached_prompt_tokens, 8);
  EXPECT_THAT(passes.Take(), ElementsAre(ElementsAre(4), ElementsAre(1)));
}

TEST_F(GeneratorTest, ASavedStateIsContinuedAndNotModified) {
  Start({.cache = {.max_bytes = 0}});
  GenerationRequest read = Request({0, 1, 2}, 0);
  read.save_state = true;
  Collector reader;
  Submit(reader, read);
  ASSERT_TRUE(reader.Wait().status.ok());
  const auto saved = reader.Wait().finished.completions[0].state;
  ASSERT_NE(saved, nullptr);
  EXPECT_THAT(saved->tokens, ElementsAre(0, 1, 2));
  EXPECT_EQ(saved->state->position(), 2);
  for (int turn = 0; turn < 2; ++turn) {
    GenerationRequest request = Request({0, 1, 2}, 2);
    request.resume = saved;
    Collector collector;
    Submit(collector, request);
    EXPECT_EQ(collector.reason(), FinishReason::kLength);
    EXPECT_THAT(collector.ids(), ElementsAre(3, 4));
    EXPECT_EQ(collector.Wait().finished.usage.cached_prompt_tokens, 2);
  }
  EXPECT_EQ(saved->state->position(), 2);
}

}  // namespace
}  // namespace whipsnake::engine
