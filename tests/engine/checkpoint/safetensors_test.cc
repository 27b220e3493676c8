#include "engine/checkpoint/safetensors.h"

#include <cmath>
#include <limits>
#include <random>

#include "absl/strings/str_cat.h"
#include "tests/engine/checkpoint/support.h"

namespace whipsnake::engine {
namespace {

using kernels::DType;
using Code = absl::StatusCode;
using Records = absl::StatusOr<std::map<std::string, TensorRecord>>;

Records Parse(const std::string& bytes) {
  return ParseSafetensorsHeader(std::as_bytes(std::span(bytes)), bytes.size());
}

Records Parse(std::string_view header, size_t data_bytes) {
  return Parse(SafetensorsBytes(header, data_bytes));
}

TEST(ParseSafetensorsHeader, FindsTensorsInAnyOrder) {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},)"
      R"("b":{"shape":[3],"data_offsets":[4,10],"dtype":"BF16"},)"
      R"("scalar":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
      R"("empty":{"dtype":"F32","shape":[0,7],"data_offsets":[4,4]},)"
      R"("h\u00e9":{"dtype":"F16","shape":[2,1],"data_offsets":[10,14]}}   )";
  const auto records = Parse(header, 14);
  ASSERT_TRUE(records.ok()) << records.status();
  ASSERT_EQ(records->size(), 4);
  const int64_t begin = 8 + header.size();
  const TensorRecord& b = records->at("b");
  EXPECT_EQ(b.type->dtype, DType::kBF16);
  EXPECT_EQ(b.shape, std::vector<int64_t>{3});
  EXPECT_EQ(b.begin, begin + 4);
  EXPECT_EQ(b.end, begin + 10);
  EXPECT_EQ(records->at("scalar").end, begin + 4);
  EXPECT_EQ(records->at("empty").begin, records->at("empty").end);
  EXPECT_EQ(records->at("h\xc3\xa9").shape, (std::vector<int64_t>{2, 1}));
}

TEST(ParseSafetensorsHeader, TakesEveryTypeOfTheFormat) {
  const std::pair<const char*, int> kBytesOfFour[] = {
      {"BOOL", 4},    {"U8", 4},          {"I8", 4},          {"I16", 8},     {"U16", 8},
      {"F16", 8},     {"BF16", 8},        {"I32", 16},        {"U32", 16},    {"F32", 16},
      {"I64", 32},    {"U64", 32},        {"F64", 32},        {"C64", 32},    {"F8_E4M3", 4},
      {"F8_E5M2", 4}, {"F8_E4M3FNUZ", 4}, {"F8_E5M2FNUZ", 4}, {"F8_E8M0", 4}, {"F6_E2M3", 3},
      {"F6_E3M2", 3}, {"F4", 2}};
  for (const auto& [type, bytes] : kBytesOfFour) {
    const auto header = absl::StrCat(R"({"w":{"dtype":")", type,
                                     R"(","shape":[2,2],"data_offsets":[0,)", bytes, "]}}");
    const auto records = Parse(header, bytes);
    ASSERT_TRUE(records.ok()) << type << records.status();
    EXPECT_EQ(records->at("w").type->name, type);
    EXPECT_FALSE(Parse(header, bytes + 1).ok()) << type;
  }
}

TEST(ParseSafetensorsHeader, TakesAFileWithoutTensors) {
  EXPECT_TRUE(Parse("{}", 0).ok());
  EXPECT_TRUE(Parse(R"({"__metadata__":{}})", 0).ok());
}

struct RefusedFile {
  std::string header;
  size_t data_bytes;
  std::vector<std::string> in_message;
};

std::string Entry(std::string_view fields) {
  return absl::StrCat("{\"w\":{", std::string(fields), "}}");
}

