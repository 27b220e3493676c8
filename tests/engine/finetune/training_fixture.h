// Models, batches and passes for tests of training.
#ifndef WHIPSNAKE_TESTS_ENGINE_FINETUNE_TRAINING_FIXTURE_H_
#define WHIPSNAKE_TESTS_ENGINE_FINETUNE_TRAINING_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "engine/base/executor.h"
#include "engine/base/files.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/finetune/objective.h"
#include "engine/finetune/trainer.h"
#include "engine/models/config.h"
#include "engine/models/trainable_model.h"
#include "tests/engine/base/support.h"

namespace whipsnake::engine {

// Batches that are given.
class GivenBatches : public BatchSource {
 public:
  explicit GivenBatches(std::vector<TrainingBatch> batches) : batches_(std::move(batches)) {}
  int64_t batches() const override { return std::ssize(batches_); }
  TrainingBatch Largest() const override {
    return *std::ranges::max_element(batches_, {}, &TrainingBatch::tokens);
  }
  absl::StatusOr<TrainingBatch> Read(int64_t /*epoch*/, int64_t index) override {
    return batches_[index];
  }

 private:
  const std::vector<TrainingBatch> batches_;
};

class TrainingFixture : public ::testing::Test {
 protected:
  explicit TrainingFixture(int threads = 2) : executor_(threads) {}

  // The model of a directory, with the values of `weights`, a file in it.
  std::unique_ptr<TrainableModel> Load(const std::string& directory,
                                       const TrainableOptions& options = {}) {
    const auto config = ReadModelConfig(directory);
    EXPECT_THAT(config, IsOk());
    const auto checkpoint = Checkpoint::Open(directory);
    EXPECT_THAT(checkpoint, IsOk());
    auto model = TrainableModel::Load(*config, **checkpoint, options, ledger_);
    EXPECT_THAT(model, IsOk());
    return std::move(*model);
  }

  // Runs `work` with the executor's context, as a pass over a model.
  template <typename Work>
  void OnExecutor(const Work& work) {
    executor_.Run(Priority::kTraining, [&](const kernels::Context& context) { work(context); });
  }

  Ledger ledger_;
  Executor executor_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_TESTS_ENGINE_FINETUNE_TRAINING_FIXTURE_H_
