#include "server/registry/data_directory_usage.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;
using Part = DataDirectoryUsage::Part;

class DataDirectoryUsageTest : public testing::Test {
 protected:
  DataDirectoryUsageTest() {
    const std::string path = testing::TempDir() + "usage-data";
    fs::remove_all(path);
    data_ = *DataDirectory::Open(path);
  }

  static void Write(const std::string& path, size_t bytes) {
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path) << std::string(bytes, 'x');
  }

  static constexpr size_t kBytes = 1 << 20;
  DataDirectory data_;
};

TEST_F(DataDirectoryUsageTest, MeasuresTheFileSystem) {
  const DataDirectoryUsage usage(data_, std::chrono::hours(1));
  EXPECT_GT(usage.free_bytes(), 0);
  EXPECT_GE(usage.size_bytes(), usage.free_bytes());
}

TEST_F(DataDirectoryUsageTest, CountsTheBytesOfEachPart) {
  Write(data_.jobs() + "/1/checkpoints/a", kBytes);
  Write(data_.datasets() + "/1/data.jsonl", 2 * kBytes);
  const DataDirectoryUsage usage(data_, std::chrono::hours(1));
  // Directories and the ends of files take blocks too.
  EXPECT_GE(usage.used_bytes(Part::kJobs), kBytes);
  EXPECT_LT(usage.used_bytes(Part::kJobs), 2 * kBytes);
  EXPECT_GE(usage.used_bytes(Part::kDatasets), 2 * kBytes);
  EXPECT_LT(usage.used_bytes(Part::kStates), kBytes);
}

TEST_F(DataDirectoryUsageTest, AFileOfTwoPartsCountsOnce) {
  Write(data_.jobs() + "/1/result/model", kBytes);
  fs::create_directories(data_.models() + "/m");
  fs::create_hard_link(data_.jobs() + "/1/result/model", data_.models() + "/m/model");
  const DataDirectoryUsage usage(data_, std::chrono::hours(1));
  EXPECT_GE(usage.used_bytes(Part::kJobs), kBytes);
  EXPECT_LT(usage.used_bytes(Part::kModels), kBytes);
}

TEST_F(DataDirectoryUsageTest, MeasuresAgain) {
  DataDirectoryUsage usage(data_, std::chrono::hours(1));
  Write(data_.states() + "/a", kBytes);
  EXPECT_LT(usage.used_bytes(Part::kStates), kBytes);
  usage.Measure();
  EXPECT_GE(usage.used_bytes(Part::kStates), kBytes);
}

}  // namespace
}  // namespace whipsnake::server
