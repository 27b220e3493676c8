// Model directories as people have them, from the load to the answers.
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/engine/base/support.h"
#include "tests/server/support.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

// A server with one model, a copy of a demo that a test may change before Start.
class ModelDirectoryTest : public testing::Test {
 protected:
  ModelDirectoryTest() {
    fs::copy("deploy/models/gpt2-crrelu-demo", directory_.path(), fs::copy_options::recursive);
  }

  json ReadJson(const std::string& name) const {
    return json::parse(engine::ReadBytes(directory_ / name));
  }
  void Write(const std::string& name, const std::string& text) const {
    engine::WriteBytes(directory_ / name, text);
  }

  void Start() {
    DaemonOptions options;
    options.listen = "127.0.0.1:0";
    options.http = "127.0.0.1:0";
    options.models = {{"model", directory_.path()}};
    options.scheme = "bf16";
    options.threads = 2;
    server_.emplace(std::move(options));
  }

  v1::GenerateResponse Generate(const v1::GenerationParameters& parameters,
                                grpc::Status* status = nullptr) {
    grpc::ClientContext context;
    v1::GenerateRequest request;
    v1::GenerateResponse response;
    *request.mutable_parameters() = parameters;
    const grpc::Status result = server_->generation->Generate(&context, request, &response);
    if (status != nullptr) {
      *status = result;
    } else {
      EXPECT_TRUE(result.ok()) << result.error_message();
    }
    return response;
  }

  std::string TextAfter(const std::string& prompt) {
    return Generate(Greedy(prompt, 12)).completions(0).text();
  }

  engine::TemporaryDirectory directory_;
  std::optional<TestServer> server_;
};

TEST_F(ModelDirectoryTest, TheFirstFilesOfGpt2ServeLikeTheTokenizerJson) {
  Start();
  const std::string expected = TextAfter("Elizabeth was");
  server_.reset();
  const json model = ReadJson("tokenizer.json")["model"];
  std::string merges = "#version: 0.2\n";
  for (const json& merge : model["merges"]) {
    merges += merge.get<std::string>() + "\n";
  }
  Write("vocab.json", model["vocab"].dump());
  Write("merges.txt", merges);
  fs::remove(directory_ / "tokenizer.json");
  fs::remove(directory_ / "tokenizer_config.json");  // names a class that needs a tokenizer.json
  Start();
  EXPECT_EQ(TextAfter("Elizabeth was"), expected);
}

// A [PAD] that was added to the tokenizer while the embeddings were not resized.
TEST_F(ModelDirectoryTest, ATokenizerMayHaveMoreTokensThanTheModel) {
  json tokenizer = ReadJson("tokenizer.json");
  json pad = tokenizer["added_tokens"][0];
  pad["content"] = "[PAD]";
  pad["id"] = 4096;
  tokenizer["added_tokens"].push_back(pad);
  Write("tokenizer.json", tokenizer.dump());
  Start();
  EXPECT_NE(TextAfter("Elizabeth was"), "");
  grpc::Status status;
  Generate(Greedy("Elizabeth [PAD] was", 2), &status);
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("parameters.text: the token \"[PAD]\" with the id "
                                                "4096 seen, expected tokens of the model"));
  v1::GenerationParameters ids = Greedy("", 2);
  ids.mutable_token_ids()->add_ids(4096);
  Generate(ids, &status);
  EXPECT_THAT(status.error_message(), HasSubstr("token_ids.ids[0]: 4096 seen"));
  v1::GenerationParameters form = Greedy("Elizabeth was", 6);
  form.mutable_output()->set_token_ids(true);
  form.mutable_structured()->set_regex("\\[PAD\\]");
  const v1::GenerateResponse spelled = Generate(form);
  EXPECT_EQ(spelled.completions(0).text(), "[PAD]");
  for (const int id : spelled.completions(0).token_ids()) EXPECT_LT(id, 4096);
}

TEST_F(ModelDirectoryTest, NgramsAreNotRepeatedIfTheGenerationConfigSaysSo) {
  json config = ReadJson("generation_config.json");
  config["no_repeat_ngram_size"] = 2;
  config["num_beams"] = 4;  // is ignored, and the log says so
  Write("generation_config.json", config.dump());
  Start();
  v1::GenerationParameters parameters = Greedy("It was", 100);
  parameters.mutable_output()->set_token_ids(true);
  const v1::GenerateResponse response = Generate(parameters);
  EXPECT_EQ(response.resolved().sampling().no_repeat_ngram_size(), 2);
  const auto& ids = response.completions(0).token_ids();
  std::set<std::pair<int, int>> pairs;
  for (int i = 1; i < ids.size(); ++i) {
    EXPECT_TRUE(pairs.emplace(ids[i - 1], ids[i]).second) << i;
  }
  parameters.mutable_sampling()->set_no_repeat_ngram_size(1025);
  grpc::Status status;
  Generate(parameters, &status);
  EXPECT_EQ(FieldOf(status), "parameters.sampling.no_repeat_ngram_size");
}

TEST_F(ModelDirectoryTest, APromptBeginsAsTheTokenizersTemplateSays) {
  json tokenizer = ReadJson("tokenizer.json");
  tokenizer["post_processor"] = json::parse(R"({"type": "TemplateProcessing", "single":
      [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0]}}})");
  Write("tokenizer.json", tokenizer.dump());
  Start();
  const auto count = [&](const std::string& text, bool omit, bool plain) {
    grpc::ClientContext context;
    v1::CountTokensRequest request;
    v1::CountTokensResponse response;
    request.set_text(text);
    request.set_token_ids(true);
    request.mutable_tokenization()->set_omit_special_tokens(omit);
    request.mutable_tokenization()->set_plain_text(plain);
    EXPECT_TRUE(server_->generation->CountTokens(&context, request, &response).ok());
    return std::vector<int32_t>(response.token_ids().begin(), response.token_ids().end());
  };
  const std::vector<int32_t> plain = count("It was", true, false);
  std::vector<int32_t> whole = {0};
  whole.insert(whole.end(), plain.begin(), plain.end());
  EXPECT_EQ(count("It was", false, false), whole);
  EXPECT_THAT(count("<|endoftext|>", true, false), testing::ElementsAre(0));
  EXPECT_THAT(count("<|endoftext|>", true, true), testing::Not(testing::Contains(0)));

  // A state is continued without another beginning.
  v1::GenerationParameters parameters = Greedy("It was", 4);
  parameters.mutable_output()->mutable_save_state();
  const v1::GenerateResponse first = Generate(parameters);
  EXPECT_EQ(first.usage().prompt_tokens(), std::ssize(whole));
  parameters.set_state(first.completions(0).state());
  EXPECT_EQ(Generate(parameters).usage().prompt_tokens(),
            std::ssize(whole) + 4 + std::ssize(plain));
}

}  // namespace
}  // namespace whipsnake::server
