#include "engine/checkpoint/files.h"

#include <sys/stat.h>

#include "engine/base/status.h"
#include "tests/engine/checkpoint/support.h"

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

TEST(PlainPathTest, EndsWithAName) {
  for (const char* path : {"a/b", "a/b/", "a/b//", "a/b/.", "a/b/././/"}) {
    EXPECT_EQ(PlainPath(path), "a/b") << path;
    EXPECT_EQ(ParentOf(path), "a") << path;
  }
  for (const char* path : {"", ".", "..", "/", "a/..", "a.", "/a"}) {
    EXPECT_EQ(PlainPath(path), path);
  }
  EXPECT_EQ(PlainPath("/."), "/");
  EXPECT_EQ(PlainPath("//"), "/");
  EXPECT_EQ(PlainPath("./"), ".");
  EXPECT_EQ(ParentOf("a/"), ".");
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
