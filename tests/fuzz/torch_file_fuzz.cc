// Reads any bytes as a file of torch.save or, if they do not begin like one, as its pickle. They
// must be refused, or every tensor must lie inside the file and have as many bytes as its shape
// says. (Several tensors may share bytes.)
#include "engine/checkpoint/pickle.h"
#include "engine/checkpoint/torch_file.h"
#include "engine/checkpoint/zip_archive.h"

namespace {

using whipsnake::engine::PickleGlobal;

void Require(bool condition) {
  if (!condition) __builtin_trap();
}

void RequireRefusal(const absl::Status& status) {
  Require(status.code() == absl::StatusCode::kInvalidArgument);
  Require(!status.message().empty());
}

// Every index in a pickle is that of a value.
void FuzzPickle(std::span<const std::byte> bytes) {
  constexpr PickleGlobal kGlobals[] = {{"collections.OrderedDict", true},
                                       {"torch._utils._rebuild_tensor_v2"},
                                       {"torch.FloatStorage"}};
  const auto pickle = whipsnake::engine::ReadPickle(bytes, kGlobals);
  if (!pickle.ok()) return RequireRefusal(pickle.status());
  const auto values = static_cast<int64_t>(pickle->values.size());
  Require(0 <= pickle->root && pickle->root < values);
  for (const auto& value : pickle->values) {
    for (const int32_t part : value.parts) Require(0 <= part && part < values);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  if (!whipsnake::engine::BeginsLikeZip(bytes)) FuzzPickle(bytes);
  const auto records = whipsnake::engine::ReadTorchFile(bytes);
  if (!records.ok()) {
    RequireRefusal(records.status());
    return 0;
  }
  for (const auto& [name, record] : *records) {
    Require(0 <= record.begin && record.begin <= record.end);
    Require(record.end <= static_cast<int64_t>(size));
    Require(TensorBytes(*record.type, record.shape) == record.end - record.begin);
  }
  return 0;
}
