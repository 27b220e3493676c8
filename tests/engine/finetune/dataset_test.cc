#include "engine/finetune/data/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "tests/engine/finetune/support.h"

namespace whipsnake::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Code = absl::StatusCode;

DatasetOptions For(Task task, int64_t max_length = 1024) {
  return {.task = task, .max_length = max_length, .packed = false};
}

std::string TextRow(std::string_view text) { return nlohmann::json{{"text", text}}.dump() + "\n"; }

TEST_F(DatasetTest, ReadsRowsOfEachTask) {
  auto dataset =
      OpenJson("{\"text\":\"abc\"}\n\n{\"text\":\"d\u00e9\"}\n", For(Task::kCausalLm, 3));
  ASSERT_EQ(dataset->size(), 2);
  EXPECT_EQ(dataset->length(0), 3);
  EXPECT_EQ(dataset->Read(0)->sequences, Sequences{Bytes("abc")});
  EXPECT_EQ(*dataset->ReadText(1), Bytes("d\u00e9"));

  dataset = OpenJson(R"({"text": "a", "label": 20}
{"text": "b", "label": 3}
{"text": "c", "label": "20"})",
                     For(Task::kClassification));
  EXPECT_THAT(dataset->labels().names(), ElementsAre("3", "20"));
  EXPECT_EQ(dataset->report().labels[0].rows, 1);
  EXPECT_EQ(dataset->report().labels[1].rows, 2);
  EXPECT_EQ(dataset->Read(0)->label, 1);
  EXPECT_EQ(dataset->Read(1)->label, 0);
  EXPECT_EQ(dataset->Read(2)->label, 1);

  dataset = Open("rows.csv", "score,text\r\n-1.5,\"a\r\nb\"\r\n3,c", [] {
    DatasetOptions options = For(Task::kRegression);
    options.label_column = "score";
    return options;
  }());
  EXPECT_EQ(dataset->Read(0)->sequences, Sequences{Bytes("a\r\nb")});
  EXPECT_EQ(dataset->Read(0)->value, -1.5f);
  EXPECT_EQ(dataset->Read(1)->value, 3);

  dataset =
      OpenJson(R"({"prompt": "p", "choices": ["ab", "c", "d"], "label": 2})", For(Task::kChoice));
  Example example = *dataset->Read(0);
  EXPECT_EQ(example.sequences, (Sequences{Bytes("pab"), Bytes("pc"), Bytes("pd")}));
  EXPECT_EQ(example.prompt_tokens, 1);
  EXPECT_EQ(example.label, 2);
  EXPECT_EQ(dataset->length(0), 3);

  dataset = OpenJson(R"({"prompt": "p", "chosen": "ab", "rejected": "c"})", For(Task::kDpo));
  example = *dataset->Read(0);
  EXPECT_EQ(example.sequences[1], (std::vector<int32_t>{'p' + 1, 'c' + 1, 0}));
  EXPECT_EQ(dataset->length(0), 4);
}

TEST_F(DatasetTest, ReportsBadRowsAndReadsTheGoodOnes) {
  const auto dataset = OpenJson(
      "{\"text\":\"abc\",\"label\":\"x\"}\n{\"text\":1,\"label\":\"x\"}\n{\"text\":\"\xff\"}\n"
      "{\"text\":\"\",\"label\":\"y\"}\n\n{\"text\":\"d\",\"label\":\"z\"}\n{",
      For(Task::kClassification));
  EXPECT_EQ(dataset->size(), 2);
  EXPECT_EQ(*dataset->ReadText(1), Bytes("d"));
  EXPECT_THAT(dataset->labels().names(), ElementsAre("x", "z"));
  const DatasetReport& report = dataset->report();
  EXPECT_EQ(report.bad_rows, 4);
  EXPECT_EQ(report.empty_rows, 1);
  ASSERT_EQ(report.first_bad_rows.size(), 4u);
  const BadRow* bad = report.first_bad_rows.data();
  EXPECT_EQ(bad[0].line, 2);
  EXPECT_EQ(bad[0].field, "text");
  EXPECT_EQ(bad[0].message, "text: 1 seen, expected a string");
  EXPECT_EQ(bad[1].message, "row: an invalid byte at offset 9 seen, expected text in UTF-8");
  EXPECT_EQ(bad[2].message, "text: 0 tokens seen, expected at least 1");
  EXPECT_EQ(bad[3].line, 7);
  const absl::Status status = Check(report);
  EXPECT_THAT(status, Fails(Code::kInvalidArgument, "rows.jsonl: bad rows: 4 of 6; line 2: text"));
  EXPECT_EQ(ClientMessage(status).find(directory_.path()), std::string::npos);
  EXPECT_THAT(ToText(report), HasSubstr("line 7: row: malformed JSON"));
}

