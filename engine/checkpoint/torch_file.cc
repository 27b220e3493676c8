#include "engine/checkpoint/torch_file.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "engine/checkpoint/pickle.h"
#include "engine/checkpoint/safetensors_format.h"
#include "engine/checkpoint/zip_archive.h"

namespace whipsnake::engine {
namespace {

using Bytes = std::span<const std::byte>;
using Kind = PickleValue::Kind;

constexpr std::string_view kRebuildTensor = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kRebuildParameter = "torch._utils._rebuild_parameter";

// Everything that a file may name. Storages are classes that stand for their type.
constexpr PickleGlobal kGlobals[] = {{"collections.OrderedDict", true},
                                     {kRebuildTensor},
                                     {kRebuildParameter},
                                     {"torch.FloatStorage"},
                                     {"torch.HalfStorage"},
                                     {"torch.BFloat16Storage"},
                                     {"torch.DoubleStorage"},
                                     {"torch.LongStorage"},
                                     {"torch.IntStorage"},
                                     {"torch.ShortStorage"},
                                     {"torch.CharStorage"},
                                     {"torch.ByteStorage"},
                                     {"torch.BoolStorage"}};

// Returns the type of a storage's elements, or null if the global is no storage.
const ElementType* TypeOfStorage(std::string_view global) {
  constexpr std::pair<std::string_view, std::string_view> kTypes[] = {
      {"torch.FloatStorage", "F32"},     {"torch.HalfStorage", "F16"},
      {"torch.BFloat16Storage", "BF16"}, {"torch.DoubleStorage", "F64"},
      {"torch.LongStorage", "I64"},      {"torch.IntStorage", "I32"},
      {"torch.ShortStorage", "I16"},     {"torch.CharStorage", "I8"},
      {"torch.ByteStorage", "U8"},       {"torch.BoolStorage", "BOOL"}};
  const auto* const found =
      std::ranges::find(kTypes, global, [](const auto& type) { return type.first; });
  return found == std::end(kTypes) ? nullptr : FindElementType(found->second);
}

// Whether the bytes begin with the pickled magic number of the format before PyTorch 1.6.
bool IsLegacyFormat(Bytes file) {
  constexpr auto kBegin = std::to_array<uint8_t>(
      {0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e});
  return file.size() >= kBegin.size() &&
         std::ranges::equal(file.first(kBegin.size()), std::as_bytes(std::span(kBegin)));
}

absl::Status CheckFormat(Bytes file) {
  if (BeginsLikeZip(file)) return absl::OkStatus();
  if (IsLegacyFormat(file)) {
    return absl::InvalidArgumentError(
        "the format of PyTorch before 1.6 seen, expected a zip archive: save the result of "
        "torch.load again with torch.save, or as safetensors");
  }
  return absl::InvalidArgumentError(
      "something else than a zip archive seen, expected a file of torch.save");
}

// The entries of one file, and the values of its pickle.
class TorchReader {
 public:
  TorchReader(Bytes file, ZipEntries entries, std::string prefix, Pickle pickle)
      : file_(file),
        entries_(std::move(entries)),
        prefix_(std::move(prefix)),
        pickle_(std::move(pickle)) {}

  absl::StatusOr<std::map<std::string, TensorRecord>> ReadTensors() const {
    const PickleValue& root = pickle_.at(pickle_.root);
    if (root.kind != Kind::kDict) {
      return absl::InvalidArgumentError(
          absl::StrCat(ToAbsl(Name(root.kind)), " seen, expected a dict of tensors by name"));
    }
    std::map<std::string, TensorRecord> records;
    for (size_t i = 0; i + 1 < root.parts.size(); i += 2) {
      const PickleValue& key = pickle_.at(root.parts[i]);
      if (key.kind != Kind::kText) {
        return absl::InvalidArgumentError(
            absl::StrCat(ToAbsl(Name(key.kind)), " seen, expected the name of a tensor"));
      }
      auto record = ReadTensor(pickle_.at(root.parts[i + 1]));
      if (!record.ok()) return WithContext(record.status(), TensorText(key.text));
      if (!records.emplace(key.text, *std::move(record)).second) {
        return absl::InvalidArgumentError(TensorText(key.text) + ": duplicate name");
      }
    }
    return records;
  }

