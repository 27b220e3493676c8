// Measures the cost of structured output compared to a model's steps, with a vocabulary of 50,280
// tokens: for each token, the mask and the new state, over whole outputs of random choices. "cold"
// compiles the constraint for each output; "warm" uses one that has seen a hundred outputs. "mask"
// is the time per token; a step of mamba-130m takes about 6 ms.
#include <benchmark/benchmark.h>

#include <random>

#include "engine/structured/constraint.h"
#include "engine/tokenizer/random_tokenizer.h"

namespace whipsnake::engine {
namespace {

constexpr int64_t kVocabulary = 50'280;
constexpr int64_t kBudget = 128;

std::shared_ptr<const VocabularyTrie> Vocabulary() {
  static const auto& vocabulary = *new std::shared_ptr<const VocabularyTrie>([] {
    const auto tokenizer = Tokenizer::Parse(MakeByteLevelTokenizer(kVocabulary));
    return std::make_shared<const VocabularyTrie>(**tokenizer, kVocabulary);
  }());
  return vocabulary;
}

// Generates one output and returns its number of tokens.
int64_t Generate(Constraint& constraint, std::mt19937_64& random) {
  Constraint::Place place;
  int64_t tokens = 0;
  for (int64_t left = kBudget; left > 0; --left, ++tokens) {
    std::shared_ptr<const NextTokens> next;
    while (next == nullptr) next = *constraint.Find(place, left);
    // Pick the first allowed token from a random one on.
    const int64_t begin = static_cast<int64_t>(random() % kVocabulary);
    int64_t i = 0;
    while (i < kVocabulary &&
           !Contains(next->allowed, static_cast<int32_t>((begin + i) % kVocabulary))) {
      ++i;
    }
    if (i == kVocabulary) break;  // nothing can follow
    constraint.Advance(place, static_cast<int32_t>((begin + i) % kVocabulary));
  }
  return tokens;
}

void BM_Output(benchmark::State& state, const ConstraintSpec& spec, bool warm) {
  const auto vocabulary = Vocabulary();
  auto constraint = *Constraint::Compile(spec, vocabulary);
  std::mt19937_64 random(1);
  for (int i = 0; warm && i < 100; ++i) Generate(*constraint, random);
  int64_t tokens = 0;
  for (auto _ : state) {
    if (!warm) constraint = *Constraint::Compile(spec, vocabulary);
    tokens += Generate(*constraint, random);
  }
  state.counters["mask"] = benchmark::Counter(
      static_cast<double>(tokens), benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void Register(const std::string& name, ConstraintSpec::Form form, const std::string& text) {
  for (const bool warm : {false, true}) {
    benchmark::RegisterBenchmark((name + (warm ? "/warm" : "/cold")).c_str(),
                                 [=](benchmark::State& state) {
                                   BM_Output(state, {form, {text}}, warm);
                                 })
        ->Unit(benchmark::kMillisecond);
  }
}

const bool kRegistered = [] {
  using Form = ConstraintSpec::Form;
  Register("any_json", Form::kJsonSchema, "");
  Register("person", Form::kJsonSchema,
           R"({"type": "object", "properties": {"name": {"type": "string", "maxLength": 40},
               "age": {"type": "integer", "minimum": 0, "maximum": 120}, "tags": {"type": "array",
               "items": {"type": "string", "maxLength": 12}, "maxItems": 5}}, "required": ["name",
               "age", "tags"]})");
  Register("tree", Form::kJsonSchema,
           R"({"type": "object", "properties": {"value": {"type": "number"}, "children": {"type":
               "array", "items": {"$ref": "#"}}}, "required": ["value"]})");
  Register("long_text", Form::kJsonSchema,
           R"({"type": "string", "minLength": 50, "maxLength": 2000})");
  Register("regex", Form::kRegex, "([A-Z][a-z]{1,12} ){3,9}[a-z]+\\.");
  return true;
}();

}  // namespace
}  // namespace whipsnake::engine
