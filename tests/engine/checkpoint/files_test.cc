#include "engine/checkpoint/files.h"

#include <sys/stat.h>

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
  // A pipe would wait for a writer for ever.
  ASSERT_EQ(mkfifo((directory / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(ReadTextFile(directory / "pipe"), Fails(Code::kInvalidArgument, "special file"));
  EXPECT_THAT(MappedFile::Open(directory / "pipe"), Fails(Code::kInvalidArgument, "special file"));
}

TEST(ReadTextFile, ReadsWhatSaysThatItIsEmptyButIsNot) {
  EXPECT_THAT(ReadTextFile("/proc/self/status").value(), testing::HasSubstr("VmRSS"));
}

TEST(MappedFile, OutlivesMovesAndTheNameOfTheFile) {
  const TemporaryDirectory directory;
  WriteBytes(directory / "file", "content");
  auto opened = MappedFile::Open(directory / "file");
  ASSERT_TRUE(opened.ok());
  MappedFile moved = *std::move(opened);
  std::filesystem::remove(directory / "file");
  const auto bytes = moved.bytes();
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), "content");

  WriteBytes(directory / "empty", "");
  EXPECT_EQ(MappedFile::Open(directory / "empty")->bytes().size(), 0);
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