TEST_F(DatasetTest, RowsWithTokensThatTheModelLacksAreBad) {
  DatasetOptions options = For(Task::kChoice);
  options.vocabulary = 'c' + 1;  // the tokens of bytes below c
  const auto dataset = OpenJson(R"({"prompt": "a", "choices": ["a", "b"], "label": 0}
{"prompt": "a", "choices": ["a", "bcb"], "label": 0})",
                                options);
  EXPECT_EQ(dataset->size(), 1);
  ASSERT_EQ(dataset->report().bad_rows, 1);
  EXPECT_EQ(dataset->report().first_bad_rows[0].field, "choices[1]");
  EXPECT_THAT(dataset->report().first_bad_rows[0].message,
              HasSubstr("the token \"c\" with the id 100 seen"));
}

TEST_F(DatasetTest, AnEmptyFileIsRefused) {
  for (const char* name : {"rows.jsonl", "rows.csv"}) {
    const auto dataset = Open(name, "", For(Task::kClassification));
    EXPECT_THAT(Check(dataset->report()), Fails(Code::kInvalidArgument, "no rows seen"));
    EXPECT_THAT(ToText(dataset->report()), HasSubstr("rows: 0 good, 0 bad"));
  }
  const auto dataset = Open("rows.csv", "text,label\n", For(Task::kClassification));
  EXPECT_THAT(Check(dataset->report()), Fails(Code::kInvalidArgument, "no rows seen"));
}

TEST_F(DatasetTest, RefusesOptionsAndColumnsThatDoNotFit) {
  DatasetOptions options = For(Task::kCausalLm, 1);
  options.max_row_bytes = 0;
  EXPECT_THAT(TryOpen("a.jsonl", "", options), Fails(Code::kInvalidArgument, "max_length: 1 seen"));
  EXPECT_THAT(TryOpen("a.jsonl", "", options), Fails(Code::kInvalidArgument, "max_row_bytes: 0"));
  EXPECT_THAT(Validate({.task = Task::kDpo}), Fails(Code::kInvalidArgument, "end_of_text"));
  EXPECT_THAT(Validate({.task = Task::kCausalLm}), Fails(Code::kInvalidArgument, "end_of_text"));
  EXPECT_TRUE(Validate({.task = Task::kClassification}).ok());
  EXPECT_THAT(TryOpen("a.txt", "", For(Task::kCausalLm)), Fails(Code::kInvalidArgument, "a.txt"));
  EXPECT_THAT(TryOpen("a.csv", "\nprompt,x\n", For(Task::kDpo)),
              Fails(Code::kInvalidArgument, "a.csv: line 2: columns: \"prompt,x\" seen"));
  EXPECT_THAT(TryOpen("a.csv", "x", For(Task::kChoice)),
              Fails(Code::kInvalidArgument, "json-lines"));
  EXPECT_THAT(TryOpen("a.csv", "\xff,x", For(Task::kCausalLm)),
              Fails(Code::kInvalidArgument, "UTF-8"));
}

