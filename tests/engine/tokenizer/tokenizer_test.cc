#include "engine/tokenizer/tokenizer.h"

#include <string>
#include <thread>
#include <vector>

#include "engine/tokenizer/characters.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/tokenizer/test_util.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

json Patched(const json& patch) {
  json document = PlainTokenizerJson();
  document.merge_patch(patch);
  return document;
}

json AddedToken(const std::string& content, int id, bool special) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

absl::Status ParseError(const json& document) { return Tokenizer::Parse(document.dump()).status(); }

TEST(TokenizerTest, DecodingGivesBackAnyTextThatWasEncoded) {
  const auto tokenizer = MakeTokenizer(PlainTokenizerJson());
  ASSERT_NE(tokenizer, nullptr);
  std::mt19937 random(1);
  for (int round = 0; round < 500; ++round) {
    const std::string text = RandomText(random, random() % 60);
    const auto ids = tokenizer->Encode(text);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(tokenizer->Decode(*ids), text);
  }
}

TEST(TokenizerTest, TextThatIsNotUtf8IsRefusedWithTheOffset) {
  const auto tokenizer = MakeTokenizer(PlainTokenizerJson());
  ASSERT_NE(tokenizer, nullptr);
  const std::vector<std::string> malformed = {
      "\x80", "\xC0\xAF", "\xE2\x82", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xF8\x88\x80\x80\x80",
      "\xFF"};
  for (const std::string& bytes : malformed) {
    for (const std::string prefix : {"", "sixteen ascii ch", "é中"}) {
      const absl::Status status = tokenizer->Encode(prefix + bytes).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
      EXPECT_THAT(std::string(status.message()),
                  HasSubstr("at offset " + std::to_string(prefix.size())));
    }
  }
}

TEST(TokenizerTest, SpecialTokensAreFoundInTheTextAndSkippedInDecoding) {
  const int id = PlainTokenizerJson()["model"]["vocab"].size();
  const auto tokenizer = MakeTokenizer(Patched(
      {{"added_tokens", {AddedToken("<|stop|>", id, true), AddedToken("<user>", id + 1, false)}}}));
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->size(), id + 2);
  EXPECT_EQ(tokenizer->FindToken("<|stop|>"), id);
  EXPECT_EQ(tokenizer->FindToken("<|sto"), -1);
  EXPECT_TRUE(tokenizer->IsSpecial(id));
  EXPECT_FALSE(tokenizer->IsSpecial(id + 1));
  EXPECT_FALSE(tokenizer->IsSpecial(-1));
  EXPECT_FALSE(tokenizer->IsSpecial(id + 2));

  const auto ids = tokenizer->Encode("<|stop|><user>");
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(*ids, (std::vector<int32_t>{id, id + 1}));
  EXPECT_EQ(tokenizer->Decode(*ids), "<user>");
  EXPECT_EQ(tokenizer->Decode(*ids, /*skip_special=*/false), "<|stop|><user>");
  EXPECT_EQ(tokenizer->TokenBytes(id), "");
  EXPECT_EQ(tokenizer->TokenBytes(id, /*skip_special=*/false), "<|stop|>");
  EXPECT_EQ(tokenizer->Decode(std::vector<int32_t>{-5, 1 << 30, id + 1}), "<user>");
}

// What a post-processor puts around a text.
std::pair<std::vector<int32_t>, std::vector<int32_t>> Around(const json& post_processor) {
  const auto tokenizer = MakeTokenizer(Patched({{"post_processor", post_processor}}));
  if (tokenizer == nullptr) return {};
  const std::vector<int32_t> prefix(tokenizer->prefix().begin(), tokenizer->prefix().end());
  const std::vector<int32_t> suffix(tokenizer->suffix().begin(), tokenizer->suffix().end());
  std::vector<int32_t> expected = prefix;
  const std::vector<int32_t> plain = *tokenizer->Encode("the text");
  expected.insert(expected.end(), plain.begin(), plain.end());
  expected.insert(expected.end(), suffix.begin(), suffix.end());
  EXPECT_EQ(*tokenizer->Encode("the text", {.add_special_tokens = true}), expected);
  return {prefix, suffix};
}

json Template(const json& single, const json& special_tokens) {
  return {{"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", special_tokens}};
}

