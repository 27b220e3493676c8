#include "server/config/model_entry.h"

#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/json.h"
#include "engine/base/status.h"
#include "engine/checkpoint/hub_cache.h"
#include "server/config/setting.h"

namespace whipsnake::server {
namespace {

using Json = nlohmann::ordered_json;
using Errors = std::vector<engine::FieldViolation>;

// Reads the fields of one entry.
class EntryReader {
 public:
  EntryReader(const ConfigFile& file, std::string path, const Json& entry, Errors& errors)
      : file_(file), path_(std::move(path)), entry_(entry), errors_(errors) {}

  std::string Text(const std::string& key) const {
    const auto found = entry_.find(key);
    if (found == entry_.end()) return "";
    if (found->is_string() && !found->get_ref<const std::string&>().empty()) return *found;
    Reject(key, *found, "a text that is not empty");
    return "";
  }

  std::string Word(const std::string& key, const std::string& setting) const {
    const std::string text = Text(key);
    if (text.empty()) return text;
    DaemonOptions scratch;
    const absl::Status status =
        FindSetting(setting)->set(file_.Place(path_ + "." + key), std::vector{text}, scratch);
    AddErrors(status, errors_);
    return status.ok() ? text : "";
  }

  bool Boolean(const std::string& key, bool otherwise) const {
    const auto found = entry_.find(key);
    if (found == entry_.end()) return otherwise;
    if (found->is_boolean()) return *found;
    Reject(key, *found, "true or false");
    return otherwise;
  }

 private:
  void Reject(const std::string& key, const Json& value, std::string_view expected) const {
    AddErrors(
        engine::InvalidField(file_.Place(path_ + "." + key), engine::Described(value), expected),
        errors_);
  }

  const ConfigFile& file_;
  const std::string path_;
  const Json& entry_;
  Errors& errors_;
};

std::vector<std::string> Caches(const std::string& model_root) {
  return {model_root, engine::HubCacheRoot()};
}

// Returns the directory that a file means: relative to its own, or else that of a model with this
// name in a cache.
std::string DirectoryIn(const ConfigFile& file, const std::string& text,
                        const std::string& model_root) {
  namespace fs = std::filesystem;
  std::error_code error;
  const std::string resolved = file.Resolve(text);
  if (text.empty() || fs::exists(resolved, error)) return resolved;
  for (const std::string& cache : Caches(model_root)) {
    const std::string folder = cache + "/" + engine::HubFolder(text);
    if (!cache.empty() && fs::is_directory(folder, error)) return folder;
  }
  return resolved;
}

}  // namespace

const std::vector<std::string>& ModelFields() {
  static const auto& fields =
      *new std::vector<std::string>{"name", "directory", "scheme", "state_type", "preload"};
  return fields;
}

std::vector<NamedModel> ReadModelEntries(const ConfigFile& file, const std::string& model_root,
                                         Errors& errors) {
  std::vector<NamedModel> models;
  const auto list = file.document.find("models");
  if (list == file.document.end()) return models;
  if (!list->is_array()) {
    AddErrors(engine::InvalidField(file.Place("models"), engine::Described(*list),
                                   "a list of objects with name and directory"),
              errors);
    return models;
  }
  for (size_t i = 0; i < list->size(); ++i) {
    const Json& entry = (*list)[i];
    const std::string path = absl::StrCat("models[", i, "]");
    if (!entry.is_object()) {
      AddErrors(engine::InvalidField(file.Place(path), engine::Described(entry),
                                     "an object with name and directory"),
                errors);
      continue;
    }
    CheckFields(file, path, entry, ModelFields(), errors);
    const EntryReader reader(file, path, entry, errors);
    NamedModel model{.name = reader.Text("name"),
                     .directory = DirectoryIn(file, reader.Text("directory"), model_root),
                     .scheme = reader.Word("scheme", "scheme"),
                     .state_type = reader.Word("state_type", "state_type"),
                     .preload = reader.Boolean("preload", true),
                     .place = file.Place(path)};
    if (!entry.contains("directory")) {
      AddErrors(engine::InvalidField(model.place, "no directory", "one"), errors);
    }
    if (!model.directory.empty()) models.push_back(std::move(model));
  }
  return models;
}

NamedModel ParseModelFlag(std::string_view place, std::string_view text) {
  NamedModel model{.name = "", .directory = std::string(text), .place = std::string(place)};
  std::error_code error;
  const bool is_path = text.starts_with('/') || text.starts_with('.') ||
                       std::filesystem::is_directory(model.directory, error);
  if (const size_t equals = text.find('='); equals != text.npos && !is_path) {
    model.name = text.substr(0, equals);
    model.directory = text.substr(equals + 1);
  }
  return model;
}

bool ResolveModel(const std::string& model_root, NamedModel& model, Errors& errors) {
  const std::string text = model.directory;
  const auto directory = engine::FindModelDirectory(text, Caches(model_root));
  if (!directory.ok()) {
    const absl::Status status = engine::WithContext(directory.status(), model.place);
    errors.push_back({.field = model.place, .message = std::string(status.message())});
    return false;
  }
  model.directory = *directory;
  const auto refuse = [&](std::string_view expected) {
    AddErrors(engine::InvalidField(model.place, engine::Quoted(text), expected), errors);
    return false;
  };
  if (text.empty()) return refuse("[NAME=]DIR, or Org/Name of a model in a Hugging Face cache");
  if (*directory == text) {
    const std::string caches = engine::CachesWithout(text, Caches(model_root));
    std::error_code error;
    if (!caches.empty() && !std::filesystem::exists(text, error)) {
      return refuse(absl::StrCat("a directory, or a model of this name in ", caches));
    }
  }
  if (model.name.empty()) {
    std::error_code error;
    const auto path = std::filesystem::absolute(model.directory, error).lexically_normal();
    model.name = engine::DefaultModelName(path.string());
  }
  return true;
}

Json ModelEntries(const std::vector<NamedModel>& models) {
  Json list = Json::array();
  for (const NamedModel& model : models) {
    Json entry = Json::object();
    entry["name"] = model.name;
    entry["directory"] = model.directory;
    if (!model.scheme.empty()) entry["scheme"] = model.scheme;
    if (!model.state_type.empty()) entry["state_type"] = model.state_type;
    if (!model.preload) entry["preload"] = false;
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace whipsnake::server
