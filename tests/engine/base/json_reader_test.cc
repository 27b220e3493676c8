#include "engine/base/json_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/base/json.h"

namespace whipsnake::engine {
namespace {

const nlohmann::json& Document() {
  static const auto& document = *new nlohmann::json(ParseJsonObject(R"({
    "count": 3, "ratio": 0.5, "on": true, "name": "x", "none": null, "huge": 18446744073709551615,
    "list": ["a", {"type": 1}], "object": {"deep": [0]}})")
                                                        .value());
  return document;
}

std::string Message(const auto& status_or) { return std::string(status_or.status().message()); }

TEST(JsonView, NamesThePathTheValueAndWhatIsExpected) {
  const JsonView root(&Document());
  EXPECT_EQ(root["count"].Integer(1, 3).value(), 3);
  EXPECT_EQ(Message(root["count"].Integer(4, 9)), "count: 3 seen, expected an integer from 4 to 9");
  EXPECT_EQ(Message(root["huge"].Integer(0, 9)),
            "huge: 18446744073709551615 seen, expected an integer from 0 to 9");
  EXPECT_EQ(Message(root["ratio"].Number(0.5, 1, /*above_minimum=*/true)),
            "ratio: 0.5 seen, expected a number above 0.5 and at most 1");
  EXPECT_EQ(Message((*root["list"].Elements())[1].Type()),
            "list[1].type: 1 seen, expected a string");
  EXPECT_EQ(Message(root["object"]["deep"].Text()),
            "object.deep: an array seen, expected a string");
  EXPECT_EQ(root.Invalid("a list").message(), "an object seen, expected a list");
}

TEST(JsonView, AMissingFieldIsNullAndNamedNothing) {
  const JsonView root(&Document());
  EXPECT_TRUE(root["absent"]["deeper"].is_null());
  EXPECT_TRUE(root["none"].is_null());
  EXPECT_EQ(Message(root["absent"]["deeper"].Boolean()),
            "absent.deeper: nothing seen, expected true or false");
  EXPECT_EQ(Message(root["none"].Boolean()), "none: null seen, expected true or false");
  EXPECT_EQ(root["none"].BooleanOr(true).value(), true);
}

TEST(JsonView, ComparesTexts) {
  const JsonView root(&Document());
  EXPECT_TRUE(root["name"].IsText("x"));
  EXPECT_FALSE(root["count"].IsText("3"));
  EXPECT_TRUE(root["list"].ListContains("a"));
  EXPECT_FALSE(root["name"].ListContains("x"));
}

TEST(JsonObjectReader, KeepsTheFirstFaultAndGoesOn) {
  JsonObjectReader reader(Document());
  EXPECT_EQ(reader.Integer("absent", 7, 0, 9), 7);
  EXPECT_EQ(reader.Text("none", "default"), "default");
  EXPECT_TRUE(reader.status().ok());
  EXPECT_EQ(reader.Text("count", "default"), "default");
  EXPECT_EQ(reader.Boolean("name", true), true);
  EXPECT_EQ(reader.Integer("count", 0, 0, 9), 3);
  EXPECT_EQ(reader.status().message(), "count: 3 seen, expected a string");
}

TEST(JsonObjectReader, NamesTheObjectThatItIsIn) {
  JsonObjectReader reader(Document());
  JsonObjectReader object(reader.Object("object"));
  EXPECT_EQ(object.Count("deep"), 1);
  object.Reject("absent", "a number");
  EXPECT_EQ(object.status().message(), "object.absent: nothing seen, expected a number");
  EXPECT_FALSE(JsonObjectReader(reader.Object("absent")).Has("anything"));
  EXPECT_TRUE(reader.status().ok());
  reader.Object("list");
  EXPECT_EQ(reader.status().message(), "list: an array seen, expected an object");
}

TEST(PythonJson, HasNumbersThatAreNotFinite) {
  constexpr char kText[] =
      R"({"a": Infinity, "b":[NaN,-Infinity, 1], "c": "NaN, Infinity", "d\"": {"e": -Infinity}})";
  EXPECT_EQ(Message(ParseJsonObject(kText)),
            "malformed JSON at byte 7 seen, expected a JSON object");
  const auto document = ParsePythonJsonObject(kText);
  ASSERT_TRUE(document.ok()) << document.status();
  const JsonView root(&*document);
  EXPECT_EQ(Message(root["a"].Number(0, 100)), "a: Infinity seen, expected a number from 0 to 100");
  EXPECT_EQ(Message(root["a"].Integer(0, 9)), "a: Infinity seen, expected an integer from 0 to 9");
  EXPECT_EQ(Message((*root["b"].Elements())[0].Number(0, 100)),
            "b[0]: NaN seen, expected a number from 0 to 100");
  EXPECT_EQ(Message(root["d\""]["e"].Number(0, 100)),
            "d\".e: -Infinity seen, expected a number from 0 to 100");
  EXPECT_EQ(root["c"].Text().value(), "NaN, Infinity");
}

TEST(PythonJson, IsWrittenAsItWasRead) {
  constexpr char kText[] =
      "{\n  \"b\": -Infinity,\n  \"a\": [\n    NaN,\n    Infinity,\n    \"NaN\"\n  ]\n}";
  EXPECT_EQ(PythonJsonText(PythonJsonInOrder(kText)), kText);
}

TEST(PythonJson, OtherFaultsAreThoseOfJson) {
  for (const char* text :
       {R"({"a": NaN5})", R"({"a": 1NaN})", R"({"a": nan})", R"({"a": +Infinity})", R"({NaN: 1})",
        R"({"a": Infinity Infinity})", R"({"a": --Infinity})", "NaN", "[NaN]", "\"", "\"\\", ""}) {
    EXPECT_EQ(ParsePythonJsonObject(text).status().code(), absl::StatusCode::kInvalidArgument)
        << text;
  }
  EXPECT_EQ(Message(ParsePythonJsonObject(R"({"a": NaN, "b": Infinity, "a": 1})")),
            "duplicate key \"a\" seen, expected a JSON object");
  EXPECT_EQ(Message(ParsePythonJsonObject(R"({"a": NaN, "b": ])")),
            "malformed JSON at byte 17 seen, expected a JSON object");
}

}  // namespace
}  // namespace whipsnake::engine
