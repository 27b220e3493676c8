#include "engine/checkpoint/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "absl/strings/str_join.h"
#include "engine/base/status.h"
#include "engine/checkpoint/safetensors_format.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "the format's data are little-endian");

// Builds the records from the parser's events, without a document tree: the header may be large,
// and the tree would silently keep the last of two equal keys.
class HeaderHandler : public nlohmann::json_sax<json> {
 public:
  // Offsets are relative to `data_begin`, and the data must end by `file_bytes`.
  HeaderHandler(int64_t data_begin, int64_t file_bytes)
      : data_begin_(data_begin), file_bytes_(file_bytes) {}

  const absl::Status& status() const { return status_; }
  std::map<std::string, TensorRecord> TakeRecords() { return std::move(records_); }

  bool start_object(size_t) override {
    if (place_ == Place::kStart) return Go(Place::kHeader);
    if (place_ == Place::kTensorValue) return Go(Place::kTensor);
    if (place_ == Place::kMetadataValue) return Go(Place::kMetadata);
    return Unexpected("an object");
  }
  bool end_object() override {
    if (place_ == Place::kTensor && !FinishTensor()) return false;
    return Go(place_ == Place::kHeader ? Place::kEnd : Place::kHeader);
  }
  bool start_array(size_t) override {
    if (place_ == Place::kShape || place_ == Place::kOffsets) {
      if (!std::exchange(in_array_, true)) return true;
    }
    return Unexpected("an array");
  }
  bool end_array() override {
    in_array_ = false;
    if (place_ == Place::kOffsets && offsets_.size() != 2) {
      return Reject(absl::StrCat(offsets_.size(), " data_offsets seen, expected 2"));
    }
    return Go(Place::kTensor);
  }

  bool key(std::string& name) override {
    if (place_ == Place::kHeader) return BeginTensor(name);
    if (place_ == Place::kTensor) return BeginField(name);
    return true;  // metadata are ignored
  }

