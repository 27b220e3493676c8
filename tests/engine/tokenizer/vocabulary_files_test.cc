// Ids must equal those of `transformers`: see tests/oracles/vocabulary_files_goldens.py.
#include "engine/tokenizer/vocabulary_files.h"

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "engine/base/atomic_file.h"
#include "engine/checkpoint/tokenizer_files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/base/support.h"
#include "tests/engine/tokenizer/test_util.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using Ids = std::vector<int32_t>;

constexpr char kDemo[] = "deploy/models/gpt2-crrelu-demo/tokenizer.json";

VocabularyFiles FilesOf(const json& golden, const json& files) {
  return {.vocabulary = golden["vocabulary"],
          .merges = golden["merges"],
          .added_tokens = files.value("added_tokens.json", "{}"),
          .special_tokens_map = files.value("special_tokens_map.json", "{}"),
          .tokenizer_config = files.value("tokenizer_config.json", "{}")};
}

// Writes the vocabulary and the merges of a tokenizer.json as the files that came before it.
void WriteOut(const json& tokenizer, const std::string& directory) {
  std::string merges = "#version: 0.2\n";
  for (const json& merge : tokenizer["model"]["merges"]) {
    merges += merge.is_string()
                  ? merge.get<std::string>() + "\n"
                  : merge[0].get<std::string>() + " " + merge[1].get<std::string>() + "\n";
  }
  ASSERT_TRUE(
      WriteFileAtomically(directory + "/vocab.json", tokenizer["model"]["vocab"].dump()).ok());
  ASSERT_TRUE(WriteFileAtomically(directory + "/merges.txt", merges).ok());
}

TEST(VocabularyFilesTest, GiveTheIdsOfTransformers) {
  const json golden = ReadGolden("vocabulary_files.json");
  const auto texts = golden["texts"].get<std::vector<std::string>>();
  for (const json& one : golden["cases"]) {
    SCOPED_TRACE(one["name"].get<std::string>());
    const auto tokenizer = Tokenizer::Assemble(FilesOf(golden, one["files"]));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    for (size_t i = 0; i < texts.size(); ++i) {
      const auto encode = [&](const EncodeOptions& options) {
        return (*tokenizer)->Encode(texts[i], options).value();
      };
      EXPECT_EQ(encode({}), one["ids"][i].get<Ids>()) << texts[i];
      EXPECT_EQ(encode({.add_special_tokens = true}), one["special"][i].get<Ids>()) << texts[i];
      EXPECT_EQ(encode({.plain_text = true}), one["plain"][i].get<Ids>()) << texts[i];
    }
  }
}

TEST(VocabularyFilesTest, GiveTheIdsOfTheEquivalentTokenizerJson) {
  const TemporaryDirectory directory;
  WriteOut(json::parse(ReadFile(kDemo)), directory.path());
  const auto files = Tokenizer::LoadDirectory(directory.path());
  ASSERT_TRUE(files.ok()) << files.status();
  const auto whole = Tokenizer::Load(kDemo);
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ((*files)->size(), (*whole)->size());
  EXPECT_TRUE((*files)->IsSpecial(0));
  const std::string text = ReadFile(std::string(kGoldens) + "mixed_text.txt");
  const Ids ids = (*files)->Encode(text).value();
  EXPECT_TRUE(ids == (*whole)->Encode(text).value());
  EXPECT_TRUE((*files)->Decode(ids) == (*whole)->Decode(ids));
}

TEST(VocabularyFilesTest, AreUsedOnlyWithoutATokenizerJson) {
  const TemporaryDirectory directory;
  EXPECT_THAT(std::string(Tokenizer::LoadDirectory(directory.path()).status().message()),
              HasSubstr("expected one, or vocab.json and merges.txt"));
  EXPECT_EQ(Tokenizer::LoadDirectory(directory.path()).status().code(),
            absl::StatusCode::kNotFound);
  WriteOut(json::parse(ReadFile(kDemo)), directory.path());
  EXPECT_TRUE(Tokenizer::LoadDirectory(directory.path()).ok());
  ASSERT_TRUE(WriteFileAtomically(directory / "tokenizer.json", "{").ok());
  EXPECT_THAT(std::string(Tokenizer::LoadDirectory(directory.path()).status().message()),
              HasSubstr("tokenizer.json: malformed JSON"));
  std::filesystem::remove(directory / "tokenizer.json");
  std::filesystem::remove(directory / "merges.txt");
  EXPECT_THAT(std::string(Tokenizer::LoadDirectory(directory.path()).status().message()),
              HasSubstr("merges.txt"));
}

