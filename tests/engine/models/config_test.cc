#include "engine/models/config.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "engine/base/files.h"
#include "engine/checkpoint/generation_config.h"
#include "engine/models/gpt2/gpt2_parameters.h"
#include "engine/models/mamba/mamba_parameters.h"
#include "tests/engine/base/support.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;
using Code = absl::StatusCode;
using testing::ElementsAre;
using testing::IsEmpty;

std::string ReadConfig(const std::string& name) {
  return ReadTextFile("tests/configs/" + name + ".json").value();
}

struct Published {
  const char* name;
  int64_t layers, hidden_size, time_step_rank, parameters;
};

// Parameter counts are those of the published checkpoints' tensors, with a tied head counted once.
constexpr Published kPublished[] = {
    {"mamba-130m", 24, 768, 48, 129135360},    {"mamba-370m", 48, 1024, 64, 371516416},
    {"mamba-790m", 48, 1536, 96, 793204224},   {"mamba-1.4b", 48, 2048, 128, 1372178432},
    {"mamba-2.8b", 64, 2560, 160, 2768345600},
};

TEST(ParseMambaConfig, KnowsThePublishedShapes) {
  for (const Published& published : kPublished) {
    const auto config = ParseMambaConfig(ReadConfig(published.name));
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->layers, published.layers);
    EXPECT_EQ(config->hidden_size, published.hidden_size);
    EXPECT_EQ(config->intermediate_size, 2 * published.hidden_size);
    EXPECT_EQ(config->time_step_rank, published.time_step_rank);
    EXPECT_EQ(config->state_size, 16);
    EXPECT_EQ(config->conv_kernel, 4);
    EXPECT_EQ(config->vocab_size, 50280);
    EXPECT_EQ(CountParameters(MambaParameters(*config)), published.parameters) << published.name;
    EXPECT_FALSE(config->original_form);
    EXPECT_THAT(config->eos_token_ids, ElementsAre(0));
  }
}

TEST(ParseMambaConfig, BothFormsOfOneModelAgree) {
  const auto original = ParseMambaConfig(ReadConfig("mamba-130m-original"));
  const auto converted = ParseMambaConfig(ReadConfig("mamba-130m"));
  ASSERT_TRUE(original.ok()) << original.status();
  ASSERT_TRUE(converted.ok());
  EXPECT_TRUE(original->original_form);
  EXPECT_EQ(original->unpadded_vocab_size, 50277);
  EXPECT_EQ(converted->unpadded_vocab_size, 50280);
  EXPECT_EQ(original->vocab_size, converted->vocab_size);
  EXPECT_EQ(original->intermediate_size, converted->intermediate_size);
  EXPECT_EQ(original->time_step_rank, converted->time_step_rank);
  EXPECT_EQ(original->norm_epsilon, converted->norm_epsilon);
  EXPECT_EQ(original->use_bias, converted->use_bias);
  EXPECT_EQ(original->use_conv_bias, converted->use_conv_bias);
  EXPECT_EQ(original->tie_embeddings, converted->tie_embeddings);
  EXPECT_EQ(original->eos_token_ids, converted->eos_token_ids);
  EXPECT_EQ(CountParameters(MambaParameters(*original)),
            CountParameters(MambaParameters(*converted)));
}