  bool string(std::string& text) override {
    if (place_ == Place::kMetadata) return true;
    if (place_ != Place::kDType) return Unexpected(Quoted(text));
    type_ = FindElementType(text);
    if (type_ == nullptr) {
      return Reject(absl::StrCat("dtype ", Quoted(text),
                                 " seen, expected a type of the format, such as F32 or BF16"));
    }
    return Go(Place::kTensor);
  }
  bool number_unsigned(uint64_t number) override {
    if (!in_array_) return Unexpected(absl::StrCat(number));
    std::vector<int64_t>& list = place_ == Place::kShape ? shape_ : offsets_;
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Unexpected(absl::StrCat(number));
    }
    if (place_ == Place::kShape && list.size() == kMaxDimensions) {
      return Reject(absl::StrCat("more than ", kMaxDimensions, " dimensions"));
    }
    if (place_ == Place::kOffsets && list.size() == 2) {
      return Reject("more than 2 data_offsets");
    }
    list.push_back(static_cast<int64_t>(number));
    return true;
  }
  bool number_integer(int64_t number) override { return Unexpected(absl::StrCat(number)); }
  bool number_float(double, const std::string& text) override { return Unexpected(Quoted(text)); }
  bool boolean(bool value) override { return Unexpected(value ? "true" : "false"); }
  bool null() override { return Unexpected("null"); }
  bool binary(binary_t&) override { return Unexpected("binary data"); }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    status_ = absl::InvalidArgumentError(absl::StrCat(
        "header: malformed JSON at byte ", kLengthBytes + position, ", expected a JSON object"));
    return false;
  }

 private:
  enum class Place {
    kStart,
    kHeader,         // between tensors
    kTensorValue,    // after a tensor's name
    kTensor,         // between a tensor's fields
    kDType,          // after that key
    kShape,          // after that key, or in its list
    kOffsets,        // after that key, or in its list
    kMetadataValue,  // after that key
    kMetadata,       // between its pairs of strings
    kEnd
  };

  static std::string_view Expected(Place place) {
    switch (place) {
      case Place::kDType:
        return "dtype: a string";
      case Place::kShape:
        return "shape: a list of integers from 0 to 2^63-1";
      case Place::kOffsets:
        return "data_offsets: a list of 2 integers from 0 to 2^63-1";
      case Place::kTensorValue:
        return "an object";
      case Place::kMetadataValue:
      case Place::kMetadata:
        return "an object of strings";
      default:
        return "a JSON object";
    }
  }

  bool Go(Place place) {
    place_ = place;
    return true;
  }
  bool Reject(std::string_view what) {
    status_ = absl::InvalidArgumentError(
        absl::StrCat(name_ ? TensorText(*name_) : std::string("header"), ": ", ToAbsl(what)));
    return false;
  }
  bool Unexpected(std::string_view seen) {
    return Reject(absl::StrCat(ToAbsl(seen), " seen, expected ", ToAbsl(Expected(place_))));
  }

  bool BeginTensor(const std::string& name) {
    name_ = name;
    if (name == kMetadataName) {
      if (std::exchange(has_metadata_, true)) return Reject("duplicate name");
      return Go(Place::kMetadataValue);
    }
    if (records_.contains(name)) return Reject("duplicate name");
    type_ = nullptr;
    shape_.clear();
    offsets_.clear();
    has_shape_ = has_offsets_ = false;
    return Go(Place::kTensorValue);
  }

  bool BeginField(const std::string& key) {
    if (key == "dtype" && type_ == nullptr) return Go(Place::kDType);
    if (key == "shape" && !std::exchange(has_shape_, true)) return Go(Place::kShape);
    if (key == "data_offsets" && !std::exchange(has_offsets_, true)) return Go(Place::kOffsets);
    return Reject(absl::StrCat("duplicate or unknown key ", Quoted(key),
                               " seen, expected dtype, shape and data_offsets once each"));
  }

  bool FinishTensor() {
    if (type_ == nullptr || !has_shape_ || !has_offsets_) {
      return Reject(absl::StrCat("no ",
                                 type_ == nullptr ? "dtype"
                                 : !has_shape_    ? "shape"
                                                  : "data_offsets",
                                 " seen, expected dtype, shape and data_offsets"));
    }
    const std::optional<int64_t> bytes = TensorBytes(*type_, shape_);
    if (!bytes) {
      return Reject(absl::StrCat("shape ", ShapeText(shape_), " of ", ToAbsl(type_->name),
                                 " overflows 63 bits of bytes or does not fill whole bytes"));
    }
    if (offsets_[0] > offsets_[1] || offsets_[1] > file_bytes_ - data_begin_) {
      return Reject(absl::StrCat("data_offsets ", ShapeText(offsets_),
                                 " seen, expected a range within [0, ", file_bytes_ - data_begin_,
                                 "], the file's data"));
    }
    if (offsets_[1] - offsets_[0] != *bytes) {
      return Reject(absl::StrCat("data_offsets ", ShapeText(offsets_), " hold ",
                                 offsets_[1] - offsets_[0], " bytes, expected ", *bytes,
                                 " for shape ", ShapeText(shape_), " of ", ToAbsl(type_->name)));
    }
    records_.emplace(
        *name_, TensorRecord{type_, shape_, data_begin_ + offsets_[0], data_begin_ + offsets_[1]});
    name_.reset();
    return true;
  }

  const int64_t data_begin_;
  const int64_t file_bytes_;
  absl::Status status_;
  std::map<std::string, TensorRecord> records_;

  Place place_ = Place::kStart;
  bool in_array_ = false;
  bool has_metadata_ = false;
  std::optional<std::string> name_;  // name of the tensor being read
  const ElementType* type_ = nullptr;
  std::vector<int64_t> shape_;
  std::vector<int64_t> offsets_;
  bool has_shape_ = false;
  bool has_offsets_ = false;
};