TEST(TokenizerTest, AddsWhatThePostProcessorAsksFor) {
  using Ids = std::vector<int32_t>;
  const json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const auto special = [](const char* name) {
    return json{{"SpecialToken", {{"id", name}, {"type_id", 0}}}};
  };
  const json tokens = {{"[0]", {{"id", "[0]"}, {"ids", {0}}}},
                       {"ab", {{"id", "ab"}, {"ids", {1, 2}}}}};
  const json byte_level = {{"type", "ByteLevel"}, {"trim_offsets", false}};
  const json begin = Template({special("[0]"), text}, tokens);
  const json pair = {{"type", "RobertaProcessing"}, {"sep", {"b", 4}}, {"cls", {"a", 3}}};
  const auto expect = [](const json& post_processor, const Ids& prefix, const Ids& suffix) {
    EXPECT_EQ(Around(post_processor), std::pair(prefix, suffix)) << post_processor;
  };
  expect(nullptr, {}, {});
  expect(byte_level, {}, {});
  expect(begin, {0}, {});
  expect(Template({special("ab"), special("[0]"), text, special("ab")}, tokens), {1, 2, 0}, {1, 2});
  expect(pair, {3}, {4});
  expect({{"type", "BertProcessing"}, {"sep", {"b", 4}}, {"cls", {"a", 3}}}, {3}, {4});
  expect({{"type", "Sequence"}, {"processors", {byte_level, begin, pair}}}, {3, 0}, {4});
}

TEST(TokenizerTest, ThePostProcessorsTokensMustExist) {
  const int size = PlainTokenizerJson()["model"]["vocab"].size();
  const json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const json begin = {{"SpecialToken", {{"id", "[0]"}, {"type_id", 0}}}};
  const auto message = [](const json& post_processor) {
    return std::string(ParseError(Patched({{"post_processor", post_processor}})).message());
  };
  EXPECT_THAT(message(Template({begin, text}, json::object())),
              HasSubstr("\"[0]\" seen, expected a token of special_tokens"));
  EXPECT_THAT(message(Template({begin, text}, {{"[0]", {{"ids", {size}}}}})),
              HasSubstr("special_tokens.[0].ids[0]: " + std::to_string(size) +
                        " seen, expected the id of a token, below " + std::to_string(size)));
  EXPECT_THAT(message(Template(json::array({begin}), {{"[0]", {{"ids", {0}}}}})),
              HasSubstr("one text"));
  EXPECT_THAT(message(Template({text, text}, json::object())), HasSubstr("one text"));
  EXPECT_THAT(message(Template(json::array({json::object()}), json::object())),
              HasSubstr("a SpecialToken or a Sequence"));
  EXPECT_THAT(message({{"type", "BertProcessing"}, {"cls", {"a", -1}}, {"sep", {"a", 1}}}),
              HasSubstr("cls[1]: -1 seen"));
  EXPECT_THAT(message({{"type", "BertProcessing"}, {"cls", {"a", 1}}}), HasSubstr("sep: nothing"));
}

// Also where the vocabulary has the token as a word that is not split.
TEST(TokenizerTest, SpecialTokensInPlainTextAreText) {
  json document =
      Patched({{"pre_tokenizer",
                {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}},
               {"model", {{"ignore_merges", true}, {"vocab", {{"<|stop|>", 5000}}}}}});
  document["added_tokens"] = json::array({AddedToken("<|stop|>", 5000, true)});
  const int id = document["model"]["vocab"].size();
  document["added_tokens"].push_back(AddedToken("<user>", id, false));
  const auto tokenizer = MakeTokenizer(document);
  ASSERT_NE(tokenizer, nullptr);
  for (const std::string text : {"<|stop|>", "a<|stop|><|stop|> b<user>", "<|stop|>é"}) {
    const std::vector<int32_t> ids = *tokenizer->Encode(text, {.plain_text = true});
    EXPECT_THAT(ids, testing::Not(testing::Contains(5000))) << text;
    EXPECT_EQ(tokenizer->Decode(ids), text);
    EXPECT_THAT(*tokenizer->Encode(text), testing::Contains(5000)) << text;
  }
  EXPECT_THAT(*tokenizer->Encode("b<user>", {.plain_text = true}), testing::Contains(id));
}