TEST(ParseMambaConfig, ReadsEveryKeyOfTheHuggingFaceForm) {
  const auto config =
      ParseMambaConfig(R"({"model_type": "mamba", "vocab_size": 300, "hidden_size": 24,
      "intermediate_size": 40, "state_size": 5, "num_hidden_layers": 3, "conv_kernel": 3,
      "time_step_rank": 7, "layer_norm_epsilon": 1e-6, "use_bias": true, "use_conv_bias": false,
      "tie_word_embeddings": false, "eos_token_id": [2, 1], "initializer_range": 0.5,
      "time_step_min": 0.01, "time_step_max": 0.2, "time_step_floor": 0.02, "time_step_scale": 2,
      "rescale_prenorm_residual": true, "hidden_act": "silu"})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->vocab_size, 300);
  EXPECT_EQ(config->hidden_size, 24);
  EXPECT_EQ(config->intermediate_size, 40);
  EXPECT_EQ(config->state_size, 5);
  EXPECT_EQ(config->layers, 3);
  EXPECT_EQ(config->conv_kernel, 3);
  EXPECT_EQ(config->time_step_rank, 7);
  EXPECT_EQ(config->norm_epsilon, 1e-6f);
  EXPECT_TRUE(config->use_bias);
  EXPECT_FALSE(config->use_conv_bias);
  EXPECT_FALSE(config->tie_embeddings);
  EXPECT_THAT(config->eos_token_ids, ElementsAre(2, 1));
  EXPECT_EQ(config->initialization.embedding_deviation, 0.5);
  EXPECT_EQ(config->initialization.time_step_min, 0.01);
  EXPECT_EQ(config->initialization.time_step_max, 0.2);
  EXPECT_EQ(config->initialization.time_step_floor, 0.02);
  EXPECT_EQ(config->initialization.time_step_scale, 2);
  EXPECT_TRUE(config->initialization.rescale_out_proj);
}

TEST(ParseMambaConfig, ReadsEveryKeyOfTheOriginalForm) {
  const auto config = ParseMambaConfig(R"({"d_model": 24, "n_layer": 3, "vocab_size": 290,
      "pad_vocab_size_multiple": 16, "tie_embeddings": false, "ssm_cfg": {"layer": "Mamba1",
      "expand": 3, "d_state": 5, "d_conv": 2, "dt_rank": 7, "bias": true, "conv_bias": false}})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->hidden_size, 24);
  EXPECT_EQ(config->layers, 3);
  EXPECT_EQ(config->unpadded_vocab_size, 290);
  EXPECT_EQ(config->vocab_size, 304);
  EXPECT_FALSE(config->tie_embeddings);
  EXPECT_EQ(config->intermediate_size, 72);
  EXPECT_EQ(config->state_size, 5);
  EXPECT_EQ(config->conv_kernel, 2);
  EXPECT_EQ(config->time_step_rank, 7);
  EXPECT_TRUE(config->use_bias);
  EXPECT_FALSE(config->use_conv_bias);
}

TEST(ParseMambaConfig, FillsInDefaults) {
  const auto bare = ParseMambaConfig(R"({"model_type": "mamba"})");
  ASSERT_TRUE(bare.ok()) << bare.status();
  EXPECT_EQ(bare->hidden_size, 768);
  EXPECT_EQ(bare->layers, 32);
  EXPECT_EQ(bare->vocab_size, 50280);
  EXPECT_EQ(bare->intermediate_size, 1536);
  EXPECT_EQ(bare->time_step_rank, 48);
  EXPECT_TRUE(bare->tie_embeddings);
  EXPECT_TRUE(bare->use_conv_bias);
  EXPECT_FALSE(bare->use_bias);
  EXPECT_EQ(bare->norm_epsilon, 1e-5f);

  const auto narrow = ParseMambaConfig(
      R"({"model_type": "mamba", "hidden_size": 17, "time_step_rank": "auto", "eos_token_id": null})");
  ASSERT_TRUE(narrow.ok());
  EXPECT_EQ(narrow->intermediate_size, 34);
  EXPECT_EQ(narrow->time_step_rank, 2) << "17 / 16, rounded up";
  EXPECT_THAT(narrow->eos_token_ids, ElementsAre(0));
  EXPECT_THAT(ParseMambaConfig(R"({"model_type": "mamba", "eos_token_id": []})")->eos_token_ids,
              IsEmpty());
}

// Published Hugging Face configs contain each setting twice, the second time under the key of the
// original form.
TEST(ParseMambaConfig, IgnoresLeftoversOfTheOriginalForm) {
  json config = json::parse(ReadConfig("mamba-130m"));
  config.update({{"d_model", 1},
                 {"n_layer", 1},
                 {"ssm_cfg", json::object()},
                 {"rms_norm", true},
                 {"pad_vocab_size_multiple", 8},
                 {"d_inner", 1}});
  EXPECT_EQ(CountParameters(MambaParameters(*ParseMambaConfig(config.dump()))), 129135360);
}

