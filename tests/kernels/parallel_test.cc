#include "kernels/cpu/parallel.h"

#include <atomic>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_context.h"

namespace whipsnake::kernels {
namespace {

TEST(ForEachShareTest, AShareHasOneThreadAndAWorkspaceOfItsOwn) {
  const CpuContext cpu(3);
  std::vector<Context> shares(3);
  ForEachShare(cpu.context(), [&](const Context& own, int64_t share) { shares[share] = own; });
  std::set<Workspace*> workspaces = {cpu.context().workspace};
  for (const Context& own : shares) {
    EXPECT_EQ(Threads(own), 1);
    workspaces.insert(own.workspace);
  }
  EXPECT_EQ(workspaces.size(), 4u);
  EXPECT_FALSE(workspaces.contains(nullptr));
}

// An operation inside a share splits its work again, within the share's one thread.
TEST(ForEachShareTest, Nests) {
  const CpuContext cpu(3);
  std::atomic<int> calls{0};
  for (int round = 0; round < 100; ++round) {
    ForEachShare(cpu.context(), [&](const Context& own, int64_t) {
      ForEachShare(own, [&](const Context& inner, int64_t share) {
        EXPECT_EQ(share, 0);
        EXPECT_NE(inner.workspace, own.workspace);
        ++calls;
      });
    });
  }
  EXPECT_EQ(calls, 300);
}

TEST(ForEachShareTest, ADefaultContextIsTheCallerAlone) {
  int calls = 0;
  ForEachShare(Context(), [&](const Context& own, int64_t share) {
    EXPECT_EQ(share, 0);
    EXPECT_EQ(own.workspace, nullptr);
    ++calls;
  });
  EXPECT_EQ(calls, 1);
}

// Every range but the last ends at a multiple of 64 channels.
TEST(ParallelTest, RangesCoverEverythingOnce) {
  const CpuContext cpu(3);
  for (const int64_t count : {1, 63, 64, 65, 200, 1000}) {
    for (const double nanoseconds : {0.0, 1e6}) {
      std::vector<std::atomic<int>> channels(count), rows(count);
      ParallelChannels(cpu.context(), count, nanoseconds,
                       [&](const Context&, int64_t begin, int64_t end) {
                         EXPECT_EQ(begin % 64, 0);
                         for (int64_t i = begin; i < end; ++i) ++channels[i];
                       });
      ParallelRows(cpu.context(), count, nanoseconds,
                   [&](const Context&, int64_t begin, int64_t end) {
                     for (int64_t i = begin; i < end; ++i) ++rows[i];
                   });
      for (int64_t i = 0; i < count; ++i) {
        ASSERT_EQ(channels[i], 1) << i << " of " << count;
        ASSERT_EQ(rows[i], 1) << i << " of " << count;
      }
    }
  }
}

TEST(OperationScratchTest, IsKeptByTheWorkspaceOrFreedWithTheOperation) {
  const int64_t before = Scratch::Kept();
  {
    const CpuContext cpu(1);
    OperationScratch(cpu.context()).Get<float>(1000);
    EXPECT_EQ(Scratch::Kept(), before + 4000);
    OperationScratch(Context()).Get<float>(1000);
    EXPECT_EQ(Scratch::Kept(), before + 4000);
  }
  EXPECT_EQ(Scratch::Kept(), before);
}

}  // namespace
}  // namespace whipsnake::kernels
