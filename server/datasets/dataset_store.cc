#include "server/datasets/dataset_store.h"

#include <google/protobuf/util/time_util.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <list>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/exceptions.h"
#include "engine/base/files.h"
#include "engine/base/status.h"
#include "engine/base/thread_priority.h"
#include "engine/base/utf8.h"
#include "server/datasets/dataset_errors.h"
#include "server/datasets/dataset_header.h"
#include "server/datasets/dataset_validation.h"
#include "server/disk_errors.h"
#include "server/errors.h"
#include "server/logging.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;
using engine::MutexLock;

constexpr std::string_view kUidPrefix = "ds-";
constexpr std::chrono::seconds kMaintenancePeriod{60};
constexpr std::chrono::seconds kFirstBackoff{60};
constexpr int kRecordsPerPage = 100;
constexpr size_t kMaxPageBytes = size_t{2} << 20;
constexpr int64_t kMaxErrorBytes = 1000;

std::string UidOf(int64_t number) { return absl::StrCat(engine::ToAbsl(kUidPrefix), number); }

google::protobuf::Timestamp Stamp(WallTime time) {
  return google::protobuf::util::TimeUtil::MillisecondsToTimestamp(
      std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count());
}

absl::Status Recorded(const absl::Status& status) {
  return StorageError(status, "the data sets' records cannot be read or written");
}

// The time of a file's last byte; nullopt if there is no file.
std::optional<WallTime> ChangeOfFile(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return std::nullopt;
  return std::chrono::system_clock::from_time_t(info.st_mtim.tv_sec);
}

}  // namespace

DatasetStore::DatasetStore(DatasetStoreOptions options, Store* store, DatasetModels models,
                           engine::Ledger* ledger, Metrics& metrics)
    : options_(std::move(options)),
      store_(*store),
      models_(std::move(models)),
      ledger_(*ledger),
      metrics_(metrics),
      queue_([this] { Maintain(); }, kMaintenancePeriod, "datasets") {}

DatasetStore::~DatasetStore() { stopping_ = true; }

std::string DatasetStore::DirectoryOf(int64_t number) const {
  return absl::StrCat(options_.directory, "/", UidOf(number));
}

std::string DatasetStore::PathOf(const v1::UploadHeader& header, int64_t number) const {
  return absl::StrCat(DirectoryOf(number), "/data.", header.format());
}

void DatasetStore::RemoveFiles(int64_t number) const {
  std::error_code error;
  fs::remove_all(DirectoryOf(number), error);
  if (!error) return;
  LogDiskError("the files of a deleted data set cannot be removed",
               engine::FileError(error.value(), DirectoryOf(number)), {{"uid", UidOf(number)}});
}

absl::Status DatasetStore::Open() {
  std::set<std::string> known;
  for (int64_t after = 0;;) {
    const auto page = store_.List(Collection::kDatasets, after, kRecordsPerPage);
    RETURN_IF_ERROR(page.status());
    for (const Record& record : *page) {
      known.insert(UidOf(record.number));
      Load(record);
      after = record.number;
    }
    if (std::ssize(*page) < kRecordsPerPage) break;
  }
  RemoveOrphans(known);
  Sweep();
  return absl::OkStatus();
}

void DatasetStore::Load(const Record& record) {
  absl::StatusOr<DatasetRecord> parsed = ParseDatasetRecord(record.value);
  if (!parsed.ok()) {
    LogDiskError("the record of a data set is damaged", parsed.status(), {{"id", record.key}});
    return;
  }
  Entry entry{.record = *std::move(parsed),
              .number = record.number,
              .revision = record.revision,
              .create_time = record.create_time,
              .cut_off_time = record.create_time};
  entry.record.report.reset();
  const v1::UploadHeader& header = entry.record.header;
  const std::string path = PathOf(header, entry.number);
  if (const auto changed = ChangeOfFile(path)) {
    entry.cut_off_time = std::max(entry.cut_off_time, *changed);
  }
  entry.received_bytes = header.size_bytes();
  if (entry.record.state == v1::DATASET_STATE_UPLOADING) {
    const absl::StatusOr<int64_t> bytes = PartialFile::Recover(path);
    // The error is logged; the next upload meets it again, or finds more than this.
    if (!bytes.ok()) StorageError(bytes.status(), "an upload cannot be read").IgnoreError();
    entry.received_bytes = bytes.value_or(0);
  }
  MutexLock lock(mutex_);
  Entry& added = entries_[record.key] = std::move(entry);
  if (added.record.state == v1::DATASET_STATE_VALIDATING) Queue(record.key, added);
  ValidateAgain(record.key, added);
}