struct Refusal {
  const char* key;
  json value;
  const char* expected;
  Code code = Code::kInvalidArgument;
};

void ExpectRefusals(const std::string& base_name, std::initializer_list<Refusal> refusals) {
  for (const Refusal& refusal : refusals) {
    json config = json::parse(ReadConfig(base_name));
    config.update(json::parse(absl::StrCat("{\"", refusal.key, "\":", refusal.value.dump(), "}")));
    const auto parsed = ParseMambaConfig(config.dump());
    EXPECT_THAT(parsed, Fails(refusal.code, refusal.key)) << refusal.value;
    EXPECT_THAT(parsed, Fails(refusal.code, refusal.expected)) << refusal.key << refusal.value;
    if (refusal.value.is_primitive()) {
      EXPECT_THAT(parsed, Fails(refusal.code, refusal.value.dump() + " seen"));
    }
  }
}

TEST(ParseMambaConfig, RefusesByKeyValueAndExpectation) {
  ExpectRefusals("mamba-130m", {{"vocab_size", 0, "an integer from 1 to 16777216"},
                                {"vocab_size", -1, "an integer from 1"},
                                {"vocab_size", 1LL << 40, "16777216"},
                                {"vocab_size", 18446744073709551615u, "16777216"},
                                {"vocab_size", 50280.0, "an integer"},
                                {"vocab_size", "50280", "an integer"},
                                {"vocab_size", json::array({1}), "an array seen"},
                                {"vocab_size", json::object(), "an object seen"},
                                {"hidden_size", 0, "from 1 to 65536"},
                                {"hidden_size", true, "an integer"},
                                {"num_hidden_layers", 1 << 20, "from 1 to 4096"},
                                {"state_size", 0, "from 1 to 1024"},
                                {"conv_kernel", 9, "from 1 to 8"},
                                {"expand", 0, "from 1 to 64"},
                                {"intermediate_size", 1535, "expand * hidden_size = 1536"},
                                {"intermediate_size", 1 << 19, "from 1 to 262144"},
                                {"time_step_rank", "large", "an integer"},
                                {"time_step_rank", 0, "an integer from 1"},
                                {"layer_norm_epsilon", -1e-5, "a number from 0 to 1"},
                                {"layer_norm_epsilon", "1e-5", "a number"},
                                {"use_bias", 0, "true or false"},
                                {"use_conv_bias", "yes", "true or false"},
                                {"tie_word_embeddings", 1, "true or false"},
                                {"eos_token_id", -2, "a token id"},
                                {"eos_token_id", 0.5, "a token id"},
                                {"eos_token_id", 1LL << 31, "a token id"},
                                {"eos_token_id", json::array({0, "x"}),
                                 "eos_token_id[1]: \"x\" seen, expected a token id"},
                                {"hidden_act", "gelu", "\"silu\""},
                                {"hidden_act", 1, "a string"},
                                {"rms_norm", false, "true"},
                                {"initializer_range", -1, "a number from 0"},
                                {"time_step_min", 0, "a number above 0"},
                                {"time_step_max", 0.0001, "at least time_step_min = 0.001"},
                                {"model_type", 1, "a string"},
                                {"model_type", "mamba2", "\"mamba\"", Code::kUnimplemented},
                                {"model_type", "falcon_mamba", "\"mamba\"", Code::kUnimplemented}});
  ExpectRefusals(
      "mamba-130m-original",
      {{"d_model", 0, "an integer from 1"},
       {"n_layer", "24", "an integer"},
       {"vocab_size", -5, "an integer"},
       {"pad_vocab_size_multiple", 0, "an integer from 1"},
       {"rms_norm", false, "true"},
       {"ssm_cfg", 1, "an object"},
       {"ssm_cfg", {{"layer", 2}}, "ssm_cfg.layer: 2 seen"},
       {"ssm_cfg", {{"layer", "Mamba2"}}, "ssm_cfg.layer: \"Mamba2\"", Code::kUnimplemented},
       {"ssm_cfg", {{"d_state", 0}}, "ssm_cfg.d_state: 0 seen"},
       {"ssm_cfg", {{"expand", 1000}}, "ssm_cfg.expand: 1000 seen"},
       {"ssm_cfg", {{"dt_rank", "many"}}, "ssm_cfg.dt_rank: \"many\" seen"},
       {"d_intermediate", 8, "no feed-forward layers", Code::kUnimplemented},
       {"attn_layer_idx", {3}, "1 attention layers", Code::kUnimplemented}});
}