 private:
  struct Storage {
    const ElementType* type = nullptr;
    Bytes bytes;
  };

  // Returns the arguments of a call of the function, or an empty list for any other value.
  std::span<const int32_t> ArgumentsOf(const PickleValue& value, std::string_view function) const {
    if (value.kind != Kind::kCall || pickle_.at(value.parts[0]).text != function) return {};
    return pickle_.at(value.parts[1]).parts;
  }

  absl::StatusOr<TensorRecord> ReadTensor(const PickleValue& value) const;
  absl::StatusOr<Storage> ReadStorage(const PickleValue& value) const;
  absl::StatusOr<int64_t> ReadSize(const PickleValue& value) const;
  absl::StatusOr<std::vector<int64_t>> ReadSizes(const PickleValue& value) const;

  const Bytes file_;
  const ZipEntries entries_;
  const std::string prefix_;  // of the names of the entries: "archive/"
  const Pickle pickle_;
};

absl::StatusOr<int64_t> TorchReader::ReadSize(const PickleValue& value) const {
  if (value.kind == Kind::kInteger && value.integer >= 0) return value.integer;
  return absl::InvalidArgumentError(absl::StrCat(
      value.kind == Kind::kInteger ? absl::StrCat(value.integer) : ToAbsl(Name(value.kind)),
      " seen, expected an integer of 0 or more"));
}

absl::StatusOr<std::vector<int64_t>> TorchReader::ReadSizes(const PickleValue& value) const {
  if (value.kind != Kind::kTuple || value.parts.size() > kMaxDimensions) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a shape or strides that are no tuple of at most ", kMaxDimensions, " integers seen"));
  }
  std::vector<int64_t> sizes;
  for (const int32_t part : value.parts) {
    ASSIGN_OR_RETURN(sizes.emplace_back(), ReadSize(pickle_.at(part)));
  }
  return sizes;
}

// A storage is a reference to ("storage", type, key, device, number of elements).
absl::StatusOr<TorchReader::Storage> TorchReader::ReadStorage(const PickleValue& value) const {
  constexpr size_t kParts = 5;
  const auto malformed = absl::InvalidArgumentError("a malformed reference to its storage seen");
  if (value.kind != Kind::kPersistent) return malformed;
  const PickleValue& id = pickle_.at(value.parts[0]);
  if (id.kind != Kind::kTuple || id.parts.size() != kParts) return malformed;
  const PickleValue& key = pickle_.at(id.parts[2]);
  const Storage storage{.type = TypeOfStorage(pickle_.at(id.parts[1]).text), .bytes = {}};
  if (pickle_.at(id.parts[0]).text != "storage" || storage.type == nullptr ||
      key.kind != Kind::kText) {
    return malformed;
  }
  ASSIGN_OR_RETURN(const int64_t elements, ReadSize(pickle_.at(id.parts[4])));
  const auto entry = entries_.find(absl::StrCat(prefix_, "data/", ToAbsl(key.text)));
  if (entry == entries_.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("its storage ", Quoted(key.text), " is not in the file"));
  }
  const auto bytes = TensorBytes(*storage.type, std::array{elements});
  if (!bytes || *bytes > std::ssize(entry->second)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a storage of ", elements, " elements of ", ToAbsl(storage.type->name),
                     " seen, but the entry has ", entry->second.size(), " bytes"));
  }
  return Storage{storage.type, entry->second.first(*bytes)};
}

