#include "engine/finetune/data/row_scanner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "engine/base/status.h"
#include "tests/engine/base/support.h"

namespace whipsnake::engine {
namespace {

struct Scanned {
  int64_t line;
  std::string text;
  bool operator==(const Scanned&) const = default;
};
void PrintTo(const Scanned& row, std::ostream* out) { *out << row.line << ": " << row.text; }

class RowScannerTest : public testing::Test {
 protected:
  // Scans a file with these bytes. Checks that each row is at its offset.
  std::vector<Scanned> Scan(const std::string& bytes, RowFormat format,
                            int64_t max_row_bytes = int64_t{1} << 20) {
    WriteBytes(path_, bytes);
    const auto file = DataFile::Open(path_);
    EXPECT_TRUE(file.ok()) << file.status();
    RowScanner scanner(&*file, format, max_row_bytes);
    std::vector<Scanned> rows;
    while (true) {
      const auto row = scanner.Next();
      EXPECT_TRUE(row.ok()) << row.status();
      if (!row.ok() || !*row) break;
      rows.push_back({(*row)->line, std::string((*row)->text)});
      EXPECT_EQ((*row)->text.empty(), (*row)->bytes > max_row_bytes);
      if (!(*row)->text.empty()) {
        EXPECT_EQ(bytes.substr((*row)->offset, (*row)->bytes), (*row)->text);
      }
    }
    EXPECT_EQ(scanner.offset(), std::ssize(bytes));
    Digest digest;
    digest.Add(bytes);
    EXPECT_EQ(scanner.digest(), digest.text());
    return rows;
  }

  TemporaryDirectory directory_;
  const std::string path_ = directory_ / "rows";
};

using Rows = std::vector<Scanned>;

TEST_F(RowScannerTest, SplitsLines) {
  for (const RowFormat format : {RowFormat::kJsonLines, RowFormat::kCsv}) {
    EXPECT_EQ(Scan("", format), Rows());
    EXPECT_EQ(Scan("\xEF\xBB\xBF", format), Rows());
    EXPECT_EQ(Scan("\n\r\n\n", format), Rows());
    EXPECT_EQ(Scan("a\nb", format), (Rows{{1, "a"}, {2, "b"}}));
    EXPECT_EQ(Scan("a\r\n\r\n\nb\r\n", format), (Rows{{1, "a"}, {4, "b"}}));
    EXPECT_EQ(Scan("\xEF\xBB\xBFx\n\xEF\xBB\xBFy", format), (Rows{{1, "x"}, {2, "\xEF\xBB\xBFy"}}));
  }
}

TEST_F(RowScannerTest, KeepsLineBreaksInQuotes) {
  EXPECT_EQ(Scan("a,\"b\r\n\n\"\r\nc\n", RowFormat::kCsv), (Rows{{1, "a,\"b\r\n\n\""}, {4, "c"}}));
  EXPECT_EQ(Scan("a,\"b\nc\n", RowFormat::kJsonLines), (Rows{{1, "a,\"b"}, {2, "c"}}));
}

TEST_F(RowScannerTest, ReportsLongRowsWithoutTheirText) {
  EXPECT_EQ(Scan("abcd\nabcde\r\nabc\nabcdefghi", RowFormat::kJsonLines, 4),
            (Rows{{1, "abcd"}, {2, ""}, {3, "abc"}, {4, ""}}));
}

// Lines and quoted fields that span the pieces in which the file is read.
TEST_F(RowScannerTest, DoesNotDependOnThePiecesOfTheFile) {
  std::string bytes;
  Rows expected;
  int64_t line = 1;
  for (int i = 0; i < 40; ++i) {
    const std::string text = '"' + std::string(i * 997 + 30000, 'x') + ",\"\"\n\",y";
    expected.push_back({line, text});
    bytes += text + "\r\n";
    line += 2;
  }
  EXPECT_EQ(Scan(bytes, RowFormat::kCsv), expected);
}

TEST(RowFormat, IsKnownByTheNameOfTheFile) {
  EXPECT_EQ(*FormatOf("a/b.jsonl"), RowFormat::kJsonLines);
  EXPECT_EQ(*FormatOf("b.csv"), RowFormat::kCsv);
  EXPECT_THAT(FormatOf("x.csv/b.txt"), Fails(absl::StatusCode::kInvalidArgument, "\"b.txt\" seen"));
}

TEST(DataFile, NamesWhatItCannotOpen) {
  const TemporaryDirectory directory;
  EXPECT_THAT(DataFile::Open(directory / "none"),
              Fails(absl::StatusCode::kNotFound, directory / "none"));
  EXPECT_THAT(DataFile::Open(directory.path()),
              Fails(absl::StatusCode::kInvalidArgument, "a directory seen"));
}

}  // namespace
}  // namespace whipsnake::engine