TEST(ParseMambaConfig, RefusesTextsThatAreNotConfigs) {
  const std::pair<std::string, std::string> cases[] = {
      {"", "malformed JSON"},
      {"{", "malformed JSON"},
      {"{}", "model_type: nothing seen"},
      {"[]", "expected a JSON object"},
      {"null", "null seen, expected a JSON object"},
      {R"({"model_type":"mamba","model_type":"mamba"})", "duplicate key \"model_type\""},
      {"{\"model_type\":\"mamba\xff\"}", "malformed JSON"},
      {R"({"model_type":"mamba","x":)" + std::string(200000, '['), "nested deeper than 32"},
      {std::string("{\"model_type\":\"mamba\"}\0x", 24), "malformed JSON at byte 22"},
      {R"({"model_type":"mamba","vocab_size":1e999})", "malformed JSON"},
  };
  for (const auto& [text, message] : cases) {
    EXPECT_THAT(ParseMambaConfig(text), Fails(Code::kInvalidArgument, message));
  }
}

TEST(ParseMambaConfig, TheLargestAllowedSizesDoNotOverflow) {
  const auto config = ParseMambaConfig(R"({"model_type": "mamba", "vocab_size": 16777216,
      "hidden_size": 65536, "intermediate_size": 262144, "state_size": 1024, "time_step_rank": 65536,
      "num_hidden_layers": 4096, "tie_word_embeddings": false, "use_bias": true})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_GT(CountParameters(MambaParameters(*config)), 0);
  EXPECT_LT(CountParameters(MambaParameters(*config)), int64_t{1} << 60)
      << "so that bytes fit in 63 bits too";
}

// Found by the fuzzer: a default, or a value computed from one, that violates a bound.
TEST(ParseMambaConfig, ChecksWhatIsComputedFromDefaultsToo) {
  EXPECT_THAT(
      ParseMambaConfig(R"({"d_model": 8, "ssm_cfg": {"dt_min": 5}})"),
      Fails(Code::kInvalidArgument, "ssm_cfg.dt_max: nothing seen, expected at least dt_min = 5"));
  EXPECT_THAT(
      ParseMambaConfig(R"({"model_type": "mamba", "hidden_size": 65536, "expand": 5})"),
      Fails(Code::kInvalidArgument,
            "expand: 5 seen, expected a product with hidden_size = 65536 of at most 262144"));
  EXPECT_THAT(ParseMambaConfig(R"({"d_model": 65536, "ssm_cfg": {"expand": 5}})"),
              Fails(Code::kInvalidArgument, "ssm_cfg.expand: 5 seen"));
}

TEST(ParseModelConfig, IsOfTheNamedArchitecture) {
  const auto gpt2 = ParseModelConfig(R"({"model_type": "gpt2", "eos_token_id": 7})");
  EXPECT_EQ(gpt2->As<Gpt2Config>().layers, 12);
  EXPECT_THAT(gpt2->eos_token_ids, ElementsAre(7));
  EXPECT_EQ(gpt2->tokenizer_size, 50257);
  for (const char* name : {"mamba-130m", "mamba-130m-original"}) {
    const auto mamba = ParseModelConfig(ReadConfig(name));
    EXPECT_EQ(mamba->As<MambaConfig>().layers, 24);
    EXPECT_EQ(mamba->parameters, 129135360);
    EXPECT_FALSE(mamba->quantized);
  }
  EXPECT_THAT(ParseModelConfig("{}"), Fails(Code::kInvalidArgument, "model_type"));
  EXPECT_THAT(ParseModelConfig(R"({"model_type": 3})"), Fails(Code::kInvalidArgument, "3 seen"));
  EXPECT_THAT(ParseModelConfig(R"({"model_type": "t5"})"),
              Fails(Code::kUnimplemented, "\"t5\" seen, expected \"mamba\" or \"gpt2\""));
}

