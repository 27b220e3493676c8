#include "engine/finetune/training_checkpoint.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "engine/base/atomic_file.h"
#include "engine/base/digest.h"
#include "engine/base/files.h"
#include "engine/base/json.h"
#include "engine/base/json_reader.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

using kernels::DType;
using nlohmann::json;

constexpr int64_t kVersion = 2;
constexpr char kModelFile[] = "model.safetensors";
constexpr char kOptimizerFile[] = "optimizer.safetensors";
constexpr char kStateFile[] = "state.json";
constexpr int64_t kMaxStateBytes = int64_t{4} << 30;
constexpr int64_t kMaxCount = std::numeric_limits<int64_t>::max();
constexpr double kMaxNumber = std::numeric_limits<double>::max();

absl::Status DataLoss(const std::string& path, absl::string_view what) {
  return WithPath(absl::DataLossError(what), path);
}

// The error of opening a file: one that is missing or no file is damage, other faults of the system
// may pass.
absl::Status OpenError(const absl::Status& status) {
  const bool damage = absl::IsNotFound(status) || absl::IsInvalidArgument(status);
  return damage ? WithCode(status, absl::StatusCode::kDataLoss) : status;
}

std::vector<NamedTensor> ParameterTensors(const TrainableParameters& parameters) {
  std::vector<NamedTensor> tensors;
  for (const TrainableParameter& parameter : parameters.all()) {
    tensors.push_back(
        {parameter.name, {DType::kF32, parameter.shape, parameter.value.bytes()}, nullptr});
  }
  return tensors;
}

// The type and shape of a part of an optimizer's state in its file.
TensorView MomentView(const OptimizerOptions& options, std::string_view name,
                      std::span<std::byte> bytes) {
  const bool codes =
      options.moments == MomentKind::k8Bit && (name.ends_with(".m") || name.ends_with(".v"));
  const DType dtype = codes ? DType::kI8 : DType::kF32;
  return {dtype, {std::ssize(bytes) / kernels::ByteSize(dtype)}, bytes};
}

std::vector<NamedTensor> MomentTensors(Optimizer& optimizer) {
  std::vector<NamedTensor> tensors;
  optimizer.Visit([&](const std::string& name, std::span<std::byte> bytes) {
    tensors.push_back({name, MomentView(optimizer.options(), name, bytes), nullptr});
  });
  return tensors;
}

int64_t BytesOf(std::span<const NamedTensor> tensors) {
  int64_t bytes = 0;
  for (const NamedTensor& tensor : tensors) bytes += std::ssize(tensor.tensor.data);
  return bytes;
}

absl::StatusOr<std::string> DigestOf(const MappedFile& file) {
  Digest digest;
  digest.Add(file.bytes());
  RETURN_IF_ERROR(file.Check());
  return digest.text();
}

absl::StatusOr<std::string> DigestOf(const std::string& path) {
  ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  return DigestOf(file);
}

// The one text of state.json for a state.
std::string StateText(const json& state) {
  const std::string text = state.dump();
  Digest digest;
  digest.Add(text);
  return absl::StrCat("{\"digest\":\"", digest.text(), "\",\n\"state\":", text, "}\n");
}

absl::StatusOr<json> MakeState(Trainer& trainer, const RunIdentity& identity,
                               std::span<const double> reference) {
  json updates = json::object();
  for (const TrainableParameter& parameter : trainer.model().parameters().all()) {
    const int64_t count = trainer.optimizer().step(parameter);
    if (count > 0) updates[parameter.name] = count;
  }
  ASSIGN_OR_RETURN(json identity_json, ToJson(identity));
  return json{{"version", kVersion},
              {"updates", std::move(updates)},
              {"scheduler", trainer.scheduler().State()},
              {"log", ToJson(trainer.log())},
              {"reference", std::vector<double>(reference.begin(), reference.end())},
              {"identity", std::move(identity_json)}};
}

// Returns the state whose text the file has.
absl::StatusOr<json> ReadState(const std::string& path) {
  const auto text = ReadTextFile(path, kMaxStateBytes);
  if (!text.ok()) return OpenError(text.status());
  auto document = ParseJsonObject(*text);
  if (!document.ok()) return DataLoss(path, document.status().message());
  json state = std::move((*document)["state"]);
  if (StateText(state) != *text) {
    return DataLoss(path, "a text that its digest does not belong to seen");
  }
  return state;
}

