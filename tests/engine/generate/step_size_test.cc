#include "engine/generate/step_size.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/fakes/fake_model.h"

namespace whipsnake::engine {
namespace {

// Needs 100 bytes per row and 1000 bytes per row of logits.
class SizedModel : public FakeModel {
 public:
  explicit SizedModel(Ledger* ledger) : FakeModel(8), ledger_(*ledger) {}

  int64_t WorkspaceBytes(const BatchSize& size) const override {
    return 100 * size.rows + 1000 * size.logit_rows;
  }
  absl::Status ReserveWorkspace(const BatchSize& largest) override {
    auto taken = ledger_.Reserve(WorkspaceBytes(largest), Purpose::kWorkspace, "workspace");
    if (!taken.ok()) return taken.status();
    taken_ = *std::move(taken);
    return absl::OkStatus();
  }

 private:
  Ledger& ledger_;
  Reservation taken_;
};

constexpr BatcherOptions kOptions{
    .max_running = 64, .prefill_chunk_tokens = 512, .mixed_chunk_tokens = 32};

TEST(StepSizeTest, TheLargestStepIsPrefillOrDecodingBesideAChunk) {
  EXPECT_EQ(LargestStep(kOptions).rows, 512);
  EXPECT_EQ(LargestStep(kOptions).logit_rows, 64);
  EXPECT_EQ(
      LargestStep({.max_running = 64, .prefill_chunk_tokens = 8, .mixed_chunk_tokens = 8}).rows,
      72);
}

TEST(StepSizeTest, WithoutALimitTheOptionsAreUnchanged) {
  Ledger ledger;
  SizedModel model(&ledger);
  const auto fitted = FitSteps(kOptions, model, &ledger);
  ASSERT_TRUE(fitted.ok());
  EXPECT_EQ(fitted->max_running, 64);
  EXPECT_EQ(fitted->prefill_chunk_tokens, 512);
  EXPECT_EQ(ledger.used(), 100 * 512 + 1000 * 64);
}

// For every limit, steps are as large as half of the limit allows; only the smallest step may use
// all of it.
TEST(StepSizeTest, WithLessMemoryStepsAreSmaller) {
  int64_t last_rows = 0, last_running = 0;
  for (int64_t limit = 100; limit < 300'000; limit += 100) {
    Ledger ledger(limit);
    SizedModel model(&ledger);
    const auto fitted = FitSteps(kOptions, model, &ledger);
    constexpr int64_t kMinLimit = 100 * (kMinChunkTokens + 1) + 1000;
    ASSERT_EQ(fitted.ok(), limit >= kMinLimit) << limit << ": " << fitted.status();
    if (!fitted.ok()) {
      EXPECT_TRUE(absl::IsResourceExhausted(fitted.status()));
      EXPECT_THAT(std::string(fitted.status().message()),
                  testing::HasSubstr(absl::StrCat(kMinLimit - limit, " are missing")));
      continue;
    }
    const BatchSize largest = LargestStep(*fitted);
    EXPECT_EQ(ledger.used(), model.WorkspaceBytes(largest));
    const bool smallest =
        fitted->max_running == 1 && fitted->prefill_chunk_tokens == kMinChunkTokens;
    EXPECT_TRUE(smallest || 2 * ledger.used() <= limit) << limit;
    EXPECT_LE(fitted->mixed_chunk_tokens, fitted->prefill_chunk_tokens);
    EXPECT_GE(largest.rows, last_rows) << limit;
    EXPECT_GE(fitted->max_running, last_running) << limit;
    last_rows = largest.rows;
    last_running = fitted->max_running;
  }
  EXPECT_EQ(last_rows, 512);
  EXPECT_EQ(last_running, 64);
}

// A cache releases its memory for a model's workspace.
TEST(StepSizeTest, CachesAreReclaimedFirst) {
  class Cache : public Reclaimer {
   public:
    explicit Cache(Ledger& ledger) : held_(*ledger.Reserve(200'000, Purpose::kStates, "a cache")) {}
    int64_t Reclaim(int64_t) override {
      const int64_t bytes = held_.bytes();
      held_ = Reservation();
      return bytes;
    }

   private:
    Reservation held_;
  };
  Ledger ledger(240'000);
  Cache cache(ledger);
  ledger.Register(&cache);
  SizedModel model(&ledger);
  const auto fitted = FitSteps(kOptions, model, &ledger);
  ASSERT_TRUE(fitted.ok());
  EXPECT_EQ(fitted->prefill_chunk_tokens, 512);
  ledger.Unregister(&cache);
}

}  // namespace
}  // namespace whipsnake::engine
