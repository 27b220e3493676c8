// Samples outputs of JSON schemas without a model, for tests/oracles/schema_study.py: random walks
// over the tokens that a schema allows.
//
//   structured_sampler COUNT < schemas > results
//
// Each line of the input is {"schema": "text", "texts": [...]}. Its line of the result is
// {"refused": "message"}, or {"warnings": [...], "outputs": [COUNT texts], "accepted": [whether
// each of the texts is an output]}.
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "engine/structured/constraint.h"
#include "tests/engine/fakes/fake_model.h"

namespace {

using namespace whipsnake::engine;

// Every byte, and some tokens of several.
std::shared_ptr<const VocabularyTrie> SamplerVocabulary() {
  std::vector<std::string> pieces;
  for (int byte = 0; byte < 256; ++byte) pieces.emplace_back(1, static_cast<char>(byte));
  for (const char* piece : {"{\"", "\":", "\",", "\"}", "ab", "00", "]]", "\xc3\xa9", "99"}) {
    pieces.emplace_back(piece);
  }
  const FakeTokenizer tokenizer(pieces);
  return std::make_shared<const VocabularyTrie>(tokenizer, tokenizer.size());
}

// Half of the tokens are taken from those of printable ASCII, so that a text does not consist of
// other characters only.
std::string SampleOutput(Constraint& constraint, const VocabularyTrie& vocabulary,
                         std::mt19937_64& random) {
  std::string text;
  Constraint::Cursor cursor;
  for (int64_t left = constraint.shortest_tokens() + static_cast<int64_t>(random() % 120);
       left >= 0; --left) {
    auto next = constraint.Find(cursor, left);
    while (next.ok() && *next == nullptr) next = constraint.Find(cursor, left);
    if (!next.ok()) return std::string(next.status().message());
    if ((*next)->complete && random() % 8 == 0) return text;
    std::vector<int32_t> allowed, printable;
    for (int32_t token = 0; token < vocabulary.vocab_size(); ++token) {
      if (!Contains((*next)->allowed, token)) continue;
      allowed.push_back(token);
      if (token >= ' ' && token <= '~') printable.push_back(token);
    }
    if (allowed.empty()) return text;
    const auto& tokens = printable.empty() || random() % 2 == 0 ? allowed : printable;
    const int32_t token = tokens[random() % tokens.size()];
    text += vocabulary.bytes(token);
    constraint.Advance(cursor, token);
  }
  return text;
}

bool IsOutput(Constraint& constraint, const std::string& text) {
  Constraint::Cursor cursor;
  for (size_t i = 0;; ++i) {
    auto next = constraint.Find(cursor, int64_t{1} << 30);
    while (next.ok() && *next == nullptr) next = constraint.Find(cursor, int64_t{1} << 30);
    if (!next.ok()) return false;
    if (i == text.size()) return (*next)->complete;
    const int32_t token = static_cast<uint8_t>(text[i]);
    if (!Contains((*next)->allowed, token)) return false;
    constraint.Advance(cursor, token);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int count = argc > 1 ? std::atoi(argv[1]) : 20;
  const auto vocabulary = SamplerVocabulary();
  for (std::string line; std::getline(std::cin, line);) {
    const auto input = nlohmann::json::parse(line);
    nlohmann::json result;
    const auto begin = std::chrono::steady_clock::now();
    const auto compiled =
        Constraint::Compile({ConstraintSpec::Kind::kJsonSchema, {input["schema"]}}, vocabulary);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    result["seconds"] = seconds.count();
    if (compiled.ok()) {
      std::mt19937_64 random(1);
      result["warnings"] = (*compiled)->warnings();
      for (const std::string text : input["texts"]) {
        result["accepted"].push_back(IsOutput(**compiled, text));
      }
      for (int i = 0; i < count; ++i) {
        result["outputs"].push_back(SampleOutput(**compiled, *vocabulary, random));
      }
    } else {
      result["refused"] = std::string(compiled.status().message());
    }
    std::cout << result.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) << std::endl;
  }
}
