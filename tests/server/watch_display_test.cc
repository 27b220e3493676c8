#include "server/cli/watch_display.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/base/utf8.h"

namespace whipsnake::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;

WatchView Training() {
  WatchView view;
  view.job.set_id("reviews");
  view.job.set_state(v1::FINE_TUNING_JOB_STATE_RUNNING);
  v1::FineTuningProgress& progress = *view.job.mutable_progress();
  progress.set_stage("Training");
  progress.set_fraction(0.5);
  progress.set_step(150);
  progress.set_steps(300);
  progress.set_epoch(1.5);
  progress.set_loss(2.314);
  progress.set_eval_loss(2.2871);
  progress.set_tokens_per_second(2140);
  progress.set_remaining_seconds(192);
  progress.set_heap_bytes(int64_t{312} << 20);
  progress.set_checkpoint_step(100);
  for (int step = 141; step <= 148; ++step) view.history.Add(step, 200 - step);
  view.layers = LayerMap::Parse("2,2,5,2,1");
  return view;
}

TEST(WatchLines, ShowARun) {
  EXPECT_THAT(
      WatchLines(Training(), 79),
      ElementsAre("reviews: Training [############------------] 50%  3 min 12 s left",
                  "  step 150/300  epoch 1.50  2,140 tokens/s  312.0 MiB  checkpoint at 100",
                  "  loss 2.3140  █▇▆▅▄▃▂▁  evaluation 2.2871", "  layers ··██·····██·  4/12"));
}

TEST(WatchLines, ShowNoLayersWithoutAScheduler) {
  WatchView view = Training();
  view.layers = {};
  EXPECT_THAT(WatchLines(view, 79), SizeIs(3));
}

TEST(WatchLines, ShowWhatAJobWaitsFor) {
  WatchView view;
  view.job.set_id("a");
  view.job.set_state(v1::FINE_TUNING_JOB_STATE_QUEUED);
  view.job.set_queue_position(2);
  view.job.set_waits_for("1 job before it");
  EXPECT_THAT(WatchLines(view, 79), ElementsAre("a: queued, number 2; waits for 1 job before it"));
  view.cut = std::chrono::milliseconds(12'000);
  EXPECT_THAT(WatchLines(view, 79), ElementsAre("a: no connection for 12 s; tries again"));
  view.cut.reset();
  view.job.set_state(v1::FINE_TUNING_JOB_STATE_PAUSED);
  view.job.set_state_reason("paused by a client");
  EXPECT_THAT(WatchLines(view, 79), ElementsAre("a: paused, paused by a client"));
}

TEST(WatchLines, FitIntoTheTerminal) {
  WatchView view = Training();
  view.job.set_id(std::string(63, 'x'));
  for (int step = 149; step < 300; ++step) view.history.Add(step, step % 7);
  view.layers.active.assign(500, true);
  for (int columns = 40; columns < 200; ++columns) {
    const std::vector<std::string> lines = WatchLines(view, columns);
    ASSERT_THAT(lines, SizeIs(4));
    for (const std::string& line : lines) {
      EXPECT_TRUE(engine::IsUtf8(line));
      EXPECT_LE(engine::CountCharacters(line), columns) << line;
    }
    EXPECT_THAT(lines[1], StartsWith("  step 150/300"));
    EXPECT_THAT(lines[2], StartsWith("  loss 2.3140"));
    EXPECT_THAT(lines[3], HasSubstr("  500/500"));
  }
}

TEST(IsLoggedStep, IsTrueOfTheFirstTheLastAndTwentyBetween) {
  for (const int64_t steps : {1, 7, 20, 21, 300, 4001}) {
    int64_t logged = 0;
    for (int64_t step = 1; step <= steps; ++step) {
      v1::StepTaken taken;
      taken.set_step(step);
      taken.set_steps(steps);
      const bool is_logged = IsLoggedStep(taken);
      EXPECT_TRUE(is_logged || (step > 1 && step < steps));
      logged += is_logged ? 1 : 0;
    }
    EXPECT_GE(logged, std::min<int64_t>(steps, 20));
    EXPECT_LE(logged, 22);
  }
}

}  // namespace
}  // namespace whipsnake::server
