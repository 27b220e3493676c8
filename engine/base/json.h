// Parses JSON documents from untrusted sources. json_reader.h reads the values of a document.
#ifndef WHIPSNAKE_ENGINE_BASE_JSON_H_
#define WHIPSNAKE_ENGINE_BASE_JSON_H_

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace whipsnake::engine {

// Returns what is wrong with `text`, such as "malformed JSON at byte 19", or "" if nothing is. A
// valid text is JSON in UTF-8 without duplicate keys (the library would keep the last of them),
// nested at most 32 deep. So a recursive function over a document is at most 32 deep too.
std::string FindJsonFault(std::string_view text);

// Returns INVALID_ARGUMENT if FindJsonFault finds a fault or the document is not an object.
absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text);

// Describes a value for a message: a scalar as JSON, "an object", or "an array".
std::string Described(const nlohmann::json& value);
std::string Described(const nlohmann::ordered_json& value);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_JSON_H_