TEST_F(DatasetTest, UsesTheLabelsThatItIsGiven) {
  DatasetOptions options = For(Task::kClassification);
  options.labels = *Labels::Make({"noun", "verb", "adverb"});
  const auto dataset =
      Open("rows.csv", "text,label\na,verb\nb,0\nc,pronoun\nd,verb\ne,pronoun\n", options);
  EXPECT_EQ(dataset->labels().names(), options.labels.names());
  EXPECT_EQ(dataset->Read(0)->label, 1);
  EXPECT_EQ(dataset->Read(1)->label, 0);
  const DatasetReport& report = dataset->report();
  EXPECT_THAT(report.unknown_labels, ElementsAre(testing::Pair("pronoun", 2)));
  EXPECT_EQ(report.first_bad_rows[0].message,
            R"(label: "pronoun" seen, expected one of "noun", "verb", "adverb")");
  ASSERT_EQ(report.labels.size(), 3u);
  EXPECT_EQ(report.labels[1].rows, 2);
  EXPECT_THAT(Warnings(report), ElementsAre("no row has the label \"adverb\""));
  EXPECT_THAT(ToText(report), HasSubstr("\"pronoun\""));
}

TEST_F(DatasetTest, FindsRepeatedTexts) {
  auto dataset =
      Open("rows.csv", "text,label\na,x\nb,x\na,x\na,y\nb,x\n", For(Task::kClassification));
  EXPECT_EQ(dataset->report().repeated.count, 3);
  EXPECT_EQ(dataset->report().repeated.first[0].line, 4);
  EXPECT_EQ(dataset->report().repeated.first[0].first_line, 2);
  EXPECT_EQ(dataset->report().contradicting.count, 1);
  EXPECT_EQ(dataset->report().contradicting.first[0].line, 5);
  EXPECT_THAT(Warnings(dataset->report()), ElementsAre(HasSubstr("1 row with the text")));

  dataset = Open("rows.csv", "prompt,chosen,rejected\np,a,b\np,b,a\np,a,b\np,c,c\np,ab,c\np,a,bc",
                 For(Task::kDpo));
  EXPECT_EQ(dataset->report().repeated.count, 1);
  EXPECT_EQ(dataset->report().contradicting.count, 0);
  EXPECT_THAT(Warnings(dataset->report()), ElementsAre(HasSubstr("1 row with equal chosen")));
}

TEST_F(DatasetTest, SummarizesLengthsAndValues) {
  std::string rows;
  for (int length = 1; length <= 100; ++length) {
    rows += nlohmann::json{{"text", std::string(length, 'x')}, {"label", length}}.dump() + "\n";
  }
  const auto dataset = OpenJson(rows, For(Task::kRegression, 90));
  const DatasetReport& report = dataset->report();
  EXPECT_EQ(report.tokens, 5050);
  EXPECT_EQ(report.lengths.shortest, 1);
  EXPECT_EQ(report.lengths.median, 50);
  EXPECT_EQ(report.lengths.percentile_95, 95);
  EXPECT_EQ(report.lengths.longest, 100);
  EXPECT_THAT(report.lengths.histogram, ElementsAre(1, 2, 4, 8, 16, 32, 37));
  EXPECT_THAT(ToText(report), HasSubstr("         4-7                4 #####\n"));
  EXPECT_EQ(report.cut_rows, 10);
  EXPECT_EQ(report.values->least, 1);
  EXPECT_NEAR(report.values->mean, 50.5, 1e-9);
  EXPECT_EQ(report.values->greatest, 100);
  EXPECT_THAT(ToText(report), HasSubstr("rows longer than 90 tokens: 10; they lose the end"));
  EXPECT_EQ(dataset->Read(99)->tokens(), 90);
}

