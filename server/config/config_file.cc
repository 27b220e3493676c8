#include "server/config/config_file.h"

#include <cstddef>
#include <filesystem>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/files.h"
#include "engine/base/json.h"
#include "engine/base/status.h"
#include "server/suggestion.h"

namespace whipsnake::server {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kMaxFileBytes = 4 << 20;

// Reads a text and counts the lines that have been read.
class LineCounter {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  LineCounter(const char* position, int* line) : position_(position), line_(line) {}
  reference operator*() const { return *position_; }
  LineCounter& operator++() {
    if (*position_++ == '\n') ++*line_;
    return *this;
  }
  LineCounter operator++(int) {
    const LineCounter before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(const LineCounter& a, const LineCounter& b) {
    return a.position_ == b.position_;
  }

 private:
  const char* position_;
  int* line_;
};

// Notes the line of each field and refuses fields that come twice.
class FieldFinder : public nlohmann::json_sax<Json> {
 public:
  FieldFinder(const int* line, std::map<std::string, int>* lines) : line_(line), lines_(lines) {}

  const std::string& fault() const { return fault_; }

  bool key(std::string& name) override {
    std::string& path = levels_.back().path;
    path = absl::StrCat(levels_.back().prefix, levels_.back().prefix.empty() ? "" : ".", name);
    const auto [found, is_new] = lines_->emplace(path, *line_);
    if (is_new) return true;
    fault_ = absl::StrCat(path, ": given again, after line ", found->second);
    return false;
  }
  bool start_object(size_t) override {
    const std::string path = Next();
    lines_->emplace(path, *line_);
    levels_.push_back({.prefix = path});
    return true;
  }
  bool end_object() override { return Leave(); }
  bool start_array(size_t) override {
    levels_.push_back({.prefix = Next(), .is_array = true});
    return true;
  }
  bool end_array() override { return Leave(); }
  bool parse_error(size_t, const std::string& token, const nlohmann::detail::exception&) override {
    fault_ = absl::StrCat("malformed JSON at ", engine::ToAbsl(engine::Quoted(token)));
    return false;
  }
  bool null() override { return Scalar(); }
  bool boolean(bool) override { return Scalar(); }
  bool number_integer(int64_t) override { return Scalar(); }
  bool number_unsigned(uint64_t) override { return Scalar(); }
  bool number_float(double, const std::string&) override { return Scalar(); }
  bool string(std::string&) override { return Scalar(); }
  bool binary(binary_t&) override { return Scalar(); }

 private:
  struct Level {
    std::string prefix;  // the path of the object or the array
    bool is_array = false;
    std::string path = {};  // of the object's last key
    int elements = 0;
  };

  // The path of the value that begins.
  std::string Next() {
    if (levels_.empty()) return "";
    Level& level = levels_.back();
    return level.is_array ? absl::StrCat(level.prefix, "[", level.elements++, "]") : level.path;
  }
  bool Scalar() {
    Next();
    return true;
  }
  bool Leave() {
    levels_.pop_back();
    return true;
  }

  const int* line_;
  std::map<std::string, int>* lines_;
  std::vector<Level> levels_;
  std::string fault_;
};

}  // namespace

std::string ConfigFile::Place(const std::string& field) const {
  const auto line = lines.find(field);
  const std::string place = line == lines.end() ? path : absl::StrCat(path, ":", line->second);
  return field.empty() ? place : absl::StrCat(place, ": ", field);
}

std::string ConfigFile::Resolve(const std::string& relative) const {
  if (relative.empty() || relative.front() == '/') return relative;
  return (std::filesystem::path(path).parent_path() / relative).string();
}

absl::StatusOr<ConfigFile> ReadConfigFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, engine::ReadTextFile(path, kMaxFileBytes));
  ConfigFile file{.path = path};
  int line = 1;
  FieldFinder finder(&line, &file.lines);
  const char* const end = text.data() + text.size();
  Json::sax_parse(LineCounter(text.data(), &line), LineCounter(end, &line), &finder,
                  nlohmann::detail::input_format_t::json, /*strict=*/true,
                  /*ignore_comments=*/true);
  std::string fault = finder.fault();
  // The library takes a NUL byte for the end.
  if (fault.empty() && text.find('\0') != text.npos) fault = "malformed JSON: a NUL byte";
  if (!fault.empty()) {
    const std::string place = absl::StrCat(path, ":", line);
    return engine::InvalidFields({{.field = place, .message = absl::StrCat(place, ": ", fault)}});
  }
  file.document = Json::parse(text, /*cb=*/nullptr, /*allow_exceptions=*/false,
                              /*ignore_comments=*/true);
  if (file.document.is_object()) return file;
  return engine::InvalidField(path, engine::Described(file.document), "a JSON object");
}

void AddErrors(const absl::Status& status, std::vector<engine::FieldViolation>& errors) {
  if (status.ok()) return;
  std::vector<engine::FieldViolation> violations = engine::ViolationsOf(status);
  if (violations.empty())
    violations.push_back({.field = "", .message = std::string(status.message())});
  for (engine::FieldViolation& violation : violations) errors.push_back(std::move(violation));
}

void CheckFields(const ConfigFile& file, const std::string& path, const Json& object,
                 std::span<const std::string> known, std::vector<engine::FieldViolation>& errors) {
  for (const auto& entry : object.items()) {
    const std::string& name = entry.key();
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const std::string nearest = NearestWord(name, known);
    const std::string place = file.Place(path.empty() ? name : absl::StrCat(path, ".", name));
    errors.push_back(
        {.field = place,
         .message = absl::StrCat(place, ": there is no such field",
                                 nearest.empty() ? "" : absl::StrCat("; did you mean ", nearest),
                                 nearest.empty() ? "" : "?")});
  }
}

}  // namespace whipsnake::server
