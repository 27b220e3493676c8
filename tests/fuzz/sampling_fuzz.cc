// Samples from any floats as logits with any parameters that Validate() accepts. The result must be
// a token that may be chosen, or a status. The bytes are taken in order: parameters, the allowed
// tokens, two prompt tokens, then logits.
#include <algorithm>
#include <cstring>
#include <vector>

#include "tests/engine/generate/sampler_property.h"

namespace {

using namespace whipsnake::engine;

class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  size_t left() const { return size_; }
  // Returns zeros past the end.
  template <typename T>
  T Take() {
    T value{};
    const size_t count = std::min(size_, sizeof(T));
    std::memcpy(&value, data_, count);
    data_ += count;
    size_ -= count;
    return value;
  }

 private:
  const uint8_t* data_;
  size_t size_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes bytes(data, size);
  SamplingParameters parameters;
  parameters.temperature = bytes.Take<float>();
  parameters.top_k = bytes.Take<int32_t>();
  parameters.top_p = bytes.Take<float>();
  parameters.min_p = bytes.Take<float>();
  parameters.repetition_penalty = bytes.Take<float>();
  parameters.presence_penalty = bytes.Take<float>();
  parameters.frequency_penalty = bytes.Take<float>();
  parameters.seed = bytes.Take<uint64_t>();
  // Small sizes, which repeat within the drawn tokens.
  parameters.no_repeat_ngram_size = parameters.seed % 4;
  const auto biased = bytes.Take<uint8_t>();
  parameters.logit_bias[biased] = bytes.Take<float>();
  const auto mask = bytes.Take<uint64_t>();
  const auto first = bytes.Take<int32_t>(), second = bytes.Take<int32_t>();
  std::vector<float> logits;
  while (bytes.left() > 0) logits.push_back(bytes.Take<float>());
  if (logits.empty() || !Validate(parameters, std::ssize(logits)).ok()) return 0;
  std::vector<uint64_t> allowed;  // empty: all are allowed
  if (mask != 0) allowed.assign(logits.size() / 64 + 1, mask);
  const std::vector<int32_t> prompt = {first, second};
  if (!FaultOfSampler(parameters, logits, prompt, allowed, 3).empty()) __builtin_trap();
  return 0;
}
