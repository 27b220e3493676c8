#include "engine/base/utf8.h"
#include "engine/tokenizer/tokenizer.h"

namespace whipsnake::engine {

std::string StreamDecoder::Push(int32_t id) {
  pending_ += tokenizer_->TokenBytes(id, skip_special_);
  const size_t whole = pending_.size() - IncompleteTail(pending_);
  std::string text;
  AppendLossy(std::string_view(pending_).substr(0, whole), &text);
  pending_.erase(0, whole);
  return text;
}

std::string StreamDecoder::Finish() {
  std::string text;
  AppendLossy(pending_, &text);
  pending_.clear();
  return text;
}

}  // namespace whipsnake::engine