TEST(ParseGpt2Config, HasThePublishedDefaults) {
  const auto config = ParseGpt2Config(R"({"model_type": "gpt2", "n_inner": null})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(CountParameters(Gpt2Parameters(*config)), 124439808);
  EXPECT_EQ(config->inner_size, 3072);
  EXPECT_EQ(config->head_dim(), 64);
  EXPECT_EQ(config->positions, 1024);
  EXPECT_EQ(config->activation, kernels::Activation::kGeluNew);
  EXPECT_TRUE(config->scale_attention);
  EXPECT_TRUE(config->tie_embeddings);
  EXPECT_EQ(config->labels, 0);
  EXPECT_FALSE(config->quantization);
}

TEST(ParseGpt2Config, ReadsEveryKey) {
  const auto config = ParseGpt2Config(R"({"model_type": "gpt2",
      "architectures": ["GPT2ForSequenceClassification"], "id2label": {"0": "a", "1": "b", "2": "c"},
      "vocab_size": 96, "n_positions": 48, "n_embd": 24, "n_layer": 2, "n_head": 3, "n_inner": 40,
      "activation_function": "crrelu", "crrelu_epsilon_init": -0.25, "layer_norm_epsilon": 1e-6,
      "scale_attn_weights": false, "scale_attn_by_inverse_layer_idx": true,
      "tie_word_embeddings": false, "eos_token_id": [1, 2],
      "quantization_config": {"quant_method": "w8a8", "version": 1, "bits": 8,
                              "activations": "static",
                              "head_bits": 16}})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->vocab_size, 96);
  EXPECT_EQ(config->positions, 48);
  EXPECT_EQ(config->heads, 3);
  EXPECT_EQ(config->inner_size, 40);
  EXPECT_EQ(config->activation, kernels::Activation::kCRRelu);
  EXPECT_EQ(config->crrelu_epsilon_init, -0.25f);
  EXPECT_FALSE(config->scale_attention);
  EXPECT_TRUE(config->scale_by_inverse_layer);
  EXPECT_EQ(config->labels, 3);
  EXPECT_THAT(config->eos_token_ids, ElementsAre(1, 2));
  ASSERT_TRUE(config->quantization);
  EXPECT_TRUE(config->quantization->static_activations);
  EXPECT_EQ(config->quantization->head_bits, 16);
}

TEST(ParseGpt2Config, RefusesByKeyValueAndExpectation) {
  const std::pair<std::string, std::string> cases[] = {
      {R"("n_head": 5)", "n_head: 5 seen, expected a divisor of n_embd = 768"},
      {R"("n_layer": 0)", "n_layer: 0 seen, expected an integer from 1"},
      {R"("n_embd": 1000000)", "n_embd: 1000000 seen"},
      {R"("activation_function": "tanhh")", "activation_function: \"tanhh\" seen, expected relu, "},
      {R"("add_cross_attention": true)", "add_cross_attention: true seen, expected false"},
      {R"("crrelu_epsilon_init": "much", "activation_function": "crrelu")",
       "crrelu_epsilon_init: \"much\" seen, expected a number"},
      {R"("quantization_config": {"quant_method": "quamba"})", "quantization_config.quant_method"},
      {R"("quantization_config": {"quant_method": "w8a8", "version": 1})",
       "quantization_config.activations: nothing seen, expected \"static\" or \"dynamic\""},
      {R"("quantization_config": {"quant_method": "w8a8", "version": 2})",
       "quantization_config.version: 2"},
  };
  for (const auto& [keys, message] : cases) {
    EXPECT_THAT(ParseGpt2Config(R"({"model_type": "gpt2", )" + keys + "}"),
                Fails(Code::kInvalidArgument, message));
  }
  EXPECT_THAT(ParseGpt2Config(R"({"model_type": "mamba"})"),
              Fails(Code::kUnimplemented, "expected \"gpt2\""));
}

