// Encoding and decoding speed, on English and on long words that would make a quadratic merge very
// slow.
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "benchmark/benchmark.h"
#include "engine/base/json_reader.h"
#include "engine/tokenizer/gpt2_scanner.h"
#include "engine/tokenizer/regex.h"
#include "engine/tokenizer/tokenizer.h"

namespace whipsnake::engine {
namespace {

constexpr char kGoldens[] = "tests/goldens/tokenizer/";

std::unique_ptr<Tokenizer> LoadStyle(const std::string& name) {
  return Tokenizer::Load(kGoldens + name + ".json").value();
}

// Lines of English prose, made of random words of one sentence.
std::string English(size_t bytes) {
  static const char* const words[] = {"the ",      "tokenizer ", "reads ",       "a ",
                                      "Sentence ", "of ",        "interesting ", "words, ",
                                      "don't ",    "and ",       "numbers ",     "like ",
                                      "2024; ",    "ends.\n",    "(never ",      "twice) "};
  std::mt19937 random(5);
  std::string text;
  while (text.size() < bytes) text += words[random() % std::size(words)];
  return text;
}

void Encode(benchmark::State& state, const std::string& style, const std::string& text) {
  const auto tokenizer = LoadStyle(style);
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer->Encode(text));
  state.SetBytesProcessed(state.iterations() * text.size());
}

void SplitByScanner(benchmark::State& state) {
  const std::string text = English(1 << 20);
  for (auto _ : state) {
    std::vector<std::string_view> words;
    ScanGpt2Words(text, &words);
    benchmark::DoNotOptimize(words);
  }
  state.SetBytesProcessed(state.iterations() * text.size());
}
BENCHMARK(SplitByScanner)->Unit(benchmark::kMillisecond);

void SplitByRegex(benchmark::State& state) {
  const std::string text = English(1 << 20);
  const nlohmann::json pattern = kGpt2Pattern;
  const Regex regex = Regex::Compile(JsonView(&pattern)).value();
  for (auto _ : state) {
    std::vector<Span> matches;
    benchmark::DoNotOptimize(regex.FindAll(text, &matches));
  }
  state.SetBytesProcessed(state.iterations() * text.size());
}
BENCHMARK(SplitByRegex)->Unit(benchmark::kMillisecond);

void Decode(benchmark::State& state, const std::string& style, const std::string& text) {
  const auto tokenizer = LoadStyle(style);
  const auto ids = tokenizer->Encode(text).value();
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer->Decode(ids));
  state.SetBytesProcessed(state.iterations() * text.size());
}

// The documents of the goldens: a fifth is English, the rest covers all scripts and unusual
// characters.
std::string Mixed() {
  std::ifstream file(std::string(kGoldens) + "mixed_text.txt", std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

BENCHMARK_CAPTURE(Encode, gpt2_mixed, "gpt2_style", Mixed())->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Encode, neox_mixed, "neox_style", Mixed())->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Encode, llama3_mixed, "llama3_style", Mixed())->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Encode, gpt2_english, "gpt2_style", English(1 << 20))
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Encode, gpt2_prompt, "gpt2_style", English(1 << 11));
BENCHMARK_CAPTURE(Encode, llama3_english, "llama3_style", English(1 << 20))
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Encode, one_long_word, "gpt2_style", std::string(100000, 'a'))
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Encode, one_long_space, "neox_style", std::string(100000, ' '))
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Encode, one_long_space_llama3, "llama3_style", std::string(100000, ' '))
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Decode, gpt2_english, "gpt2_style", English(1 << 20))
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace whipsnake::engine
