#include "engine/base/json.h"

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 32;

// Checks a document in a first pass over the parser's events. Rejects what the library's own parser
// accepts: duplicate keys and deep nesting, whose tree would take many times the memory of the
// text.
class Checker : public nlohmann::json_sax<json> {
 public:
  const std::string& fault() const { return fault_; }

  bool start_object(size_t) override { return Enter(); }
  bool end_object() override { return Leave(); }
  bool start_array(size_t) override { return Enter(); }
  bool end_array() override { return Leave(); }
  bool key(std::string& name) override {
    if (keys_.back().insert(name).second) return true;
    return Reject(absl::StrCat("duplicate key ", Quoted(name)));
  }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return Reject(absl::StrCat("malformed JSON at byte ", position));
  }
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(int64_t) override { return true; }
  bool number_unsigned(uint64_t) override { return true; }
  bool number_float(double, const std::string&) override { return true; }
  bool string(std::string&) override { return true; }
  bool binary(binary_t&) override { return true; }

 private:
  bool Enter() {
    keys_.emplace_back();
    if (keys_.size() <= kMaxDepth) return true;
    return Reject(absl::StrCat("JSON nested deeper than ", kMaxDepth));
  }
  bool Leave() {
    keys_.pop_back();
    return true;
  }
  bool Reject(std::string what) {
    fault_ = std::move(what);
    return false;
  }

  // The keys of each enclosing object; empty for arrays.
  std::vector<absl::flat_hash_set<std::string>> keys_;
  std::string fault_;
};

template <typename Json>
std::string Describe(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "an array";
  if (value.is_string()) return Quoted(value.template get_ref<const std::string&>());
  return value.dump();
}

}  // namespace

std::string FindJsonFault(std::string_view text) {
  // The library treats a NUL byte as the end of the text.
  if (const size_t nul = text.find('\0'); nul != text.npos) {
    return absl::StrCat("malformed JSON at byte ", nul);
  }
  Checker checker;
  json::sax_parse(text, &checker);
  return checker.fault();
}

absl::StatusOr<json> ParseJsonObject(std::string_view text) {
  constexpr char kExpected[] = " seen, expected a JSON object";
  if (const std::string fault = FindJsonFault(text); !fault.empty()) {
    return absl::InvalidArgumentError(fault + kExpected);
  }
  json document = json::parse(text, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) {
    return absl::InvalidArgumentError(Described(document) + kExpected);
  }
  return document;
}

std::string Described(const json& value) { return Describe(value); }
std::string Described(const nlohmann::ordered_json& value) { return Describe(value); }

}  // namespace whipsnake::engine
