#include "engine/finetune/result.h"

#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <limits>

#include "engine/finetune/task_config.h"
#include "engine/models/model.h"
#include "tests/engine/finetune/training_fixture.h"

namespace whipsnake::engine {
namespace {

namespace fs = std::filesystem;
using Code = absl::StatusCode;
using kernels::DType;
using nlohmann::json;
using testing::UnorderedElementsAre;

const std::vector<int32_t> kTokens = {5, 17, 90, 3, 3, 41};

class ResultTest : public TrainingFixture {
 protected:
  ResultTest() {
    fs::copy("tests/goldens/training/crrelu", source_);
    WriteBytes(source_ + "/tokenizer.json", "{\"a\": 1}");
    WriteBytes(source_ + "/generation_config.json", "{}");
    options_ = {.source = source_, .config = ReadBytes(source_ + "/config.json")};
  }

  // The model of options_.config with the source's tensors.
  std::unique_ptr<TrainableModel> LoadSource() {
    const auto config = ParseModelConfig(options_.config);
    EXPECT_THAT(config, IsOk());
    const auto checkpoint = Checkpoint::Open(source_);
    auto model = TrainableModel::Load(*config, **checkpoint, {}, ledger_);
    EXPECT_THAT(model, IsOk());
    return *std::move(model);
  }
  std::vector<float> Logits(const std::string& directory) {
    const auto model = LoadModel(directory, {}, {&executor_, &ledger_});
    EXPECT_THAT(model, IsOk());
    const auto state = (*model)->NewState();
    const engine::Run run{kTokens, state->get(), LogitsOf::kAll};
    const auto logits = (*model)->Forward({&run, 1});
    EXPECT_THAT(logits, IsOk());
    return {logits->data, logits->data + logits->rows * logits->cols};
  }
  static std::vector<std::string> Entries(const std::string& directory) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory)) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }
  void ExpectParameters(TrainableModel& want, TrainableModel& have) {
    for (const TrainableParameter& parameter : want.parameters().all()) {
      const TrainableParameter* const other = have.parameters().Find(parameter.name);
      ASSERT_NE(other, nullptr) << parameter.name;
      EXPECT_TRUE(std::ranges::equal(parameter.value.bytes(), other->value.bytes()))
          << parameter.name;
    }
  }

  const TemporaryDirectory directory_;
  const std::string source_ = directory_ / "source", out_ = directory_ / "out";
  ResultOptions options_;
};

TEST_F(ResultTest, OfALanguageModelIsServedAndTrainedAgain) {
  const auto model = LoadSource();
  options_.more_files = {{"training.json", "{}"}, {"training.html", "<p>"}};
  ASSERT_THAT(WriteResult(model->parameters(), options_, out_), IsOk());
  EXPECT_EQ(Logits(out_), Logits(source_));
  ExpectParameters(*model, *Load(out_));
  EXPECT_THAT(Entries(out_), UnorderedElementsAre("config.json", "model.safetensors", "crrelu.py",
                                                  "tokenizer.json", "generation_config.json",
                                                  "training.json", "training.html"));
  EXPECT_EQ(ReadBytes(out_ + "/training.html"), "<p>");
  json expected = json::parse(options_.config);
  expected["torch_dtype"] = "float32";
  EXPECT_EQ(json::parse(ReadBytes(out_ + "/config.json")), expected);
}

// As Python writes them; JSON has no such numbers, and null would be another value.
TEST_F(ResultTest, NumbersThatAreNotFiniteStayInTheConfig) {
  options_.config.insert(options_.config.find('{') + 1, "\"limit\": [0.0, Infinity, NaN],");
  const auto model = LoadSource();
  ASSERT_THAT(WriteResult(model->parameters(), options_, out_), IsOk());
  EXPECT_THAT(ReadBytes(out_ + "/config.json"),
              testing::HasSubstr("[\n    0.0,\n    Infinity,\n    NaN\n  ]"));
  EXPECT_EQ(Logits(out_), Logits(source_));
}

