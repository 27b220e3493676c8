#include "engine/checkpoint/checkpoint.h"

#include <array>

#include "absl/strings/str_cat.h"
#include "tests/engine/checkpoint/support.h"

namespace whipsnake::engine {
namespace {

using Code = absl::StatusCode;

// Writes a file with one-dimensional F32 tensors, each filled with one value.
void WriteShard(const std::string& path,
                const std::map<std::string, std::pair<int, float>>& tensors) {
  std::vector<std::vector<float>> data;
  std::vector<NamedTensor> list;
  for (const auto& [name, content] : tensors) {
    data.emplace_back(content.first, content.second);
    list.push_back(
        {name, {kernels::DType::kF32, {content.first}, std::as_bytes(std::span(data.back()))}});
  }
  ASSERT_TRUE(WriteSafetensors(path, list).ok());
}

void WriteIndex(const TemporaryDirectory& directory, const std::string& weight_map) {
  WriteBytes(directory / "model.safetensors.index.json",
             absl::StrCat(R"({"metadata":{"total_size":1},"weight_map":{)", weight_map, "}}"));
}

std::vector<float> Values(const Checkpoint& checkpoint, std::string_view name, int64_t size) {
  const absl::StatusOr<TensorView> tensor = checkpoint.Get(name, std::array{size});
  EXPECT_TRUE(tensor.ok()) << tensor.status();
  std::vector<float> values(size);
  if (tensor.ok()) ToFloat(*tensor, values.data());
  return values;
}

TEST(Checkpoint, ReadsASingleFile) {
  const TemporaryDirectory directory;
  WriteShard(directory / "model.safetensors", {{"a", {2, 1.5f}}, {"b", {3, -2}}});
  const auto checkpoint = Checkpoint::Open(directory.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->tensors().size(), 2);
  EXPECT_TRUE((*checkpoint)->Contains("a"));
  EXPECT_FALSE((*checkpoint)->Contains("c"));
  EXPECT_EQ(Values(**checkpoint, "a", 2), (std::vector<float>{1.5f, 1.5f}));
  EXPECT_EQ(Values(**checkpoint, "b", 3), (std::vector<float>{-2, -2, -2}));
}

TEST(Checkpoint, GetNamesWhatIsMissingOrMisshapen) {
  const TemporaryDirectory directory;
  WriteShard(directory / "model.safetensors", {{"a", {2, 1}}});
  const auto checkpoint = Checkpoint::Open(directory.path());
  ASSERT_TRUE(checkpoint.ok());
  EXPECT_THAT((*checkpoint)->Get("b", std::array<int64_t, 2>{2, 5}),
              Fails(Code::kNotFound, "\"b\": missing, expected shape [2, 5]"));
  EXPECT_THAT((*checkpoint)->Get("a", std::array<int64_t, 1>{3}),
              Fails(Code::kInvalidArgument, "\"a\": shape [2] seen, expected [3]"));
  EXPECT_THAT((*checkpoint)->Get("a", std::array<int64_t, 2>{1, 2}),
              Fails(Code::kInvalidArgument, "a"));
}

TEST(Checkpoint, ATypeIsJudgedWhereATensorIsUsed) {
  const TemporaryDirectory directory;
  WriteShard(directory / "model.safetensors", {{"a", {2, 1.5f}}});
  AddTensor(directory / "model.safetensors", "ids", "I64", {3}, 24);
  AddTensor(directory / "model.safetensors", "mask", "BOOL", {1, 5}, 5);
  const auto checkpoint = Checkpoint::Open(directory.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(Values(**checkpoint, "a", 2), (std::vector<float>{1.5f, 1.5f}));
  EXPECT_EQ((*checkpoint)->tensors().size(), 1);
  EXPECT_EQ((*checkpoint)->others().size(), 2);
  EXPECT_EQ((*checkpoint)->others().at("mask").shape, (std::vector<int64_t>{1, 5}));
  EXPECT_TRUE((*checkpoint)->Contains("ids"));
  const char* const message = "\"ids\": dtype I64 seen, expected F32, F16, BF16 or I8";
  EXPECT_THAT((*checkpoint)->Get("ids", std::array<int64_t, 1>{3}),
              Fails(Code::kInvalidArgument, message));
  EXPECT_THAT((*checkpoint)->Get("ids"), Fails(Code::kInvalidArgument, message));
}

TEST(Checkpoint, ReadsShards) {
  const TemporaryDirectory directory;
  WriteShard(directory / "1.safetensors", {{"a", {2, 1}}, {"b", {1, 2}}});
  WriteShard(directory / "2.safetensors", {{"c", {4, 3}}});
  WriteIndex(directory, R"("a":"1.safetensors","c":"2.safetensors","b":"1.safetensors")");
  const auto checkpoint = Checkpoint::Open(directory.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->tensors().size(), 3);
  EXPECT_EQ(Values(**checkpoint, "b", 1), std::vector<float>{2});
  EXPECT_EQ(Values(**checkpoint, "c", 4), (std::vector<float>{3, 3, 3, 3}));
}

TEST(Checkpoint, OutlivesTheNamesOfItsFiles) {
  const TemporaryDirectory directory;
  WriteShard(directory / "model.safetensors", {{"a", {1000, 4}}});
  const auto checkpoint = Checkpoint::Open(directory.path());
  ASSERT_TRUE(checkpoint.ok());
  WriteShard(directory / "model.safetensors", {{"a", {1, 5}}});
  EXPECT_EQ(Values(**checkpoint, "a", 1000), std::vector<float>(1000, 4));
}

TEST(Checkpoint, RefusesDirectoriesByName) {
  const TemporaryDirectory directory;
  EXPECT_THAT(Checkpoint::Open(directory.path()), Fails(Code::kNotFound, directory.path()));
  EXPECT_THAT(Checkpoint::Open(directory / "absent"), Fails(Code::kNotFound, "absent"));

  WriteShard(directory / "1.safetensors", {{"a", {2, 1}}});
  WriteShard(directory / "2.safetensors", {{"a", {2, 1}}, {"b", {2, 1}}});
  const auto refused = [&](const std::string& weight_map, Code code, const std::string& text) {
    WriteIndex(directory, weight_map);
    EXPECT_THAT(Checkpoint::Open(directory.path()), Fails(code, text)) << weight_map;
  };
  refused(R"("a":"1.safetensors","b":"2.safetensors")", Code::kInvalidArgument,
          "2.safetensors: tensor \"a\" lies in another shard too");
  refused(R"("b":"1.safetensors")", Code::kInvalidArgument,
          "1.safetensors: tensor \"b\" is not in this shard");
  refused(R"("a":"3.safetensors")", Code::kNotFound, "3.safetensors");
  refused(R"("a":"1.safetensors","a":"2.safetensors")", Code::kInvalidArgument,
          "index.json: duplicate key \"a\"");
  for (const char* shard :
       {R"("../1.safetensors")", R"("/1.safetensors")", R"("x/1.safetensors")", R"("..")", R"(".")",
        R"("")", R"("1.safetensors\u0000")", "1", "null", R"(["1.safetensors"])"}) {
    refused(absl::StrCat(R"("a":)", shard), Code::kInvalidArgument, "tensor \"a\": shard ");
  }
}

TEST(Checkpoint, RefusesAnIndexThatIsNotOne) {
  const TemporaryDirectory directory;
  const std::string index = directory / "model.safetensors.index.json";
  const std::pair<std::string, std::string> cases[] = {
      {"", "malformed"},
      {"[]", "expected a JSON object"},
      {"{}", "weight_map: nothing seen"},
      {R"({"weight_map":[]})", "weight_map: an array seen"},
      {R"({"weight_map":{},"weight_map":{}})", "duplicate key \"weight_map\""},
      {R"({"metadata":)" + std::string(100000, '['), "nested deeper than 32"},
      {std::string((64 << 20) + 1, ' '), "67108865 bytes seen"},
  };
  for (const auto& [text, message] : cases) {
    WriteBytes(index, text);
    const auto checkpoint = Checkpoint::Open(directory.path());
    EXPECT_THAT(checkpoint, Fails(Code::kInvalidArgument, message));
    EXPECT_THAT(checkpoint, Fails(Code::kInvalidArgument, index));
  }
}

TEST(Checkpoint, NamesTheFileOfABrokenHeader) {
  const TemporaryDirectory directory;
  WriteBytes(directory / "model.safetensors", "");
  EXPECT_THAT(Checkpoint::Open(directory.path()),
              Fails(Code::kInvalidArgument, "model.safetensors: header: a file of 0 bytes"));
  WriteBytes(directory / "model.safetensors",
             SafetensorsBytes(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7));
  EXPECT_THAT(Checkpoint::Open(directory.path()),
              Fails(Code::kInvalidArgument, "model.safetensors: tensor \"w\""));
  // A broken file is refused even if an index lies beside it.
  WriteIndex(directory, "");
  EXPECT_THAT(Checkpoint::Open(directory.path()), Fails(Code::kInvalidArgument, "tensor \"w\""));
}

}  // namespace
}  // namespace whipsnake::engine
