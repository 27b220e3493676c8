#include "engine/finetune/data/batches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "engine/base/status.h"
#include "engine/finetune/data/epoch_order.h"
#include "tests/engine/finetune/support.h"

namespace whipsnake::engine {
namespace {

using Tokens = std::vector<int32_t>;

class BatchesTest : public DatasetTest {
 protected:
  // A data set of these texts. Packed if `window` is not 0.
  std::unique_ptr<Dataset> OpenTexts(const std::vector<std::string>& texts, int64_t window = 0) {
    std::string rows;
    for (const std::string& text : texts) rows += nlohmann::json{{"text", text}}.dump() + "\n";
    return OpenJson(
        rows,
        {.task = Task::kCausalLm, .max_length = window > 0 ? window : 1024, .packed = window > 0});
  }

  std::unique_ptr<Batches> Make(const Dataset& dataset, const BatchOptions& options) {
    auto batches = Batches::Make(&dataset, options, &ledger_);
    EXPECT_TRUE(batches.ok()) << batches.status();
    return *std::move(batches);
  }

  static std::vector<Batch> Epoch(Batches& batches, int64_t epoch) {
    std::vector<Batch> all;
    for (int64_t b = 0; b < batches.batches_per_epoch(); ++b) {
      auto batch = batches.Read(epoch, b);
      EXPECT_TRUE(batch.ok()) << batch.status();
      all.push_back(*std::move(batch));
    }
    return all;
  }
};

// Distinct texts of 2 to 60 bytes.
std::vector<std::string> RandomTexts(int count) {
  std::mt19937 random(count);
  std::vector<std::string> texts;
  for (int i = 0; i < count; ++i) {
    texts.push_back(absl::StrCat(i, ":") + std::string(random() % 57, 'a' + random() % 26));
  }
  return texts;
}

std::vector<Tokens> SequencesOf(const std::vector<Batch>& batches) {
  std::vector<Tokens> sequences;
  for (const Batch& batch : batches) {
    for (const Example& example : batch) sequences.push_back(example.sequences.at(0));
  }
  return sequences;
}

TEST_F(BatchesTest, EachEpochHasEachRowOnce) {
  for (const int rows : {1, 2, 7, 64, 301}) {
    const std::vector<std::string> texts = RandomTexts(rows);
    std::vector<Tokens> expected;
    for (const std::string& text : texts) expected.push_back(Bytes(text));
    std::ranges::sort(expected);
    const auto dataset = OpenTexts(texts);
    for (const int64_t size : {int64_t{1}, int64_t{3}, int64_t{8}, int64_t{1000}, INT64_MAX}) {
      for (const int64_t pool : {int64_t{1}, int64_t{4}, INT64_MAX}) {
        const auto batches = Make(*dataset, {.batch_size = size, .seed = 3, .pool_batches = pool});
        const std::vector<Batch> epoch = Epoch(*batches, 5);
        const int64_t whole = std::min<int64_t>(size, rows);
        EXPECT_EQ(std::ranges::count_if(
                      epoch, [&](const Batch& batch) { return std::ssize(batch) != whole; }),
                  rows % whole == 0 ? 0 : 1);
        std::vector<Tokens> sequences = SequencesOf(epoch);
        std::ranges::sort(sequences);
        EXPECT_EQ(sequences, expected);
      }
    }
  }
}

TEST_F(BatchesTest, EvaluationHasTheOrderOfTheFile) {
  const std::vector<std::string> texts = RandomTexts(20);
  const auto dataset = OpenTexts(texts);
  const auto batches = Make(*dataset, {.batch_size = 6, .shuffle = false});
  for (const int64_t epoch : {0, 1}) {
    const std::vector<Tokens> sequences = SequencesOf(Epoch(*batches, epoch));
    for (size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(sequences[i], Bytes(texts[i]));
  }
}

// A run that resumes reads any batch with fresh objects, and in any order.
TEST_F(BatchesTest, ABatchDependsOnlyOnSeedEpochAndNumber) {
  for (const int64_t window : {0, 13}) {
    const auto dataset = OpenTexts(RandomTexts(100), window);
    const BatchOptions options{.batch_size = 4, .seed = 9, .pool_batches = 3};
    const auto batches = Make(*dataset, options);
    std::vector<std::vector<Batch>> epochs;
    for (const int64_t epoch : {0, 1, 2}) epochs.push_back(Epoch(*batches, epoch));
    EXPECT_NE(epochs[0], epochs[1]);
    EXPECT_NE(epochs[1], epochs[2]);
    std::mt19937 random(1);
    for (int i = 0; i < 30; ++i) {
      const int64_t epoch = random() % 3, b = random() % batches->batches_per_epoch();
      EXPECT_EQ(*batches->Read(epoch, b), epochs[epoch][b]);
      EXPECT_EQ(*Make(*dataset, options)->Read(epoch, b), epochs[epoch][b]);
    }
    const auto other = Make(*dataset, {.batch_size = 4, .seed = 10, .pool_batches = 3});
    EXPECT_NE(Epoch(*other, 0), epochs[0]);
  }
}

// With one pool, the batches partition the rows by length, and each epoch has them in another
// order.
TEST_F(BatchesTest, RowsOfABatchAreAboutEquallyLong) {
  const auto dataset = OpenTexts(RandomTexts(400));
  const auto batches = Make(*dataset, {.batch_size = 10, .pool_batches = 40});
  std::vector<std::vector<std::pair<size_t, size_t>>> epochs;
  for (const int64_t epoch : {0, 1}) {
    auto& ranges = epochs.emplace_back();  // the least and the greatest length of each batch
    for (const Batch& batch : Epoch(*batches, epoch)) {
      std::vector<size_t> lengths;
      for (const Example& example : batch) lengths.push_back(example.sequences[0].size());
      ranges.emplace_back(std::ranges::min(lengths), std::ranges::max(lengths));
    }
  }
  EXPECT_NE(epochs[0], epochs[1]);
  for (auto& ranges : epochs) {
    EXPECT_FALSE(std::ranges::is_sorted(ranges));
    std::ranges::sort(ranges);
    for (size_t b = 1; b < ranges.size(); ++b) EXPECT_GE(ranges[b].first, ranges[b - 1].second);
  }
}

// Differential: joins all texts of the order that the windows imply, and cuts them by definition.
TEST_F(BatchesTest, WindowsAreTheJoinedTexts) {
  for (const int rows : {1, 2, 5, 50}) {
    const std::vector<std::string> texts = RandomTexts(rows);
    for (const int64_t window : {2, 3, 16, 61, 5000}) {
      const auto dataset = OpenTexts(texts, window);
      for (const bool shuffle : {false, true}) {
        const auto batches = Make(*dataset, {.batch_size = 3, .seed = 4, .shuffle = shuffle});
        std::vector<int64_t> order(rows);
        for (int i = 0; i < rows; ++i) order[i] = i;
        if (shuffle) Shuffle(EpochRandomness(4, 2, "rows"), order);
        Tokens joined;
        for (const int64_t row : order) {
          if (!joined.empty()) joined.push_back(0);
          const Tokens text = Bytes(texts[row]);
          joined.insert(joined.end(), text.begin(), text.end());
        }
        std::vector<Tokens> expected;
        for (int64_t at = 0; at + 1 < std::ssize(joined); at += window) {
          const int64_t end = std::min<int64_t>(at + window, std::ssize(joined));
          expected.emplace_back(joined.begin() + at, joined.begin() + end);
        }
        EXPECT_EQ(batches->examples_per_epoch(), std::ssize(expected));
        EXPECT_EQ(SequencesOf(Epoch(*batches, 2)), expected) << rows << " rows, window " << window;
      }
    }
  }
}

// A last window of a single token predicts nothing and is dropped.
TEST_F(BatchesTest, WindowsHaveTwoTokensOrMore) {
  const auto dataset = OpenTexts({"abcde"}, 4);
  EXPECT_EQ(SequencesOf(Epoch(*Make(*dataset, {}), 0)), Sequences{Bytes("abcd")});
  const auto single = OpenTexts({"a"}, 4);
  EXPECT_THAT(Batches::Make(single.get(), {}, &ledger_),
              Fails(absl::StatusCode::kInvalidArgument, "rows.jsonl: no examples seen"));
}

TEST_F(BatchesTest, RefusesWhatItCannotDivide) {
  const auto none = OpenTexts({});
  EXPECT_THAT(Batches::Make(none.get(), {}, &ledger_),
              Fails(absl::StatusCode::kInvalidArgument, "no examples"));
  const auto packed = OpenTexts({}, 8);
  EXPECT_THAT(Batches::Make(packed.get(), {}, &ledger_),
              Fails(absl::StatusCode::kInvalidArgument, "no examples"));
  const auto dataset = OpenTexts({"abc"});
  const auto status =
      Batches::Make(dataset.get(), {.batch_size = 0, .pool_batches = -1}, &ledger_).status();
  EXPECT_THAT(status, Fails(absl::StatusCode::kInvalidArgument, "batch_size: 0 seen"));
  EXPECT_THAT(status, Fails(absl::StatusCode::kInvalidArgument, "pool_batches: -1 seen"));
}

TEST_F(BatchesTest, AFileThatChangesIsAnErrorByName) {
  for (const int64_t window : {0, 4}) {
    const auto dataset = OpenTexts({"abcdefgh"}, window);
    const auto batches = Make(*dataset, {});
    WriteBytes(directory_ / "rows.jsonl", "{\"text\":\"abcdefgx\"}\n");
    EXPECT_THAT(batches->Read(0, 0), Fails(absl::StatusCode::kDataLoss, "rows.jsonl: line 1"));
  }
}

TEST_F(BatchesTest, TheOrderIsInTheLedger) {
  const auto dataset = OpenTexts(RandomTexts(200), 16);
  const int64_t before = ledger_.used();
  {
    const auto batches = Make(*dataset, {});
    EXPECT_GE(ledger_.used() - before, 200 * 16);
  }
  EXPECT_EQ(ledger_.used(), before);
  Ledger small(500);
  EXPECT_THAT(Batches::Make(dataset.get(), {}, &small),
              Fails(absl::StatusCode::kResourceExhausted, "the order of a data set"));
}

// Every permutation of four items is about equally frequent.
TEST(Shuffle, IsUniform) {
  std::map<std::vector<int64_t>, int> counts;
  constexpr int kRounds = 24 * 1000;
  for (int epoch = 0; epoch < kRounds; ++epoch) {
    std::vector<int64_t> items = {0, 1, 2, 3};
    Shuffle(EpochRandomness(1, epoch, "rows"), items);
    ++counts[items];
  }
  ASSERT_EQ(counts.size(), 24u);
  double chi_squared = 0;
  for (const auto& [items, count] : counts) chi_squared += (count - 1000.0) * (count - 1000) / 1000;
  EXPECT_LT(chi_squared, 49.7);  // the 0.999 quantile for 23 degrees of freedom
}

// Fixed values: a run must resume with the same order under a later version.
TEST(Shuffle, IsStableAcrossVersions) {
  std::vector<int64_t> items = {0, 1, 2, 3, 4, 5, 6, 7};
  Shuffle(EpochRandomness(42, 3, "rows"), items);
  EXPECT_THAT(items, testing::ElementsAre(3, 6, 7, 4, 0, 5, 1, 2));
}

}  // namespace
}  // namespace whipsnake::engine