TEST(ParseModelConfig, NumbersOfPythonAreRefusedOnlyWhereTheyAreRead) {
  EXPECT_THAT(ParseModelConfig(R"({"model_type": "mamba", "time_step_limit": [0.0, Infinity]})"),
              IsOk());
  EXPECT_THAT(ParseModelConfig(R"({"model_type": "gpt2", "summary_first_dropout": NaN})"), IsOk());
  EXPECT_THAT(ParseModelConfig(R"({"model_type": "gpt2", "layer_norm_epsilon": NaN})"),
              Fails(Code::kInvalidArgument, "layer_norm_epsilon: NaN seen"));
  EXPECT_THAT(ParseModelConfig(R"({"model_type": "mamba", "num_hidden_layers": Infinity})"),
              Fails(Code::kInvalidArgument, "num_hidden_layers: Infinity seen"));
}

TEST(ParseModelConfig, TheTokenIdMinusOneMeansNone) {
  for (const char* id : {"-1", "[-1]", "[]"}) {
    const std::string config = absl::StrCat(R"({"model_type": "gpt2", "eos_token_id": )", id, "}");
    EXPECT_THAT(ParseModelConfig(config)->eos_token_ids, IsEmpty()) << id;
  }
  EXPECT_THAT(
      ParseModelConfig(R"({"model_type": "mamba", "eos_token_id": [-1, 7]})")->eos_token_ids,
      ElementsAre(7));
  EXPECT_THAT(ParseModelConfig(R"({"model_type": "gpt2", "eos_token_id": -2})"),
              Fails(Code::kInvalidArgument, "eos_token_id: -2 seen"));
}

TEST(ParseActivation, KnowsNamesAndSynonyms) {
  EXPECT_EQ(ParseActivation("swish"), kernels::Activation::kSilu);
  EXPECT_EQ(ParseActivation("gelu_pytorch_tanh"), kernels::Activation::kGeluNew);
  EXPECT_EQ(ParseActivation("gelu"), kernels::Activation::kGelu);
  EXPECT_FALSE(ParseActivation("Gelu"));
  EXPECT_EQ(Name(kernels::Activation::kSilu), "silu");
  EXPECT_EQ(ActivationNames(), "relu, leaky_relu, gelu, gelu_new, quick_gelu, silu, mish, crrelu");
}

TEST(ParseGenerationConfig, ReadsWhatIsThereAndNothingElse) {
  const auto full = ParseGenerationConfig(R"({"do_sample": true, "temperature": 0.8, "top_k": 40,
      "top_p": 0.95, "min_p": 0.05, "repetition_penalty": 1.1, "max_new_tokens": 128, "max_length": -7,
      "eos_token_id": 3, "transformers_version": "4.0"})");
  ASSERT_TRUE(full.ok()) << full.status();
  EXPECT_EQ(full->temperature, 0.8f);
  EXPECT_EQ(full->top_k, 40);
  EXPECT_EQ(full->top_p, 0.95f);
  EXPECT_EQ(full->min_p, 0.05f);
  EXPECT_EQ(full->repetition_penalty, 1.1f);
  EXPECT_EQ(full->max_new_tokens, 128);
  EXPECT_THAT(full->eos_token_ids, ElementsAre(3));
  EXPECT_EQ(ParseGenerationConfig(R"({"no_repeat_ngram_size": 3})")->no_repeat_ngram_size, 3);

  const auto none = ParseGenerationConfig(R"({"temperature": null})");
  ASSERT_TRUE(none.ok());
  EXPECT_FALSE(none->temperature || none->top_k || none->top_p || none->min_p ||
               none->repetition_penalty || none->max_new_tokens);
  EXPECT_THAT(none->eos_token_ids, IsEmpty());
}

TEST(ParseGenerationConfig, NoSamplingIsTemperatureZero) {
  EXPECT_EQ(ParseGenerationConfig(R"({"do_sample": false})")->temperature, 0.0f);
  EXPECT_EQ(ParseGenerationConfig(R"({"do_sample": false, "temperature": 0.7})")->temperature,
            0.0f);
  EXPECT_THAT(ParseGenerationConfig(R"({"eos_token_id": [4, 5]})")->eos_token_ids,
              ElementsAre(4, 5));
}

