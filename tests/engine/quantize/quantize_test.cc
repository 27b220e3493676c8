// Quantization of model directories: the output, and what is refused.
#include "engine/quantize/quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <fstream>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "engine/evaluate/perplexity.h"
#include "engine/models/family.h"
#include "engine/models/mamba/mamba_config.h"
#include "nlohmann/json.hpp"
#include "tests/engine/quantize/support.h"

namespace whipsnake::engine {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class QuantizeTest : public testing::Test {
 protected:
  ModelEnvironment environment() { return {&executor_, &ledger_}; }

  absl::StatusOr<QuantizationReport> Quantize(
      const std::string& directory, const std::string& out,
      const QuantizeOptions& options = {RecipeOf(Scheme::kQuamba), {}},
      const WorkProgress& progress = Silent) {
    return QuantizeModel(directory, SmallCalibration(), options, out, environment(), progress);
  }
  std::string Quantized(const std::string& config, Scheme scheme = Scheme::kQuamba) {
    const std::string out = FreshDirectory("quantized");
    const auto report = Quantize(RandomModel(config), out, {RecipeOf(scheme), {}});
    EXPECT_TRUE(report.ok()) << report.status();
    return out;
  }
  std::string LoadError(const std::string& directory) {
    return std::string(LoadModel(directory, {}, environment()).status().message());
  }

  Ledger ledger_;
  Executor executor_{2};
};

std::string Contents(const fs::path& path) { return *ReadTextFile(path); }

TEST_F(QuantizeTest, TheSameInputGivesTheSameBytes) {
  const std::string model = RandomModel(SmallConfig());
  const std::string a = FreshDirectory("a"), b = FreshDirectory("b");
  ASSERT_TRUE(Quantize(model, a).ok());
  ASSERT_TRUE(Quantize(model, b).ok());
  int files = 0;
  for (const auto& entry : fs::directory_iterator(a)) {
    EXPECT_EQ(Contents(entry.path()), Contents(b / entry.path().filename())) << entry.path();
    ++files;
  }
  // config, weights, report, tokenizer, generation config
  EXPECT_EQ(files, 5);
}

TEST_F(QuantizeTest, EverySchemeStaysNearTheFloatModel) {
  const std::vector<int32_t> tokens = RandomTokens(200, 300, 7);
  for (const bool tied : {true, false}) {
    const std::string directory = RandomModel(SmallConfig(40, tied, /*use_bias=*/true));
    ASSERT_TRUE(Overwrite(directory, Tensors(directory, RandomizeNorms)).ok());
    const auto logits_of = [&](const std::string& path) {
      const auto model = LoadModel(path, {}, environment());
      EXPECT_TRUE(model.ok()) << model.status();
      const auto state = (*model)->NewState();
      const engine::Run run{tokens, state->get(), LogitsOf::kAll};
      const auto logits = (*model)->Forward({&run, 1});
      return std::vector<float>(logits->data, logits->data + logits->rows * logits->cols);
    };
    const std::vector<float> expected = logits_of(directory);
    for (const Scheme scheme : kMambaSchemes) {
      for (const Granularity granularity : {Granularity::kChannel, Granularity::kTensor}) {
        for (const int64_t head_bits : {8, 16}) {
          QuantizeOptions options{RecipeOf(scheme), {}};
          options.recipe.granularity = granularity;
          options.recipe.head_bits = head_bits;
          const std::string out = FreshDirectory("out");
          const auto report = Quantize(directory, out, options);
          ASSERT_TRUE(report.ok()) << report.status();
          const std::vector<float> seen = logits_of(out);
          double signal = 0, noise = 0;
          for (size_t i = 0; i < seen.size(); ++i) {
            signal += double{expected[i]} * expected[i];
            noise += std::pow(double{seen[i]} - expected[i], 2);
          }
          // Random weights have no outliers, so any recipe keeps 20 dB. A wrong scale, or a missing
          // or transposed rotation, would lose all of it.
          EXPECT_GT(10 * std::log10(signal / noise), 20)
              << Name(scheme) << " head " << head_bits << " tied " << tied << " granularity "
              << static_cast<int>(granularity);
        }
      }
    }
  }
}

TEST_F(QuantizeTest, TheReportNamesEverySiteOfEveryLayer) {
  const std::string out = FreshDirectory("out");
  const auto report = Quantize(RandomModel(SmallConfig()), out);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->trials.size(), 4u);
  ASSERT_TRUE(report->percentile.has_value());
  for (const PercentileTrial& trial : report->trials) {
    const auto best = std::ranges::min_element(report->trials, {}, &PercentileTrial::nll);
    EXPECT_EQ(trial.percentile == *report->percentile, &trial == &*best);
  }
  // Nine activations and five weights per layer, plus the head's input and the embedding.
  EXPECT_EQ(report->sites.size(), 3u * (9 + 5) + 2);
  for (const SiteReport& site : report->sites) {
    EXPECT_GT(site.smallest_scale, 0) << site.site;
    EXPECT_GT(site.snr_db, 15) << site.site << " in layer " << site.layer;
    EXPECT_LT(site.clip_rate, 0.01) << site.site;
  }
  EXPECT_LT(report->quantized_bytes, 0.5 * report->float_bytes);
  const auto json = nlohmann::json::parse(Contents(fs::path(out) / "quantization_report.json"));
  EXPECT_EQ(json["sites"].size(), report->sites.size());
  EXPECT_EQ(json["scheme"], "quamba-w8a8");
}

