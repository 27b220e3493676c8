// What training and conversions do with tensors that no model needs. What loading does with them is
// tested in tests/engine/quantize/surplus_tensors_test.cc, for every kind of model.
#include "engine/layers/unused_tensors.h"

#include <filesystem>

#include "engine/base/memory.h"
#include "engine/models/config.h"
#include "engine/models/convert.h"
#include "engine/models/trainable_model.h"
#include "tests/engine/checkpoint/support.h"

namespace whipsnake::engine {
namespace {

class UnusedTensorsTest : public ::testing::Test {
 protected:
  explicit UnusedTensorsTest(const std::string& golden = "gpt2/gelu") {
    std::filesystem::copy("tests/goldens/" + golden, directory_ / "model");
  }

  void Add(const std::string& name, std::string_view type, size_t bytes) {
    AddTensor(directory_ / "model/model.safetensors", name, type, {1}, bytes);
  }

  absl::Status Train() {
    const std::string model = directory_ / "model";
    Ledger ledger;
    return TrainableModel::Load(*ReadModelConfig(model), **Checkpoint::Open(model), {}, ledger)
        .status();
  }

  TemporaryDirectory directory_;
};

TEST_F(UnusedTensorsTest, TrainingLosesNoFloats) {
  Add("transformer.h.0.attn.bias", "BOOL", 1);
  Add("position_ids", "I64", 8);
  Add("counter", "I64", 8);
  EXPECT_THAT(Train(), IsOk());
  Add("adapter", "F64", 8);
  EXPECT_THAT(Train(), Fails(absl::StatusCode::kInvalidArgument,
                             "\"adapter\" seen, expected none of this name"));
}

TEST_F(UnusedTensorsTest, AConversionSaysWhatItLeavesOut) {
  Add("transformer.h.0.attn.bias", "BOOL", 1);
  Add("counter", "I64", 8);
  const auto conversion =
      ConvertActivation(directory_ / "model", "crrelu", {}, directory_ / "converted");
  ASSERT_THAT(conversion, IsOk());
  EXPECT_EQ(conversion->left_out.text(), "1: \"counter\" (I64)");
}

}  // namespace
}  // namespace whipsnake::engine
