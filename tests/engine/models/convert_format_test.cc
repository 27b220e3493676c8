#include "engine/models/convert_format.h"

#include <filesystem>

#include "engine/base/memory.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/models/model.h"
#include "tests/engine/checkpoint/support.h"

namespace whipsnake::engine {
namespace {

namespace fs = std::filesystem;
using Code = absl::StatusCode;

TEST(ConvertToSafetensors, TheOriginalMambaIsTheSameModelBitForBit) {
  const TemporaryDirectory directory;
  for (const char* name : {"mamba", "mamba_sharded"}) {
    const std::string source = std::string("tests/goldens/torch/") + name, out = directory / name;
    const auto conversion = ConvertToSafetensors(source, out);
    ASSERT_THAT(conversion, IsOk());
    EXPECT_EQ(conversion->repeats, 1) << "the tied head";
    EXPECT_EQ(conversion->left_out.count, 0);
    const auto made = Checkpoint::Open(out);
    const auto same = Checkpoint::Open("tests/goldens/mamba/original");
    ASSERT_THAT(made, IsOk());
    ASSERT_EQ((*made)->tensors().size(), (*same)->tensors().size());
    EXPECT_EQ(conversion->tensors, std::ssize((*same)->tensors()));
    for (const auto& [tensor, view] : (*same)->tensors()) {
      const TensorView& copy = (*made)->tensors().at(tensor);
      EXPECT_TRUE(std::ranges::equal(copy.data, view.data)) << tensor;
      EXPECT_EQ(copy.shape, view.shape) << tensor;
    }
    EXPECT_EQ(ReadBytes(out + "/config.json"), ReadBytes(source + "/config.json"));
    Executor executor(1);
    Ledger ledger;
    EXPECT_THAT(LoadModel(source, {}, {&executor, &ledger}), IsOk());
    EXPECT_THAT(LoadModel(out, {}, {&executor, &ledger}), IsOk());
    EXPECT_THAT(ConvertToSafetensors(source, out), Fails(Code::kAlreadyExists, out));
  }
}

TEST(ConvertToSafetensors, LeavesOutWhatIsNoPartOfTheModelAndSaysSo) {
  const TemporaryDirectory directory;
  fs::copy("tests/goldens/gpt2/gelu", directory / "model");
  const std::string file = directory / "model/model.safetensors";
  AddTensor(file, "transformer.h.0.attn.bias", "BOOL", {1}, 1);
  AddTensor(file, "counter", "I64", {1}, 8);
  const auto conversion = ConvertToSafetensors(directory / "model", directory / "out");
  ASSERT_THAT(conversion, IsOk());
  EXPECT_EQ(conversion->left_out.text(), "1: \"counter\" (I64)");
  EXPECT_EQ(conversion->repeats, 0);
  EXPECT_TRUE((*Checkpoint::Open(directory / "out"))->others().empty());
}

TEST(ConvertToSafetensors, ABrokenSourceLeavesNothing) {
  const TemporaryDirectory directory;
  EXPECT_THAT(ConvertToSafetensors(directory / "absent", directory / "out"),
              Fails(Code::kNotFound, "config.json"));
  EXPECT_EQ(directory.entries(), 0);
}

}  // namespace
}  // namespace whipsnake::engine
