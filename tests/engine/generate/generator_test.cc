#include "engine/generate/generator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <latch>
#include <memory>
#include <set>
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

TEST_F(GeneratorTest, AStopTokensTextIsNotReturnedButWhatWasHeldBackIs) {
  Start();
  GenerationRequest request = Request({0}, 10);
  request.stop_texts = {"cX"};
  request.stop_token_ids = {3};
  Collector collector;
  Submit(collector, request);
  EXPECT_EQ(collector.reason(), FinishReason::kStop);
  EXPECT_EQ(collector.text(), "bc");
}

TEST_F(GeneratorTest, ACharacterOfTwoTokensComesWhole) {
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

TEST_F(GeneratorTest, ADeadlineThatHasPassedCostsNothing) {
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

TEST_F(GeneratorTest, AFullQueueRefusesAndDrainRefusesButFinishes) {
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

TEST_F(GeneratorTest, AFailingModelFailsTheRequestAlone) {
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

TEST_F(GeneratorTest, InABatchOnlyWhatCannotBeComputedFails) {
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

// Records the number of tokens of each run in each pass.
class PassRecorder {
 public:
  explicit PassRecorder(FakeModel& model) {
    model.before_forward = [this](std::span<const engine::Run> runs) {
      std::vector<size_t>& pass = passes_.emplace_back();
      for (const engine::Run& run : runs) pass.push_back(run.tokens.size());
    };
  }
  std::vector<std::vector<size_t>> Take() { return std::exchange(passes_, {}); }

 private:
  std::vector<std::vector<size_t>> passes_;
};

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
TEST_F(GeneratorTest, OneRequestOfManyCompletionsKeepsNobodyWaiting) {
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
  Start({.cache = {.max_bytes = 0}, .max_unread_tokens = kPatient});
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

TEST_F(GeneratorTest, CompletionsEndEachByItself) {
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

TEST_F(GeneratorTest, ACancelledRequestTakesAllItsCompletionsAlong) {
  HoldFirstPass();
  Start({.batching = {.max_running = 2}, .cache = {.max_bytes = 0}, .max_unread_tokens = kPatient});
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

TEST_F(GeneratorTest, ACachedPromptFreesItsShareOfTheBudget) {
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

TEST_F(GeneratorTest, ASavedStateIsContinuedAndStaysAsItIs) {
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

TEST_F(GeneratorTest, AStructuredOutputIsCompleteAndEndsThere) {
  const auto vocabulary = std::make_shared<VocabularyTrie>(tokenizer_, 8);
  const auto held = [&](const std::string& regex) {
    return *Constraint::Compile({ConstraintSpec::Form::kRegex, {regex}}, vocabulary);
  };
  model_.logits = [](std::span<const int32_t>) { return std::vector<float>(8, 0.0f); };
  Start();
  for (uint64_t seed = 0; seed < 50; ++seed) {
    GenerationRequest request = Request({0}, 6);
    request.sampling = {.temperature = 1, .seed = seed};
    request.constraint = held("(ab|dd)+g");
    Collector collector;
    Submit(collector, request);
    EXPECT_EQ(collector.reason(), FinishReason::kEos);
    EXPECT_TRUE(collector.text().ends_with("g")) << collector.text();
    EXPECT_EQ(collector.text().size() % 2, 1) << collector.text();
    EXPECT_LE(collector.ids().size(), 6) << "the budget, of which one is for the g";
  }
  // The end-of-sequence token is allowed only where the output may end.
  GenerationRequest request = Request({0}, 6);
  request.eos_token_ids = {7};
  model_.logits = [](std::span<const int32_t>) {
    return std::vector<float>{0, 0, 0, 0, 0, 0, 0, 5};
  };
  request.constraint = held("a{3}b*");
  Collector collector;
  Submit(collector, request);
  EXPECT_EQ(collector.reason(), FinishReason::kEos);
  EXPECT_THAT(collector.ids(), ElementsAre(0, 0, 0, 7));
  EXPECT_EQ(collector.text(), "aaa");
}

// The tokens are of twelve letters a and b, so a form that looks back over hundreds of letters is
// in a new state after each token.
class HeavyFormTest : public GeneratorTest {
 protected:
  HeavyFormTest() {
    tokenizer_ = FakeTokenizer(Pieces());
    model_.mutable_info().vocab_size = tokenizer_.size();
    model_.logits = [this](std::span<const int32_t>) {
      return std::vector<float>(tokenizer_.size(), 0.0f);
    };
    Start();
  }

  static std::vector<std::string> Pieces() {
    std::vector<std::string> pieces = {"a", "b"};
    for (int bits = 0; bits < 4096; ++bits) {
      std::string& piece = pieces.emplace_back();
      for (int i = 0; i < 12; ++i) piece += (bits >> i & 1) != 0 ? 'a' : 'b';
    }
    return pieces;
  }

  GenerationRequest Heavy(const ConstraintLimits& limits) {
    const auto vocabulary = std::make_shared<VocabularyTrie>(tokenizer_, tokenizer_.size());
    GenerationRequest request = Request({0}, 1'000'000);
    request.sampling.temperature = 1;
    auto form = Constraint::Compile({ConstraintSpec::Form::kRegex, {"[ab]*a[ab]{500}"}}, vocabulary,
                                    limits);
    EXPECT_TRUE(form.ok()) << form.status();
    request.constraint = *std::move(form);
    return request;
  }
};

TEST_F(HeavyFormTest, OthersGoOnWhileASequenceWaitsForItsForm) {
  Collector heavy, other, late;
  Submit(heavy, Heavy({.slice_work = 1000}));
  Submit(other, Request({0}, 200));
  EXPECT_EQ(other.reason(), FinishReason::kLength);
  EXPECT_EQ(other.ids().size(), 200u);
  heavy.stream().Cancel();
  EXPECT_EQ(heavy.reason(), FinishReason::kCancelled);
  GenerationRequest request = Heavy({.slice_work = 1000});
  request.deadline = Clock::now() + std::chrono::milliseconds(30);
  Submit(late, request);
  EXPECT_EQ(late.reason(), FinishReason::kDeadline);
}

TEST_F(HeavyFormTest, WhatIsTooCostlyEndsAlone) {
  Collector heavy, other;
  // It compiles, because its beginning is cheap, and is refused some tokens later.
  Submit(heavy, Heavy({.max_bytes = int64_t{8} << 20}));
  Submit(other, Request({0}, 200));
  EXPECT_TRUE(absl::IsResourceExhausted(heavy.Wait().status)) << heavy.Wait().status;
  EXPECT_THAT(heavy.Wait().status.message(), HasSubstr("regex: needs more than 8388608 bytes"));
  EXPECT_EQ(other.reason(), FinishReason::kLength);
}

TEST_F(HeavyFormTest, ShutdownDoesNotWaitForAForm) {
  Collector heavy;
  Submit(heavy, Heavy({.slice_work = 1000}));
  generator_.reset();
  EXPECT_TRUE(absl::IsUnavailable(heavy.Wait().status)) << heavy.Wait().status;
}

TEST_F(GeneratorTest, NothingEndsItBeforeTheLeastNumberOfTokens) {
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

TEST_F(GeneratorTest, WhoDoesNotReadIsGivenUp) {
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
TEST_F(GeneratorTest, TheEndIsToldToWhoPolls) {
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

TEST_F(GeneratorTest, WhatIsNotTakenIsMerged) {
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

TEST(GenerationValidateTest, AClassifierGeneratesNothing) {
  ModelInfo model;
  model.vocab_size = 10;
  GenerationRequest request;
  request.prompt = {1};
  request.max_new_tokens = 1;
  EXPECT_TRUE(Validate(request, model).ok());
  model.labels = 2;
  EXPECT_TRUE(absl::IsFailedPrecondition(Validate(request, model)));
}

TEST(GenerationValidateTest, NamesTheField) {
  ModelInfo model;
  model.vocab_size = 10;
  model.max_positions = 4;
  const auto field = [&](auto change) {
    GenerationRequest request;
    request.prompt = {1};
    request.max_new_tokens = 1;
    change(request);
    return FieldOf(Validate(request, model));
  };
  EXPECT_EQ(field([](auto&) {}), "");
  EXPECT_EQ(field([](auto& r) { r.prompt = {}; }), "prompt");
  EXPECT_EQ(field([](auto& r) { r.prompt = {1, 10}; }), "prompt[1]");
  EXPECT_EQ(field([](auto& r) { r.prompt = {-1}; }), "prompt[0]");
  EXPECT_EQ(field([](auto& r) { r.prompt = {1, 1, 1, 1, 1}; }), "prompt");
  EXPECT_EQ(field([](auto& r) { r.max_new_tokens = 0; }), "stopping.max_new_tokens");
  EXPECT_EQ(field([](auto& r) { r.completions = 0; }), "completions");
  EXPECT_EQ(field([](auto& r) { r.min_new_tokens = 2; }), "stopping.min_new_tokens");
  EXPECT_EQ(field([](auto& r) { r.stop_texts = {""}; }), "stopping.stop_texts[0]");
  EXPECT_EQ(field([](auto& r) {
              r.stop_texts = {"x", std::string(257, 'x')};
            }),
            "stopping.stop_texts[1]");
  EXPECT_EQ(field([](auto& r) { r.stop_texts.assign(17, "x"); }), "stopping.stop_texts");
  EXPECT_EQ(field([](auto& r) { r.stop_token_ids = {10}; }), "stopping.stop_token_ids[0]");
  EXPECT_EQ(field([](auto& r) { r.top_logprobs = 21; }), "output.logprobs");
  EXPECT_EQ(field([](auto& r) { r.sampling.top_p = 2; }), "sampling.top_p");
}

}  // namespace
}  // namespace whipsnake::engine
