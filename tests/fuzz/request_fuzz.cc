// Resolves any bytes as a StreamGenerateRequest to a small model. The request must be refused with
// a status, or keep what the generator relies on. The first byte chooses what the request is
// resolved against.
#include <cstdio>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/generate/generation_parameters.h"
#include "server/rpc/generation_request.h"
#include "tests/engine/fakes/fake_model.h"
#include "tests/engine/generate/request_contract.h"

namespace {

using namespace whipsnake::engine;
using namespace whipsnake::server;

constexpr int64_t kPadding = 3;  // tokens that the model has and the tokenizer lacks
constexpr int64_t kPositions = 64;
constexpr GenerationLimits kLimits{.prompt_tokens = 256, .new_tokens = 512};

void Require(bool condition, std::string_view otherwise) {
  if (condition) return;
  std::fprintf(stderr, "%.*s\n", static_cast<int>(otherwise.size()), otherwise.data());
  __builtin_trap();
}

// A saved state with only what resolving reads.
class SavedAt : public State {
 public:
  explicit SavedAt(int64_t position) : position_(position) {}

  int64_t position() const override { return position_; }
  absl::StatusOr<std::unique_ptr<State>> CloneAt(int64_t position) const override {
    return std::make_unique<SavedAt>(position);
  }
  void Advance(int64_t) override {}
  int64_t bytes() const override { return 0; }
  void AppendMemory(std::vector<MemoryPiece>&) const override {}
  absl::Status Save(std::span<std::byte>) const override { return absl::OkStatus(); }

 private:
  const int64_t position_;
};

const FakeTokenizer& ByteTokenizer() {
  static const auto& tokenizer = *new FakeTokenizer([] {
    std::vector<std::string> pieces;
    for (int byte = 0; byte < 256; ++byte) pieces.emplace_back(1, static_cast<char>(byte));
    for (const char* piece : {"{\"", "\":", "the ", "\xc3\xa9"}) pieces.emplace_back(piece);
    return pieces;
  }());
  return tokenizer;
}

GenerationDefaults Defaults(bool unusual) {
  GenerationDefaults defaults;
  defaults.eos_token_ids = {0};
  if (!unusual) return defaults;
  defaults.temperature = 0.0f;
  defaults.top_k = 1;
  defaults.repetition_penalty = 100.0f;
  defaults.max_new_tokens = 1 << 20;
  return defaults;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const uint8_t choice = data[0];
  whipsnake::v1::StreamGenerateRequest message;
  if (!message.ParseFromArray(data + 1, static_cast<int>(size - 1))) return 0;

  const FakeTokenizer& tokenizer = ByteTokenizer();
  ModelInfo info;
  info.vocab_size = tokenizer.size() + kPadding;
  if (choice & 4) info.max_positions = kPositions;
  if (choice & 8) info.labels = 2;
  std::shared_ptr<SavedState> resume;
  if (choice & 16) {
    const int64_t tokens = choice & 32 ? kPositions - 1 : 5;
    resume = std::make_shared<SavedState>(SavedState{
        std::vector<int32_t>(tokens, 1), std::make_shared<SavedAt>(tokens - (choice >> 6 & 1))});
  }
  constexpr GenerationKind kKinds[] = {GenerationKind::kUnary, GenerationKind::kStream,
                                       GenerationKind::kSaveState, GenerationKind::kStream};
  static const auto& trie =
      *new auto(std::make_shared<const VocabularyTrie>(tokenizer, tokenizer.size() + kPadding));
  ConstraintCache constraints(trie);
  const GenerationDefaults defaults = Defaults(choice & 128);
  GenerationParameters parameters = ToEngine(message.parameters());
  parameters.resume = resume;
  const auto resolved = ResolveGeneration(
      std::move(parameters), {kKinds[choice & 3], info, tokenizer, defaults, constraints, kLimits});
  if (!resolved.ok()) {
    Require(!resolved.status().message().empty(), "a refusal without a message");
    return 0;
  }
  const GenerationRequest& request = resolved->request;
  const std::string broken = BrokenPromise(request, info);
  Require(broken.empty(), broken);
  Require(request.completions <= 64 && request.top_logprobs <= 20 &&
              request.stop_texts.size() <= 16 && request.stop_token_ids.size() <= 64,
          "a limit is exceeded");
  Require(resolved->n >= 1 && resolved->n <= request.completions, "n is not one of completions");
  Require(resolved->prompt_tokens == std::ssize(request.prompt), "prompt_tokens differ");
  Require(ResolvedParametersOf(*resolved).max_new_tokens() == request.max_new_tokens,
          "max_new_tokens differ");
  return 0;
}
