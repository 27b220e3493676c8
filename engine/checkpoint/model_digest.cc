#include "engine/checkpoint/model_digest.h"

#include "absl/strings/str_cat.h"
#include "engine/base/digest.h"
#include "engine/base/files.h"
#include "engine/base/status.h"

namespace whipsnake::engine {

absl::StatusOr<std::string> DigestModel(const std::string& directory,
                                        const Checkpoint& checkpoint) {
  ASSIGN_OR_RETURN(const std::string config, ReadTextFile(directory + "/config.json"));
  Digest digest;
  digest.Add(absl::StrCat(config.size(), " "));
  digest.Add(config);
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    digest.Add(absl::StrCat(name.size(), " ", name, " ", static_cast<int>(tensor.dtype), " ",
                            ShapeText(tensor.shape), " "));
    digest.Add(tensor.data);
  }
  RETURN_IF_ERROR(checkpoint.Check());
  return digest.text();
}

}  // namespace whipsnake::engine