// The scale of int8 states is the one that predicts the held-out text best. It does not depend on
// the percentile, which applies to x.
TEST_F(QuantizeTest, TheScaleOfStatesIsChosenByItself) {
  const std::string model = RandomModel(SmallConfig());
  std::vector<std::vector<float>> scales;
  for (const double percentile : {0.9, 0.99999, 1.0}) {
    const std::string out = FreshDirectory(absl::StrCat("out", percentile));
    const auto report = Quantize(model, out, {RecipeOf(Scheme::kQuamba), percentile});
    ASSERT_TRUE(report.ok()) << report.status();
    ASSERT_TRUE(report->state_clip.has_value());
    ASSERT_EQ(report->state_trials.size(), 6u);
    const auto best = std::ranges::min_element(report->state_trials, {}, &StateClipTrial::nll);
    EXPECT_EQ(best->clip, *report->state_clip);
    EXPECT_THAT(ReportJson(*report), HasSubstr("state_trials"));
    const auto made = *Checkpoint::Open(out);
    std::vector<float>& clipped = scales.emplace_back(16);
    ToFloat(made->tensors().at("backbone.layers.1.mixer.state_scale"), clipped.data());
    for (float& scale : clipped) scale /= static_cast<float>(*report->state_clip);
  }
  for (const std::vector<float>& other : {scales[0], scales[2]}) {
    for (size_t n = 0; n < other.size(); ++n) {
      EXPECT_NEAR(other[n], scales[1][n], 1e-6f * scales[1][n]) << n;
    }
  }
}

TEST_F(QuantizeTest, TheConfigSaysHowItWasMade) {
  const std::string out = Quantized(SmallConfig(), Scheme::kQuaRot);
  const auto config = nlohmann::json::parse(Contents(fs::path(out) / "config.json"));
  const auto& quantization = config["quantization_config"];
  EXPECT_EQ(quantization["quant_method"], "quamba");
  EXPECT_EQ(quantization["scheme"], "quarot-w8a8");
  EXPECT_EQ(quantization["output_rotation"], true);
  EXPECT_EQ(config["tie_word_embeddings"],
            false);  // the residual stream's rotation unties the head
  const auto model = LoadModel(out, {}, environment());
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->info().scheme, Scheme::kQuaRot);
}

TEST_F(QuantizeTest, TheOriginalFormBecomesHuggingFaces) {
  const std::string out = Quantized(
      R"({"d_model": 40, "n_layer": 2, "vocab_size": 300, "pad_vocab_size_multiple": 16})");
  const auto model = LoadModel(out, {}, environment());
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->info().vocab_size, 304);
}