void DatasetStore::RemoveOrphans(const std::set<std::string>& known) const {
  std::error_code error;
  auto file = fs::directory_iterator(options_.directory, error);
  for (; !error && file != fs::directory_iterator(); file.increment(error)) {
    const std::string name = file->path().filename().string();
    if (!name.starts_with(kUidPrefix) || known.contains(name)) continue;
    std::error_code failed;
    fs::remove_all(file->path(), failed);
    if (failed) {
      LogDiskError("the files of a deleted data set cannot be removed",
                   engine::FileError(failed.value(), file->path().string()), {{"uid", name}});
    } else {
      Log(LogLevel::kInfo, "removed the files of a deleted data set", {{"uid", name}});
    }
  }
}

// Uploads.

absl::StatusOr<DatasetStore::BegunUpload> DatasetStore::Begin(v1::UploadHeader header) {
  RETURN_IF_ERROR(CheckHeader(header));
  if (header.id().empty()) header.set_id(DefaultId(header));
  const int64_t offset = header.offset();
  header.clear_offset();
  Sweep();
  ASSIGN_OR_RETURN(const std::optional<int64_t> number, Admit(header, offset));
  BegunUpload begun;
  if (number) {
    begun.upload.reset(new DatasetUpload(this, std::move(header), *number));
    RETURN_IF_ERROR(begun.upload->Open(offset));
  } else {
    ASSIGN_OR_RETURN(begun.complete, Get(header.id()));
  }
  return begun;
}

absl::StatusOr<std::optional<int64_t>> DatasetStore::Admit(const v1::UploadHeader& header,
                                                           int64_t offset) {
  MutexLock transition(transitions_);
  {
    MutexLock lock(mutex_);
    const auto found = entries_.find(header.id());
    if (found != entries_.end()) return AdmitAgain(found->second, header, offset);
    RETURN_IF_ERROR(CheckQuota(header));
  }
  RETURN_IF_ERROR(CheckOffset(offset, 0));
  return Create(header);
}

absl::StatusOr<std::optional<int64_t>> DatasetStore::AdmitAgain(Entry& entry,
                                                                const v1::UploadHeader& header,
                                                                int64_t offset) {
  if (!AnnounceTheSame(entry.record.header, header)) return DatasetExists(header.id());
  ValidateAgain(header.id(), entry);
  if (entry.record.state != v1::DATASET_STATE_UPLOADING) return std::nullopt;
  if (entry.uploading) return UploadInProgress(header.id());
  RETURN_IF_ERROR(CheckOffset(offset, entry.received_bytes));
  entry.uploading = true;
  return entry.number;
}

