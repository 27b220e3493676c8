#include "engine/finetune/data/batches.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "engine/base/field_errors.h"
#include "engine/base/status.h"
#include "engine/finetune/data/epoch_order.h"

namespace whipsnake::engine {
namespace {

constexpr char kOrder[] = "the order of a data set";

absl::Status CheckPositive(std::string_view field, int64_t value) {
  if (value >= 1) return absl::OkStatus();
  return InvalidField(field, absl::StrCat(value), "an integer of at least 1");
}

absl::Status Validate(const BatchOptions& options) {
  FieldErrors errors;
  errors.Add(CheckPositive("batch_size", options.batch_size));
  errors.Add(CheckPositive("pool_batches", options.pool_batches));
  return errors.status();
}

}  // namespace

Batches::Batches(const Dataset* dataset, const BatchOptions& options, Ledger* ledger)
    : dataset_(dataset),
      options_(options),
      rows_(ledger, Purpose::kWorkspace, kOrder),
      groups_(ledger, Purpose::kWorkspace, kOrder),
      windows_(dataset, ledger) {}

absl::StatusOr<std::unique_ptr<Batches>> Batches::Make(const Dataset* dataset,
                                                       const BatchOptions& options,
                                                       Ledger* ledger) {
  RETURN_IF_ERROR(Validate(options));
  std::unique_ptr<Batches> batches(new Batches(dataset, options, ledger));
  if (batches->examples_per_epoch() == 0) {
    return WithPath(absl::InvalidArgumentError("no examples seen, expected at least one"),
                    dataset->report().path);
  }
  RETURN_IF_ERROR(batches->rows_.Resize(dataset->size()));
  RETURN_IF_ERROR(batches->groups_.Resize(batches->batches_per_epoch()));
  if (batches->packs()) RETURN_IF_ERROR(batches->windows_.Reserve());
  return batches;
}

int64_t Batches::examples_per_epoch() const { return packs() ? windows_.size() : dataset_->size(); }

int64_t Batches::batches_per_epoch() const {
  const int64_t examples = examples_per_epoch(), size = std::min(options_.batch_size, examples);
  return (examples + size - 1) / size;
}

std::vector<int64_t> Batches::LargestLengths() const {
  const int64_t size = std::min(options_.batch_size, examples_per_epoch());
  const int64_t max_length = dataset_->options().max_length;
  if (packs()) return std::vector<int64_t>(size, max_length);
  std::vector<int64_t> lengths(size);
  std::vector<int64_t> all(dataset_->size());
  for (int64_t i = 0; i < dataset_->size(); ++i) {
    all[i] = std::min(dataset_->length(i), max_length);
  }
  std::ranges::partial_sort_copy(all, lengths, std::greater());
  return lengths;
}

void Batches::Bucket() {
  const int64_t size = std::min(options_.batch_size, dataset_->size());
  const int64_t pool = size * std::min(options_.pool_batches, batches_per_epoch());
  const int64_t max_length = dataset_->options().max_length;
  const auto length = [&](int64_t row) { return std::min(dataset_->length(row), max_length); };
  SortPools(pool, length, rows_);
  Shuffle(EpochRandomness(options_.seed, epoch_, "batches"), groups_);
}

void Batches::StartEpoch(int64_t epoch) {
  if (epoch == epoch_) return;
  epoch_ = epoch;
  std::iota(rows_.begin(), rows_.end(), 0);
  std::iota(groups_.begin(), groups_.end(), 0);
  if (options_.shuffle) Shuffle(EpochRandomness(options_.seed, epoch, "rows"), rows_);
  if (packs()) {
    windows_.SetOrder(rows_);
  } else if (options_.shuffle) {
    Bucket();
  }
}

absl::StatusOr<Example> Batches::ReadExample(int64_t position) {
  if (!packs()) return dataset_->Read(rows_[position]);
  Example example;
  ASSIGN_OR_RETURN(std::vector<int32_t> window, windows_.Read(position));
  example.sequences.push_back(std::move(window));
  return example;
}

Batches::Positions Batches::PositionsOf(int64_t epoch, int64_t batch) {
  StartEpoch(epoch);
  // groups_[batch] * batch_size cannot overflow: if there are several groups, a batch is smaller
  // than the epoch.
  const int64_t begin = groups_[batch] * options_.batch_size;
  return {begin, std::min(begin + options_.batch_size, examples_per_epoch())};
}

absl::StatusOr<Batch> Batches::Read(int64_t epoch, int64_t batch) {
  const auto [begin, end] = PositionsOf(epoch, batch);
  Batch examples;
  for (int64_t position = begin; position < end; ++position) {
    ASSIGN_OR_RETURN(Example example, ReadExample(position));
    examples.push_back(std::move(example));
  }
  return examples;
}

std::vector<int64_t> Batches::Rows(int64_t epoch, int64_t batch) {
  const auto [begin, end] = PositionsOf(epoch, batch);
  return {rows_.begin() + begin, rows_.begin() + end};
}

}  // namespace whipsnake::engine
