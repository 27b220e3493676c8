// Data sets that clients upload: their files, their records, and their validation.
//
// A data set is a record in the store, under the client's id, and a file in a directory named by
// the server, so nothing that a client chooses becomes part of a path. The record is the truth: a
// file without a record is removed at the next start, and a record says whether its file is
// complete.
//
// One thread of low priority validates complete files in the order of their arrival. A validation
// that a stop of the server interrupts begins again at the next start. One that fails for lack of
// memory is tried again, after a time that doubles, until kMaxAttempts have failed; the data set is
// then INVALID until the next start or a repeated upload begins anew.
#ifndef WHIPSNAKE_SERVER_DATASETS_DATASET_STORE_H_
#define WHIPSNAKE_SERVER_DATASETS_DATASET_STORE_H_

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/memory.h"
#include "engine/base/mutex.h"
#include "engine/finetune/data/dataset_options.h"
#include "server/datasets/dataset_models.h"
#include "server/datasets/dataset_record.h"
#include "server/datasets/dataset_upload.h"
#include "server/datasets/partial_file.h"
#include "server/metrics/metrics.h"
#include "server/store/store.h"
#include "server/work/disk_queue.h"
#include "whipsnake/v1/dataset.pb.h"

namespace whipsnake::server {

struct DatasetStoreOptions {
  std::string directory;  // of the files, must exist
  int64_t max_dataset_bytes = int64_t{1} << 30;
  int64_t max_total_bytes = int64_t{16} << 30;  // of all data sets, as announced
  int64_t max_datasets = 1000;
  // How long an upload that was cut off is kept after its last byte.
  std::chrono::milliseconds cut_off_lifetime = std::chrono::hours(24);
  int64_t bytes_between_syncs = int64_t{8} << 20;
  std::function<WallTime()> now = std::chrono::system_clock::now;
  // Whether a job that has not ended uses the data set; null: none does. Must not call the
  // DatasetStore.
  std::function<bool(const std::string& uid)> in_use;
  WriteFunction write = ::write;
};

// A data set that jobs can use.
struct DatasetFile {
  std::string id, uid;
  std::string path;
  engine::DatasetOptions options;  // task, format, columns; what depends on a model is not set
  std::string digest;              // SHA-256, as v1::Dataset.digest
  int64_t bytes = 0;
  v1::DatasetReport report;
};

// Thread-safe. Every call but List, bytes and count may wait for the disk.
//
// Errors for clients name no path. All calls may return INTERNAL or RESOURCE_EXHAUSTED if the
// server's files fail (StorageError); the log then has the reason.
class DatasetStore {
 public:
  static constexpr int kMaxAttempts = 5;

  // The pointers and `metrics` must outlive the store.
  DatasetStore(DatasetStoreOptions options, Store* store, DatasetModels models,
               engine::Ledger* ledger, Metrics& metrics);
  // Interrupts the validations. All uploads must have been destroyed.
  ~DatasetStore();

  // Reads the records, removes files without one, and continues validations. Must be called once,
  // before everything else; no other process may use the directory.
  absl::Status Open();

  // What Begin returns: one of the two is set.
  struct BegunUpload {
    std::unique_ptr<DatasetUpload> upload;
    std::optional<v1::Dataset> complete;  // the server has all the data
  };
  // Begins an upload, or continues one from `header.offset` on.
  //   INVALID_ARGUMENT: CheckHeader; a model that does not fit.
  //   NOT_FOUND: the model.
  //   ALREADY_EXISTS: a data set of this id has another header.
  //   ABORTED: another upload of this id is in progress.
  //   FAILED_PRECONDITION: the offset is not the number of received bytes.
  //   RESOURCE_EXHAUSTED: a quota. Nothing has been written.
  absl::StatusOr<BegunUpload> Begin(v1::UploadHeader header);

  // With its report. NOT_FOUND.
  absl::StatusOr<v1::Dataset> Get(std::string_view id);
  // Data sets without their reports, the latest first.
  struct Page {
    std::vector<v1::Dataset> datasets;
    int64_t next = 0;  // `before` of the next page; 0 after the last one
  };
  // Those whose numbers are below `before`: at most `limit`, and less than about 2 MiB.
  Page List(int64_t before, int limit) const;
  // Deletes a data set, and cuts off its upload or validation. NOT_FOUND; ABORTED if `etag` is
  // neither empty nor the current one; FAILED_PRECONDITION if it is in use.
  absl::Status Delete(std::string_view id, std::string_view etag);

