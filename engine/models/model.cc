#include "engine/models/model.h"

#include "engine/base/status.h"
#include "engine/checkpoint/config.h"
#include "engine/checkpoint/files.h"
#include "engine/models/mamba.h"

namespace whipsnake::engine {

std::string_view Name(Scheme scheme) {
  switch (scheme) {
    case Scheme::kFp32:
      return "fp32";
    case Scheme::kBf16:
      return "bf16";
  }
  return "unknown";
}

absl::StatusOr<Scheme> ParseScheme(std::string_view name) {
  for (const Scheme scheme : {Scheme::kFp32, Scheme::kBf16}) {
    if (name == Name(scheme)) return scheme;
  }
  return InvalidField("scheme", name, "fp32 or bf16");
}

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const std::string& directory, Scheme scheme,
                                                 const ModelEnvironment& environment) {
  const std::string path = directory + "/config.json";
  ASSIGN_OR_RETURN(const std::string json, ReadTextFile(path));
  const auto architecture = ParseArchitecture(json);
  if (!architecture.ok()) return WithContext(architecture.status(), path);
  if (*architecture == "mamba") return LoadMamba(directory, json, scheme, environment);
  return absl::UnimplementedError(
      absl::StrCat(path, ": model_type \"", *architecture, "\" seen, expected \"mamba\""));
}

}  // namespace whipsnake::engine
