// Small random models for the quantization tests.
#ifndef WHIPSNAKE_TESTS_ENGINE_QUANTIZE_SUPPORT_H_
#define WHIPSNAKE_TESTS_ENGINE_QUANTIZE_SUPPORT_H_

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/files.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/models/random_model.h"
#include "engine/quantize/quantize.h"

namespace whipsnake::engine {

// Returns a path in this test's own directory where nothing exists.
inline std::string FreshDirectory(const std::string& name) {
  const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
  std::string own =
      absl::StrCat("whipsnake_", test->test_suite_name(), "_", test->name(), "_", getpid());
  std::ranges::replace(own, '/', '_');  // in names of parameterized tests
  const std::filesystem::path path = std::filesystem::path(::testing::TempDir()) / own / name;
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path.parent_path());
  return path.string();
}

// Counts the entries of the parent directory, including temporary files.
inline int64_t EntriesBeside(const std::string& path) {
  const auto parent = std::filesystem::path(path).parent_path();
  return std::distance(std::filesystem::directory_iterator(parent), {});
}

// Returns the config of a small Mamba. Widths of 40 and 80 have Hadamard matrices that are not
// symmetric.
inline std::string SmallConfig(int64_t hidden_size = 40, bool tied = true, bool use_bias = false) {
  return absl::StrCat(R"({"model_type": "mamba", "vocab_size": 300, "num_hidden_layers": 3,
    "state_size": 16, "hidden_size": )",
                      hidden_size, R"(, "tie_word_embeddings": )", tied ? "true" : "false",
                      R"(, "use_bias": )", use_bias ? "true" : "false", "}");
}

inline std::string RandomModel(const std::string& config) {
  const std::string directory = FreshDirectory("model");
  const absl::Status written = WriteRandomModel(config, 1, directory);
  EXPECT_TRUE(written.ok()) << written;
  return directory;
}

// Reads the tensors of a model directory and applies `change` to each.
inline std::vector<OwnedTensor> Tensors(const std::string& directory,
                                        const std::function<void(OwnedTensor&)>& change = nullptr) {
  const auto checkpoint = Checkpoint::Open(directory);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  std::vector<OwnedTensor> tensors;
  for (const auto& [name, view] : (*checkpoint)->tensors()) {
    OwnedTensor tensor{name, view.dtype, view.shape, {view.data.begin(), view.data.end()}};
    if (change) change(tensor);
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

inline std::span<float> Floats(OwnedTensor& tensor) {
  return {reinterpret_cast<float*>(tensor.data.data()), tensor.data.size() / sizeof(float)};
}

inline absl::Status Overwrite(const std::string& directory, std::span<const OwnedTensor> tensors) {
  std::vector<NamedTensor> named;
  for (const OwnedTensor& tensor : tensors) named.push_back({tensor.name, tensor.view()});
  return WriteSafetensors(directory + "/model.safetensors", named);
}

// Gives norms values other than 1, as in a trained model.
inline void RandomizeNorms(OwnedTensor& tensor) {
  if (tensor.name.find("norm") == std::string::npos) return;
  std::mt19937 random(static_cast<uint32_t>(std::hash<std::string>()(tensor.name)));
  for (float& value : Floats(tensor)) value = 0.25f + static_cast<float>(random() % 1000) / 500;
}

inline std::vector<int32_t> RandomTokens(int64_t count, int64_t vocab_size, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % vocab_size);
  return tokens;
}

inline CalibrationSet SmallCalibration(int64_t vocab_size = 300) {
  CalibrationSet set;
  for (int i = 0; i < 9; ++i) set.samples.push_back(RandomTokens(64, vocab_size, 100 + i));
  set.held_out = {RandomTokens(64, vocab_size, 99)};
  set.digest = "test";
  return set;
}

// Returns a percentile if the recipe needs one, so that the quantizer does not have to choose it.
inline std::optional<double> AnyPercentile(const Recipe& recipe) {
  return recipe.percentile ? std::optional(0.99999) : std::nullopt;
}

inline absl::Status Silent(std::string_view, double) { return absl::OkStatus(); }

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_TESTS_ENGINE_QUANTIZE_SUPPORT_H_
