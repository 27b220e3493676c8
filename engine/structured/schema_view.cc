#include "engine/structured/schema_view.h"

#include <algorithm>

#include "engine/base/status.h"
#include "engine/structured/schema_keywords.h"

namespace whipsnake::engine {
namespace {

// The property that a "discriminator" of OpenAPI names.
std::string TagOf(const ExactJson& schema) {
  const ExactJson* discriminator = schema.Find("discriminator");
  const ExactJson* name = discriminator ? discriminator->Find("propertyName") : nullptr;
  return name != nullptr && name->is(JsonKind::kString) ? name->text : "";
}

}  // namespace

SchemaView::Key SchemaView::key() const {
  Key key{{}, tags};
  for (const LocatedSchema& member : members) key.first.insert(member.schema);
  for (const Choice& choice : choices) key.first.insert(choice.branches);
  return key;
}

SchemaView SchemaViews::Make(const std::vector<LocatedSchema>& schemas) {
  SchemaView view;
  for (const LocatedSchema& schema : schemas) Add(schema, nullptr, view);
  return view;
}

// NOLINTNEXTLINE(misc-no-recursion): a check of exclusive branches has none within it.
std::vector<SchemaView> SchemaViews::Branches(const SchemaView& view) {
  const SchemaView::Choice choice = view.choices.front();
  SchemaView rest = view;
  rest.choices.erase(rest.choices.begin());
  if (!choice.tag.empty()) rest.tags.insert(choice.tag);
  std::vector<SchemaView> branches;
  for (size_t i = 0; i < choice.branches->items.size() && report_.ok(); ++i) {
    // Copying a view takes as long as some tens of steps of work for each of its parts.
    if (!pool_.Spend(16 * std::ssize(rest.seen))) {
      report_.Refuse(OutOfGrammarWork(choice.path));
      break;
    }
    if (++views_ > kMaxViews) {
      report_.Refuse(choice.path, "choices with too many combinations",
                     absl::StrCat("at most ", kMaxViews));
      break;
    }
    SchemaView& branch = branches.emplace_back(rest);
    Add({&choice.branches->items[i], absl::StrCat(choice.path, "[", i, "]")}, choice.chain, branch);
  }
  if (choice.exclusive && report_.ok() && !checking_) {
    checking_ = true;
    exclusive_check_(branches, choice.path);
    checking_ = false;
  }
  return branches;
}

std::vector<SchemaView> SchemaViews::Expand(const SchemaView& view, const std::string& path) {
  std::vector<SchemaView> all;
  ExpandInto(view, path, all);
  return all;
}

// NOLINTNEXTLINE(misc-no-recursion): at most as deep as a view has choices, of which each spends
// work.
void SchemaViews::ExpandInto(const SchemaView& view, const std::string& path,
                             std::vector<SchemaView>& all) {
  if (!report_.ok() || view.impossible) return;
  if (view.choices.empty()) {
    all.push_back(view);
    if (all.size() > kMaxExpanded) {
      report_.Refuse(path, "choices with too many combinations",
                     absl::StrCat("at most ", kMaxExpanded));
    }
    return;
  }
  for (const SchemaView& branch : Branches(view)) ExpandInto(branch, path, all);
}

// NOLINTNEXTLINE(misc-no-recursion): at most kMaxChain deep.
void SchemaViews::Add(const LocatedSchema& schema, const SchemaChain* parent, SchemaView& view) {
  const ExactJson& json = *schema.schema;
  constexpr int64_t kSteps = 32;
  if (!pool_.Spend(kSteps + 4 * std::ssize(json.keys))) {
    report_.Refuse(OutOfGrammarWork(schema.path));
  }
  if (!report_.ok() || json.is_true()) return;
  if (json.is_false()) {
    view.impossible = true;
    return;
  }
  if (!json.is(JsonKind::kObject)) {
    report_.Refuse(schema.path, Described(json), "a schema: an object, true or false");
    return;
  }
  if (!view.seen.insert(&json).second) return;  // asks for nothing new
  const SchemaChain& chain =
      chains_.emplace_back(SchemaChain{&json, parent, parent ? parent->depth + 1 : 1});
  if (chain.depth > kMaxChain) {
    report_.Refuse(schema.path, "schemas nested too deeply",
                   absl::StrCat("at most ", kMaxChain, " for one value"));
    return;
  }
  CheckKeywords(schema);
  if (std::ranges::any_of(json.keys, IsAssertion)) view.members.push_back(schema);
  if (json.Find("$ref") != nullptr) AddReference(schema, chain, view);
  for (const char* keyword : {"allOf", "anyOf", "oneOf"}) AddList(schema, keyword, chain, view);
}

// NOLINTNEXTLINE(misc-no-recursion): at most kMaxChain deep.
void SchemaViews::AddReference(const LocatedSchema& schema, const SchemaChain& chain,
                               SchemaView& view) {
  const LocatedSchema* target = document_.Resolve(schema, report_);
  if (target == nullptr) return;
  for (const SchemaChain* at = &chain; at != nullptr; at = at->parent) {
    if (at->schema != target->schema) continue;
    report_.Refuse(schema.path + ".$ref", Described(*schema.schema->Find("$ref")),
                   "a reference that does not lead back to itself for the same value");
    return;
  }
  view.has_reference = true;
  Add(*target, &chain, view);
}

// NOLINTNEXTLINE(misc-no-recursion): at most kMaxChain deep.
void SchemaViews::AddList(const LocatedSchema& schema, const char* keyword,
                          const SchemaChain& chain, SchemaView& view) {
  const ExactJson* list = schema.schema->Find(keyword);
  if (list == nullptr) return;
  const std::string path = absl::StrCat(schema.path, ".", keyword);
  if (!list->is(JsonKind::kArray) || list->empty()) {
    const bool is_empty = list->is(JsonKind::kArray);
    report_.Refuse(path, is_empty ? "an empty list" : Described(*list),
                   "a list of one or more schemas");
    return;
  }
  const bool is_choice = list->items.size() > 1 && keyword != std::string_view("allOf");
  if (is_choice) {
    view.choices.push_back({.branches = list,
                            .exclusive = keyword == std::string_view("oneOf"),
                            .path = path,
                            .tag = TagOf(*schema.schema),
                            .chain = &chain});
    return;
  }
  for (size_t i = 0; i < list->items.size(); ++i) {
    Add({&list->items[i], absl::StrCat(path, "[", i, "]")}, &chain, view);
  }
}

void SchemaViews::CheckKeywords(const LocatedSchema& schema) {
  if (!checked_.insert(schema.schema).second) return;
  const ExactJson& json = *schema.schema;
  for (size_t i = 0; i < json.keys.size(); ++i) {
    const std::string& key = json.keys[i];
    if (IsAnnotation(key) || IsAssertion(key) || IsApplicator(key)) continue;
    const std::string where = absl::StrCat(schema.path, ".", PathKey(key));
    if (!IsUnsupported(key)) {
      report_.Warn(where, "an unknown keyword, which does not limit the output");
    } else if (!key.starts_with("unevaluated") || !json.items[i].is_true()) {
      report_.Refuse(where, "a keyword that is not supported",
                     "a schema without it: what it asks for cannot be generated");
    }
  }
  const ExactJson* id = json.Find("$id");
  if (id != nullptr && &json != &document_.root() && !id->text.starts_with('#')) {
    report_.Refuse(schema.path + ".$id", Described(*id), "an $id only at the root of the schema");
  }
}

}  // namespace whipsnake::engine
