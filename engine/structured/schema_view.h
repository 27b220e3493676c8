// What a JSON schema asks of one value, as a conjunction.
//
// "$ref" and "allOf" ask for other schemas too, so they are resolved here: a view is the list of
// all schemas that apply to the value. Nothing is copied or merged; whoever reads a keyword reads
// it of all members. "anyOf" and "oneOf" stay as choices, each of whose branches makes a view of
// its own.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_SCHEMA_VIEW_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_SCHEMA_VIEW_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/structured/exact_json.h"
#include "engine/structured/expression.h"
#include "engine/structured/schema_document.h"

namespace whipsnake::engine {

// The schemas from that of the whole value down to one that applies to the same value. A reference
// to one of them has no meaning.
struct SchemaChain {
  const ExactJson* schema;
  const SchemaChain* parent;
  int depth;
};

struct SchemaView {
  struct Choice {
    const ExactJson* branches;  // a list of schemas
    bool exclusive;             // oneOf
    std::string path;
    std::string tag;  // the property that "discriminator" names, or ""
    const SchemaChain* chain;
  };

  std::vector<LocatedSchema> members;  // those that have assertions
  std::vector<Choice> choices;
  std::set<std::string> tags;       // properties that must be there, if they are known
  std::set<const ExactJson*> seen;  // all schemas that apply
  bool impossible = false;          // one of them is false
  bool has_reference = false;

  // The same for two views that ask for the same.
  using Key = std::pair<std::set<const ExactJson*>, std::set<std::string>>;
  Key key() const;
};

// Makes views of the schemas of one document. Not thread-safe.
class SchemaViews {
 public:
  // All must outlive it.
  SchemaViews(SchemaDocument& document, SchemaReport& report, ExpressionPool& pool)
      : document_(document), report_(report), pool_(pool) {}

  // Refuses the branches of the oneOf at a path if they do not exclude one another.
  using ExclusiveCheck =
      std::function<void(const std::vector<SchemaView>& branches, const std::string& path)>;
  // Set this before the first branches are made. Its own branches are not checked.
  void set_exclusive_check(ExclusiveCheck check) { exclusive_check_ = std::move(check); }

  // The view of a value that must satisfy all `schemas`. Reports what is wrong with their keywords;
  // the view is then incomplete.
  SchemaView Make(const std::vector<LocatedSchema>& schemas);

  // One view for each branch of the first choice, which the view must have.
  std::vector<SchemaView> Branches(const SchemaView& view);

  // The views without choices that the choices of a view lead to. Refuses more than kMaxExpanded,
  // naming `path`.
  std::vector<SchemaView> Expand(const SchemaView& view, const std::string& path);

  static constexpr size_t kMaxExpanded = 256;

 private:
  // The most views of one document.
  static constexpr int kMaxViews = 16'384;
  // The most schemas from the first to one that applies to the same value.
  static constexpr int kMaxChain = 64;

  void Add(const LocatedSchema& schema, const SchemaChain* parent, SchemaView& view);
  void AddReference(const LocatedSchema& schema, const SchemaChain& chain, SchemaView& view);
  // Adds an anyOf, a oneOf or all schemas of an allOf.
  void AddList(const LocatedSchema& schema, const char* keyword, const SchemaChain& chain,
               SchemaView& view);
  void CheckKeywords(const LocatedSchema& schema);
  void ExpandInto(const SchemaView& view, const std::string& path, std::vector<SchemaView>& all);

  SchemaDocument& document_;
  SchemaReport& report_;
  ExpressionPool& pool_;
  std::deque<SchemaChain> chains_;  // keeps them in place
  std::set<const ExactJson*> checked_;
  int views_ = 0;
  ExclusiveCheck exclusive_check_;
  bool checking_ = false;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_SCHEMA_VIEW_H_
