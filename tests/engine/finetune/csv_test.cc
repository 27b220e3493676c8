#include "engine/finetune/data/csv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "absl/strings/str_join.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

using testing::ElementsAre;

std::vector<std::string> Fields(std::string_view row) {
  const auto fields = ParseCsvRow(row);
  EXPECT_TRUE(fields.ok()) << fields.status();
  return fields.ok() ? *fields : std::vector<std::string>{};
}

// Encloses a field in quotes if it needs them or if `always`.
std::string Written(const std::string& field, bool always) {
  if (!always && field.find_first_of(",\"\r\n") == field.npos) return field;
  std::string quoted = "\"";
  for (const char byte : field) quoted.append(byte == '"' ? 2 : 1, byte);
  return quoted + '"';
}

TEST(Csv, ReadsFields) {
  EXPECT_THAT(Fields(""), ElementsAre(""));
  EXPECT_THAT(Fields(","), ElementsAre("", ""));
  EXPECT_THAT(Fields("a, b ,c"), ElementsAre("a", " b ", "c"));
  EXPECT_THAT(Fields(R"("a,b","say ""x""","")"), ElementsAre("a,b", "say \"x\"", ""));
  EXPECT_THAT(Fields("\"two\r\nlines\",x"), ElementsAre("two\r\nlines", "x"));
  EXPECT_THAT(Fields(R"("""","""""")"), ElementsAre("\"", "\"\""));
}

TEST(Csv, RefusesMisplacedQuotes) {
  for (const char* row :
       {R"(a,"b)", R"(a,b"c)", R"(a,"b"c)", R"(a,"b" ,c)", R"(a,")", R"(a,""")"}) {
    const auto fields = ParseCsvRow(row);
    EXPECT_EQ(FieldOf(fields.status()), "column 2") << row;
  }
}

// Any fields that are written as a row are read back, and the end of the row is found wherever the
// bytes are split.
TEST(Csv, ReadsBackWhatIsWritten) {
  std::mt19937 random(7);
  constexpr std::string_view kBytes = "ab ,,\"\"\"\r\n\n";
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::string> fields(1 + random() % 4), written;
    for (std::string& field : fields) {
      for (int left = random() % 6; left > 0; --left) field += kBytes[random() % kBytes.size()];
      written.push_back(Written(field, random() % 2));
    }
    const std::string row = absl::StrJoin(written, ",");
    EXPECT_EQ(Fields(row), fields) << row;

    const std::string file = row + "\nnext,\"row\"\n";
    const size_t split = random() % (row.size() + 1);
    CsvRowEnd end;
    ASSERT_EQ(end.Find(file.substr(0, split)), std::string::npos) << row << " cut at " << split;
    EXPECT_EQ(end.Find(file.substr(split)), row.size() - split) << row << " cut at " << split;
  }
}

// A row with a stray quote ends with its line, so that one fault does not hide the rows after it.
TEST(Csv, AStrayQuoteDoesNotOpenAField) {
  EXPECT_EQ(CsvRowEnd().Find("5\" disk,x\nnext"), 9u);
  EXPECT_EQ(CsvRowEnd().Find("\"a\"b\"c\nnext"), 6u);
}

}  // namespace
}  // namespace whipsnake::engine
