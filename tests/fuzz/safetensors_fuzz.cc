// Parses any bytes as a safetensors file. The file must be refused, or every tensor must lie inside
// the file, have as many bytes as its shape says, and share none with another.
#include <algorithm>
#include <utility>
#include <vector>

#include "engine/checkpoint/safetensors.h"

namespace {

void Require(bool condition) {
  if (!condition) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using whipsnake::engine::TensorBytes;
  const auto records = whipsnake::engine::ParseSafetensorsHeader(
      {reinterpret_cast<const std::byte*>(data), size}, size);
  if (!records.ok()) {
    Require(records.status().code() == absl::StatusCode::kInvalidArgument);
    Require(!records.status().message().empty());
    return 0;
  }
  const auto file_size = static_cast<int64_t>(size);
  std::vector<std::pair<int64_t, int64_t>> ranges;
  int64_t bytes = 0;
  for (const auto& [name, record] : *records) {
    Require(8 <= record.begin && record.begin <= record.end && record.end <= file_size);
    Require(TensorBytes(*record.type, record.shape) == record.end - record.begin);
    ranges.emplace_back(record.begin, record.end);
    bytes += record.end - record.begin;
  }
  std::ranges::sort(ranges);
  for (size_t i = 1; i < ranges.size(); ++i) Require(ranges[i - 1].second <= ranges[i].first);
  Require(ranges.empty() || ranges.back().second == file_size);
  Require(bytes <= file_size - 8);
  return 0;
}
