#include "server/cli/progress.h"

#include <gtest/gtest.h>

namespace whipsnake::server {
namespace {

constexpr char kStep[] = "step 12/300  loss 2.3140  4/75 layers  312.4 MiB (-61%)  1,200 tokens/s";

TEST(ProgressLine, HasTheRemainingTime) {
  EXPECT_EQ(ProgressLine("Loading", 0, 0, 0), "Loading [------------------------] 0%");
  EXPECT_EQ(ProgressLine("Loading", 0.5, 0, 12),
            "Loading [############------------] 50%  12 s left");
  EXPECT_EQ(ProgressLine("Loading", 0.75, 0.5, 12),
            "Loading [##################------] 75%  12 s left");
  EXPECT_EQ(ProgressLine("Loading", 2, 0, 12),
            "Loading [########################] 100%  0 us left");
}

TEST(ProgressLine, TheBarHasWhatTheTextLeaves) {
  EXPECT_EQ(ProgressLine("step 12/300  loss 2.3140  4/75 layers", 0.04, 0, 10.5),
            "step 12/300  loss 2.3140  4/75 layers [--------------------] 4%  4 min 12 s left");
  EXPECT_EQ(ProgressLine(kStep, 0.04, 0, 10.5),
            "step 12/300  loss 2.3140  4/75 layers  312.4 MiB (-61%) 4%  4 min 12 s left");
  EXPECT_EQ(ProgressLine(kStep, 0.04, 0, 10.5, 50), "step 12/300  loss 2.3140 4%  4 min 12 s left");
}

TEST(ProgressLine, FitsIntoTheTerminal) {
  for (int columns = 40; columns < 200; ++columns) {
    for (const double fraction : {0.0, 0.04, 0.5, 1.0}) {
      const std::string line = ProgressLine(kStep, fraction, 0, 1000, columns);
      EXPECT_LE(line.size(), static_cast<size_t>(columns)) << line;
      EXPECT_TRUE(line.starts_with("step 12/300")) << line;
    }
  }
  EXPECT_EQ(ProgressLine("one part", 0, 0, 0, 5), "one part 0%");
}

}  // namespace
}  // namespace whipsnake::server