TEST_F(DatasetTest, ReportsIgnoredFieldsOnce) {
  std::string rows;
  for (int i = 0; i < 30; ++i) rows += absl::StrCat("{\"text\":\"a\",\"id\":1,\"f", i, "\":2}\n");
  const auto dataset = OpenJson(rows + TextRow("a"), For(Task::kCausalLm, 2));
  EXPECT_EQ(dataset->report().ignored_fields.size(), 0u);  // all rows are too short
  EXPECT_EQ(dataset->report().bad_rows, 31);
  DatasetOptions packed = For(Task::kCausalLm, 2);
  packed.packed = true;
  const auto report = OpenJson(rows, packed)->report();
  EXPECT_EQ(report.ignored_fields.size(), 20u);
  EXPECT_EQ(report.ignored_fields[1], "id");
}

TEST_F(DatasetTest, LongRowsAreBad) {
  DatasetOptions options = For(Task::kCausalLm);
  options.max_row_bytes = 20;
  const auto dataset =
      OpenJson(TextRow("abc") + TextRow(std::string(1000, 'x')) + TextRow("de"), options);
  EXPECT_EQ(dataset->size(), 2);
  EXPECT_EQ(dataset->report().first_bad_rows[0].message,
            "row: 1012 bytes seen, expected at most 20");
}

TEST_F(DatasetTest, ALongHeaderIsAnError) {
  DatasetOptions options = For(Task::kCausalLm);
  options.max_row_bytes = 20;
  EXPECT_THAT(TryOpen("a.csv", std::string(1000, 'x') + "\nabc\n", options),
              Fails(Code::kInvalidArgument, "a.csv: line 1: row: 1001 bytes seen"));
}

TEST_F(DatasetTest, ListsAHundredBadRows) {
  std::string rows;
  for (int i = 0; i < 250; ++i) rows += "x\n";
  const DatasetReport report = OpenJson(rows, For(Task::kCausalLm))->report();
  EXPECT_EQ(report.bad_rows, 250);
  EXPECT_EQ(report.first_bad_rows.size(), 100u);
  EXPECT_THAT(ToText(report), HasSubstr("and 150 more"));
}

TEST_F(DatasetTest, AFileThatChangesIsAnErrorByName) {
  const std::string rows = TextRow("abc") + TextRow("def");
  const auto dataset = OpenJson(rows, For(Task::kCausalLm));
  const std::string path = directory_ / "rows.jsonl";
  // The same inode with another byte, then shorter.
  WriteBytes(path, TextRow("abc") + TextRow("dxf"));
  EXPECT_TRUE(dataset->Read(0).ok());
  EXPECT_THAT(dataset->Read(1), Fails(Code::kDataLoss, "rows.jsonl: line 2: other bytes seen"));
  WriteBytes(path, "");
  EXPECT_THAT(dataset->Read(0), Fails(Code::kDataLoss, "line 1"));
  // Another file renamed over it does no harm.
  WriteBytes(path, rows);
  WriteBytes(directory_ / "other", "x");
  std::filesystem::rename(directory_ / "other", path);
  EXPECT_TRUE(dataset->Read(1).ok());
}

TEST_F(DatasetTest, TheDigestIsThatOfTheFile) {
  const std::string rows = "\xEF\xBB\xBF" + TextRow("abc") + "\n";
  const auto dataset = OpenJson(rows, For(Task::kCausalLm));
  Digest digest;
  digest.Add(rows);
  EXPECT_EQ(dataset->digest(), digest.text());
  EXPECT_EQ(dataset->report().bytes, std::ssize(rows));
}

