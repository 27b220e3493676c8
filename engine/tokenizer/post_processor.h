// The post-processor of a tokenizer.json: the tokens that it puts around a text.
#ifndef WHIPSNAKE_ENGINE_TOKENIZER_POST_PROCESSOR_H_
#define WHIPSNAKE_ENGINE_TOKENIZER_POST_PROCESSOR_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/json_reader.h"

namespace whipsnake::engine {

// Immutable and thread-safe.
class PostProcessor {
 public:
  // Reads the field "post_processor": null, ByteLevel (which adds nothing), TemplateProcessing,
  // BertProcessing, RobertaProcessing or a Sequence of them. Returns INVALID_ARGUMENT if it is
  // malformed or adds an id that is not below `size`, and UNIMPLEMENTED for other types and for a
  // template that repeats or omits the text.
  static absl::StatusOr<PostProcessor> Parse(const JsonView& view, int32_t size);

  // The ids before and after a single text.
  const std::vector<int32_t>& prefix() const { return prefix_; }
  const std::vector<int32_t>& suffix() const { return suffix_; }

 private:
  absl::Status Append(const JsonView& view, int32_t size);
  absl::Status AppendTemplate(const JsonView& view, int32_t size);
  absl::Status AppendPair(const JsonView& view, int32_t size);
  void Surround(std::vector<int32_t> before, const std::vector<int32_t>& after);

  std::vector<int32_t> prefix_, suffix_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_TOKENIZER_POST_PROCESSOR_H_
