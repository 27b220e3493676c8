// Parses any bytes as a tokenizer.json or, if they begin with "files" and a NUL byte, as the texts
// of vocab.json, merges.txt and the files beside them, with NUL bytes between. They must be
// refused, or give a tokenizer whose streamed text equals the text decoded at once.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/vocabulary_files.h"

namespace {

using whipsnake::engine::StreamDecoder;
using whipsnake::engine::Tokenizer;
using whipsnake::engine::VocabularyFiles;

constexpr std::string_view kFiles("files\0", 6);

auto Read(std::string_view bytes) {
  if (!bytes.starts_with(kFiles)) return Tokenizer::Parse(bytes);
  bytes.remove_prefix(kFiles.size());
  VocabularyFiles files;
  for (std::string* text : {&files.vocabulary, &files.merges, &files.added_tokens,
                            &files.special_tokens_map, &files.tokenizer_config}) {
    const size_t end = bytes.find('\0');
    *text = bytes.substr(0, end);
    bytes.remove_prefix(end == bytes.npos ? bytes.size() : end + 1);
  }
  return Tokenizer::Assemble(files);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto tokenizer = Read(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!tokenizer.ok()) return 0;
  for (const bool plain : {false, true}) {
    const auto ids =
        (*tokenizer)->Encode("<s>the <s>", {.add_special_tokens = true, .plain_text = plain});
    for (const int32_t id : ids.ok() ? *ids : std::vector<int32_t>()) {
      if (id < 0 || id >= (*tokenizer)->size()) std::abort();
    }
  }
  const auto ids = (*tokenizer)->Encode("the  \u00e9\u4e2d <s>\U0001F600 'll 12\n\n a\u0301aaab\t");
  if (!ids.ok()) return 0;
  StreamDecoder decoder(tokenizer->get());
  std::string streamed;
  for (const int32_t id : *ids) {
    if (id < 0 || id >= (*tokenizer)->size()) std::abort();
    streamed += decoder.Push(id);
  }
  if (streamed + decoder.Finish() != (*tokenizer)->Decode(*ids)) std::abort();
  return 0;
}
