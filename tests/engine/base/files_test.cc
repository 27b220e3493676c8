#include "engine/base/files.h"

#include <sys/stat.h>

#include <cerrno>

#include "engine/base/disk_full.h"
#include "engine/base/status.h"
#include "tests/engine/base/support.h"

namespace whipsnake::engine {
namespace {

using Code = absl::StatusCode;

TEST(ReadTextFile, GivesTheWholeFileUpToTheBound) {
  const TemporaryDirectory directory;
  for (const size_t size : {0, 1, 4095, 4096, 100000}) {
    const std::string text(size, 'x');
    WriteBytes(directory / "text", text);
    EXPECT_EQ(ReadTextFile(directory / "text", size).value(), text);
    if (size > 0) {
      EXPECT_THAT(ReadTextFile(directory / "text", size - 1),
                  Fails(Code::kInvalidArgument, std::to_string(size) + " bytes seen"));
    }
  }
}

TEST(ReadTextFile, NamesThePathOfWhatIsNotAFile) {
  const TemporaryDirectory directory;
  EXPECT_THAT(ReadTextFile(directory / "absent"), Fails(Code::kNotFound, directory / "absent"));
  EXPECT_THAT(ReadTextFile(directory.path()), Fails(Code::kInvalidArgument, "a directory seen"));
  // Opening a pipe would block until a writer appears.
  ASSERT_EQ(mkfifo((directory / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(ReadTextFile(directory / "pipe"), Fails(Code::kInvalidArgument, "special file"));
}

TEST(ReadTextFile, ReadsWhatSaysThatItIsEmptyButIsNot) {
  EXPECT_THAT(ReadTextFile("/proc/self/status").value(), testing::HasSubstr("VmRSS"));
}

TEST(ReadBeginning, GivesTheFirstBytesAndTheSize) {
  const TemporaryDirectory directory;
  WriteBytes(directory / "file", "content");
  for (const int64_t bytes : {0, 3, 7, 100}) {
    const auto beginning = ReadBeginning(directory / "file", bytes);
    ASSERT_TRUE(beginning.ok());
    EXPECT_EQ(beginning->bytes, std::string("content").substr(0, bytes));
    EXPECT_EQ(beginning->file_bytes, 7);
  }
  EXPECT_THAT(ReadBeginning(directory.path(), 1), Fails(Code::kInvalidArgument, "a directory"));
}

TEST(FileError, TellsTheOperatorThePathAndAClientTheName) {
  const absl::Status status = ReadTextFile("/nowhere/at/all.json").status();
  EXPECT_EQ(status.message(), "/nowhere/at/all.json: No such file or directory");
  EXPECT_EQ(ClientMessage(status), "all.json: No such file or directory");
  const absl::Status wrapped = WithPath(WithContext(status, "model"), "/srv/models/one/");
  EXPECT_EQ(wrapped.message(),
            "/srv/models/one/: model: /nowhere/at/all.json: No such file or directory");
  EXPECT_EQ(ClientMessage(wrapped), "one: model: all.json: No such file or directory");
  EXPECT_EQ(ClientMessage(WithCode(wrapped, Code::kDataLoss)), ClientMessage(wrapped));
  EXPECT_EQ(ClientMessage(absl::InternalError("plain")), "plain");
}

TEST(FileError, OnlyLackOfRoomIsAFullDisk) {
  for (const int error : {ENOSPC, EDQUOT, EFBIG}) {
    const absl::Status status = WithContext(FileError(error, "/srv/file"), "model");
    EXPECT_TRUE(IsDiskFull(status)) << status;
    EXPECT_TRUE(IsDiskFull(WithCode(status, Code::kInternal)));
    EXPECT_EQ(status.code(), Code::kResourceExhausted);
  }
  for (const int error : {EMFILE, ENFILE, ENOMEM, EIO, ENOENT}) {
    EXPECT_FALSE(IsDiskFull(FileError(error, "/srv/file"))) << error;
  }
}

TEST(StripTrailingSlashesTest, EndsWithAName) {
  for (const char* path : {"a/b", "a/b/", "a/b//", "a/b/.", "a/b/././/"}) {
    EXPECT_EQ(StripTrailingSlashes(path), "a/b") << path;
    EXPECT_EQ(ParentOf(path), "a") << path;
  }
  for (const char* path : {"", ".", "..", "/", "a/..", "a.", "/a"}) {
    EXPECT_EQ(StripTrailingSlashes(path), path);
  }
  EXPECT_EQ(StripTrailingSlashes("/."), "/");
  EXPECT_EQ(StripTrailingSlashes("//"), "/");
  EXPECT_EQ(StripTrailingSlashes("./"), ".");
  EXPECT_EQ(ParentOf("a/"), ".");
}

}  // namespace
}  // namespace whipsnake::engine