TEST(ParseSafetensorsHeader, RefusesByName) {
  const std::string w = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";
  ASSERT_TRUE(Parse(Entry(w), 8).ok()) << "the cases below differ from this in one thing";
  const RefusedFile cases[] = {
      // Not JSON, or JSON of the wrong type.
      {"", 0, {"header", "JSON"}},
      {"[]", 0, {"header", "JSON"}},
      {" {}", 0, {"header", "JSON"}},
      {"\xef\xbb\xbf{}", 0, {"header", "JSON"}},
      {"{}x", 0, {"header", "byte 11"}},
      {std::string("{}\0x", 4), 0, {"header", "NUL"}},
      {R"({"w":)", 0, {"header", "byte"}},
      {"{\"\xff\":{}}", 0, {"header", "byte"}},
      {R"({"w":1})", 0, {"\"w\"", "1 seen", "an object"}},
      {R"({"w":[]})", 0, {"\"w\"", "an array seen", "an object"}},
      {R"({"w":"F32"})", 0, {"\"w\"", "F32", "an object"}},
      {R"({"w":null})", 0, {"\"w\"", "null"}},
      {R"({"__metadata__":{"format":1}})", 0, {"__metadata__", "1 seen", "strings"}},
      {R"({"__metadata__":{"format":{}}})", 0, {"__metadata__", "an object seen"}},
      {R"({"__metadata__":{},"__metadata__":{}})", 0, {"__metadata__", "duplicate"}},
      {"{\"w\":" + std::string(100000, '['), 0, {"\"w\"", "an array seen"}},
      // Keys.
      {R"({"w":{},"w":{}})", 0, {"\"w\"", "no dtype"}},
      {"{\"w\":{" + w + "},\"w\":{" + w + "}}", 8, {"\"w\"", "duplicate name"}},
      {Entry(w + R"(,"dtype":"F32")"), 8, {"\"w\"", "\"dtype\"", "once"}},
      {Entry(w + R"(,"shape":[2])"), 8, {"\"w\"", "\"shape\"", "once"}},
      {Entry(w + R"(,"data_offsets":[0,8])"), 8, {"\"w\"", "\"data_offsets\"", "once"}},
      {Entry(w + R"(,"strides":[1])"), 8, {"\"w\"", "\"strides\""}},
      {Entry(R"("shape":[2],"data_offsets":[0,8])"), 8, {"\"w\"", "no dtype"}},
      {Entry(R"("dtype":"F32","data_offsets":[0,8])"), 8, {"\"w\"", "no shape"}},
      {Entry(R"("dtype":"F32","shape":[2])"), 8, {"\"w\"", "no data_offsets"}},
      // Types.
      {Entry(R"("dtype":"I65","shape":[1],"data_offsets":[0,8])"), 8, {"\"w\"", "\"I65\"", "BF16"}},
      {Entry(R"("dtype":"I64","shape":[2],"data_offsets":[0,8])"), 8, {"\"w\"", "expected 16"}},
      {Entry(R"("dtype":"F4","shape":[3],"data_offsets":[0,1])"), 1, {"\"w\"", "of F4", "whole"}},
      {Entry(R"("dtype":1,"shape":[1],"data_offsets":[0,8])"), 8, {"\"w\"", "1 seen", "dtype"}},
      {Entry(R"("dtype":["F32"])"), 8, {"\"w\"", "an array seen", "dtype"}},
      {Entry(R"("dtype":"F32","shape":2,"data_offsets":[0,8])"), 8, {"\"w\"", "2 seen", "a list"}},
      {Entry(R"("dtype":"F32","shape":[[2]],"data_offsets":[0,8])"), 8, {"\"w\"", "an array seen"}},
      {Entry(R"("dtype":"F32","shape":["2"],"data_offsets":[0,8])"), 8, {"\"w\"", "\"2\""}},
      {Entry(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"),
       8,
       {"\"w\"", "2.0", "integers"}},
      {Entry(R"("dtype":"F32","shape":[2e0],"data_offsets":[0,8])"),
       8,
       {"\"w\"", "2e0", "integers"}},
      {Entry(R"("dtype":"F32","shape":[true],"data_offsets":[0,8])"), 8, {"\"w\"", "true seen"}},
      {Entry(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"), 8, {"\"w\"", "-2 seen"}},
      // Sizes.
      {Entry(R"("dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8])"),
       8,
       {"\"w\"", "9223372036854775808"}},
      {Entry(R"("dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8])"),
       8,
       {"\"w\"", "99999999999999999999"}},
      {Entry(R"("dtype":"F32","shape":[2305843009213693952,2],"data_offsets":[0,8])"),
       8,
       {"\"w\"", "2305843009213693952, 2", "overflows"}},
      {Entry(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])"),
       0,
       {"\"w\"", "overflows"}},
      {Entry(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8])"),
       8,
       {"\"w\"", "more than 8 dimensions"}},
      {Entry(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"),
       8,
       {"\"w\"", "8 bytes", "expected 12"}},
      {Entry(R"("dtype":"F16","shape":[2],"data_offsets":[0,8])"),
       8,
       {"\"w\"", "8 bytes", "expected 4"}},
      {Entry(R"("dtype":"F32","shape":[],"data_offsets":[0,8])"), 8, {"\"w\"", "expected 4"}},
      // Offsets.
      {Entry(R"("dtype":"F32","shape":[2],"data_offsets":[0])"), 8, {"\"w\"", "1 data_offsets"}},
      {Entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,8,8])"), 8, {"\"w\"", "more than 2"}},
      {Entry(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"),
       8,
       {"\"w\"", "[8, 0]", "a range within [0, 8]"}},
      {Entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])"),
       7,
       {"\"w\"", "[0, 8]", "[0, 7]"}},
      {Entry(R"("dtype":"F32","shape":[2],"data_offsets":[-8,0])"), 8, {"\"w\"", "-8 seen"}},
      {Entry(
           R"("dtype":"F32","shape":[2],"data_offsets":[9223372036854775800,9223372036854775807])"),
       8,
       {"\"w\"", "9223372036854775807"}},
      {Entry(R"("dtype":"F32","shape":[2],"data_offsets":[1,9])"),
       9,
       {"\"w\"", "hole", "expected 0"}},
      {Entry(w), 9, {"expected the file's end"}},
      {"{\"w\":{" + w + R"(},"v":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       8,
       {"\"v\"", "overlaps", "\"w\"", "expected 8"}},
      {"{\"w\":{" + w + R"(},"v":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
       8,
       {"begin at 0", "overlaps"}},
      {"{\"w\":{" + w + R"(},"v":{"dtype":"F32","shape":[1],"data_offsets":[9,13]}})",
       13,
       {"\"v\"", "hole", "\"w\"", "expected 8"}},
      {"{\"w\":{" + w + R"(},"v":{"dtype":"F32","shape":[0],"data_offsets":[4,4]}})",
       8,
       {"overlaps"}},
  };
  for (const RefusedFile& refusal : cases) {
    const auto records = Parse(refusal.header, refusal.data_bytes);
    const std::string shown = refusal.header.substr(0, 120);
    for (const std::string& text : refusal.in_message) {
      EXPECT_THAT(records, Fails(Code::kInvalidArgument, text)) << shown;
    }
  }
}

