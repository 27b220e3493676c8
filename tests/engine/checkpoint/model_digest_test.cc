#include "engine/checkpoint/model_digest.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "engine/base/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/models/random_model.h"

namespace whipsnake::engine {
namespace {

constexpr const char* kConfig = R"({"model_type": "mamba", "vocab_size": 300, "hidden_size": 16,
    "state_size": 4, "num_hidden_layers": 1})";

std::string Model(const std::string& name, int64_t seed) {
  const std::string directory = testing::TempDir() + "/model_digest_test_" + name;
  std::filesystem::remove_all(directory);
  const absl::Status written = WriteRandomModel(kConfig, seed, directory);
  EXPECT_TRUE(written.ok()) << written;
  return directory;
}

absl::StatusOr<std::string> DigestOf(const std::string& directory) {
  ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(directory));
  return DigestModel(directory, *checkpoint);
}

TEST(DigestModel, TellsWeightsAndConfigApart) {
  const auto digest = DigestOf(Model("one", 1));
  ASSERT_TRUE(digest.ok()) << digest.status();
  EXPECT_EQ(*DigestOf(Model("same", 1)), *digest);
  EXPECT_NE(*DigestOf(Model("other", 2)), *digest);
  const std::string changed = Model("changed", 1);
  std::ofstream(changed + "/config.json", std::ios::app) << " ";
  EXPECT_NE(*DigestOf(changed), *digest);
  EXPECT_TRUE(absl::IsNotFound(DigestOf("/nowhere").status()));
}

}  // namespace
}  // namespace whipsnake::engine