TEST_F(DatasetTest, TheIndexIsInTheLedger) {
  std::string rows;
  for (int i = 0; i < 1000; ++i) rows += TextRow(absl::StrCat("row ", i));
  WriteBytes(directory_ / "rows.jsonl", rows);
  {
    const auto dataset = OpenJson(rows, For(Task::kCausalLm));
    EXPECT_GE(ledger_.used(), 1000 * 32);
    EXPECT_LE(ledger_.used(), 2 * 1024 * 32);
    EXPECT_GE(ledger_.peak(), ledger_.used() + 1000 * 32);
  }
  EXPECT_EQ(ledger_.used(), 0);
  Ledger small(20000);
  EXPECT_THAT(
      Dataset::Open(directory_ / "rows.jsonl", For(Task::kCausalLm), tokenizer_.get(), &small),
      Fails(Code::kResourceExhausted, "of the 20000 allowed"));
  EXPECT_EQ(small.used(), 0);
}

TEST_F(DatasetTest, ProgressRisesAndCancels) {
  std::string rows;
  for (int i = 0; i < 1000; ++i) rows += TextRow(absl::StrCat("row ", i));
  WriteBytes(directory_ / "rows.jsonl", rows);
  std::vector<double> seen;
  const auto open = [&](double last) {
    return Dataset::Open(directory_ / "rows.jsonl", For(Task::kCausalLm), tokenizer_.get(),
                         &ledger_, [&](std::string_view, double fraction) {
                           seen.push_back(fraction);
                           return fraction < last ? absl::OkStatus()
                                                  : absl::CancelledError("enough");
                         });
  };
  EXPECT_TRUE(open(2).ok());
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(seen.front(), 0);
  EXPECT_EQ(seen.back(), 1);
  EXPECT_THAT(open(0.5), Fails(Code::kCancelled, "enough"));
}

// A tokenizer of bytes finds the same rows good and bad as a scan without a tokenizer.
TEST_F(DatasetTest, WithoutATokenizerOnlyTheTokensAreMissing) {
  const std::string rows =
      "{\"text\": \"a\", \"label\": 1, \"prompt\": \"p\", \"chosen\": \"c\", \"rejected\": \"c\"}\n"
      "{\"text\": \"\", \"label\": 2, \"prompt\": \"p\", \"chosen\": \"\", \"rejected\": \"r\"}\n"
      "{\"text\": \"ab\", \"label\": true, \"prompt\": \"\", \"chosen\": \"c\", \"rejected\": "
      "\"r\"}\n"
      "{\"text\": \"a\", \"label\": 3, \"prompt\": \"p\", \"chosen\": \"c\", \"rejected\": "
      "\"d\"}\n";
  for (const Task task : {Task::kCausalLm, Task::kClassification, Task::kRegression, Task::kDpo}) {
    const DatasetReport with = OpenJson(rows, {.task = task})->report();
    const auto file = DataFile::Open(directory_ / "rows.jsonl");
    const auto without = ScanFile(*file, {.task = task}, nullptr, ledger_, nullptr);
    ASSERT_TRUE(without.ok()) << without.status();
    nlohmann::ordered_json expected = ToJson(with), seen = ToJson(without->report);
    EXPECT_EQ(seen["tokens"], 0);
    EXPECT_EQ(seen["lengths"]["longest"], 0);
    for (auto* json : {&expected, &seen}) {
      for (const char* key : {"tokens", "lengths", "max_length"}) json->erase(key);
      for (auto& row : (*json)["first_bad_rows"]) row.erase("message");
    }
    EXPECT_EQ(seen.dump(1), expected.dump(1)) << Name(task);
  }
}

TEST_F(DatasetTest, TheReportIsJson) {
  const auto dataset =
      Open("rows.csv", "text,label\na,x\n\"b\n\",y\na,y\n,x\n", For(Task::kClassification));
  const nlohmann::ordered_json json = ToJson(dataset->report());
  EXPECT_EQ(json["rows"], 4);
  EXPECT_EQ(json["format"], "csv");
  EXPECT_EQ(json["first_bad_rows"][0]["line"], 6);
  EXPECT_EQ(json["labels"][1]["name"], "y");
  EXPECT_EQ(json["contradicting"]["first"][0]["first_line"], 2);
  EXPECT_EQ(json["lengths"]["histogram"].size(), 2u);
  EXPECT_EQ(nlohmann::json::parse(json.dump())["good_rows"], 3);
}

