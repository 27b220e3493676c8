#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "absl/strings/str_join.h"
#include "engine/base/atomic_file.h"
#include "engine/base/status.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/checkpoint/safetensors_format.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;

constexpr int64_t kDataAlignment = 64;

// The library's writer throws if the text is not UTF-8.
bool IsUtf8(const std::string& text) {
  const std::string kept = json(text).dump(-1, ' ', false, json::error_handler_t::ignore);
  return json::parse(kept).get_ref<const std::string&>() == text;
}

absl::Status CheckWritable(const NamedTensor& named) {
  const auto refuse = [&](const std::string& what) {
    return absl::InvalidArgumentError(absl::StrCat(TensorText(named.name), ": ", what));
  };
  const TensorView& tensor = named.tensor;
  if (!IsUtf8(named.name)) return refuse("a name that is not UTF-8 seen, expected UTF-8");
  if (named.name == kMetadataName) return refuse("this name is the format's own");
  if (tensor.shape.size() > kMaxDimensions) {
    return refuse(
        absl::StrCat(tensor.shape.size(), " dimensions seen, expected at most ", kMaxDimensions));
  }
  const std::optional<int64_t> bytes = TensorBytes(tensor.dtype, tensor.shape);
  if (!bytes) {
    return refuse(absl::StrCat("shape ", ShapeText(tensor.shape), " overflows or is negative"));
  }
  const int64_t expected = named.produce ? 0 : *bytes;
  if (std::ssize(tensor.data) != expected) {
    return refuse(absl::StrCat(tensor.data.size(), " bytes of data seen, expected ", expected,
                               " for shape ", ShapeText(tensor.shape)));
  }
  return absl::OkStatus();
}

// Returns the tensors in file order: wider elements first, so that each tensor is aligned to its
// elements.
std::vector<const NamedTensor*> FileOrder(std::span<const NamedTensor> tensors) {
  std::vector<const NamedTensor*> order;
  for (const NamedTensor& tensor : tensors) order.push_back(&tensor);
  std::ranges::sort(order, [](const NamedTensor* a, const NamedTensor* b) {
    const int64_t a_bytes = kernels::ByteSize(a->tensor.dtype);
    const int64_t b_bytes = kernels::ByteSize(b->tensor.dtype);
    return a_bytes != b_bytes ? a_bytes > b_bytes : a->name < b->name;
  });
  return order;
}

absl::StatusOr<std::string> MakeHeader(std::span<const NamedTensor* const> order) {
  std::string header = "{";
  int64_t offset = 0;
  for (const NamedTensor* named : order) {
    int64_t end;
    if (__builtin_add_overflow(offset, *TensorBytes(named->tensor.dtype, named->tensor.shape),
                               &end)) {
      return absl::InvalidArgumentError(
          absl::StrCat(TensorText(named->name), ": with it the data overflow 63 bits of bytes"));
    }
    if (header.size() > 1) header += ",";
    absl::StrAppend(&header, json(named->name).dump(), ":{\"dtype\":\"",
                    ToAbsl(kernels::Name(named->tensor.dtype)), "\",\"shape\":[",
                    absl::StrJoin(named->tensor.shape, ","), "],\"data_offsets\":[", offset, ",",
                    end, "]}");
    offset = end;
  }
  header += "}";
  // Spaces after the JSON are padding and part of the header.
  while ((kLengthBytes + header.size()) % kDataAlignment != 0) header += ' ';
  if (header.size() > kMaxHeaderBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("header: ", header.size(), " bytes seen, expected at most ", kMaxHeaderBytes));
  }
  return header;
}

absl::Status AppendTensor(const NamedTensor& named, AtomicFile& file) {
  if (!named.produce) return file.Append(named.tensor.data);
  const int64_t expected = *TensorBytes(named.tensor.dtype, named.tensor.shape);
  int64_t produced = 0;
  RETURN_IF_ERROR(named.produce([&](std::span<const std::byte> bytes) {
    produced += bytes.size();
    return file.Append(bytes);
  }));
  if (produced != expected) {
    return absl::InvalidArgumentError(absl::StrCat(TensorText(named.name), ": ", produced,
                                                   " bytes produced, expected ", expected));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteSafetensors(const std::string& path, std::span<const NamedTensor> tensors) {
  std::set<std::string_view> names;
  for (const NamedTensor& named : tensors) {
    RETURN_IF_ERROR(CheckWritable(named));
    if (!names.insert(named.name).second) {
      return absl::InvalidArgumentError(absl::StrCat(TensorText(named.name), ": duplicate name"));
    }
  }
  const std::vector<const NamedTensor*> order = FileOrder(tensors);
  ASSIGN_OR_RETURN(const std::string header, MakeHeader(order));
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  const uint64_t length = header.size();
  RETURN_IF_ERROR(file.Append(std::as_bytes(std::span(&length, 1))));
  RETURN_IF_ERROR(file.Append(header));
  for (const NamedTensor* named : order) RETURN_IF_ERROR(AppendTensor(*named, file));
  return file.Commit();
}

}  // namespace whipsnake::engine
