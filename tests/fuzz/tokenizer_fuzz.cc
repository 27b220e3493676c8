// Parses any bytes as a tokenizer.json. The file must be refused, or give a tokenizer whose
// streamed text equals the text decoded at once.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "engine/tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using whipsnake::engine::StreamDecoder;
  using whipsnake::engine::Tokenizer;
  const auto tokenizer =
      Tokenizer::Parse(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!tokenizer.ok()) return 0;
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