TEST(ParseGenerationConfig, TheEndOfSequenceIsThatOfTheConfigUnlessTheFileNamesOne) {
  GenerationDefaults of_config;
  of_config.eos_token_ids = {3};
  EXPECT_THAT(ParseGenerationConfig("{}", of_config)->eos_token_ids, ElementsAre(3));
  EXPECT_THAT(ParseGenerationConfig(R"({"eos_token_id": null})", of_config)->eos_token_ids,
              ElementsAre(3));
  EXPECT_THAT(ParseGenerationConfig(R"({"eos_token_id": 4})", of_config)->eos_token_ids,
              ElementsAre(4));
  EXPECT_THAT(ParseGenerationConfig(R"({"eos_token_id": -1})", of_config)->eos_token_ids,
              IsEmpty());
}

TEST(ParseGenerationConfig, ListsWhatIsNotDone) {
  EXPECT_THAT(ParseGenerationConfig(R"({"num_beams": 4, "penalty_alpha": 0.6, "do_sample": false,
      "typical_p": 1.0, "diversity_penalty": 0, "bad_words_ids": [[3]], "suppress_tokens": [],
      "guidance_scale": NaN, "forced_eos_token_id": null, "max_length": 20})")
                  ->ignored,
              ElementsAre("num_beams 4", "penalty_alpha 0.6", "guidance_scale NaN",
                          "bad_words_ids (an array)"));
  EXPECT_THAT(ParseGenerationConfig(R"({"num_beams": 1, "temperature": 0.5})")->ignored, IsEmpty());
}

TEST(ParseGenerationConfig, RefusesByKey) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"temperature": -0.1})", "temperature: -0.1 seen"},
      {R"({"temperature": "hot"})", "temperature: \"hot\" seen"},
      {R"({"top_k": -1})", "top_k: -1 seen"},
      {R"({"top_k": 1.5})", "top_k: 1.5 seen"},
      {R"({"top_p": 0})", "top_p: 0 seen, expected a number above 0 and at most 1"},
      {R"({"top_p": 1e-60})", "top_p: 1e-60 seen"},
      {R"({"top_p": 1.5})", "top_p: 1.5 seen"},
      {R"({"min_p": 2})", "min_p: 2 seen"},
      {R"({"repetition_penalty": 0})", "repetition_penalty: 0 seen"},
      {R"({"repetition_penalty": 1e-42})", "repetition_penalty: 1e-42 seen"},
      {R"({"no_repeat_ngram_size": -1})", "no_repeat_ngram_size: -1 seen"},
      {R"({"no_repeat_ngram_size": 1025})", "no_repeat_ngram_size: 1025 seen"},
      {R"({"max_new_tokens": 0})", "max_new_tokens: 0 seen"},
      {R"({"do_sample": 1})", "do_sample: 1 seen, expected true or false"},
      {R"({"eos_token_id": "</s>"})", "eos_token_id: \"</s>\" seen"},
      {R"([])", "expected a JSON object"},
  };
  for (const auto& [text, message] : cases) {
    EXPECT_THAT(ParseGenerationConfig(text), Fails(Code::kInvalidArgument, message));
  }
}

TEST(ParseGenerationConfig, NumbersOfPythonAreRefusedOnlyWhereTheyAreRead) {
  EXPECT_THAT(ParseGenerationConfig(R"({"max_time": Infinity, "guidance_scale": NaN})"), IsOk());
  EXPECT_THAT(
      ParseGenerationConfig(R"({"temperature": Infinity})"),
      Fails(Code::kInvalidArgument, "temperature: Infinity seen, expected a number from 0 to 100"));
  EXPECT_THAT(ParseGenerationConfig(R"({"top_k": NaN})"),
              Fails(Code::kInvalidArgument, "top_k: NaN seen"));
}

}  // namespace
}  // namespace whipsnake::engine
