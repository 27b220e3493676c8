#include "engine/finetune/data/row.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "tests/engine/base/support.h"

namespace whipsnake::engine {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

Row Parsed(const RowParser& parser, std::string_view text) {
  const auto row = parser.Parse(text);
  EXPECT_TRUE(row.ok()) << row.status();
  return row.ok() ? *row : Row();
}

Row FromJson(Task task, std::string_view text) { return Parsed(*MakeJsonRowParser(task), text); }

std::unique_ptr<RowParser> CsvParser(Task task, std::vector<std::string> columns,
                                     std::string_view label = "") {
  auto parser = MakeCsvRowParser(task, std::move(columns), label);
  EXPECT_TRUE(parser.ok()) << parser.status();
  return std::move(*parser);
}

TEST(JsonRow, HasTheFieldsOfItsTask) {
  EXPECT_EQ(FromJson(Task::kCausalLm, R"({"text": "a\u00e9"})").input, "a\u00e9");
  EXPECT_EQ(FromJson(Task::kClassification, R"({"text": "a", "label": "x y"})").label, "x y");
  EXPECT_EQ(FromJson(Task::kClassification, R"({"text": "a", "label": -3})").label, "-3");
  EXPECT_EQ(FromJson(Task::kRegression, R"({"text": "a", "label": -2.5e3})").value, -2500);
  EXPECT_EQ(FromJson(Task::kRegression, R"({"text": "a", "label": 7})").value, 7);

  const Row choice =
      FromJson(Task::kChoice, R"({"prompt": "p", "choices": ["a", "b", "c"], "label": 2})");
  EXPECT_EQ(choice.input, "p");
  EXPECT_THAT(choice.responses, ElementsAre("a", "b", "c"));
  EXPECT_EQ(choice.choice, 2);

  const Row pair = FromJson(Task::kDpo, R"({"prompt": "p", "chosen": "c", "rejected": "r"})");
  EXPECT_EQ(pair.input, "p");
  EXPECT_THAT(pair.responses, ElementsAre("c", "r"));
}

TEST(JsonRow, NamesTheFieldsThatItIgnores) {
  EXPECT_THAT(FromJson(Task::kCausalLm, R"({"text": "a"})").ignored, IsEmpty());
  EXPECT_THAT(FromJson(Task::kCausalLm, R"({"label": 1, "id": 2, "text": "a"})").ignored,
              ElementsAre("id", "label"));
  const auto parser = MakeJsonRowParser(Task::kClassification, "kind");
  const Row row = Parsed(*parser, R"({"label": 1, "kind": 2, "text": "a"})");
  EXPECT_EQ(row.label, "2");
  EXPECT_THAT(row.ignored, ElementsAre("label"));
}

TEST(JsonRow, NamesTheFaultyField) {
  const struct {
    Task task;
    const char *text, *field, *message;
  } cases[] = {
      {Task::kCausalLm, "{", "row", "malformed JSON"},
      {Task::kCausalLm, "[1]", "row", "an array seen, expected a JSON object"},
      {Task::kCausalLm, R"({"text": "a"} x)", "row", "malformed JSON"},
      {Task::kCausalLm, R"({"text": "a", "text": "b"})", "row", "duplicate key \"text\""},
      {Task::kCausalLm, "{}", "text", "nothing seen, expected a string"},
      {Task::kCausalLm, R"({"text": 5})", "text", "5 seen, expected a string"},
      {Task::kClassification, R"({"text": "a"})", "label", "expected a string or an integer"},
      {Task::kClassification, R"({"text": "a", "label": 1.5})", "label", "1.5 seen"},
      {Task::kClassification, R"({"text": "a", "label": true})", "label", "true seen"},
      {Task::kClassification, R"({"text": "a", "label": 9999999999999999999})", "label", "9999"},
      {Task::kRegression, R"({"text": "a", "label": "1"})", "label", "\"1\" seen"},
      {Task::kRegression, R"({"text": "a", "label": 1e39})", "label", "1e+39 seen"},
      {Task::kChoice, R"({"prompt": "p", "choices": ["a"], "label": 0})", "choices", "an array"},
      {Task::kChoice, R"({"prompt": "p", "choices": "ab", "label": 0})", "choices", "\"ab\""},
      {Task::kChoice, R"({"prompt": "p", "choices": ["a", 1], "label": 0})", "choices[1]", "1"},
      {Task::kChoice, R"({"prompt": "p", "choices": ["a", "b"], "label": 2})", "label", "0 to 1"},
      {Task::kDpo, R"({"prompt": "p", "chosen": "c"})", "rejected", "nothing seen"},
  };
  for (const auto& item : cases) {
    const auto row = MakeJsonRowParser(item.task)->Parse(item.text);
    EXPECT_THAT(row, Fails(absl::StatusCode::kInvalidArgument, item.message)) << item.text;
    EXPECT_EQ(FieldOf(row.status()), item.field) << item.text;
  }
}

TEST(CsvRow, FindsItsColumns) {
  EXPECT_EQ(Parsed(*CsvParser(Task::kCausalLm, {"text"}), "\"a,b\"").input, "a,b");

  Row row = Parsed(*CsvParser(Task::kClassification, {"id", "label", "text"}), "1,x,t");
  EXPECT_EQ(row.input, "t");
  EXPECT_EQ(row.label, "x");
  EXPECT_THAT(row.ignored, ElementsAre("id"));

  row = Parsed(*CsvParser(Task::kClassification, {"sentence", "kind"}), "t,x");
  EXPECT_EQ(row.input, "t");
  EXPECT_EQ(row.label, "x");

  row = Parsed(*CsvParser(Task::kRegression, {"score", "a", "b"}, "score"), "-1.5,t,u");
  EXPECT_EQ(row.input, "t u");
  EXPECT_EQ(row.value, -1.5f);

  row = Parsed(*CsvParser(Task::kClassification, NumberedColumns(4)), "1,2,3,9");
  EXPECT_EQ(row.input, "1 2 3");
  EXPECT_EQ(row.label, "9");

  for (const auto& columns :
       {std::vector<std::string>{"rejected", "id", "chosen", "prompt"}, NumberedColumns(3)}) {
    const bool named = columns.size() == 4;
    row = Parsed(*CsvParser(Task::kDpo, columns), named ? "r,1,c,p" : "p,c,r");
    EXPECT_EQ(row.input, "p");
    EXPECT_THAT(row.responses, ElementsAre("c", "r"));
  }
}

TEST(CsvRow, RefusesColumnsThatAreNotThere) {
  const auto message = [](Task task, std::vector<std::string> columns,
                          std::string_view label = "") {
    return std::string(MakeCsvRowParser(task, std::move(columns), label).status().message());
  };
  EXPECT_THAT(message(Task::kDpo, {"prompt", "chosen"}), testing::HasSubstr("\"rejected\""));
  EXPECT_THAT(message(Task::kClassification, {"text", "x"}, "y"), testing::HasSubstr("\"y\""));
  EXPECT_THAT(message(Task::kClassification, {"text"}), testing::HasSubstr("\"text\""));
  EXPECT_THAT(message(Task::kCausalLm, {"text", "text"}), testing::HasSubstr("two columns"));
  EXPECT_THAT(message(Task::kChoice, {"prompt"}), testing::HasSubstr("json-lines"));
}

TEST(CsvRow, NamesTheFaultyColumn) {
  const auto parser = CsvParser(Task::kRegression, {"text", "label"});
  for (const char* value : {"", "x", "nan", "inf", "1e39", "1,2", "1 2"}) {
    EXPECT_FALSE(parser->Parse(absl::StrCat("t,", value)).ok()) << value;
  }
  EXPECT_EQ(FieldOf(parser->Parse("t,x").status()), "label");
  EXPECT_THAT(parser->Parse("t"), Fails(absl::StatusCode::kInvalidArgument, "1 columns seen"));
  EXPECT_EQ(FieldOf(parser->Parse("t,\"1").status()), "column 2");
}

}  // namespace
}  // namespace whipsnake::engine
