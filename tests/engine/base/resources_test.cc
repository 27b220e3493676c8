#include "engine/base/resources.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace whipsnake::engine {
namespace {

namespace fs = std::filesystem;

// A fake /proc and /sys.
class ResourcesTest : public ::testing::Test {
 protected:
  ResourcesTest() {
    root_ = fs::path(::testing::TempDir()) /
            ::testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(root_);
    Write("proc/meminfo", "MemTotal:       1000 kB\nMemFree:  10 kB\n");
  }
  ~ResourcesTest() override { fs::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }

  fs::path root_;
};

TEST_F(ResourcesTest, WithoutACgroupTheMachineCounts) {
  const Resources resources = DetectResources(root_);
  EXPECT_EQ(resources.memory_bytes, 1000 * 1024);
  EXPECT_GE(resources.threads, 1);
}

TEST_F(ResourcesTest, TheTightestAncestorBinds) {
  Write("proc/self/cgroup", "0::/a/b\n");
  Write("sys/fs/cgroup/memory.max", "900000\n");
  Write("sys/fs/cgroup/a/memory.max", "500000\n");
  Write("sys/fs/cgroup/a/b/memory.max", "max\n");
  Write("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  Write("sys/fs/cgroup/a/cpu.max", "50000 100000\n");
  const Resources resources = DetectResources(root_);
  EXPECT_EQ(resources.memory_bytes, 500000);
  EXPECT_EQ(resources.threads, 1);  // half a CPU counts as one thread
}

// Half a CPU and 300 kB by the trees of version 1.
TEST_F(ResourcesTest, LimitsOfVersion1Count) {
  Write("proc/self/cgroup",
        "12:cpu,cpuacct:/docker/7\n4:memory:/docker/7\n3:cpuset:/\n1:name=systemd:/docker/7\n");
  Write("sys/fs/cgroup/cpu,cpuacct/docker/7/cpu.cfs_quota_us", "50000\n");
  Write("sys/fs/cgroup/cpu,cpuacct/docker/7/cpu.cfs_period_us", "100000\n");
  Write("sys/fs/cgroup/memory/docker/7/memory.limit_in_bytes", "300000\n");
  Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  const Resources resources = DetectResources(root_);
  EXPECT_EQ(resources.memory_bytes, 300000);
  EXPECT_EQ(resources.threads, 1);
}

// In a container the path is that of the host, and the trees show the container's part only.
TEST_F(ResourcesTest, AContainersTopOfVersion1Counts) {
  Write("proc/self/cgroup", "3:cpu:/docker/7\n2:memory:/docker/7\n0::/system.slice\n");
  Write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  Write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "300000\n");
  const Resources resources = DetectResources(root_);
  EXPECT_EQ(resources.memory_bytes, 300000);
  EXPECT_EQ(resources.threads, DetectResources().threads);
}

TEST_F(ResourcesTest, ALimitAboveTheMachineDoesNotRaiseIt) {
  Write("proc/self/cgroup", "0::/\n");
  Write("sys/fs/cgroup/memory.max", "99999999999\n");
  Write("sys/fs/cgroup/cpu.max", "10000000 100000\n");
  const int threads_here = DetectResources().threads;
  const Resources resources = DetectResources(root_);
  EXPECT_EQ(resources.memory_bytes, 1000 * 1024);
  EXPECT_LE(resources.threads, 100);
  EXPECT_GE(resources.threads, threads_here);
}

TEST(ResidentBytesTest, ThePeakIsAtLeastWhatIsResident) {
  EXPECT_GT(ResidentBytes(), 0);
  const int64_t resident = ResidentBytes();  // read first: a call may make the process grow
  EXPECT_GE(PeakResidentBytes(), resident);
}

}  // namespace
}  // namespace whipsnake::engine
