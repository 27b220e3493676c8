// Which requests are refused, and for which field.
#include <gtest/gtest.h>

#include <string>

#include "engine/base/status.h"
#include "engine/generate/generator.h"

namespace whipsnake::engine {
namespace {

TEST(GenerationValidateTest, AClassifierIsRefused) {
  ModelInfo model;
  model.vocab_size = 10;
  GenerationRequest request;
  request.prompt = {1};
  request.max_new_tokens = 1;
  EXPECT_TRUE(Validate(request, model).ok());
  model.labels = 2;
  EXPECT_TRUE(absl::IsFailedPrecondition(Validate(request, model)));
}

TEST(GenerationValidateTest, NamesTheField) {
  ModelInfo model;
  model.vocab_size = 10;
  model.max_positions = 4;
  const auto field = [&](auto change) {
    GenerationRequest request;
    request.prompt = {1};
    request.max_new_tokens = 1;
    change(request);
    return FieldOf(Validate(request, model));
  };
  EXPECT_EQ(field([](auto&) {}), "");
  EXPECT_EQ(field([](auto& r) { r.prompt = {}; }), "prompt");
  EXPECT_EQ(field([](auto& r) { r.prompt = {1, 10}; }), "prompt[1]");
  EXPECT_EQ(field([](auto& r) { r.prompt = {-1}; }), "prompt[0]");
  EXPECT_EQ(field([](auto& r) { r.prompt = {1, 1, 1, 1, 1}; }), "prompt");
  EXPECT_EQ(field([](auto& r) { r.max_new_tokens = 0; }), "stopping.max_new_tokens");
  EXPECT_EQ(field([](auto& r) { r.completions = 0; }), "completions");
  EXPECT_EQ(field([](auto& r) { r.min_new_tokens = 2; }), "stopping.min_new_tokens");
  EXPECT_EQ(field([](auto& r) { r.stop_texts = {""}; }), "stopping.stop_texts[0]");
  EXPECT_EQ(field([](auto& r) {
              r.stop_texts = {"x", std::string(257, 'x')};
            }),
            "stopping.stop_texts[1]");
  EXPECT_EQ(field([](auto& r) { r.stop_texts.assign(17, "x"); }), "stopping.stop_texts");
  EXPECT_EQ(field([](auto& r) { r.stop_token_ids = {10}; }), "stopping.stop_token_ids[0]");
  EXPECT_EQ(field([](auto& r) { r.top_logprobs = 21; }), "output.logprobs");
  EXPECT_EQ(field([](auto& r) { r.sampling.top_p = 2; }), "sampling.top_p");
}

}  // namespace
}  // namespace whipsnake::engine