// Opens a file that should have this digest.
absl::StatusOr<TensorFile> OpenTensors(const std::string& path, const std::string& digest) {
  ASSIGN_OR_RETURN(TensorFile tensors, TensorFile::Open(path));
  ASSIGN_OR_RETURN(const std::string seen, DigestOf(tensors.file));
  if (seen == digest) return tensors;
  return DataLoss(path, absl::StrCat("digest ", seen, " seen, expected ", digest));
}

// Returns DATA_LOSS, naming a tensor of the file that is not in `taken`, if there is one.
absl::Status CheckAllTaken(const TensorFile& file, const std::set<std::string>& taken) {
  for (const auto& [name, record] : file.tensors) {
    if (taken.contains(name)) continue;
    return DataLoss(file.path, absl::StrCat("tensor ", Quoted(name),
                                            " seen, expected none of this name in this run"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TensorFile> TensorFile::Open(const std::string& path) {
  auto file = MappedFile::Open(path);
  if (!file.ok()) return OpenError(file.status());
  auto tensors = ParseSafetensorsHeader(file->bytes(), std::ssize(file->bytes()));
  if (!tensors.ok()) return DataLoss(path, tensors.status().message());
  return TensorFile{path, *std::move(file), *std::move(tensors)};
}

absl::StatusOr<std::span<const std::byte>> TensorFile::Get(const std::string& name, DType dtype,
                                                           std::span<const int64_t> shape) const {
  const auto text = [](const ElementType& type, std::span<const int64_t> sizes) {
    return absl::StrCat(ToAbsl(type.name), " ", ShapeText(sizes));
  };
  const auto found = tensors.find(name);
  const bool missing = found == tensors.end();
  if (missing || found->second.type->dtype != dtype ||
      !std::ranges::equal(found->second.shape, shape)) {
    return DataLoss(
        path, absl::StrCat("tensor ", Quoted(name), ": ",
                           missing ? "nothing" : text(*found->second.type, found->second.shape),
                           " seen, expected ", text(ElementTypeOf(dtype), shape)));
  }
  return file.bytes().subspan(found->second.begin, found->second.end - found->second.begin);
}

absl::Status TrainingCheckpoint::Write(Trainer& trainer, const RunIdentity& identity,
                                       std::span<const double> reference,
                                       const std::string& directory) {
  const std::vector<NamedTensor> parameters = ParameterTensors(trainer.model().parameters());
  const std::vector<NamedTensor> moments = MomentTensors(trainer.optimizer());
  ASSIGN_OR_RETURN(json state, MakeState(trainer, identity, reference));
  // JSON has no number that is not finite. Such a state is refused now, not when it is needed.
  RETURN_IF_ERROR(ParseState(state).status());

  ASSIGN_OR_RETURN(AtomicDirectory made, AtomicDirectory::Create(directory));
  const std::string path = made.path() + "/";
  RETURN_IF_ERROR(CheckDiskSpace(made.path(), BytesOf(parameters) + BytesOf(moments)));
  RETURN_IF_ERROR(WriteSafetensors(path + kModelFile, parameters));
  RETURN_IF_ERROR(WriteSafetensors(path + kOptimizerFile, moments));
  for (const char* name : {kModelFile, kOptimizerFile}) {
    ASSIGN_OR_RETURN(state["digests"][name], DigestOf(path + name));
  }
  RETURN_IF_ERROR(WriteFileAtomically(path + kStateFile, StateText(state)));
  return made.Commit();
}

absl::StatusOr<TrainingCheckpoint::State> TrainingCheckpoint::ParseState(const json& document) {
  const JsonView view(&document);
  State state;
  for (const auto& [name, count] : view["updates"].value().items()) {
    ASSIGN_OR_RETURN(state.updates[name], JsonView(&count, name).Integer(1, kMaxCount));
  }
  state.scheduler = view["scheduler"].value().dump();
  ASSIGN_OR_RETURN(state.log, ParseRunLog(view["log"].value()));
  ASSIGN_OR_RETURN(const std::vector<JsonView> reference, view["reference"].Elements());
  for (const JsonView& number : reference) {
    ASSIGN_OR_RETURN(state.reference.emplace_back(), number.Number(-kMaxNumber, kMaxNumber));
  }
  state.identity = view["identity"].value().dump();
  for (const auto& [name, digest] : view["digests"].value().items()) {
    ASSIGN_OR_RETURN(state.digests[name], JsonView(&digest, name).Text());
  }
  return state;
}

absl::StatusOr<TrainingCheckpoint> TrainingCheckpoint::Open(const std::string& directory) {
  const std::string path = directory + "/" + kStateFile;
  ASSIGN_OR_RETURN(const json document, ReadState(path));
  const JsonView version = JsonView(&document)["version"];
  if (version.value() != kVersion) {
    return WithPath(absl::UnimplementedError(absl::StrCat("version: ", Described(version.value()),
                                                          " seen, expected ", kVersion)),
                    path);
  }
  auto state = ParseState(document);
  if (!state.ok()) return DataLoss(path, state.status().message());
  state->path = path;
  ASSIGN_OR_RETURN(TensorFile model,
                   OpenTensors(directory + "/" + kModelFile, state->digests[kModelFile]));
  ASSIGN_OR_RETURN(TensorFile optimizer,
                   OpenTensors(directory + "/" + kOptimizerFile, state->digests[kOptimizerFile]));
  return TrainingCheckpoint(*std::move(state), std::move(model), std::move(optimizer));
}

absl::Status TrainingCheckpoint::CheckIdentity(const RunIdentity& identity) const {
  ASSIGN_OR_RETURN(const json now, ToJson(identity));
  ASSIGN_OR_RETURN(const json saved, ParseJsonObject(state_.identity));
  return CheckSameRun(saved, now);
}

absl::StatusOr<std::vector<std::span<const std::byte>>> TrainingCheckpoint::ParameterValues(
    const TrainableParameters& parameters) const {
  std::vector<std::span<const std::byte>> values;
  std::set<std::string> taken;
  for (const TrainableParameter& parameter : parameters.all()) {
    ASSIGN_OR_RETURN(values.emplace_back(),
                     model_.Get(parameter.name, DType::kF32, parameter.shape));
    taken.insert(parameter.name);
  }
  RETURN_IF_ERROR(CheckAllTaken(model_, taken));
  return values;
}

absl::StatusOr<Optimizer> TrainingCheckpoint::RestoredOptimizer(
    const OptimizerOptions& options, const TrainableParameters& parameters, Ledger* ledger) const {
  ASSIGN_OR_RETURN(Optimizer optimizer, Optimizer::Create(options, parameters, ledger));
  for (const TrainableParameter& parameter : parameters.all()) {
    const auto found = state_.updates.find(parameter.name);
    if (found == state_.updates.end()) continue;
    RETURN_IF_ERROR(optimizer.Restore(parameter, found->second));
  }
  std::set<std::string> taken;
  absl::Status status;
  optimizer.Visit([&](const std::string& name, std::span<std::byte> bytes) {
    const TensorView view = MomentView(options, name, bytes);
    const auto data = optimizer_.Get(name, view.dtype, view.shape);
    status.Update(data.status());
    if (data.ok()) std::ranges::copy(*data, bytes.begin());
    taken.insert(name);
  });
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(CheckAllTaken(optimizer_, taken));
  RETURN_IF_ERROR(optimizer_.file.Check());
  return optimizer;
}

absl::Status TrainingCheckpoint::RestoreScheduler(LayerScheduler& scheduler) const {
  const absl::Status status = scheduler.Restore(json::parse(state_.scheduler));
  if (status.ok()) return status;
  return DataLoss(state_.path, absl::StrCat("scheduler.", status.message()));
}

absl::Status TrainingCheckpoint::RestoreParameters(TrainableParameters& parameters) const {
  ASSIGN_OR_RETURN(const auto values, ParameterValues(parameters));
  for (size_t i = 0; i < values.size(); ++i) {
    std::ranges::copy(values[i], parameters.all()[i].value.data());
  }
  return model_.file.Check();
}

absl::Status TrainingCheckpoint::Restore(const RunIdentity& identity, Trainer& trainer,
                                         Ledger* ledger) const {
  RETURN_IF_ERROR(CheckIdentity(identity));
  TrainableParameters& parameters = trainer.model().parameters();
  RETURN_IF_ERROR(ParameterValues(parameters).status());
  ASSIGN_OR_RETURN(Optimizer optimizer,
                   RestoredOptimizer(trainer.optimizer().options(), parameters, ledger));
  RETURN_IF_ERROR(RestoreScheduler(trainer.scheduler()));

  trainer.optimizer() = std::move(optimizer);
  RETURN_IF_ERROR(RestoreParameters(parameters));
  return trainer.Resume(state_.log);
}

}  // namespace whipsnake::engine