TEST_F(QuantizeTest, WhatCannotBeQuantizedIsNamedAndNothingIsLeft) {
  const auto refusal = [&](const std::string& directory,
                           QuantizeOptions options = {RecipeOf(Scheme::kQuamba), {}}) {
    const std::string out = FreshDirectory("refused");
    const auto report = Quantize(directory, out, options);
    EXPECT_FALSE(report.ok());
    EXPECT_FALSE(fs::exists(out));
    return std::string(report.status().message());
  };
  EXPECT_THAT(refusal(Quantized(SmallConfig())), HasSubstr("quantized with quamba-w8a8"));
  EXPECT_THAT(refusal(RandomModel(SmallConfig(22))),
              HasSubstr("intermediate_size: 44 seen, expected 2^k, 12 * 2^k or 40 * 2^k"));
  EXPECT_THAT(refusal(RandomModel(SmallConfig(22)), {RecipeOf(Scheme::kQuaRot), {}}),
              HasSubstr("intermediate_size: 44"));
  EXPECT_THAT(refusal(RandomModel(SmallConfig()), {RecipeOf(Scheme::kQuamba), 1.5}),
              HasSubstr("percentile: 1.5"));
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    const std::string directory = RandomModel(SmallConfig());
    const auto spoil = [&](OwnedTensor& tensor) {
      if (tensor.name == "backbone.layers.1.mixer.x_proj.weight") Floats(tensor)[17] = bad;
    };
    ASSERT_TRUE(Overwrite(directory, Tensors(directory, spoil)).ok());
    EXPECT_THAT(refusal(directory),
                testing::AnyOf(HasSubstr("x_proj.weight"), HasSubstr("layer 1")));
  }
}

TEST_F(QuantizeTest, ATokenOutsideTheVocabularyIsNamed) {
  CalibrationSet set = SmallCalibration();
  set.samples[3][5] = 300;
  const auto report =
      QuantizeModel(RandomModel(SmallConfig()), set, {RecipeOf(Scheme::kQuamba), {}},
                    FreshDirectory("out"), environment(), Silent);
  EXPECT_THAT(std::string(report.status().message()),
              HasSubstr("token 300 seen, expected 0 to 299"));
}

TEST_F(QuantizeTest, ACancelledJobLeavesNothing) {
  const std::string model = RandomModel(SmallConfig());
  for (const double when : {0.0, 0.55, 0.7, 0.92, 0.95}) {
    const std::string out = FreshDirectory("cancelled");
    const auto report = Quantize(
        model, out, {RecipeOf(Scheme::kQuamba), {}}, [&](std::string_view, double fraction) {
          return fraction < when ? absl::OkStatus() : absl::CancelledError("enough");
        });
    EXPECT_EQ(report.status().code(), absl::StatusCode::kCancelled) << when;
    EXPECT_EQ(EntriesBeside(out), 1) << when << ": the model alone";
  }
  EXPECT_EQ(ledger_.used(), 0);
}

// A model whose file shrinks or changes while it is read gives no output.
TEST_F(QuantizeTest, AModelThatChangesMeanwhileIsRefused) {
  for (const double when : {0.0, 0.3, 0.7, 0.92}) {
    for (const bool shrinks : {true, false}) {
      const std::string model = RandomModel(SmallConfig());
      const std::string file = model + "/model.safetensors";
      const std::string out = FreshDirectory("changed");
      bool changed = false;
      const auto report = Quantize(
          model, out, {RecipeOf(Scheme::kQuamba), {}}, [&](std::string_view, double fraction) {
            if (fraction < when || std::exchange(changed, true)) return absl::OkStatus();
            if (shrinks) {
              fs::resize_file(file, 0);
            } else {
              std::fstream(file, std::ios::in | std::ios::out | std::ios::binary) << "changed";
            }
            return absl::OkStatus();
          });
      EXPECT_EQ(report.status().code(), absl::StatusCode::kDataLoss) << report.status();
      EXPECT_FALSE(fs::exists(out));
    }
  }
}

