#include "engine/base/atomic_file.h"

#include <sys/stat.h>

#include "tests/engine/base/support.h"

namespace whipsnake::engine {
namespace {

using Code = absl::StatusCode;

TEST(AtomicFile, ShowsNothingBeforeTheCommit) {
  const TemporaryDirectory directory;
  const std::string path = directory / "file";
  WriteBytes(path, "old");
  {
    auto file = AtomicFile::Create(path);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->Append("new").ok());
    EXPECT_EQ(ReadBytes(path), "old");
  }
  EXPECT_EQ(ReadBytes(path), "old");
  EXPECT_EQ(directory.entries(), 1) << "a temporary was left behind";

  ASSERT_TRUE(WriteFileAtomically(path, "new").ok());
  EXPECT_EQ(ReadBytes(path), "new");
  EXPECT_EQ(directory.entries(), 1);
}

TEST(AtomicFile, TwoOfOnePathDoNotMix) {
  const TemporaryDirectory directory;
  auto first = AtomicFile::Create(directory / "file");
  auto second = AtomicFile::Create(directory / "file");
  ASSERT_TRUE(first.ok() && second.ok());
  ASSERT_TRUE(first->Append("first").ok() && second->Append("second").ok());
  ASSERT_TRUE(second->Commit().ok());
  EXPECT_EQ(ReadBytes(directory / "file"), "second");
  ASSERT_TRUE(first->Commit().ok());
  EXPECT_EQ(ReadBytes(directory / "file"), "first");
}

TEST(AtomicFile, NamesThePathOfAMissingDirectory) {
  const TemporaryDirectory directory;
  EXPECT_THAT(WriteFileAtomically(directory / "absent/file", "x"),
              Fails(Code::kNotFound, "absent/file"));
}

TEST(RemoveDirectory, LeavesNothing) {
  const TemporaryDirectory directory;
  std::filesystem::create_directories(directory / "full/inside");
  WriteBytes(directory / "full/inside/file", "x");
  EXPECT_TRUE(RemoveDirectory(directory / "full/").ok());
  EXPECT_TRUE(RemoveDirectory(directory / "full").ok()) << "there is none";
  EXPECT_EQ(directory.entries(), 0);
}

TEST(AtomicDirectory, TakesTheNameOfNothingOrAnEmptyDirectoryOnly) {
  const TemporaryDirectory directory;
  std::filesystem::create_directory(directory / "empty");
  std::filesystem::create_directories(directory / "full/inside");
  WriteBytes(directory / "file", "x");
  for (const char* name : {"absent", "absent-with-slash/", "empty"}) {
    auto made = AtomicDirectory::Create(directory / name);
    ASSERT_TRUE(made.ok()) << made.status();
    WriteBytes(made->path() + "/file", name);
    EXPECT_FALSE(std::filesystem::exists(directory / name + "/file"));
    ASSERT_TRUE(made->Commit().ok());
    EXPECT_EQ(ReadBytes(directory / name + "/file"), name);
  }
  for (const char* name : {"full", "file"}) {
    EXPECT_THAT(AtomicDirectory::Create(directory / name),
                Fails(Code::kAlreadyExists, directory / name));
  }
  EXPECT_THAT(AtomicDirectory::Create(directory / "no/parent"),
              Fails(Code::kNotFound, "no/parent"));
}

// A killed process leaves temporaries behind that nobody holds a lock on.
TEST(Temporaries, AreSweptWhereNobodyMakesThem) {
  const TemporaryDirectory directory;
  auto file = AtomicFile::Create(directory / "file");
  auto made = AtomicDirectory::Create(directory / "made");
  ASSERT_TRUE(file.ok() && made.ok());
  const std::string digits = "0123456789abcdef";
  std::filesystem::create_directories(directory / ("left.tmp-" + digits + "/inside"));
  WriteBytes(directory / ("left-too.tmp-" + digits), "x");
  std::filesystem::create_directories(directory / ("deep/left.tmp-" + digits));
  std::filesystem::create_symlink(directory / "deep", directory / ("link.tmp-" + digits));
  WriteBytes(directory / ".tmp-notes", "mine");
  WriteBytes(directory / "a.tmp-1-0", "mine");

  EXPECT_EQ(SweepTemporaries(directory.path(), /*deep=*/false).size(), 2);
  EXPECT_EQ(SweepTemporaries(directory.path(), /*deep=*/false).size(), 0);
  EXPECT_TRUE(std::filesystem::exists(directory / ("deep/left.tmp-" + digits)));
  EXPECT_EQ(SweepTemporaries(directory.path(), /*deep=*/true).size(), 1);
  EXPECT_TRUE(std::filesystem::exists(directory / "deep"));
  EXPECT_TRUE(std::filesystem::exists(made->path()));
  EXPECT_TRUE(file->Append("x").ok() && file->Commit().ok() && made->Commit().ok());
  EXPECT_EQ(ReadBytes(directory / "file"), "x");
}

// Names must not come from counters or process ids: every process counts from 0, and the process in
// a container has id 1 each time.
TEST(Temporaries, HaveNamesThatDoNotComeAgain) {
  EXPECT_TRUE(IsTemporaryName("x.tmp-0123456789abcdef"));
  for (const char* name : {".tmp-0123456789abcdef", "x.tmp-1-0", "x.tmp-0123456789abcdeg", "x",
                           "x.tmp-0123456789abcdef.txt"}) {
    EXPECT_FALSE(IsTemporaryName(name)) << name;
  }
  const TemporaryDirectory directory;
  auto made = AtomicDirectory::Create(directory / "x");
  ASSERT_TRUE(made.ok());
  EXPECT_TRUE(IsTemporaryName(std::filesystem::path(made->path()).filename().string()));
}

TEST(AtomicFile, HasTheModeThatItWasGiven) {
  const TemporaryDirectory directory;
  auto file = AtomicFile::Create(directory / "file", 0600);
  ASSERT_TRUE(file.ok() && file->Commit().ok());
  struct stat info;
  ASSERT_EQ(stat((directory / "file").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600);
}

TEST(AtomicDirectory, ItsPathMayEndLikeADirectorys) {
  const TemporaryDirectory directory;
  for (const char* path : {"slash/", "dot/.", "both/.//"}) {
    auto made = AtomicDirectory::Create(directory / path);
    ASSERT_TRUE(made.ok()) << path << ": " << made.status();
    EXPECT_TRUE(IsTemporaryName(std::filesystem::path(made->path()).filename().string()));
    EXPECT_TRUE(made->Commit().ok()) << path;
    EXPECT_TRUE(std::filesystem::is_directory(directory / path)) << path;
  }
}

TEST(AtomicDirectory, LeavesNothingWithoutACommit) {
  const TemporaryDirectory directory;
  {
    auto made = AtomicDirectory::Create(directory / "target");
    ASSERT_TRUE(made.ok());
    WriteBytes(made->path() + "/file", "x");
  }
  EXPECT_EQ(directory.entries(), 0);
}

}  // namespace
}  // namespace whipsnake::engine
