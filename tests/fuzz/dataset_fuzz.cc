// Reads any bytes as a data set. The first byte selects the task and the options, and the rest is
// the file. The file must be refused with a message, or every good row must be readable, and each
// epoch must have it once.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "engine/finetune/data/batches.h"
#include "engine/finetune/data/dataset.h"
#include "engine/tokenizer/random_tokenizer.h"

namespace {

using whipsnake::engine::AllTasks;
using whipsnake::engine::Batches;
using whipsnake::engine::Dataset;
using whipsnake::engine::DatasetOptions;
using whipsnake::engine::DatasetReport;
using whipsnake::engine::Example;
using whipsnake::engine::Ledger;
using whipsnake::engine::RowFormat;
using whipsnake::engine::Tokenizer;

void Require(bool condition) {
  if (!condition) __builtin_trap();
}

// A file in memory.
class File {
 public:
  explicit File(std::string_view bytes) : descriptor_(memfd_create("rows", MFD_CLOEXEC)) {
    Require(write(descriptor_, bytes.data(), bytes.size()) == std::ssize(bytes));
  }
  ~File() { close(descriptor_); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  const int descriptor_;
};

DatasetOptions OptionsOf(uint8_t choice) {
  DatasetOptions options;
  options.task = AllTasks()[choice % AllTasks().size()];
  options.format = choice & 8 ? RowFormat::kCsv : RowFormat::kJsonLines;
  options.header = choice & 16;
  options.packed = choice & 32;
  options.max_length = choice & 64 ? 2 : 9;
  options.max_row_bytes = choice & 128 ? 50 : 5000;
  options.end_of_text = 0;
  return options;
}

void CheckReport(const DatasetReport& report) {
  Require(report.first_bad_rows.size() <= 100);
  Require((report.bad_rows == 0) == report.first_bad_rows.empty());
  Require(Check(report).ok() == (report.bad_rows == 0 && report.good_rows > 0));
  Require(!ToText(report).empty());
  Require(!ToJson(report).dump().empty());
}

void CheckEpoch(const Dataset& dataset, Ledger& ledger) {
  const auto batches = Batches::Make(&dataset, {.batch_size = 3, .pool_batches = 2}, &ledger);
  if (!batches.ok()) return;
  int64_t examples = 0;
  for (int64_t b = 0; b < (*batches)->batches_per_epoch(); ++b) {
    const auto batch = (*batches)->Read(1, b);
    Require(batch.ok());
    examples += std::ssize(*batch);
    for (const Example& example : *batch) {
      for (const auto& sequence : example.sequences) {
        Require(std::ssize(sequence) > example.prompt_tokens);
        Require(std::ssize(sequence) <= dataset.options().max_length);
      }
    }
  }
  Require(examples == (*batches)->examples_per_epoch());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto& tokenizer = *new std::unique_ptr<Tokenizer>(*Tokenizer::Parse(
      whipsnake::engine::MakeByteLevelTokenizer(whipsnake::engine::kSmallestByteVocabulary)));
  if (size == 0) return 0;
  const File file(std::string_view(reinterpret_cast<const char*>(data) + 1, size - 1));
  Ledger ledger;
  {
    const auto dataset = Dataset::Open(file.path(), OptionsOf(data[0]), tokenizer.get(), &ledger);
    Require(dataset.ok() || !dataset.status().message().empty());
    if (dataset.ok()) {
      CheckReport((*dataset)->report());
      CheckEpoch(**dataset, ledger);
    }
  }
  Require(ledger.used() == 0);
  return 0;
}