// A limit on the file size makes writing fail half-way, as a full disk does.
TEST_F(QuantizeTest, AFullDiskLeavesNothing) {
  const std::string model = RandomModel(SmallConfig());
  const std::string out = FreshDirectory("full");
  const auto previous = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small{40000, limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto report = Quantize(model, out);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  std::signal(SIGXFSZ, previous);
  EXPECT_FALSE(report.ok());
  EXPECT_THAT(std::string(report.status().message()), HasSubstr("model.safetensors"));
  EXPECT_EQ(EntriesBeside(out), 1) << "the model alone";
}

TEST_F(QuantizeTest, AScaleThatCannotBeIsNamed) {
  const std::string out = Quantized(SmallConfig());
  const std::string name = "backbone.layers.2.mixer.x_proj.input_scale";
  for (const float bad : {0.0f, -1.0f, std::nanf(""), std::numeric_limits<float>::infinity()}) {
    const auto spoil = [&](OwnedTensor& tensor) {
      if (tensor.name == name) Floats(tensor)[0] = bad;
    };
    ASSERT_TRUE(Overwrite(out, Tensors(out, spoil)).ok());
    EXPECT_THAT(LoadError(out),
                testing::AllOf(HasSubstr(name), HasSubstr("a finite scale above 0")));
  }
}

TEST_F(QuantizeTest, EveryTensorIsNeeded) {
  const std::string out = Quantized(SmallConfig());
  const std::vector<OwnedTensor> all = Tensors(out);
  for (const OwnedTensor& missing : all) {
    if (missing.name.find("layers.0") != std::string::npos) continue;  // same as layers 1 and 2
    std::vector<OwnedTensor> others;
    for (const OwnedTensor& tensor : all) {
      if (tensor.name != missing.name) others.push_back(tensor);
    }
    ASSERT_TRUE(Overwrite(out, others).ok());
    EXPECT_THAT(LoadError(out), HasSubstr(missing.name));
  }
}

TEST_F(QuantizeTest, AConfigThatDisagreesIsNamed) {
  const std::string out = Quantized(SmallConfig());
  const auto load_with = [&](const std::function<void(nlohmann::json&)>& change) {
    const fs::path path = fs::path(out) / "config.json";
    const std::string kept = Contents(path);
    auto config = nlohmann::json::parse(kept);
    change(config);
    std::ofstream(path) << config;
    const std::string error = LoadError(out);
    std::ofstream(path) << kept;
    return error;
  };
  using Config = nlohmann::json&;
  const char* key = "quantization_config";
  EXPECT_THAT(load_with([&](Config c) { c.erase(key); }), HasSubstr("backbone.embedding"));
  EXPECT_THAT(load_with([&](Config c) { c[key]["bits"] = 4; }), HasSubstr("bits: 4"));
  EXPECT_THAT(load_with([&](Config c) { c[key]["version"] = 2; }), HasSubstr("version: 2"));
  EXPECT_THAT(load_with([&](Config c) { c[key]["scheme"] = "fp32"; }),
              HasSubstr("scheme: \"fp32\""));
  EXPECT_THAT(load_with([&](Config c) { c[key]["quant_method"] = "gptq"; }),
              HasSubstr("quant_method"));
  EXPECT_THAT(load_with([&](Config c) { c[key]["head_bits"] = 16; }),
              HasSubstr("embeddings.weight"));
  EXPECT_THAT(load_with([&](Config c) { c[key].erase("output_rotation"); }),
              HasSubstr("output_rotation"));
  EXPECT_THAT(load_with([&](Config c) { c["state_size"] = 8; }), HasSubstr("B_scale"));
}

// Beside the scales of codes, which the float model does not have.
TEST_F(QuantizeTest, AQuantizedModelVisitsTheParametersOfTheFloatOne) {
  const std::string out = Quantized(SmallConfig());
  const auto config = ReadModelConfig(out);
  ASSERT_TRUE(config.ok());
  std::map<std::string, std::vector<int64_t>> declared, visited;
  for (const auto& spec : config->family->parameters(*config)) declared[spec.name] = spec.shape;
  const auto model = LoadModel(out, {}, environment());
  ASSERT_TRUE(model.ok()) << model.status();
  int64_t bytes = 0;
  (*model)->VisitParameters([&](const Parameter& parameter) {
    EXPECT_EQ(std::ssize(parameter.bytes), parameter.elements() * ByteSize(parameter.dtype))
        << parameter.name;
    bytes += std::ssize(parameter.bytes);
    if (parameter.role != ParameterRole::kCodeScale) visited[parameter.name] = parameter.shape;
  });
  EXPECT_EQ(visited, declared);
  EXPECT_EQ((*model)->info().weights_bytes, bytes);
}

TEST_F(QuantizeTest, AnotherSchemeThanTheDirectorysIsRefused) {
  const std::string out = Quantized(SmallConfig());
  const auto as_bf16 = LoadModel(out, {.scheme = Scheme::kBf16}, environment());
  EXPECT_EQ(as_bf16.status().code(), absl::StatusCode::kFailedPrecondition);
  const auto floats =
      LoadModel(RandomModel(SmallConfig()), {.scheme = Scheme::kQuamba}, environment());
  EXPECT_EQ(floats.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(floats.status().message()), HasSubstr("whipsnake quantize"));
}

}  // namespace
}  // namespace whipsnake::engine