absl::Status DatasetStore::CheckQuota(const v1::UploadHeader& header) const {
  if (header.size_bytes() > options_.max_dataset_bytes) {
    return DatasetTooLarge(header.size_bytes(), options_.max_dataset_bytes, "--max-dataset-bytes");
  }
  if (std::ssize(entries_) >= options_.max_datasets) return TooManyDatasets(options_.max_datasets);
  int64_t taken = 0;
  for (const auto& [id, entry] : entries_) taken += entry.record.header.size_bytes();
  if (header.size_bytes() > options_.max_total_bytes - taken) {
    return DatasetsFull(header.size_bytes(), taken, options_.max_total_bytes,
                        "--dataset-quota-bytes");
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> DatasetStore::Create(const v1::UploadHeader& header) {
  ASSIGN_OR_RETURN(const DatasetModel model, models_(header.model()));
  RETURN_IF_ERROR(OptionsFor(header, model).status());
  DatasetRecord record{.header = header, .model = model.name};
  const Write create = CreateRecord{Collection::kDatasets, header.id(), "", ToJson(record)};
  const absl::StatusOr<Committed> committed = store_.Commit({&create, 1});
  RETURN_IF_ERROR(Recorded(committed.status()));
  const Record& created = committed->records.front();
  MutexLock lock(mutex_);
  entries_[header.id()] = {.record = std::move(record),
                           .number = created.number,
                           .revision = created.revision,
                           .create_time = created.create_time,
                           .uploading = true};
  return created.number;
}

absl::Status DatasetStore::SetReceived(const std::string& id, int64_t number, int64_t bytes) {
  MutexLock lock(mutex_);
  Entry* const entry = FindEntry(id, number);
  if (entry == nullptr) return DatasetDeleted(id);
  entry->received_bytes = bytes;
  return absl::OkStatus();
}

absl::StatusOr<v1::Dataset> DatasetStore::Complete(const std::string& id, int64_t number) {
  MutexLock transition(transitions_);
  DatasetRecord record;
  {
    MutexLock lock(mutex_);
    const Entry* const entry = FindEntry(id, number);
    if (entry == nullptr) return DatasetDeleted(id);
    record = entry->record;
  }
  record.state = v1::DATASET_STATE_VALIDATING;
  RETURN_IF_ERROR(Update(id, number, record));
  MutexLock lock(mutex_);
  Entry& entry = *FindEntry(id, number);
  entry.received_bytes = record.header.size_bytes();
  Queue(id, entry);
  return ToProto(entry);
}

void DatasetStore::Discard(const std::string& id, int64_t number) {
  {
    MutexLock transition(transitions_);
    const std::optional<Entry> entry = CopyEntry(id);
    // If the record cannot be deleted, the upload may begin again.
    if (entry && entry->number == number) Erase(id, *entry).IgnoreError();
  }
  RemoveFiles(number);
}

void DatasetStore::EndUpload(const std::string& id, int64_t number, int64_t durable_bytes) {
  {
    MutexLock lock(mutex_);
    if (Entry* const entry = FindEntry(id, number)) {
      entry->uploading = false;
      if (entry->record.state != v1::DATASET_STATE_UPLOADING) return;
      entry->received_bytes = durable_bytes;
      entry->cut_off_time = options_.now();
      return;
    }
  }
  RemoveFiles(number);  // the upload may have made some after the deletion
}

// Validation.

void DatasetStore::Queue(const std::string& id, Entry& entry) {
  entry.queued = true;
  std::list<DiskQueue::Task> task;
  task.push_back({std::nullopt, [this, id, number = entry.number](bool) { Validate(id, number); }});
  queue_.Push(task);
}

void DatasetStore::ValidateAgain(const std::string& id, Entry& entry) {
  if (entry.record.state != v1::DATASET_STATE_INVALID || !entry.record.out_of_memory) return;
  entry.record.state = v1::DATASET_STATE_VALIDATING;
  entry.record.ready_time.reset();
  entry.attempts = 0;
  Queue(id, entry);
}

void DatasetStore::Maintain() {
  engine::LowerThreadPriority();
  Sweep();
  if (stopping_) return;
  const WallTime now = options_.now();
  MutexLock lock(mutex_);
  for (auto& [id, entry] : entries_) {
    if (entry.record.state != v1::DATASET_STATE_VALIDATING || entry.queued) continue;
    if (entry.next_attempt <= now) Queue(id, entry);
  }
}

bool DatasetStore::PutOff(const std::string& id, int64_t number, const absl::Status& error) {
  MutexLock lock(mutex_);
  Entry* const entry = FindEntry(id, number);
  if (entry == nullptr || ++entry->attempts >= kMaxAttempts) return false;
  entry->queued = false;
  entry->next_attempt = options_.now() + kFirstBackoff * (1 << (entry->attempts - 1));
  entry->record.error = engine::BoundedUtf8(
      absl::StrCat("is validated again later: ", engine::ClientMessage(error)), kMaxErrorBytes);
  return true;
}

void DatasetStore::Validate(const std::string& id, int64_t number) {
  const std::optional<Entry> entry = CopyEntry(id);
  if (stopping_ || !entry || entry->number != number) return;
  DatasetRecord record = entry->record;
  absl::StatusOr<v1::DatasetReport> report =
      engine::CatchExceptions([&] { return MakeReport(record, number); });
  if (absl::IsCancelled(report.status())) return;
  record.out_of_memory = absl::IsResourceExhausted(report.status());
  if (record.out_of_memory && PutOff(id, number, report.status())) return;
  const bool usable = report.ok() && IsUsable(*report);
  record.state = usable ? v1::DATASET_STATE_READY : v1::DATASET_STATE_INVALID;
  record.ready_time = options_.now();
  record.error.clear();
  if (report.ok()) {
    if (report->good_rows() + report->bad_rows() == 0) record.error = "the file has no rows";
    record.report = *std::move(report);
  } else {
    record.error = engine::BoundedUtf8(engine::ClientMessage(report.status()), kMaxErrorBytes);
  }
  MutexLock transition(transitions_);
  Update(id, number, record).IgnoreError();  // logged; Maintain tries again
  MutexLock lock(mutex_);
  if (Entry* const ended = FindEntry(id, number)) {
    ended->queued = false;
    ended->next_attempt = options_.now() + kMaintenancePeriod;
  }
}

absl::StatusOr<v1::DatasetReport> DatasetStore::MakeReport(DatasetRecord& record, int64_t number) {
  absl::StatusOr<DatasetModel> model = DatasetModel();
  if (!record.model.empty()) model = models_(record.model);
  const absl::Status no_model = model.status();
  if (absl::IsResourceExhausted(no_model)) return no_model;
  // The data are no worse if the model is gone since the upload.
  if (!model.ok()) model = DatasetModel();
  record.model = model->name;
  ASSIGN_OR_RETURN(const engine::DatasetOptions options, OptionsFor(record.header, *model));
  const std::string& id = record.header.id();
  absl::StatusOr<v1::DatasetReport> report = ValidateFile(
      PathOf(record.header, number), options, *model, ledger_,
      [&](std::string_view, double fraction) { return OnProgress(id, number, fraction); });
  if (report.ok() && !no_model.ok()) {
    report->add_warnings(engine::BoundedUtf8(
        absl::StrCat("tokens are not counted: ", engine::ClientMessage(no_model)), kMaxErrorBytes));
  }
  return report;
}

absl::Status DatasetStore::OnProgress(const std::string& id, int64_t number, double fraction) {
  if (stopping_) return absl::CancelledError("the server stops");
  MutexLock lock(mutex_);
  Entry* const entry = FindEntry(id, number);
  if (entry == nullptr) return absl::CancelledError("the data set was deleted");
  entry->fraction = fraction;
  return absl::OkStatus();
}

// Data sets as clients and jobs see them.

v1::Dataset DatasetStore::ToProto(const Entry& entry) {
  const DatasetRecord& record = entry.record;
  const v1::UploadHeader& header = record.header;
  v1::Dataset dataset;
  dataset.set_id(header.id());
  dataset.set_uid(UidOf(entry.number));
  dataset.set_etag(absl::StrCat(entry.number, "-", entry.revision));
  *dataset.mutable_labels() = header.labels();
  dataset.set_task(header.task());
  dataset.set_format(header.format());
  dataset.set_state(record.state);
  dataset.set_size_bytes(header.size_bytes());
  dataset.set_received_bytes(entry.received_bytes);
  dataset.set_digest(header.digest());
  dataset.set_error(record.error);
  *dataset.mutable_create_time() = Stamp(entry.create_time);
  if (record.ready_time) *dataset.mutable_ready_time() = Stamp(*record.ready_time);
  dataset.set_fraction(record.ready_time ? 1 : entry.fraction);
  dataset.set_model(record.model);
  return dataset;
}

absl::StatusOr<v1::Dataset> DatasetStore::Get(std::string_view id) {
  const std::optional<Entry> entry = CopyEntry(id);
  if (!entry) return DatasetNotFound(id);
  v1::Dataset dataset = ToProto(*entry);
  if (!entry->record.ready_time) return dataset;
  const absl::StatusOr<Record> stored = store_.Get(Collection::kDatasets, id);
  if (absl::IsNotFound(stored.status())) return DatasetNotFound(id);
  RETURN_IF_ERROR(Recorded(stored.status()));
  if (stored->number != entry->number) return DatasetNotFound(id);  // it was deleted just now
  absl::StatusOr<DatasetRecord> record = ParseDatasetRecord(stored->value);
  RETURN_IF_ERROR(Recorded(record.status()));
  if (record->report) *dataset.mutable_report() = *std::move(record->report);
  return dataset;
}

DatasetStore::Page DatasetStore::List(int64_t before, int limit) const {
  MutexLock lock(mutex_);
  std::vector<const Entry*> sorted;
  for (const auto& [id, entry] : entries_) {
    if (entry.number < before) sorted.push_back(&entry);
  }
  std::ranges::sort(sorted, std::ranges::greater(), &Entry::number);
  Page page;
  size_t bytes = 0;
  for (const Entry* const entry : sorted) {
    if (std::ssize(page.datasets) == limit || bytes > kMaxPageBytes) {
      page.next = entry->number + 1;
      break;
    }
    bytes += page.datasets.emplace_back(ToProto(*entry)).ByteSizeLong();
  }
  return page;
}

absl::StatusOr<DatasetFile> DatasetStore::Find(std::string_view id) {
  ASSIGN_OR_RETURN(v1::Dataset dataset, Get(id));
  if (dataset.state() != v1::DATASET_STATE_READY) {
    constexpr std::string_view kPrefix = "DATASET_STATE_";
    return DatasetNotReady(id, v1::DatasetState_Name(dataset.state()).substr(kPrefix.size()));
  }
  const std::optional<Entry> entry = CopyEntry(id);
  if (!entry || UidOf(entry->number) != dataset.uid()) return DatasetNotFound(id);
  const v1::UploadHeader& header = entry->record.header;
  return DatasetFile{.id = header.id(),
                     .uid = dataset.uid(),
                     .path = PathOf(header, entry->number),
                     .options = OptionsOf(header),
                     .digest = header.digest(),
                     .bytes = header.size_bytes(),
                     .report = dataset.report()};
}

int64_t DatasetStore::bytes() const {
  MutexLock lock(mutex_);
  int64_t bytes = 0;
  for (const auto& [id, entry] : entries_) bytes += entry.received_bytes;
  return bytes;
}

int64_t DatasetStore::count(v1::DatasetState state) const {
  MutexLock lock(mutex_);
  return std::ranges::count_if(
      entries_, [state](const auto& entry) { return entry.second.record.state == state; });
}

// Deletion.

absl::Status DatasetStore::Delete(std::string_view id, std::string_view etag) {
  int64_t number = 0;
  {
    MutexLock transition(transitions_);
    const std::optional<Entry> entry = CopyEntry(id);
    if (!entry) return DatasetNotFound(id);
    const v1::Dataset dataset = ToProto(*entry);
    if (!etag.empty() && etag != dataset.etag()) return EtagMismatch(etag, dataset.etag());
    if (options_.in_use && options_.in_use(dataset.uid())) return DatasetInUse(id);
    RETURN_IF_ERROR(Erase(std::string(id), *entry));
    number = entry->number;
  }
  RemoveFiles(number);
  return absl::OkStatus();
}

void DatasetStore::Sweep() {
  for (const Entry& entry : EraseExpired()) {
    RemoveFiles(entry.number);
    Log(LogLevel::kInfo, "removed an upload that was cut off",
        {{"id", entry.record.header.id()}, {"received_bytes", entry.received_bytes}});
  }
}

std::vector<DatasetStore::Entry> DatasetStore::EraseExpired() {
  const WallTime oldest = options_.now() - options_.cut_off_lifetime;
  std::vector<Entry> expired;
  MutexLock transition(transitions_);
  {
    MutexLock lock(mutex_);
    for (const auto& [id, entry] : entries_) {
      const bool waits = entry.record.state == v1::DATASET_STATE_UPLOADING && !entry.uploading;
      if (waits && entry.cut_off_time <= oldest) expired.push_back(entry);
    }
  }
  std::erase_if(expired, [&](const Entry& entry) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return !Erase(entry.record.header.id(), entry).ok();
  });
  return expired;
}

// Records and entries.

absl::Status DatasetStore::Update(const std::string& id, int64_t number,
                                  const DatasetRecord& record) {
  int64_t revision = 0;
  {
    MutexLock lock(mutex_);
    const Entry* const entry = FindEntry(id, number);
    if (entry == nullptr) return DatasetDeleted(id);
    revision = entry->revision;
  }
  const Write update = UpdateRecord{Collection::kDatasets, id, ToJson(record), revision};
  const absl::StatusOr<Committed> committed = store_.Commit({&update, 1});
  RETURN_IF_ERROR(Recorded(committed.status()));
  MutexLock lock(mutex_);
  Entry& entry = *FindEntry(id, number);  // others wait for transitions_
  entry.record = record;
  entry.record.report.reset();
  entry.revision = committed->records.front().revision;
  return absl::OkStatus();
}

absl::Status DatasetStore::Erase(const std::string& id, const Entry& entry) {
  const Write erase = DeleteRecord{Collection::kDatasets, id, entry.revision};
  RETURN_IF_ERROR(Recorded(store_.Commit({&erase, 1}).status()));
  MutexLock lock(mutex_);
  entries_.erase(id);
  return absl::OkStatus();
}

DatasetStore::Entry* DatasetStore::FindEntry(std::string_view id, int64_t number) {
  const auto found = entries_.find(id);
  return found != entries_.end() && found->second.number == number ? &found->second : nullptr;
}

std::optional<DatasetStore::Entry> DatasetStore::CopyEntry(std::string_view id) const {
  MutexLock lock(mutex_);
  const auto found = entries_.find(id);
  return found == entries_.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace whipsnake::server
