#include "engine/finetune/data/labels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "tests/engine/base/support.h"

namespace whipsnake::engine {
namespace {

using testing::ElementsAre;

Labels Made(std::vector<std::string> names) { return *Labels::Make(std::move(names)); }

// Collects names and returns the sorted ones, after checking that each number leads to its name.
std::vector<std::string> Collected(const std::vector<std::string>& names) {
  LabelCollector collector;
  std::vector<int32_t> numbers, new_numbers;
  for (const std::string& name : names) numbers.push_back(*collector.Number(name));
  const Labels labels = collector.Sorted(&new_numbers);
  for (size_t i = 0; i < names.size(); ++i) {
    EXPECT_EQ(labels.names()[new_numbers[numbers[i]]], names[i]);
  }
  return labels.names();
}

TEST(Labels, AreFoundByName) {
  const Labels labels = Made({"noun", "verb", ""});
  EXPECT_EQ(labels.Find("noun"), 0);
  EXPECT_EQ(labels.Find(""), 2);
  EXPECT_EQ(labels.Find("adverb"), std::nullopt);
}

TEST(Labels, AreFoundByIndexUnlessNamesAreIntegers) {
  const Labels names = Made({"noun", "verb"});
  EXPECT_EQ(names.Find("1"), 1);
  for (const char* other : {"2", "-1", "01", "+1", "1.0", "99999999999999999999"}) {
    EXPECT_EQ(names.Find(other), std::nullopt) << other;
  }
  const Labels integers = Made({"3", "1"});
  EXPECT_EQ(integers.Find("1"), 1);
  EXPECT_EQ(integers.Find("0"), std::nullopt);
}

TEST(Labels, AreDistinctAndListed) {
  EXPECT_THAT(Labels::Make({"a", "b", "a"}),
              Fails(absl::StatusCode::kInvalidArgument, "two labels \"a\""));
  std::vector<std::string> many;
  for (int64_t i = 0; i <= kMaxLabels; ++i) many.push_back(absl::StrCat(i));
  EXPECT_THAT(Labels::Make(many), Fails(absl::StatusCode::kInvalidArgument, "65537 labels"));
  EXPECT_EQ(Made({"a", "b\n"}).Listed(), R"("a", "b\n")");
  many.resize(30);
  EXPECT_THAT(Made(many).Listed(), testing::EndsWith(R"("19", ... (30 labels))"));
}

TEST(ReadLabels, ReadsTheNamesOfAConfig) {
  const auto read = [](const char* text) { return ReadLabels(nlohmann::json::parse(text)); };
  EXPECT_TRUE(read("{}")->empty());
  EXPECT_THAT(read(R"({"id2label": {"1": "b", "0": "a", "2": "c"}})")->names(),
              ElementsAre("a", "b", "c"));
  EXPECT_THAT(read(R"({"id2label": {"0": "a", "2": "c"}})"),
              Fails(absl::StatusCode::kInvalidArgument, "id2label.1: nothing seen"));
  EXPECT_THAT(read(R"({"id2label": {"0": "a", "1": "a"}})"),
              Fails(absl::StatusCode::kInvalidArgument, "two labels"));
  EXPECT_THAT(read(R"({"id2label": ["a"]})"),
              Fails(absl::StatusCode::kInvalidArgument, "id2label"));
}

TEST(LabelCollector, SortsIntegersByValueAndTextsByBytes) {
  EXPECT_THAT(Collected({"10", "9", "-1", "9", "0"}), ElementsAre("-1", "0", "9", "10"));
  EXPECT_THAT(Collected({"10", "9", "x", "9"}), ElementsAre("10", "9", "x"));
  EXPECT_THAT(Collected({"10", "09"}), ElementsAre("09", "10"));
  EXPECT_THAT(Collected({"b", "\u00e9", "B"}), ElementsAre("B", "b", "\u00e9"));
  EXPECT_THAT(Collected({}), ElementsAre());
}

TEST(LabelCollector, RefusesUnboundedLabels) {
  LabelCollector collector;
  EXPECT_FALSE(collector.Number("").ok());
  EXPECT_FALSE(collector.Number(std::string(kMaxLabelBytes + 1, 'x')).ok());
  for (int64_t i = 0; i < kMaxLabels; ++i) ASSERT_TRUE(collector.Number(absl::StrCat(i)).ok());
  EXPECT_THAT(collector.Number("another"), Fails(absl::StatusCode::kInvalidArgument, "65536"));
  EXPECT_TRUE(collector.Number("7").ok());
}

}  // namespace
}  // namespace whipsnake::engine
