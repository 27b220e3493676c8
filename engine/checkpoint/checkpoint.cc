#include "engine/checkpoint/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/base/files.h"
#include "engine/base/json.h"
#include "engine/base/json_reader.h"
#include "engine/base/lfs_pointer.h"
#include "engine/base/status.h"
#include "engine/checkpoint/safetensors_format.h"
#include "engine/checkpoint/torch_file.h"

namespace whipsnake::engine {
namespace {

// A kind of files, in the order in which they are looked for.
struct FileKind {
  const char* single;
  const char* index;
};
constexpr FileKind kFileKinds[] = {
    {"model.safetensors", "model.safetensors.index.json"},
    {"pytorch_model.bin", "pytorch_model.bin.index.json"},
};

// Finds the tensors of a file of either kind. Safetensors have no signature to tell them by; files
// of torch.save have the name.
absl::StatusOr<std::map<std::string, TensorRecord>> FindTensors(const std::string& path,
                                                                std::span<const std::byte> bytes) {
  RETURN_IF_ERROR(CheckNoLfsPointer({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
  if (path.ends_with(".bin")) return ReadTorchFile(bytes);
  return ParseSafetensorsHeader(bytes, std::ssize(bytes));
}

std::string Join(const std::string& directory, const std::string& name) {
  return (std::filesystem::path(directory) / name).string();
}

// Whether `name` is a plain file name, which cannot lead out of the directory that it is joined to.
bool IsPlainFileName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\0", 2)) == name.npos;
}

// Parses the text of an index. Returns shards by tensor name.
absl::StatusOr<std::map<std::string, std::string>> ParseIndex(std::string_view text) {
  ASSIGN_OR_RETURN(const nlohmann::json index, ParseJsonObject(text));
  JsonObjectReader reader(index);
  const JsonView entries = reader.Object("weight_map");
  if (!reader.Has("weight_map")) reader.Reject("weight_map", "an object of shards by tensor");
  RETURN_IF_ERROR(reader.status());
  std::map<std::string, std::string> shards;
  for (const auto& [tensor, shard] : entries.value().items()) {
    if (!shard.is_string() || !IsPlainFileName(shard.get_ref<const std::string&>())) {
      return absl::InvalidArgumentError(
          absl::StrCat(TensorText(tensor), ": shard ", Described(shard),
                       " seen, expected the name of a file in the same directory"));
    }
    shards.emplace(tensor, shard.get<std::string>());
  }
  return shards;
}

}  // namespace

absl::Status Checkpoint::AddFile(const std::string& path, std::span<const std::string> expected) {
  ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  const std::span<const std::byte> bytes = file.bytes();
  auto records = FindTensors(path, bytes);
  RETURN_IF_ERROR(file.Check());
  if (!records.ok()) return WithPath(records.status(), path);
  for (const std::string& name : expected) {
    if (!records->contains(name)) {
      return WithPath(absl::InvalidArgumentError(absl::StrCat(
                          TensorText(name), " is not in this shard, but the index says so")),
                      path);
    }
  }
  for (auto& [name, record] : *records) {
    if (Contains(name)) {
      return WithPath(
          absl::InvalidArgumentError(absl::StrCat(TensorText(name), " lies in another shard too")),
          path);
    }
    if (record.type->dtype) {
      tensors_.emplace(name, TensorView{*record.type->dtype, std::move(record.shape),
                                        bytes.subspan(record.begin, record.end - record.begin)});
    } else {
      others_.emplace(name, OtherTensor{record.type, std::move(record.shape)});
    }
  }
  files_.push_back(std::move(file));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& directory) {
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint);
  for (const FileKind& kind : kFileKinds) {
    const absl::Status single = checkpoint->AddFile(Join(directory, kind.single), {});
    if (single.ok()) return checkpoint;
    if (!absl::IsNotFound(single)) return single;
    const std::string index_path = Join(directory, kind.index);
    const absl::StatusOr<std::string> index = ReadTextFile(index_path);
    if (absl::IsNotFound(index.status())) continue;
    RETURN_IF_ERROR(index.status());
    const auto shards = ParseIndex(*index);
    if (!shards.ok()) return WithPath(shards.status(), index_path);
    RETURN_IF_ERROR(checkpoint->AddShards(directory, *shards));
    return checkpoint;
  }
  return WithPath(
      absl::NotFoundError(
          "no weights seen, expected model.safetensors, pytorch_model.bin or an index of either"),
      directory);
}

absl::Status Checkpoint::AddShards(const std::string& directory,
                                   const std::map<std::string, std::string>& shards) {
  std::map<std::string, std::vector<std::string>> tensors_of;
  for (const auto& [tensor, shard] : shards) tensors_of[shard].push_back(tensor);
  for (const auto& [shard, expected] : tensors_of) {
    RETURN_IF_ERROR(AddFile(Join(directory, shard), expected));
  }
  return absl::OkStatus();
}

std::unique_ptr<Checkpoint> Checkpoint::Of(std::span<const OwnedTensor> tensors) {
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint);
  for (const OwnedTensor& tensor : tensors) {
    checkpoint->tensors_.emplace(tensor.name, tensor.view());
  }
  return checkpoint;
}

absl::Status Checkpoint::Check() const {
  for (const MappedFile& file : files_) RETURN_IF_ERROR(file.Check());
  return absl::OkStatus();
}

bool Checkpoint::Contains(std::string_view name) const {
  return tensors_.contains(name) || others_.contains(name);
}

absl::StatusOr<TensorView> Checkpoint::Get(std::string_view name,
                                           std::span<const int64_t> shape) const {
  if (!Contains(name)) {
    return absl::NotFoundError(
        absl::StrCat(TensorText(name), ": missing, expected shape ", ShapeText(shape)));
  }
  ASSIGN_OR_RETURN(TensorView tensor, Get(name));
  if (!std::ranges::equal(tensor.shape, shape)) {
    return absl::InvalidArgumentError(absl::StrCat(TensorText(name), ": shape ",
                                                   ShapeText(tensor.shape), " seen, expected ",
                                                   ShapeText(shape)));
  }
  return tensor;
}

absl::StatusOr<TensorView> Checkpoint::Get(std::string_view name) const {
  if (const auto found = tensors_.find(name); found != tensors_.end()) return found->second;
  const auto other = others_.find(name);
  if (other == others_.end()) return absl::NotFoundError(TensorText(name) + ": missing");
  return absl::InvalidArgumentError(absl::StrCat(TensorText(name), ": dtype ",
                                                 ToAbsl(other->second.type->name),
                                                 " seen, expected ", ToAbsl(kComputedTypes)));
}

}  // namespace whipsnake::engine
