// Finds models in a cache of the Hugging Face hub. The model "Org/Name" is the directory
// models--Org--Name there. It has blobs/, the files; snapshots/HASH/, for each revision a model
// directory of symbolic links into blobs/; and refs/NAME, whose text is the HASH of a branch.
#ifndef WHIPSNAKE_ENGINE_CHECKPOINT_HUB_CACHE_H_
#define WHIPSNAKE_ENGINE_CHECKPOINT_HUB_CACHE_H_

#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace whipsnake::engine {

// Returns "models--Org--Name" for "Org/Name", and "models--Name" for "Name".
std::string HubFolder(std::string_view name);

// Returns the directory models--Org--Name that `directory` is or is a snapshot of, or "" if it is
// neither. Looks only at the path.
std::string HubModelOf(std::string_view directory);

// Returns "Org/Name" if `directory` is models--Org--Name or a snapshot of it, otherwise "".
std::string HubName(std::string_view directory);

// Returns the model directory of models--Org--Name: the snapshot that refs/main names, or the only
// one. Any other directory is returned as it is. Returns INVALID_ARGUMENT if there is no such
// snapshot.
absl::StatusOr<std::string> HubSnapshot(const std::string& directory);

// Returns the model directory that an operator means: `text` if it is a directory (HubSnapshot), or
// else the snapshot of the model of the name `text` in the first of the caches that has it. Returns
// `text` if there is neither.
absl::StatusOr<std::string> FindModelDirectory(const std::string& text,
                                               std::span<const std::string> caches);

// Returns the caches that an error should name if FindModelDirectory found nothing for `text`:
// "A or B" if the text has the form Org/Name, otherwise "".
std::string CachesWithout(std::string_view text, std::span<const std::string> caches);

// Returns the name under which a model directory is served if nobody gives one: HubName, or the
// last part of its path.
std::string DefaultModelName(const std::string& directory);

// Returns where the hub's programs keep their cache: $HF_HUB_CACHE, $HUGGINGFACE_HUB_CACHE,
// $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub or ~/.cache/huggingface/hub, the first of which the
// variable is set; "" if there is none. A leading ~ is the home directory.
std::string HubCacheRoot();

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_HUB_CACHE_H_