// Checks that every byte of the data belongs to exactly one tensor.
absl::Status CheckCoverage(const std::map<std::string, TensorRecord>& records, int64_t data_begin,
                           int64_t file_bytes) {
  std::vector<const std::pair<const std::string, TensorRecord>*> order;
  for (const auto& entry : records) order.push_back(&entry);
  std::ranges::sort(order, {}, [](const auto* entry) {
    return std::pair(entry->second.begin, entry->second.end);
  });
  int64_t covered = data_begin;
  std::string_view before = "header";
  for (const auto* entry : order) {
    const auto& [name, record] = *entry;
    if (record.begin != covered) {
      return absl::InvalidArgumentError(absl::StrCat(
          TensorText(name), ": data_offsets begin at ", record.begin - data_begin,
          record.begin < covered ? ", which overlaps " : ", which leaves a hole after ",
          Quoted(before), ", expected ", covered - data_begin));
    }
    covered = record.end;
    before = name;
  }
  if (covered != file_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("tensors end at byte ", covered, " of ",
                                                   file_bytes, ", expected the file's end"));
  }
  return absl::OkStatus();
}

}  // namespace

std::string ShapeText(std::span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

int64_t TensorView::elements() const {
  int64_t product = 1;
  for (const int64_t dimension : shape) product *= dimension;
  return product;
}

absl::StatusOr<std::map<std::string, TensorRecord>> ParseSafetensorsHeader(
    std::span<const std::byte> prefix, int64_t file_bytes) {
  if (file_bytes < kLengthBytes || prefix.size() < kLengthBytes) {
    return absl::InvalidArgumentError(absl::StrCat("header: a file of ", file_bytes,
                                                   " bytes seen, expected at least ", kLengthBytes,
                                                   " for the header's length"));
  }
  uint64_t length;
  std::memcpy(&length, prefix.data(), kLengthBytes);
  if (length > kMaxHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "header: a length of ", length, " bytes seen, expected at most ", kMaxHeaderBytes));
  }
  const int64_t data_begin = kLengthBytes + static_cast<int64_t>(length);
  if (data_begin > file_bytes || data_begin > std::ssize(prefix)) {
    return absl::InvalidArgumentError(
        absl::StrCat("header: truncated: a length of ", length, " bytes seen in a file of ",
                     file_bytes, ", expected at most ", file_bytes - kLengthBytes));
  }
  const std::string_view text(reinterpret_cast<const char*>(prefix.data()) + kLengthBytes, length);
  // The library would skip a byte order mark or spaces, and treats a NUL byte as the end of the
  // text.
  if (!text.starts_with('{') || text.find('\0') != text.npos) {
    return absl::InvalidArgumentError(
        "header: a first byte other than '{', or a NUL byte seen, expected a JSON object");
  }
  HeaderHandler handler(data_begin, file_bytes);
  json::sax_parse(text, &handler);
  RETURN_IF_ERROR(handler.status());
  std::map<std::string, TensorRecord> records = handler.TakeRecords();
  RETURN_IF_ERROR(CheckCoverage(records, data_begin, file_bytes));
  return records;
}

void ToFloat(const TensorView& tensor, float* out) {
  if (tensor.dtype == kernels::DType::kF32) {
    std::ranges::copy(tensor.data, reinterpret_cast<std::byte*>(out));
    return;
  }
  if (tensor.dtype == kernels::DType::kI8) {
    const auto* codes = reinterpret_cast<const int8_t*>(tensor.data.data());
    std::copy_n(codes, tensor.elements(), out);
    return;
  }
  const auto convert = tensor.dtype == kernels::DType::kF16 ? kernels::FromF16 : kernels::FromBF16;
  const int64_t count = tensor.elements();
  for (int64_t i = 0; i < count; ++i) {
    uint16_t bits;  // copied, because the data may be unaligned
    std::memcpy(&bits, tensor.data.data() + 2 * i, 2);
    out[i] = convert(bits);
  }
}

}  // namespace whipsnake::engine