TEST(TokenizerTest, SaysThatItsVersionOfUnicodeIsAnother) {
  const bool same = UnicodeVersion() == kUnicodeVersionOfTokenizers;
  const auto gpt2 = Tokenizer::Load(std::string(kGoldens) + "gpt2_style.json");
  ASSERT_TRUE(gpt2.ok());
  EXPECT_EQ((*gpt2)->Caveat().empty(), same);
  if (!same) {
    EXPECT_THAT((*gpt2)->Caveat(), AllOf(HasSubstr("ICU"), HasSubstr("tokenizers 16.0")));
  }
  EXPECT_EQ(MakeTokenizer(PlainTokenizerJson())->Caveat(), "") << "no words to split";
}

TEST(TokenizerTest, UnknownComponentsAreUnimplementedWithTypeAndPath) {
  const auto expect = [](const json& patch, const std::string& path, const std::string& type) {
    const absl::Status status = ParseError(Patched(patch));
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << status;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(path + ":"), HasSubstr(type)));
  };
  expect({{"normalizer", {{"type", "Nmt"}}}}, "normalizer", "Nmt");
  expect({{"normalizer",
           {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}, {{"type", "X"}}}}}}},
         "normalizer.normalizers[1]", "\"X\"");
  expect({{"pre_tokenizer", {{"type", "Metaspace"}}}}, "pre_tokenizer", "Metaspace");
  expect({{"decoder", {{"type", "WordPiece"}}}}, "decoder", "WordPiece");
  expect({{"decoder", nullptr}}, "decoder", "null");
  expect({{"post_processor", {{"type", "X"}}}}, "post_processor", "X");
  expect({{"model", {{"type", "WordPiece"}}}}, "model", "WordPiece");
  expect({{"model", {{"dropout", 0.1}}}}, "model.dropout", "0.1");
  expect({{"model", {{"end_of_word_suffix", "</w>"}}}}, "model.end_of_word_suffix", "</w>");
  expect({{"version", "2.0"}}, "version", "2.0");
  for (const std::string construct : {"\\b", "\\K", "(?m:", "a(?i)", "a{2}+", "[a--b]", "\\1"}) {
    const json split = {{"type", "Split"},
                        {"behavior", "Isolated"},
                        {"invert", false},
                        {"pattern", {{"Regex", construct + "a)"}}}};
    expect({{"pre_tokenizer", split}}, "pre_tokenizer.pattern.Regex", "regular expression");
  }
}

TEST(TokenizerTest, MalformedFilesAreInvalidWithThePath) {
  const auto expect = [](const json& patch, const std::string& path) {
    const absl::Status status = ParseError(Patched(patch));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path));
  };
  const int next = PlainTokenizerJson()["model"]["vocab"].size();
  expect({{"model", nullptr}}, "model:");
  expect({{"model", {{"vocab", 3}}}}, "model.vocab:");
  expect({{"model", {{"vocab", {{"xyz", -1}}}}}}, "model.vocab[\"xyz\"]: -1");
  expect({{"model", {{"vocab", {{"xyz", 4294967296}}}}}}, "model.vocab[\"xyz\"]: 4294967296");
  expect({{"model", {{"vocab", {{"xyz", 1.5}}}}}}, "model.vocab[\"xyz\"]: 1.5");
  expect({{"model", {{"vocab", {{"xyz", 7}}}}}}, "expected an id that no other token has");
  expect({{"model", {{"merges", json::parse(R"([["a", "nosuch"]])")}}}},
         "model.merges[0]: \"nosuch\"");
  expect({{"model", {{"merges", {"a b c"}}}}}, "model.merges[0]:");
  expect({{"model", {{"merges", {"t h", {"t", "h"}}}}}}, "model.merges[1]:");
  expect({{"model", {{"merges", {{"t"}}}}}}, "model.merges[0]:");
  expect({{"model", {{"fuse_unk", "no"}}}}, "model.fuse_unk: \"no\"");
  expect({{"normalizer", 3}}, "normalizer: 3");
  expect({{"normalizer", {{"type", 3}}}}, "normalizer.type: 3");
  expect({{"normalizer", {{"type", "Sequence"}}}}, "normalizer.normalizers:");
  expect({{"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", nullptr}}}},
         "pre_tokenizer.add_prefix_space: nothing");
  const json split = {{"type", "Split"},
                      {"behavior", "Isolated"},
                      {"invert", false},
                      {"pattern", {{"Regex", "("}}}};
  expect({{"pre_tokenizer", split}}, "pre_tokenizer.pattern.Regex: \"(\"");
  expect({{"added_tokens", {AddedToken("<a>", next + 1, false)}}}, "added_tokens[0].id:");
  expect({{"added_tokens", {AddedToken("", next, false)}}}, "added_tokens[0].content:");
  expect({{"added_tokens", {AddedToken("<a>", next, false), AddedToken("<a>", next, true)}}},
         "added_tokens[1]");
  expect({{"added_tokens", {{{"id", 3}}}}}, "added_tokens[0].content: nothing");
  expect({{"decoder", json::array()}}, "decoder:");
}