TEST_F(ResultTest, HasTheValuesOfTheTrainedModel) {
  const auto model = LoadSource();
  for (TrainableParameter& parameter : model->parameters().all()) parameter.data()[0] += 0.5f;
  ASSERT_THAT(WriteResult(model->parameters(), options_, out_), IsOk());
  EXPECT_NE(Logits(out_), Logits(source_));
  ExpectParameters(*model, *Load(out_));
}

TEST_F(ResultTest, OfAClassifierHasItsHead) {
  const auto labels = Labels::Make({"noun", "verb", "other"});
  const auto config = ConfigForTask(options_.config, Task::kClassification, *labels);
  ASSERT_THAT(config, IsOk());
  options_.config = *config;
  const auto model = LoadSource();
  EXPECT_THAT(model->fresh(), UnorderedElementsAre("score.weight"));
  ASSERT_THAT(WriteResult(model->parameters(), options_, out_), IsOk());
  EXPECT_EQ(Logits(out_).size(), kTokens.size() * 3);
  const auto again = Load(out_);
  EXPECT_TRUE(again->fresh().empty());
  ExpectParameters(*model, *again);
  EXPECT_THAT(Entries(out_), UnorderedElementsAre("config.json", "model.safetensors", "crrelu.py",
                                                  "tokenizer.json"));
  EXPECT_EQ(HeadLabels(ReadBytes(out_ + "/config.json"))->names(), labels->names());
}

TEST_F(ResultTest, InBf16IsRounded) {
  const auto model = LoadSource();
  TrainableParameter& embedding = model->parameters().all()[0];
  const float values[] = {1 + 0x1p-8f, 1 + 0x1p-7f + 0x1p-8f,
                          -0.0f,       3e38f,
                          -1e-40f,     std::numeric_limits<float>::infinity()};
  std::ranges::copy(values, embedding.data());
  options_.dtype = DType::kBF16;
  ASSERT_THAT(WriteResult(model->parameters(), options_, out_), IsOk());
  EXPECT_EQ(json::parse(ReadBytes(out_ + "/config.json"))["torch_dtype"], "bfloat16");
  const auto checkpoint = Checkpoint::Open(out_);
  ASSERT_THAT(checkpoint, IsOk());
  for (const TrainableParameter& parameter : model->parameters().all()) {
    const auto tensor = (*checkpoint)->Get(parameter.name, parameter.shape);
    ASSERT_THAT(tensor, IsOk());
    ASSERT_EQ(tensor->dtype, DType::kBF16);
    std::vector<uint16_t> rounded(parameter.elements());
    std::memcpy(rounded.data(), tensor->data.data(), tensor->data.size());
    for (int64_t i = 0; i < parameter.elements(); ++i) {
      ASSERT_EQ(rounded[i], kernels::ToBF16(parameter.data()[i])) << parameter.name << " " << i;
    }
  }
}

TEST_F(ResultTest, OfAnotherActivationNeedsNoRegistration) {
  json config = json::parse(options_.config);
  for (const json& activation : {json("gelu_new"), json(nullptr)}) {
    config["activation_function"] = activation;
    options_.config = config.dump();
    const std::string out = directory_ / activation.dump();
    const auto model = Load("tests/goldens/training/gelu_new");
    ASSERT_THAT(WriteResult(model->parameters(), options_, out), IsOk());
    EXPECT_FALSE(fs::exists(out + "/crrelu.py"));
  }
}

TEST_F(ResultTest, IsWrittenWholeOrNotAtAll) {
  const auto model = LoadSource();
  fs::create_directories(out_ + "/something");
  EXPECT_THAT(WriteResult(model->parameters(), options_, out_), Fails(Code::kAlreadyExists, "out"));
  fs::remove(out_ + "/something");

  const auto previous = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small{20000, limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = WriteResult(model->parameters(), options_, out_);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  std::signal(SIGXFSZ, previous);
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("model.safetensors"));
  EXPECT_TRUE(fs::is_empty(out_));
  EXPECT_EQ(directory_.entries(), 2) << "the source and the empty directory";

  options_.config = "{}";
  EXPECT_THAT(WriteResult(model->parameters(), options_, out_),
              Fails(Code::kInvalidArgument, "model_type"));
  EXPECT_TRUE(fs::is_empty(out_));
}

}  // namespace
}  // namespace whipsnake::engine