// Whether elements in this order are row-major without gaps. The stride of an axis of length 1
// means nothing.
bool IsRowMajor(std::span<const int64_t> shape, std::span<const int64_t> strides) {
  if (strides.size() != shape.size()) return false;
  int64_t expected = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] == 0) return true;
    if (shape[i] != 1 && strides[i] != expected) return false;
    if (__builtin_mul_overflow(expected, shape[i], &expected)) return false;
  }
  return true;
}

// A tensor is a call of _rebuild_tensor_v2(storage, offset, shape, strides, ...), and a parameter a
// call of _rebuild_parameter(tensor, ...).
absl::StatusOr<TensorRecord> TorchReader::ReadTensor(const PickleValue& value) const {
  const auto parameter = ArgumentsOf(value, kRebuildParameter);
  const PickleValue& tensor = parameter.empty() ? value : pickle_.at(parameter[0]);
  const auto arguments = ArgumentsOf(tensor, kRebuildTensor);
  if (arguments.size() < 4) {
    return absl::InvalidArgumentError(
        absl::StrCat(ToAbsl(Name(tensor.kind)),
                     " seen, expected a dense tensor, as in the state_dict of a model"));
  }
  ASSIGN_OR_RETURN(const Storage storage, ReadStorage(pickle_.at(arguments[0])));
  ASSIGN_OR_RETURN(const int64_t offset, ReadSize(pickle_.at(arguments[1])));
  ASSIGN_OR_RETURN(const std::vector<int64_t> shape, ReadSizes(pickle_.at(arguments[2])));
  ASSIGN_OR_RETURN(const std::vector<int64_t> strides, ReadSizes(pickle_.at(arguments[3])));
  if (!IsRowMajor(shape, strides)) {
    return absl::InvalidArgumentError(
        absl::StrCat("strides ", ShapeText(strides), " of shape ", ShapeText(shape),
                     " seen, expected elements in row-major order: save it again after "
                     ".contiguous()"));
  }
  const auto bytes = TensorBytes(*storage.type, shape);
  const auto begin = TensorBytes(*storage.type, std::array{offset});
  const int64_t room = std::ssize(storage.bytes);
  if (!bytes || !begin || *begin > room || *bytes > room - *begin) {
    return absl::InvalidArgumentError(absl::StrCat("shape ", ShapeText(shape), " at element ",
                                                   offset, " of a storage of ", room,
                                                   " bytes seen, expected a part of it"));
  }
  const int64_t at = storage.bytes.data() - file_.data() + *begin;
  return TensorRecord{storage.type, shape, at, at + *bytes};
}

// Returns what the names of the archive's entries begin with: "archive/".
absl::StatusOr<std::string> FindPrefix(const ZipEntries& entries) {
  constexpr std::string_view kPickle = "data.pkl";
  for (const auto& [name, bytes] : entries) {
    const size_t slash = name.find('/');
    if (slash != name.npos && std::string_view(name).substr(slash + 1) == kPickle) {
      return name.substr(0, slash + 1);
    }
  }
  return absl::InvalidArgumentError("no entry data.pkl seen, expected a file of torch.save");
}

}  // namespace

absl::StatusOr<std::map<std::string, TensorRecord>> ReadTorchFile(Bytes file) {
  RETURN_IF_ERROR(CheckFormat(file));
  ASSIGN_OR_RETURN(ZipEntries entries, ReadZip(file));
  ASSIGN_OR_RETURN(std::string prefix, FindPrefix(entries));
  if (const auto order = entries.find(prefix + "byteorder"); order != entries.end()) {
    const std::string_view text(reinterpret_cast<const char*>(order->second.data()),
                                order->second.size());
    if (text != "little") {
      return absl::InvalidArgumentError(
          absl::StrCat("byteorder: ", Quoted(text), " seen, expected \"little\""));
    }
  }
  ASSIGN_OR_RETURN(Pickle pickle, ReadPickle(entries.at(prefix + "data.pkl"), kGlobals));
  return TorchReader(file, std::move(entries), std::move(prefix), std::move(pickle)).ReadTensors();
}

}  // namespace whipsnake::engine