TEST(TokenizerTest, WhatIsNotJsonOrNestsTooDeepIsRefused) {
  for (const std::string document : {"", "{", "[1,]", "{\"a\":\"\xFF\"}", "nul", "\"\\ud800\""}) {
    EXPECT_EQ(Tokenizer::Parse(document).status().code(), absl::StatusCode::kInvalidArgument);
  }
  const absl::Status deep = Tokenizer::Parse(std::string(1000000, '[')).status();
  EXPECT_THAT(std::string(deep.message()), HasSubstr("nested deeper than 32"));
}

TEST(TokenizerTest, MissingFilesAreNotFound) {
  EXPECT_EQ(Tokenizer::Load("no/such/tokenizer.json").status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(Tokenizer::Load("tests").ok());
}

// Work that grows with the square of the length would take too long here.
TEST(TokenizerTest, LongRunsOfOneCharacterComeBackWhole) {
  const int next = PlainTokenizerJson()["model"]["vocab"].size();
  json greedy = AddedToken(" ", next, false);
  greedy["lstrip"] = greedy["rstrip"] = true;
  const auto with_greedy_space = MakeTokenizer(Patched({{"added_tokens", {greedy}}}));
  ASSERT_NE(with_greedy_space, nullptr);
  EXPECT_EQ(with_greedy_space->Encode(std::string(300000, ' '))->size(), 300000);

  for (const std::string style : {"gpt2_style", "neox_style", "llama3_style", "falcon_style"}) {
    const auto tokenizer = Tokenizer::Load(kGoldens + style + ".json");
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    for (const char c : {'a', ' ', '\n', '7', '=', '\0'}) {
      const std::string text(300000, c);
      const auto ids = (*tokenizer)->Encode(text);
      ASSERT_TRUE(ids.ok()) << ids.status();
      EXPECT_TRUE((*tokenizer)->Decode(*ids) == text) << style << " " << int{c};
    }
  }
}

TEST(TokenizerTest, ThreadsShareATokenizer) {
  const auto tokenizer = Tokenizer::Load(std::string(kGoldens) + "llama3_style.json");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  std::mt19937 random(9);
  std::vector<std::string> texts;
  for (int i = 0; i < 50; ++i) texts.push_back(RandomText(random, 200));
  std::vector<std::vector<std::vector<int32_t>>> ids(4);
  std::vector<std::thread> threads;
  for (auto& mine : ids) {
    threads.emplace_back([&] {
      for (const std::string& text : texts) mine.push_back((*tokenizer)->Encode(text).value());
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& mine : ids) EXPECT_EQ(mine, ids[0]);
}

TEST(TokenizerTest, APatternThatBacktracksWithoutEndIsCutOff) {
  const json split = {{"type", "Split"},
                      {"behavior", "Isolated"},
                      {"invert", false},
                      {"pattern", {{"Regex", "(a*)*b"}}}};
  const auto tokenizer = MakeTokenizer(Patched({{"pre_tokenizer", split}}));
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->Encode(std::string(60, 'a')).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(TokenizerTest, ReplacementsCannotBlowUpATextWithoutEnd) {
  const json replace = {
      {"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(1000, 'a')}};
  const auto tokenizer = MakeTokenizer(
      Patched({{"normalizer",
                {{"type", "Sequence"}, {"normalizers", {replace, replace, replace, replace}}}}}));
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->Encode("a").status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace whipsnake::engine