TEST(ParseSafetensorsHeader, RefusesEveryTruncation) {
  const std::string whole =
      SafetensorsBytes(Entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])"), 8);
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THAT(Parse(whole.substr(0, size)), Fails(Code::kInvalidArgument, "")) << size;
  }
}

TEST(ParseSafetensorsHeader, RefusesAbsurdLengths) {
  for (const uint64_t length : {uint64_t{100'000'001}, uint64_t{1} << 63, ~uint64_t{0}}) {
    std::string bytes = SafetensorsBytes("{}", 0);
    std::memcpy(bytes.data(), &length, sizeof(length));
    EXPECT_THAT(Parse(bytes),
                Fails(Code::kInvalidArgument,
                      absl::StrCat(length, " bytes seen, expected at most 100000000")));
  }
}

TEST(ParseSafetensorsHeader, NeedsTheHeaderAlone) {
  const std::string bytes =
      SafetensorsBytes(Entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])"), 0);
  const auto prefix = std::as_bytes(std::span(bytes));
  EXPECT_TRUE(ParseSafetensorsHeader(prefix, bytes.size() + 8).ok());
  EXPECT_FALSE(ParseSafetensorsHeader(prefix.first(prefix.size() - 1), bytes.size() + 8).ok());
}

// A random set of tensors and their bytes.
struct TensorSet {
  std::vector<NamedTensor> tensors;
  std::map<std::string, std::string> bytes;
};