  // For jobs. NOT_FOUND; FAILED_PRECONDITION unless the data set is READY. The file does not
  // change, and stays as long as `in_use` holds for the uid.
  absl::StatusOr<DatasetFile> Find(std::string_view id);

  int64_t bytes() const;  // that have been received of all data sets
  int64_t count(v1::DatasetState state) const;

  // Deletes uploads that were cut off too long ago. The store does this by itself; public for
  // tests.
  void Sweep();
  // Returns when the queued validations have ended; for tests.
  void Flush() { queue_.Flush(); }

 private:
  friend class DatasetUpload;
  struct Entry {
    DatasetRecord record;  // without the report
    int64_t number = 0;
    int64_t revision = 0;
    WallTime create_time;
    int64_t received_bytes = 0;  // that are durable
    bool uploading = false;      // an upload is in progress
    WallTime cut_off_time = {};  // if none is: when the last one was cut off
    bool queued = false;         // for validation
    double fraction = 0;         // of the validation
    int attempts = 0;            // to validate, that failed for lack of memory
    WallTime next_attempt = {};  // to validate, if that is not queued
  };
  using Entries = std::map<std::string, Entry, std::less<>>;

  std::string DirectoryOf(int64_t number) const;
  std::string PathOf(const v1::UploadHeader& header, int64_t number) const;
  void RemoveFiles(int64_t number) const;
  // Of Open.
  void Load(const Record& record);
  void RemoveOrphans(const std::set<std::string>& known) const;

  // Begins: checks the header against what is there, and creates the record of a new data set.
  // Returns the number of the data set, which is marked as uploading, or nullopt if it is complete.
  absl::StatusOr<std::optional<int64_t>> Admit(const v1::UploadHeader& header, int64_t offset);
  absl::StatusOr<std::optional<int64_t>> AdmitAgain(Entry& entry, const v1::UploadHeader& header,
                                                    int64_t offset)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<int64_t> Create(const v1::UploadHeader& header)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(transitions_);
  absl::Status CheckQuota(const v1::UploadHeader& header) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // For DatasetUpload. A data set that was deleted in the meantime is ABORTED.
  absl::Status SetReceived(const std::string& id, int64_t number, int64_t bytes);
  absl::StatusOr<v1::Dataset> Complete(const std::string& id, int64_t number);
  void Discard(const std::string& id, int64_t number);
  void EndUpload(const std::string& id, int64_t number, int64_t durable_bytes);

  void Validate(const std::string& id, int64_t number);
  absl::StatusOr<v1::DatasetReport> MakeReport(DatasetRecord& record, int64_t number);
  absl::Status OnProgress(const std::string& id, int64_t number, double fraction);
  void Queue(const std::string& id, Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Queues a data set that is INVALID for lack of memory, if it is.
  void ValidateAgain(const std::string& id, Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether another attempt follows one that failed with this error.
  bool PutOff(const std::string& id, int64_t number, const absl::Status& error);
  // Called regularly by the queue's thread.
  void Maintain();

  // Writes `record` in place of the entry's, with its report.
  absl::Status Update(const std::string& id, int64_t number, const DatasetRecord& record)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(transitions_);
  // Deletes the record and forgets the entry. The files are left.
  absl::Status Erase(const std::string& id, const Entry& entry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(transitions_);
  // Deletes the records of uploads that were cut off too long ago, and returns them.
  std::vector<Entry> EraseExpired();
  // Returns the entry if it is still that data set, or null.
  Entry* FindEntry(std::string_view id, int64_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::optional<Entry> CopyEntry(std::string_view id) const;
  static v1::Dataset ToProto(const Entry& entry);

  const DatasetStoreOptions options_;
  Store& store_;
  const DatasetModels models_;
  engine::Ledger& ledger_;
  Metrics& metrics_;
  std::atomic<bool> stopping_ = false;
  // Held while a record and its entry change together. Taken before mutex_.
  engine::Mutex transitions_;
  // Never held while waiting for the disk.
  mutable engine::Mutex mutex_;
  Entries entries_ ABSL_GUARDED_BY(mutex_);
  DiskQueue queue_;  // of validations; the last member, because its thread uses the others
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_DATASETS_DATASET_STORE_H_
