// The places within one JSON schema: references, and the report of what is wrong where.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_SCHEMA_DOCUMENT_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_SCHEMA_DOCUMENT_H_

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "engine/structured/exact_json.h"

namespace whipsnake::engine {

// A schema and its path for messages: "json_schema.properties.age".
struct LocatedSchema {
  const ExactJson* schema;
  std::string path;
};

// Shortens a key for a path: paths are repeated in messages, and keys may be long.
std::string PathKey(std::string_view key);

// The first thing that is wrong with a schema, and what it has that does not limit the output.
class SchemaReport {
 public:
  void Refuse(std::string_view path, std::string_view seen, std::string_view expected);
  void Refuse(const absl::Status& status) { status_.Update(status); }
  // Adds "path: what", once.
  void Warn(std::string_view path, std::string_view what);

  bool ok() const { return status_.ok(); }
  const absl::Status& status() const { return status_; }
  // At most kMaxWarnings, and then how many more there are.
  std::vector<std::string> warnings() const;

  static constexpr size_t kMaxWarnings = 16;

 private:
  absl::Status status_;
  std::set<std::string> seen_;
  std::vector<std::string> warnings_;
};

// Resolves the references of a schema. `root` must outlive it.
class SchemaDocument {
 public:
  // `field` is the path of the root.
  SchemaDocument(const ExactJson& root, std::string_view field);

  const ExactJson& root() const { return root_; }

  // Returns the schema that the "$ref" of `from` means, past schemas that are only references.
  // Understood are JSON pointers ("#/$defs/name", also percent-encoded), names of "$anchor", and
  // either after the "$id" of the root. Returns null after refusing any other, or a circle of
  // references.
  const LocatedSchema* Resolve(const LocatedSchema& from, SchemaReport& report);

 private:
  void FindAnchors(const ExactJson& schema, const std::string& path);
  // Returns a schema without path if there is none.
  LocatedSchema Find(std::string_view reference) const;
  LocatedSchema FindPointer(std::string_view pointer) const;

  const ExactJson& root_;
  const std::string field_;
  std::map<std::string, LocatedSchema, std::less<>> anchors_;
  std::map<const ExactJson*, LocatedSchema> targets_;  // by the schema with the reference
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_SCHEMA_DOCUMENT_H_