TensorSet RandomTensors(std::mt19937& random, bool streamed) {
  const auto below = [&](int n) { return static_cast<int>(random() % n); };
  TensorSet set;
  const int count = below(12);
  for (int i = 0; i < count; ++i) {
    const char* kinds[] = {"plain", "quote\"", "back\\slash", "h\xc3\xa9", "tab\t", "dot.ted", ""};
    NamedTensor named{absl::StrCat(kinds[below(7)], i), {}};
    named.tensor.dtype = std::array{DType::kF32, DType::kF16, DType::kBF16}[below(3)];
    for (int rank = below(4); rank > 0; --rank) named.tensor.shape.push_back(below(6));
    std::string& bytes = set.bytes[named.name];
    bytes.resize(named.tensor.elements() * kernels::ByteSize(named.tensor.dtype));
    for (char& byte : bytes) byte = static_cast<char>(random());
    const std::span<const std::byte> data = std::as_bytes(std::span(bytes));
    if (streamed) {
      named.produce = [data, piece = 1 + below(9)](const NamedTensor::Append& append) {
        for (size_t at = 0; at < data.size(); at += piece) {
          const absl::Status status =
              append(data.subspan(at, std::min<size_t>(piece, data.size() - at)));
          if (!status.ok()) return status;
        }
        return absl::OkStatus();
      };
    } else {
      named.tensor.data = data;
    }
    set.tensors.push_back(named);
  }
  return set;
}

TEST(WriteSafetensors, RandomSetsComeBackAndAreAligned) {
  const TemporaryDirectory directory;
  const std::string path = directory / "file.safetensors";
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    const TensorSet set = RandomTensors(random, /*streamed=*/round % 2 == 1);
    ASSERT_TRUE(WriteSafetensors(path, set.tensors).ok());
    const std::string file = ReadBytes(path);
    const auto records = Parse(file);
    ASSERT_TRUE(records.ok()) << records.status();
    ASSERT_EQ(records->size(), set.tensors.size());
    uint64_t header_length;
    std::memcpy(&header_length, file.data(), 8);
    EXPECT_EQ((8 + header_length) % 64, 0);
    for (const NamedTensor& named : set.tensors) {
      const TensorRecord& record = records->at(named.name);
      EXPECT_EQ(record.type->dtype, named.tensor.dtype);
      EXPECT_EQ(record.shape, named.tensor.shape);
      EXPECT_EQ(record.begin % kernels::ByteSize(named.tensor.dtype), 0);
      EXPECT_EQ(file.substr(record.begin, record.end - record.begin), set.bytes.at(named.name));
    }
  }
  EXPECT_EQ(directory.entries(), 1);
}