// The same rows as JSON lines and as CSV give the same examples.
TEST_F(DatasetTest, FormatsAgree) {
  std::mt19937 random(11);
  constexpr std::string_view kBytes = "abc ,\"\n\r\t'\\";
  std::string json, csv = "text,label\n";
  for (int row = 0; row < 500; ++row) {
    std::string text = absl::StrCat("#", row);
    for (int left = random() % 10; left > 0; --left) text += kBytes[random() % kBytes.size()];
    const std::string label = absl::StrCat(random() % 12);
    json += nlohmann::json{{"text", text}, {"label", label}}.dump() + "\r\n";
    csv += '"';
    for (const char byte : text) csv.append(byte == '"' ? 2 : 1, byte);
    csv += "\"," + label + "\r\n";
  }
  const auto lines = OpenJson(json, For(Task::kClassification));
  const auto values = Open("rows.csv", csv, For(Task::kClassification));
  ASSERT_EQ(lines->size(), 500);
  ASSERT_EQ(values->size(), 500);
  EXPECT_EQ(lines->labels().names(), values->labels().names());
  for (int64_t i = 0; i < 500; ++i) EXPECT_EQ(*lines->Read(i), *values->Read(i)) << i;
}

// Random changes to files of both formats and all tasks are reported, never fatal, and every row
// that is good can be read.
TEST_F(DatasetTest, SurvivesDamagedFiles) {
  const std::string json = R"({"text": "a\u00e9b", "label": 3, "prompt": "p", "choices": ["x", "y"]}
{"text": "b", "label": 0, "prompt": "p", "choices": ["x", "y"], "chosen": "c", "rejected": "r"}
{"text": "c", "label": "z", "prompt": "q", "chosen": "c", "rejected": "r"}
)";
  const std::string csv =
      "text,label,prompt,chosen,rejected\n\"a\"\"b\",1,p,c,r\r\n\"c\nd\",2.5,p,\"c,\",r\n";
  std::mt19937 random(5);
  for (int round = 0; round < 1500; ++round) {
    const bool is_csv = round % 2;
    std::string bytes = is_csv ? csv : json;
    for (int left = 1 + random() % 6; left > 0; --left) {
      const size_t at = random() % bytes.size();
      switch (random() % 4) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes.erase(at, 1 + random() % 3);
          break;
        case 2:
          bytes.insert(at, 1, "\"\n\r,{}[]:\\\xff"[random() % 11]);
          break;
        case 3:
          bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 20));
          break;
      }
      if (bytes.empty()) break;
    }
    DatasetOptions options = For(AllTasks()[random() % 5], 2 + random() % 6);
    options.packed = random() % 2;
    options.header = random() % 2;
    options.max_row_bytes = random() % 4 ? 1000 : 60;
    const auto dataset = TryOpen(is_csv ? "rows.csv" : "rows.jsonl", bytes, options);
    if (!dataset.ok()) {
      EXPECT_FALSE(dataset.status().message().empty());
      continue;
    }
    const DatasetReport& report = (*dataset)->report();
    EXPECT_EQ(report.good_rows, (*dataset)->size());
    EXPECT_EQ(Check(report).ok(), report.bad_rows == 0 && report.good_rows > 0);
    EXPECT_FALSE(ToText(report).empty());
    EXPECT_FALSE(ToJson(report).dump().empty());
    for (int64_t i = 0; i < (*dataset)->size(); ++i) {
      const auto example = (*dataset)->Read(i);
      ASSERT_TRUE(example.ok()) << example.status();
      for (const auto& sequence : example->sequences) {
        EXPECT_LE(std::ssize(sequence), options.max_length);
      }
    }
  }
}

}  // namespace
}  // namespace whipsnake::engine
