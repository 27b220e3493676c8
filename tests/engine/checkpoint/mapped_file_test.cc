#include "engine/checkpoint/mapped_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <numeric>
#include <thread>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/model_digest.h"
#include "engine/models/random_model.h"
#include "tests/engine/base/support.h"

namespace whipsnake::engine {
namespace {

using Code = absl::StatusCode;

int64_t Sum(std::span<const std::byte> bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), int64_t{0},
                         [](int64_t sum, std::byte b) { return sum + std::to_integer<int>(b); });
}

TEST(MappedFile, OutlivesMovesAndTheNameOfTheFile) {
  const TemporaryDirectory directory;
  WriteBytes(directory / "file", "content");
  auto opened = MappedFile::Open(directory / "file");
  ASSERT_TRUE(opened.ok());
  MappedFile moved = *std::move(opened);
  WriteBytes(directory / "other", "different");
  std::filesystem::rename(directory / "other", directory / "file");
  EXPECT_TRUE(moved.Check().ok());
  std::filesystem::remove(directory / "file");
  EXPECT_TRUE(moved.Check().ok());
  const auto bytes = moved.bytes();
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), "content");

  WriteBytes(directory / "empty", "");
  EXPECT_EQ(MappedFile::Open(directory / "empty")->bytes().size(), 0);
  EXPECT_TRUE(MappedFile().Check().ok());
}

TEST(MappedFile, RefusesWhatIsNoFile) {
  const TemporaryDirectory directory;
  ASSERT_EQ(mkfifo((directory / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(MappedFile::Open(directory / "pipe"), Fails(Code::kInvalidArgument, "special file"));
  EXPECT_THAT(MappedFile::Open(directory / "absent"), Fails(Code::kNotFound, "absent"));
}

// Several threads read the file at once, in different orders.
TEST(MappedFile, OneThatShrinksGivesZerosAndSaysSo) {
  const TemporaryDirectory directory;
  constexpr int64_t kBytes = 1 << 20;
  WriteBytes(directory / "file", std::string(kBytes, 1));
  WriteBytes(directory / "other", std::string(kBytes, 1));
  const auto file = MappedFile::Open(directory / "file");
  const auto other = MappedFile::Open(directory / "other");
  ASSERT_TRUE(file.ok() && other.ok());
  EXPECT_EQ(Sum(file->bytes()), kBytes);
  EXPECT_TRUE(file->Check().ok());
  constexpr int64_t kLeft = 3 << 16;
  std::filesystem::resize_file(directory / "file", kLeft);
  std::vector<std::thread> threads;
  for (int64_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      const int64_t piece = kBytes / 8;
      EXPECT_EQ(Sum(file->bytes().subspan((7 - thread) * piece, piece)), 0);
      EXPECT_EQ(Sum(file->bytes()), kLeft);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(file->Check(), Fails(Code::kDataLoss, directory / "file"));
  // The error stays, even if the file grows back to its old size.
  std::filesystem::resize_file(directory / "file", kBytes);
  EXPECT_THAT(file->Check(), Fails(Code::kDataLoss, "unreadable bytes seen"));
  EXPECT_TRUE(other->Check().ok());
  EXPECT_EQ(Sum(other->bytes()), kBytes);
}

TEST(MappedFile, SaysWhenItWasOverwrittenOrGrew) {
  const TemporaryDirectory directory;
  WriteBytes(directory / "file", std::string(5000, 1));
  const auto old = std::filesystem::last_write_time(directory / "file") - std::chrono::hours(1);
  std::filesystem::last_write_time(directory / "file", old);
  const auto file = MappedFile::Open(directory / "file");
  ASSERT_TRUE(file.ok());
  std::filesystem::permissions(
      directory / "file", std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  std::filesystem::create_hard_link(directory / "file", directory / "link");
  EXPECT_TRUE(file->Check().ok()) << "other changes of the inode";
  std::fstream(directory / "file", std::ios::in | std::ios::out | std::ios::binary) << "changed";
  EXPECT_THAT(file->Check(), Fails(Code::kDataLoss, "a later modification time seen"));
  std::ofstream(directory / "file", std::ios::app) << "more";
  EXPECT_THAT(file->Check(), Fails(Code::kDataLoss, "another size seen"));
}

// Covers mappings that MappedFile does not watch and signals sent by a process.
TEST(MappedFile, LeavesEveryOtherSigbusAsItWas) {
  const TemporaryDirectory directory;
  WriteBytes(directory / "file", std::string(8192, 1));
  const auto file = MappedFile::Open(directory / "file");
  ASSERT_TRUE(file.ok());
  const auto read_beyond = [&] {
    // An ordinary mapping, which MappedFile does not watch.
    const int descriptor = open((directory / "file").c_str(), O_RDONLY);
    const auto* bytes = static_cast<const volatile char*>(
        mmap(nullptr, 8192, PROT_READ, MAP_PRIVATE, descriptor, 0));
    if (truncate((directory / "file").c_str(), 0) == 0) _exit(bytes[5000]);
  };
  EXPECT_DEATH(read_beyond(), "");
  EXPECT_DEATH(raise(SIGBUS), "");
}

// A result computed from damaged bytes must never be used.
TEST(Checkpoint, SaysWhichFileHasChanged) {
  const TemporaryDirectory directory;
  constexpr const char* config = R"({"model_type": "mamba", "vocab_size": 300, "hidden_size": 16,
      "state_size": 4, "num_hidden_layers": 1})";
  ASSERT_TRUE(WriteRandomModel(config, 1, directory / "model").ok());
  const auto checkpoint = Checkpoint::Open(directory / "model");
  ASSERT_TRUE(checkpoint.ok());
  EXPECT_TRUE((*checkpoint)->Check().ok());
  std::filesystem::resize_file(directory / "model/model.safetensors", 0);
  EXPECT_THAT(DigestModel(directory / "model", **checkpoint),
              Fails(Code::kDataLoss, "model/model.safetensors"));
}

}  // namespace
}  // namespace whipsnake::engine