TEST(WriteSafetensors, RefusesWhatCouldNotBeReadBackAndLeavesTheOldFile) {
  const TemporaryDirectory directory;
  const std::string path = directory / "file.safetensors";
  WriteBytes(path, "old");
  const float data[2] = {1, 2};
  const auto bytes = std::as_bytes(std::span(data));
  const NamedTensor good{"w", {DType::kF32, {2}, bytes}};
  const auto refused = [&](const std::vector<NamedTensor>& tensors, const std::string& text) {
    EXPECT_THAT(WriteSafetensors(path, tensors), Fails(Code::kInvalidArgument, text));
    EXPECT_EQ(ReadBytes(path), "old");
    EXPECT_EQ(directory.entries(), 1);
  };
  refused({good, {"w", {DType::kF16, {4}, bytes}}}, "\"w\": duplicate name");
  refused({{"__metadata__", {DType::kF32, {2}, bytes}}}, "__metadata__");
  refused({{"\xff", {DType::kF32, {2}, bytes}}}, "UTF-8");
  refused({{"w", {DType::kF32, {3}, bytes}}}, "\"w\": 8 bytes of data seen, expected 12");
  refused({{"w", {DType::kF32, {-2}, {}}}}, "\"w\": shape [-2]");
  refused({{"w", {DType::kF32, {1, 1, 1, 1, 1, 1, 1, 1, 2}, bytes}}}, "\"w\": 9 dimensions");
  const auto nothing = [](const NamedTensor::Append&) { return absl::OkStatus(); };
  refused({{"half", {DType::kF16, {int64_t{1} << 61}, {}}, nothing},
           {"rest", {DType::kF16, {int64_t{1} << 61}, {}}, nothing}},
          "\"rest\": with it the data overflow");
  for (const int pieces : {0, 1, 3}) {
    NamedTensor streamed{"s", {DType::kF32, {4}, {}}};
    streamed.produce = [&](const NamedTensor::Append& append) {
      for (int i = 0; i < pieces; ++i) EXPECT_TRUE(append(bytes).ok());
      return absl::OkStatus();
    };
    refused({good, streamed}, absl::StrCat("\"s\": ", 8 * pieces, " bytes produced, expected 16"));
  }
  NamedTensor failing{"f", {DType::kF32, {4}, {}}};
  failing.produce = [](const NamedTensor::Append&) { return absl::AbortedError("stop"); };
  EXPECT_THAT(WriteSafetensors(path, std::vector{failing}), Fails(Code::kAborted, "stop"));
  EXPECT_EQ(ReadBytes(path), "old");
}

// Computes the value of a half from its definition, independently of the conversion's bit
// operations.
double HalfByDefinition(uint16_t half) {
  const int exponent = (half >> 10) & 31, mantissa = half & 1023;
  const double sign = half & 0x8000 ? -1 : 1;
  if (exponent == 31)
    return mantissa ? std::nan("") : sign * std::numeric_limits<double>::infinity();
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

TEST(ToFloat, EveryHalfIsExactAtOddAddressesToo) {
  std::vector<std::byte> bytes(2 * 65536 + 1);
  for (int i = 0; i < 65536; ++i) {
    const uint16_t half = i;
    std::memcpy(bytes.data() + 1 + 2 * i, &half, 2);
  }
  const TensorView tensor{DType::kF16, {256, 256}, std::span(bytes).subspan(1)};
  std::vector<float> out(tensor.elements());
  ToFloat(tensor, out.data());
  for (int i = 0; i < 65536; ++i) {
    const double expected = HalfByDefinition(i);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(out[i])) << i;
    } else {
      EXPECT_EQ(out[i], expected) << i;
      EXPECT_EQ(std::signbit(out[i]), std::signbit(expected)) << i;
    }
  }
}

TEST(ToFloat, BFloatsAreTheUpperHalfOfFloats) {
  std::mt19937 random(1);
  for (int round = 0; round < 1000; ++round) {
    const uint16_t upper = random();
    const uint32_t bits = uint32_t{upper} << 16;
    float out;
    ToFloat({DType::kBF16, {1}, std::as_bytes(std::span(&upper, 1))}, &out);
    EXPECT_EQ(std::memcmp(&out, &bits, 4), 0) << upper;
  }
}

TEST(ToFloat, FloatsAreCopiedBitForBit) {
  const uint32_t bits[] = {0x7fc12345, 0x00000001, 0x80000000, 0x3f800000};
  float out[4];
  ToFloat({DType::kF32, {2, 2}, std::as_bytes(std::span(bits))}, out);
  EXPECT_EQ(std::memcmp(out, bits, sizeof(bits)), 0);
}

}  // namespace
}  // namespace whipsnake::engine