TEST(VocabularyFilesTest, AreCopiedWithAModel) {
  const TemporaryDirectory from, to;
  const std::vector<std::string> names = {"vocab.json",
                                          "merges.txt",
                                          "added_tokens.json",
                                          "special_tokens_map.json",
                                          "tokenizer_config.json",
                                          "generation_config.json"};
  for (const std::string& name : names) {
    ASSERT_TRUE(WriteFileAtomically(from / name, "content of " + name).ok());
  }
  ASSERT_TRUE(CopyTokenizerFiles(from.path(), to.path()).ok());
  for (const std::string& name : names) EXPECT_EQ(ReadFile(to / name), "content of " + name);
}

TEST(VocabularyFilesTest, FaultsNameTheFile) {
  const json golden = ReadGolden("vocabulary_files.json");
  const auto expect = [&](const std::function<void(VocabularyFiles&)>& spoil,
                          const std::string& message,
                          absl::StatusCode code = absl::StatusCode::kInvalidArgument) {
    VocabularyFiles files = FilesOf(golden, json::object());
    spoil(files);
    const absl::Status status = Tokenizer::Assemble(files).status();
    EXPECT_EQ(status.code(), code) << message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  };
  expect([](auto& files) { files.vocabulary = "[]"; }, "vocab.json: an array seen");
  expect([](auto& files) { files.vocabulary = R"({"a": -1})"; }, "vocab[\"a\"]: -1 seen");
  expect([](auto& files) { files.merges = "#version: 0.2\na\n"; },
         "merges.txt: line 2: \"a\" seen, expected two tokens");
  expect([](auto& files) { files.merges = "a b c\n"; }, "merges.txt: line 1");
  expect([](auto& files) { files.merges = "a nosuch\n"; }, "merges[0]: \"nosuch\" seen");
  expect([](auto& files) { files.added_tokens = R"({"<x>": "1"})"; },
         "added_tokens.json[\"<x>\"]: \"1\" seen");
  expect([](auto& files) { files.added_tokens = R"({"<x>": 400})"; },
         "added_tokens[0].id: 400 seen, expected 300");
  expect([](auto& files) { files.special_tokens_map = R"({"pad_token": 3})"; },
         "special_tokens_map.json.pad_token: 3 seen");
  expect([](auto& files) { files.tokenizer_config = "{"; }, "tokenizer_config.json: malformed");
  expect([](auto& files) { files.tokenizer_config = R"({"add_prefix_space": 1})"; },
         "tokenizer_config.json.add_prefix_space: 1 seen");
  expect([](auto& files) { files.tokenizer_config = R"({"added_tokens_decoder": {"x": {}}})"; },
         "tokenizer_config.json.added_tokens_decoder[\"x\"]");
  expect([](auto& files) { files.tokenizer_config = R"({"tokenizer_class": "CLIPTokenizer"})"; },
         "tokenizer_config.json.tokenizer_class", absl::StatusCode::kUnimplemented);
}

TEST(VocabularyFilesTest, WhatIsNotReadMayBeAnything) {
  const json golden = ReadGolden("vocabulary_files.json");
  VocabularyFiles files = FilesOf(golden, json::object());
  files.tokenizer_config =
      R"({"model_max_length": Infinity, "chat_template": [1], "tokenizer_class": null})";
  EXPECT_TRUE(Tokenizer::Assemble(files).ok());
  // Lines as another system ends them, and none at the end.
  std::string merges;
  for (const char c : files.merges.substr(0, files.merges.size() - 1)) {
    merges += c == '\n' ? "\r\n" : std::string(1, c);
  }
  const Ids ids = (*Tokenizer::Assemble(files))->Encode("the theory").value();
  files.merges = merges;
  EXPECT_EQ((*Tokenizer::Assemble(files))->Encode("the theory").value(), ids);
}

}  // namespace
}  // namespace whipsnake::engine
