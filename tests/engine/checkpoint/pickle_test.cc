#include "engine/checkpoint/pickle.h"

#include "absl/strings/str_cat.h"
#include "tests/engine/checkpoint/support.h"

namespace whipsnake::engine {
namespace {

using namespace std::string_literals;
using Code = absl::StatusCode;
using Kind = PickleValue::Kind;

constexpr PickleGlobal kGlobals[] = {{"torch.FloatStorage"}, {"collections.OrderedDict", true}};

// Reads the program of protocol 2 without its first opcode. The text must outlive the result.
absl::StatusOr<Pickle> ReadProgram(std::string& program) {
  program = "\x80\x02"s + program;
  return ReadPickle(std::as_bytes(std::span(program)), kGlobals);
}

TEST(ReadPickle, BuildsValues) {
  // {"a": (1, -2, 70000, 3, None), "b": [True, 0.0]} with two memoized values.
  std::string program = "}q\x00(X\x01\x00\x00\x00"s +
                        "a(K\x01J\xfe\xff\xff\xff\x8a\x03\x70\x11\x01M\x03\x00Ntq\x01"s +
                        "X\x01\x00\x00\x00"s + "b](\x88G\x00\x00\x00\x00\x00\x00\x00\x00"s + "eu."s;
  const auto pickle = ReadProgram(program);
  ASSERT_THAT(pickle, IsOk());
  const PickleValue& root = pickle->at(pickle->root);
  ASSERT_EQ(root.kind, Kind::kDict);
  ASSERT_EQ(root.parts.size(), 4u);
  EXPECT_EQ(pickle->at(root.parts[0]).text, "a");
  const PickleValue& tuple = pickle->at(root.parts[1]);
  ASSERT_EQ(tuple.kind, Kind::kTuple);
  std::vector<int64_t> numbers;
  for (const int32_t part : tuple.parts) numbers.push_back(pickle->at(part).integer);
  EXPECT_EQ(numbers, (std::vector<int64_t>{1, -2, 70000, 3, 0}));
  const PickleValue& list = pickle->at(root.parts[3]);
  ASSERT_EQ(list.kind, Kind::kList);
  EXPECT_EQ(pickle->at(list.parts[0]).kind, Kind::kBoolean);
  EXPECT_EQ(pickle->at(list.parts[1]).kind, Kind::kReal);
}

TEST(ReadPickle, CallsAreValues) {
  std::string program = "ccollections\nOrderedDict\n)R(K\x01K\x02u."s;
  const auto dict = ReadProgram(program);
  ASSERT_THAT(dict, IsOk());
  EXPECT_EQ(dict->at(dict->root).kind, Kind::kDict);
  EXPECT_EQ(dict->at(dict->root).parts.size(), 2u);

  std::string call = "ctorch\nFloatStorage\nK\x05\x85RN\x62."s;  // and sets its attributes
  const auto value = ReadProgram(call);
  ASSERT_THAT(value, IsOk());
  const PickleValue& root = value->at(value->root);
  ASSERT_EQ(root.kind, Kind::kCall);
  EXPECT_EQ(value->at(root.parts[0]).text, "torch.FloatStorage");
  EXPECT_EQ(value->at(value->at(root.parts[1]).parts[0]).integer, 5);
}

TEST(ReadPickle, RefusesWhatTensorsAreNotMadeOf) {
  const std::pair<std::string, std::string> cases[] = {
      {"cos\nsystem\nX\x01\x00\x00\x00"s + "a\x85R."s, "byte 2: the Python object \"os.system\""},
      {"\x8c\x02os\x8c\x06system\x93)R."s, "\"os.system\" seen"},
      {"cbuiltins\neval\n)R."s, "\"builtins.eval\""},
      {"ctorch\nFloatStorageX\n."s, "\"torch.FloatStorageX\""},
      {"ctorch.Float\nStorage\n."s, "\"torch.Float.Storage\""},
      {"ctorch\nX.FloatStorage\n."s, "\"torch.X.FloatStorage\""},
      {"(ios\nsystem\n."s, "opcode 0x69"},
      {"\x82\x01."s, "opcode 0x82"},
      {"ctorch\nFloatStorage\n)\x81."s, "opcode 0x81"},
      {"N)R."s, "a call of something else"},
      {"ctorch\nFloatStorage\nNR."s, "a call of something else"},
      {"ccollections\nOrderedDict\n]\x85R."s, "with arguments"},
      {"."s, "an empty stack"},
      {"(."s, "an empty stack"},
      {"(K\x01(\x85."s, "an empty stack"},
      {"K\x01u."s, "no mark"},
      {"}(K\x01u."s, "a key without a value"},
      {"K\x01K\x02K\x03s."s, "an integer seen, expected a dict"},
      {"NK\x01\x61."s, "None seen, expected a list"},
      {"h\x05."s, "nothing is in the memo at 5"},
      {"Nr\xff\xff\xff\x7f."s, "a memo of more than"},
      {"X\xff\xff\xff\xffx."s, "ends in the middle"},
      {"\x8d\xff\xff\xff\xff\xff\xff\xff\xffx."s, "ends in the middle"},
      {"\x8a\x09" + std::string(9, '\1') + "."s, "more than 64 bits"},
      {"\x80\x07N."s, "protocol 7"},
      {"ctorch\nFloat"s, "ends in the middle"},
      {"N"s, "ends in the middle"},
      {std::string(1'100'000, 'N') + ".", "more than 1000000 values"},
  };
  for (auto [program, text] : cases) {
    EXPECT_THAT(ReadProgram(program), Fails(Code::kInvalidArgument, text));
  }
  EXPECT_THAT(ReadPickle({}, kGlobals), Fails(Code::kInvalidArgument, "byte 0"));
  const std::string text = "(lp0\n.";
  EXPECT_THAT(ReadPickle(std::as_bytes(std::span(text)), kGlobals),
              Fails(Code::kInvalidArgument, "no protocol"));
  const std::string large((16 << 20) + 1, 'N');
  EXPECT_THAT(ReadPickle(std::as_bytes(std::span(large)), kGlobals),
              Fails(Code::kInvalidArgument, "expected at most 16777216"));
}

// Tuples in tuples, and a list in itself: nothing follows parts, so neither has a depth.
TEST(ReadPickle, TakesAnyDepth) {
  std::string deep = ")" + std::string(500'000, '\x85') + ".";
  EXPECT_THAT(ReadProgram(deep), IsOk());
  std::string itself = "]q\x00h\x00\x61."s;
  EXPECT_THAT(ReadProgram(itself), IsOk());
}

}  // namespace
}  // namespace whipsnake::engine
