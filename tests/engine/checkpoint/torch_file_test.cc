// Reads what torch.save wrote (tests/oracles/torch_goldens.py).
#include "engine/checkpoint/torch_file.h"

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/checkpoint/checkpoint.h"
#include "tests/engine/checkpoint/support.h"

namespace whipsnake::engine {
namespace {

namespace fs = std::filesystem;
using Code = absl::StatusCode;

constexpr const char* kTorchGoldens = "tests/goldens/torch/";

absl::StatusOr<std::map<std::string, TensorRecord>> ReadTorch(const std::string& file) {
  return ReadTorchFile(std::as_bytes(std::span(file)));
}

class TorchGoldenTest : public ::testing::TestWithParam<const char*> {};

TEST_P(TorchGoldenTest, TensorsAreThoseThatWereSaved) {
  const std::string name = std::string(kTorchGoldens) + GetParam();
  const std::string file = ReadBytes(name + ".bin");
  const auto records = ReadTorch(file);
  ASSERT_THAT(records, IsOk());
  const auto golden = nlohmann::json::parse(ReadBytes(name + ".json"));
  ASSERT_EQ(records->size(), golden.size());
  for (const auto& [key, expected] : golden.items()) {
    ASSERT_TRUE(records->contains(key)) << key;
    const TensorRecord& record = records->at(key);
    EXPECT_EQ(record.type->name, expected["type"].get<std::string>()) << key;
    EXPECT_EQ(record.shape, expected["shape"].get<std::vector<int64_t>>()) << key;
    EXPECT_EQ(absl::BytesToHexString(file.substr(record.begin, record.end - record.begin)),
              expected["data"].get<std::string>())
        << key;
  }
}

INSTANTIATE_TEST_SUITE_P(Goldens, TorchGoldenTest,
                         ::testing::Values("types", "views", "module", "protocol4"));

TEST(ReadTorchFile, RefusesByName) {
  const std::pair<const char*, const char*> cases[] = {
      {"transposed", "tensor \"w\": strides [1, 3] of shape [3, 4] seen"},
      {"legacy", "the format of PyTorch before 1.6 seen"},
      {"nested", "tensor \"epoch\": an integer seen, expected a dense tensor"},
      {"hostile", "system\" seen, expected only what tensors are made of"},
      {"sparse", "the Python object \"torch."},
  };
  for (const auto& [name, text] : cases) {
    EXPECT_THAT(ReadTorch(ReadBytes(absl::StrCat(kTorchGoldens, name, ".bin"))),
                Fails(Code::kInvalidArgument, text));
  }
  EXPECT_THAT(ReadTorch(""), Fails(Code::kInvalidArgument, "something else than a zip archive"));
}

// Every byte of the pickle and of the directory is worth a try; the data are not.
TEST(ReadTorchFile, NothingLeavesTheFileWhateverByteIsChanged) {
  const std::string whole = ReadBytes(std::string(kTorchGoldens) + "views.bin");
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string changed = whole;
    changed[at] = static_cast<char>(~changed[at]);
    const auto records = ReadTorch(changed);
    if (!records.ok()) {
      EXPECT_EQ(records.status().code(), Code::kInvalidArgument);
      continue;
    }
    for (const auto& [name, record] : *records) {
      ASSERT_TRUE(0 <= record.begin && record.begin <= record.end &&
                  record.end <= std::ssize(changed));
      ASSERT_EQ(TensorBytes(*record.type, record.shape), record.end - record.begin);
    }
  }
}

class TorchCheckpointTest : public ::testing::Test {
 protected:
  // The tensors of a directory and their bytes.
  static std::map<std::string, std::string> Tensors(const std::string& directory) {
    const auto checkpoint = Checkpoint::Open(directory);
    EXPECT_THAT(checkpoint, IsOk());
    std::map<std::string, std::string> tensors;
    for (const auto& [name, view] : (*checkpoint)->tensors()) {
      tensors[name] = absl::StrCat(
          ShapeText(view.shape),
          absl::string_view(reinterpret_cast<const char*>(view.data.data()), view.data.size()));
    }
    return tensors;
  }
};

TEST_F(TorchCheckpointTest, OneFileAndShardsAreTheSameModel) {
  auto expected = Tensors("tests/goldens/mamba/original");
  expected["lm_head.weight"] = expected.at("backbone.embedding.weight");
  EXPECT_EQ(Tensors(std::string(kTorchGoldens) + "mamba"), expected);
  EXPECT_EQ(Tensors(std::string(kTorchGoldens) + "mamba_sharded"), expected);
}

TEST_F(TorchCheckpointTest, SafetensorsComeFirst) {
  const TemporaryDirectory directory;
  fs::copy_file(std::string(kTorchGoldens) + "views.bin", directory / "pytorch_model.bin");
  EXPECT_TRUE(Tensors(directory.path()).contains("rows"));
  fs::copy_file("tests/goldens/mamba/original/model.safetensors", directory / "model.safetensors");
  EXPECT_FALSE(Tensors(directory.path()).contains("rows"));
}

TEST_F(TorchCheckpointTest, APointerOfGitLfsIsNamed) {
  constexpr const char* kPointer =
      "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
  for (const char* name : {"model.safetensors", "pytorch_model.bin", "model.safetensors.index.json",
                           "pytorch_model.bin.index.json"}) {
    const TemporaryDirectory directory;
    WriteBytes(directory / name, kPointer);
    EXPECT_THAT(Checkpoint::Open(directory.path()),
                Fails(Code::kInvalidArgument, absl::StrCat(name, ": a Git LFS pointer seen")));
    EXPECT_THAT(Checkpoint::Open(directory.path()), Fails(Code::kInvalidArgument, "git lfs pull"));
  }
}

}  // namespace
}  // namespace whipsnake::engine
