#include "server/datasets/dataset_store.h"

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <limits>
#include <random>
#include <thread>
#include <utility>

#include "engine/base/files.h"
#include "engine/finetune/data/data_file.h"
#include "engine/finetune/data/dataset_scan.h"
#include "server/datasets/dataset_header.h"
#include "server/datasets/dataset_validation.h"
#include "server/errors.h"
#include "tests/engine/base/support.h"
#include "tests/server/dataset_support.h"
#include "tests/server/fake_store.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;
using engine::Fails;
using engine::IsOk;
using std::chrono::hours;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using Code = absl::StatusCode;

constexpr int64_t kAll = std::numeric_limits<int64_t>::max();

class DatasetStoreTest : public testing::Test {
 protected:
  static google::rpc::ErrorInfo InfoOf(const absl::Status& status) {
    google::rpc::Status rich;
    rich.ParseFromString(ToGrpc(status).error_details());
    google::rpc::ErrorInfo info;
    for (const auto& detail : rich.details()) detail.UnpackTo(&info);
    return info;
  }

  static std::string ReasonOf(const absl::Status& status) { return InfoOf(status).reason(); }

  DatasetStoreTest() {
    options_.directory = directory_.path();
    options_.now = [this] { return now_.load(); };
    options_.in_use = [this](const std::string& uid) { return uid == in_use_; };
    options_.write = [this](int file, const void* bytes, size_t count) {
      return WriteWithinRoom(file, bytes, count);
    };
    records_.now = options_.now;
    Open();
  }

  ~DatasetStoreTest() override {
    upload_.reset();
    Raise(release_);
  }

  static void Raise(std::atomic<bool>& flag) {
    flag = true;
    flag.notify_all();
  }

  // The server's files fail after `room_` bytes.
  ssize_t WriteWithinRoom(int file, const void* bytes, size_t count) {
    const auto part = std::min<int64_t>(room_, static_cast<int64_t>(count));
    if (part == 0) {
      errno = ENOSPC;
      return -1;
    }
    room_ -= part;
    return write(file, bytes, part);
  }

  void Open() {
    upload_.reset();
    store_.reset();
    const auto models = [this](const std::string& name) { return Model(name); };
    store_ = std::make_unique<DatasetStore>(options_, &records_, models, &ledger_, metrics_);
    ASSERT_THAT(store_->Open(), IsOk());
  }

  // Beside BytesModel: "slow", which a validation waits for until release_; "lost", which is gone
  // when the validation begins.
  absl::StatusOr<DatasetModel> Model(const std::string& name) {
    if (name != "slow" && name != "lost") return BytesModel(name);
    if (model_calls_++ > 0) {
      if (name == "lost") return absl::NotFoundError("no model \"lost\"");
      Raise(begun_);
      release_.wait(false);
    }
    DatasetModel model = *BytesModel("bytes");
    model.name = name;
    return model;
  }

  // Remembers what a client would see, so that TearDown can look for paths in it.
  template <typename Result>
  Result Seen(Result result) {
    absl::Status status;
    if constexpr (requires { result.status(); }) {
      status = result.status();
    } else {
      status = result;
    }
    const grpc::Status reply = ToGrpc(status);
    absl::StrAppend(&seen_, reply.error_message(), reply.error_details());
    return result;
  }

  void TearDown() override {
    for (const v1::Dataset& dataset : store_->List(kAll, 1000).datasets) {
      if (const auto full = Seen(store_->Get(dataset.id())); full.ok()) {
        absl::StrAppend(&seen_, full->DebugString());
      }
    }
    EXPECT_THAT(seen_, Not(HasSubstr(fs::path(directory_.path()).filename().string())));
  }

  absl::Status Begin(const v1::UploadHeader& header) {
    auto begun = Seen(store_->Begin(header));
    RETURN_IF_ERROR(begun.status());
    upload_ = std::move(begun->upload);
    return absl::OkStatus();
  }
  absl::Status Append(std::string_view bytes) { return Seen(upload_->Append(bytes)); }
  absl::StatusOr<v1::Dataset> Finish() {
    auto finished = Seen(upload_->Finish());
    upload_.reset();
    return finished;
  }
  void Cut() { upload_.reset(); }

  absl::StatusOr<v1::Dataset> Upload(const v1::UploadHeader& header, std::string_view bytes) {
    RETURN_IF_ERROR(Begin(header));
    if (upload_ == nullptr) return store_->Get(header.id());
    if (absl::Status status = Append(bytes.substr(header.offset())); !status.ok()) {
      Cut();
      return status;
    }
    return Finish();
  }
  // Uploads and waits for the validation.
  v1::Dataset Validated(const v1::UploadHeader& header, std::string_view bytes) {
    EXPECT_THAT(Upload(header, bytes), IsOk());
    store_->Flush();
    const auto dataset = Seen(store_->Get(header.id()));
    EXPECT_THAT(dataset, IsOk());
    return dataset.value_or(v1::Dataset());
  }

  v1::Dataset Get(std::string_view id = "set") {
    return Seen(store_->Get(id)).value_or(v1::Dataset());
  }
  std::vector<std::string> Ids() {
    std::vector<std::string> ids;
    for (const v1::Dataset& dataset : store_->List(kAll, 1000).datasets) {
      ids.push_back(dataset.id());
    }
    return ids;
  }
  int64_t UploadsWith(const std::string& result) {
    return metrics_.dataset_uploads.With({result}).value();
  }

  const engine::TemporaryDirectory directory_;
  FakeStore records_;
  std::atomic<WallTime> now_{std::chrono::system_clock::now()};
  std::atomic<int64_t> room_ = kAll;
  std::string in_use_;
  std::atomic<int> model_calls_ = 0;
  std::atomic<bool> begun_ = false, release_ = false;
  engine::Ledger ledger_;
  Metrics metrics_;
  DatasetStoreOptions options_;
  std::unique_ptr<DatasetStore> store_;
  std::unique_ptr<DatasetUpload> upload_;
  std::string seen_;
};

TEST_F(DatasetStoreTest, KeepsAndValidatesWhatItWasGiven) {
  const std::string rows = GoodRows(100);
  v1::UploadHeader header = HeaderOf(rows);
  header.set_task("classification");
  header.set_model("bytes");
  header.set_max_length(9);
  (*header.mutable_labels())["team"] = std::string("a\0b", 3);
  const auto uploaded = Upload(header, rows);
  ASSERT_THAT(uploaded, IsOk());
  EXPECT_FALSE(uploaded->has_report());
  store_->Flush();
  const v1::Dataset dataset = Get();
  EXPECT_EQ(dataset.state(), v1::DATASET_STATE_READY);
  EXPECT_EQ(dataset.uid(), uploaded->uid());
  EXPECT_NE(dataset.etag(), uploaded->etag());
  EXPECT_EQ(dataset.received_bytes(), std::ssize(rows));
  EXPECT_EQ(dataset.digest(), header.digest());
  EXPECT_EQ(dataset.labels().at("team"), std::string("a\0b", 3));
  EXPECT_EQ(dataset.model(), "bytes");
  EXPECT_EQ(dataset.fraction(), 1);
  const v1::DatasetReport& report = dataset.report();
  EXPECT_EQ(report.good_rows(), 100);
  EXPECT_EQ(report.labels(), 3);
  EXPECT_EQ(report.label_counts(0).rows(), 34);
  EXPECT_EQ(report.max_length(), 9);
  EXPECT_GT(report.cut_rows(), 0);
  EXPECT_EQ(report.lengths().shortest(), 5);

  const auto file = Seen(store_->Find("set"));
  ASSERT_THAT(file, IsOk());
  EXPECT_EQ(engine::ReadBytes(file->path), rows);
  EXPECT_EQ(file->digest, header.digest());
  EXPECT_EQ(file->options.task, engine::Task::kClassification);
  EXPECT_EQ(file->report.good_rows(), 100);
  EXPECT_EQ(store_->bytes(), std::ssize(rows));
  EXPECT_EQ(store_->count(v1::DATASET_STATE_READY), 1);
  EXPECT_EQ(ledger_.used(), 0);
  EXPECT_EQ(UploadsWith("complete"), 1);
}

TEST_F(DatasetStoreTest, RefusesBadHeadersWithAllTheirFaults) {
  v1::UploadHeader header;
  header.set_id("../x");
  header.set_task("poetry");
  header.set_format("xml");
  header.set_digest("sha256:AB");
  header.set_offset(-1);
  header.set_max_length(1);
  header.set_label_column(std::string(256, 'x'));
  (*header.mutable_labels())[""] = "";
  const absl::Status refused = Begin(header);
  EXPECT_THAT(refused, Fails(Code::kInvalidArgument, "id: \"../x\" seen"));
  for (const char* field :
       {"task: ", "format: ", "size_bytes: 0 seen", "digest: ", "offset: -1", "max_length: 1",
        "label_column: 256 bytes", "labels: a key of 0 bytes"}) {
    EXPECT_THAT(std::string(refused.message()), HasSubstr(field));
  }
  EXPECT_EQ(directory_.entries(), 0);
}

TEST_F(DatasetStoreTest, NoIdLeavesTheDirectory) {
  const std::string rows = GoodRows(1);
  for (const char* id : {".", "..", "../x", "/x", "a/b", "a\\b", "-x", ".x", "A", "ä", "a b",
                         "0123456789012345678901234567890123456789012345678901234567890123"}) {
    EXPECT_THAT(Begin(HeaderOf(rows, id)), Fails(Code::kInvalidArgument, "id: ")) << id;
  }
  EXPECT_EQ(directory_.entries(), 0);
  // The longest and oddest ids that are allowed are in no path either.
  const std::string odd = "0._-" + std::string(59, 'z');
  EXPECT_EQ(Validated(HeaderOf(rows, odd), rows).state(), v1::DATASET_STATE_READY);
  EXPECT_THAT(store_->Find(odd)->path, Not(HasSubstr("zz")));
}

TEST_F(DatasetStoreTest, AnUploadMayBeRepeated) {
  const std::string rows = GoodRows(3);
  const v1::Dataset first = Validated(HeaderOf(rows), rows);
  const auto again = store_->Begin(HeaderOf(rows));
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->upload, nullptr);
  EXPECT_EQ(again->complete->uid(), first.uid());
  EXPECT_TRUE(again->complete->has_report());

  const std::string other = GoodRows(4);
  EXPECT_EQ(ReasonOf(Begin(HeaderOf(other))), "DATASET_EXISTS");
  v1::UploadHeader other_task = HeaderOf(rows);
  other_task.set_task("classification");
  EXPECT_THAT(Begin(other_task), Fails(Code::kAlreadyExists, "\"set\""));

  // Without an id, the same data with the same settings have the same one.
  const auto made = Upload(HeaderOf(rows, ""), rows);
  ASSERT_THAT(made, IsOk());
  EXPECT_EQ(store_->Begin(HeaderOf(rows, ""))->complete->uid(), made->uid());
  EXPECT_NE(Upload(HeaderOf(other, ""), other)->id(), made->id());
  other_task.set_id("");
  EXPECT_NE(Upload(other_task, rows)->id(), made->id());
}

TEST_F(DatasetStoreTest, OtherDataThanAnnouncedAreThrownAway) {
  const std::string rows = GoodRows(10);
  std::string other = rows;
  other[15] ^= 1;
  const auto expect_thrown_away = [&](const absl::Status& status, std::string_view field,
                                      std::string_view seen, std::string_view expected) {
    EXPECT_EQ(engine::FieldOf(status), field);
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(seen)));
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(expected)));
    EXPECT_THAT(Ids(), IsEmpty());
    EXPECT_EQ(directory_.entries(), 0);
    EXPECT_EQ(store_->bytes(), 0);
  };
  const std::string size = absl::StrCat(rows.size());
  expect_thrown_away(Upload(HeaderOf(rows), other).status(), "digest", Sha256Of(other),
                     Sha256Of(rows));
  expect_thrown_away(Upload(HeaderOf(rows), rows + "x").status(), "size_bytes",
                     absl::StrCat(rows.size() + 1), size);
  EXPECT_EQ(UploadsWith("wrong_data"), 2);
  // If bytes are missing, the rest may follow.
  v1::UploadHeader header = HeaderOf(rows);
  const absl::Status status = Upload(header, rows.substr(0, 20)).status();
  EXPECT_THAT(status, Fails(Code::kInvalidArgument, "size_bytes: 20 bytes seen"));
  EXPECT_EQ(Get().received_bytes(), 20);
  header.set_offset(20);
  EXPECT_EQ(Validated(header, rows).state(), v1::DATASET_STATE_READY);
}

TEST_F(DatasetStoreTest, GoesOnOnlyFromWhatItHas) {
  const std::string rows = GoodRows(10);
  v1::UploadHeader header = HeaderOf(rows);
  header.set_offset(5);
  EXPECT_EQ(InfoOf(Begin(header)).metadata().at("received_bytes"), "0");
  EXPECT_THAT(Ids(), IsEmpty());

  header.set_offset(0);
  ASSERT_THAT(Begin(header), IsOk());
  ASSERT_THAT(Append(rows.substr(0, 7)), IsOk());
  EXPECT_EQ(ReasonOf(Seen(store_->Begin(header)).status()), "UPLOAD_IN_PROGRESS");
  Cut();
  EXPECT_EQ(UploadsWith("cut_off"), 1);
  EXPECT_EQ(Get().state(), v1::DATASET_STATE_UPLOADING);
  EXPECT_EQ(Get().received_bytes(), 7);
  for (const int64_t offset : {0, 6, 8}) {
    header.set_offset(offset);
    const absl::Status refused = Begin(header);
    EXPECT_THAT(refused, Fails(Code::kFailedPrecondition, "expected 7"));
    EXPECT_EQ(InfoOf(refused).metadata().at("received_bytes"), "7");
  }
  header.set_offset(7);
  EXPECT_EQ(Validated(header, rows).state(), v1::DATASET_STATE_READY);
}

TEST_F(DatasetStoreTest, QuotasAreCheckedBeforeAnythingIsWritten) {
  const std::string rows = GoodRows(10);
  const int64_t size = std::ssize(rows);
  options_.max_dataset_bytes = size;
  options_.max_total_bytes = 2 * size + 1;
  options_.max_datasets = 3;
  Open();
  const auto expect_refused = [&](const v1::UploadHeader& header, const std::string& numbers) {
    const absl::Status status = Begin(header);
    EXPECT_THAT(status, Fails(Code::kResourceExhausted, numbers));
    EXPECT_EQ(ReasonOf(status), "DATASET_QUOTA");
  };
  expect_refused(HeaderOf(rows + "x"),
                 absl::StrCat(size + 1, " seen, expected at most ", size, " (--max-dataset-bytes"));
  EXPECT_EQ(directory_.entries(), 0);
  ASSERT_THAT(Begin(HeaderOf(rows, "a")), IsOk());
  Cut();  // what is not there yet counts too
  ASSERT_THAT(Upload(HeaderOf(rows, "b"), rows), IsOk());
  expect_refused(HeaderOf("ab", "c"), "--dataset-quota-bytes");
  ASSERT_THAT(Upload(HeaderOf("x", "c"), "x"), IsOk());
  expect_refused(HeaderOf("y", "d"), "there are 3");
  ASSERT_THAT(store_->Delete("b", ""), IsOk());
  EXPECT_THAT(Upload(HeaderOf(rows, "d"), rows), IsOk());
}

TEST_F(DatasetStoreTest, AFullDiskCutsTheUploadAndLosesNothing) {
  const std::string rows = GoodRows(100);
  v1::UploadHeader header = HeaderOf(rows);
  ASSERT_THAT(Begin(header), IsOk());
  ASSERT_THAT(Append(rows.substr(0, 100)), IsOk());
  room_ = 50;
  const absl::Status full = Append(rows.substr(100, 100));
  EXPECT_THAT(full, Fails(Code::kResourceExhausted, "No space left"));
  EXPECT_EQ(ReasonOf(full), "STORAGE_FULL");
  Cut();
  EXPECT_EQ(UploadsWith("storage_error"), 1);
  EXPECT_EQ(Get().received_bytes(), 150);
  room_ = kAll;
  header.set_offset(150);
  EXPECT_EQ(Validated(header, rows).state(), v1::DATASET_STATE_READY);
}

TEST_F(DatasetStoreTest, ARecordThatCannotBeWrittenLosesNothing) {
  const std::string rows = GoodRows(10);
  v1::UploadHeader header = HeaderOf(rows);
  const auto shared = std::make_shared<std::atomic<int>>(EIO);  // until the store ends
  std::atomic<int>& error = *shared;
  records_.before = [this, shared] {
    return *shared == 0 ? absl::OkStatus() : engine::FileError(*shared, directory_ / "db");
  };
  EXPECT_EQ(ReasonOf(Begin(header)), "STORAGE_FAILED");
  EXPECT_EQ(directory_.entries(), 0);
  error = ENOSPC;
  const absl::Status refused = Begin(header);
  EXPECT_THAT(refused, Fails(Code::kResourceExhausted, ""));
  EXPECT_EQ(ReasonOf(refused), "STORAGE_FULL");
  EXPECT_EQ(directory_.entries(), 0);
  error = 0;
  ASSERT_THAT(Begin(header), IsOk());
  ASSERT_THAT(Append(rows), IsOk());
  error = EIO;
  EXPECT_THAT(Finish(), Fails(Code::kInternal, ""));
  EXPECT_THAT(Seen(store_->Delete("set", "")), Fails(Code::kInternal, ""));
  EXPECT_EQ(Get().received_bytes(), std::ssize(rows));
  error = 0;
  header.set_offset(std::ssize(rows));
  EXPECT_EQ(Validated(header, rows).state(), v1::DATASET_STATE_READY);
}

TEST_F(DatasetStoreTest, UploadsThatWereCutOffAreKeptForADay) {
  const std::string rows = GoodRows(10);
  ASSERT_THAT(Upload(HeaderOf(rows, "complete"), rows), IsOk());
  for (const char* id : {"old", "young", "active"}) {
    ASSERT_THAT(Begin(HeaderOf(rows, id)), IsOk());
    ASSERT_THAT(Append(rows.substr(0, 9)), IsOk());
    if (id != std::string("active")) Cut();
    now_ = now_.load() + hours(10);
  }
  store_->Sweep();
  EXPECT_THAT(Ids(), ElementsAre("active", "young", "complete"));
  EXPECT_EQ(directory_.entries(), 3);
  now_ = now_.load() + hours(14);
  store_->Sweep();
  EXPECT_THAT(Ids(), ElementsAre("active", "complete"));
  // A server that stood still for long sweeps when it starts.
  Cut();
  now_ = now_.load() + hours(24);
  Open();
  EXPECT_THAT(Ids(), ElementsAre("complete"));
  EXPECT_EQ(directory_.entries(), 1);
}

TEST_F(DatasetStoreTest, DeletesTheRecordAndTheFiles) {
  const std::string rows = GoodRows(10);
  EXPECT_EQ(ReasonOf(Seen(store_->Delete("set", ""))), "DATASET_NOT_FOUND");
  EXPECT_THAT(Seen(store_->Get("set")), Fails(Code::kNotFound, "\"set\""));
  const v1::Dataset dataset = Validated(HeaderOf(rows), rows);
  const absl::Status stale = Seen(store_->Delete("set", "0-1"));
  EXPECT_THAT(stale, Fails(Code::kAborted, "\"0-1\" seen, expected \"" + dataset.etag()));
  EXPECT_EQ(ReasonOf(stale), "ETAG_MISMATCH");
  EXPECT_EQ(InfoOf(stale).metadata().at("etag"), dataset.etag());
  in_use_ = dataset.uid();
  EXPECT_EQ(ReasonOf(Seen(store_->Delete("set", dataset.etag()))), "DATASET_IN_USE");
  in_use_ = "";
  EXPECT_THAT(store_->Delete("set", dataset.etag()), IsOk());
  EXPECT_EQ(directory_.entries(), 0);
  EXPECT_THAT(Ids(), IsEmpty());
  EXPECT_NE(Validated(HeaderOf(rows), rows).uid(), dataset.uid());
}

TEST_F(DatasetStoreTest, ADeletionEndsTheUpload) {
  const std::string rows = GoodRows(10);
  ASSERT_THAT(Begin(HeaderOf(rows)), IsOk());
  ASSERT_THAT(Append(rows.substr(0, 10)), IsOk());
  ASSERT_THAT(store_->Delete("set", ""), IsOk());
  EXPECT_EQ(ReasonOf(Append(rows.substr(10))), "DATASET_DELETED");
  EXPECT_EQ(ReasonOf(Finish().status()), "DATASET_DELETED");
  EXPECT_EQ(directory_.entries(), 0);
  // Another data set of the same id is not touched by the old upload.
  ASSERT_THAT(Begin(HeaderOf(rows)), IsOk());
  const auto old = std::move(upload_);
  ASSERT_THAT(store_->Delete("set", ""), IsOk());
  ASSERT_THAT(Begin(HeaderOf(rows)), IsOk());
  EXPECT_EQ(ReasonOf(Seen(old->Append(rows))), "DATASET_DELETED");
  EXPECT_THAT(Append(rows), IsOk());
  EXPECT_THAT(Finish(), IsOk());
}

TEST_F(DatasetStoreTest, ADeletionEndsTheValidation) {
  const std::string rows = GoodRows(10);
  v1::UploadHeader header = HeaderOf(rows);
  header.set_model("slow");
  ASSERT_THAT(Upload(header, rows), IsOk());
  begun_.wait(false);
  EXPECT_EQ(Get().state(), v1::DATASET_STATE_VALIDATING);
  EXPECT_EQ(ReasonOf(Seen(store_->Find("set")).status()), "DATASET_NOT_READY");
  ASSERT_THAT(store_->Delete("set", ""), IsOk());
  Raise(release_);
  store_->Flush();
  EXPECT_THAT(Ids(), IsEmpty());
  EXPECT_EQ(directory_.entries(), 0);
}

TEST_F(DatasetStoreTest, FindsBadRows) {
  std::string rows;
  for (int i = 0; i < 150; ++i) rows += i % 2 == 0 ? "{\"text\": \"a\"}\n" : "{\"txt\": 1}\n";
  const v1::Dataset bad = Validated(HeaderOf(rows), rows);
  EXPECT_EQ(bad.state(), v1::DATASET_STATE_INVALID);
  EXPECT_EQ(bad.error(), "");
  EXPECT_EQ(bad.report().bad_rows(), 75);
  EXPECT_EQ(bad.report().first_bad_rows(1).line(), 4);
  EXPECT_EQ(bad.report().first_bad_rows(1).field(), "text");
  EXPECT_EQ(ReasonOf(Seen(store_->Find("set")).status()), "DATASET_NOT_READY");

  EXPECT_EQ(Validated(HeaderOf("\n", "empty"), "\n").state(), v1::DATASET_STATE_INVALID);

  v1::UploadHeader csv = HeaderOf("text,label\na,1\n", "csv");
  csv.set_format("csv");
  csv.set_task("regression");
  csv.set_label_column("score");
  const v1::Dataset unreadable = Validated(csv, "text,label\na,1\n");
  EXPECT_EQ(unreadable.state(), v1::DATASET_STATE_INVALID);
  EXPECT_THAT(unreadable.error(), HasSubstr("data.csv: line 1: "));
  EXPECT_FALSE(unreadable.has_report());
}

TEST_F(DatasetStoreTest, TokensAreCountedWithAModelOnly) {
  const std::string rows = GoodRows(10);
  const v1::Dataset without = Validated(HeaderOf(rows), rows);
  EXPECT_EQ(without.state(), v1::DATASET_STATE_READY);
  EXPECT_FALSE(without.report().has_lengths());
  EXPECT_EQ(without.report().tokens(), 0);

  v1::UploadHeader header = HeaderOf(rows, "unknown");
  header.set_model("unknown");
  EXPECT_EQ(engine::FieldOf(Begin(header)), "model");
  header.set_model("bytes");
  header.set_max_length(513);
  EXPECT_THAT(Begin(header),
              Fails(Code::kInvalidArgument, "max_length: 513 seen, expected at most"));
  EXPECT_THAT(Ids(), ElementsAre("set"));

  header = HeaderOf(rows, "lost");
  header.set_model("lost");
  const v1::Dataset lost = Validated(header, rows);
  EXPECT_EQ(lost.state(), v1::DATASET_STATE_READY);
  EXPECT_EQ(lost.model(), "");
  EXPECT_THAT(lost.report().warnings(), ElementsAre(HasSubstr("no model \"lost\"")));
}

TEST_F(DatasetStoreTest, AValidationWithoutMemoryIsTriedAgain) {
  engine::Ledger small(1000);
  const auto open = [&](engine::Ledger& ledger) {
    store_.reset();
    store_ = std::make_unique<DatasetStore>(options_, &records_, BytesModel, &ledger, metrics_);
    ASSERT_THAT(store_->Open(), IsOk());
    store_->Flush();
  };
  const auto try_again = [&] {
    now_ = now_.load() + hours(1);
    store_->Flush();  // maintains the store first
    store_->Flush();
  };
  open(small);
  const std::string rows = GoodRows(1000);
  const v1::Dataset waits = Validated(HeaderOf(rows), rows);
  EXPECT_EQ(waits.state(), v1::DATASET_STATE_VALIDATING);
  EXPECT_THAT(waits.error(), HasSubstr("1000 allowed"));
  EXPECT_EQ(ReasonOf(store_->Find("set").status()), "DATASET_NOT_READY");
  for (int i = 1; i < DatasetStore::kMaxAttempts; ++i) {
    EXPECT_EQ(Get().state(), v1::DATASET_STATE_VALIDATING);
    try_again();
  }
  EXPECT_EQ(Get().state(), v1::DATASET_STATE_INVALID);
  EXPECT_THAT(Get().error(), HasSubstr("1000 allowed"));
  try_again();
  EXPECT_EQ(Get().state(), v1::DATASET_STATE_INVALID) << "the attempts are over";

  EXPECT_EQ(Validated(HeaderOf(rows), rows).state(), v1::DATASET_STATE_VALIDATING)
      << "a repeated upload begins anew";
  open(ledger_);
  EXPECT_EQ(Get().state(), v1::DATASET_STATE_READY) << "and so does a start";
  EXPECT_EQ(Get().error(), "");
  open(small);
  EXPECT_EQ(Get().state(), v1::DATASET_STATE_READY);
  open(ledger_);
}

TEST_F(DatasetStoreTest, AMomentWithoutMemoryPasses) {
  engine::Ledger ledger(1 << 20);
  store_ = std::make_unique<DatasetStore>(options_, &records_, BytesModel, &ledger, metrics_);
  ASSERT_THAT(store_->Open(), IsOk());
  const std::string rows = GoodRows(1000);
  {
    const auto all = ledger.Reserve(1 << 20, engine::Purpose::kWorkspace, "all of the memory");
    ASSERT_THAT(all, IsOk());
    EXPECT_EQ(Validated(HeaderOf(rows), rows).state(), v1::DATASET_STATE_VALIDATING);
  }
  now_ = now_.load() + std::chrono::minutes(1);
  store_->Flush();
  store_->Flush();
  EXPECT_EQ(Get().state(), v1::DATASET_STATE_READY);
  EXPECT_EQ(Get().error(), "");
  store_.reset();
  Open();
}

TEST_F(DatasetStoreTest, ListsTheLatestFirstInPages) {
  for (int i = 0; i < 5; ++i) {
    const std::string rows = GoodRows(1 + i);
    ASSERT_THAT(Upload(HeaderOf(rows, absl::StrCat("set-", i)), rows), IsOk());
  }
  const auto first = store_->List(kAll, 2);
  EXPECT_EQ(first.datasets[0].id(), "set-4");
  EXPECT_EQ(first.datasets[1].id(), "set-3");
  ASSERT_THAT(store_->Delete("set-3", ""), IsOk());
  const auto second = store_->List(first.next, 2);
  EXPECT_EQ(second.datasets[0].id(), "set-2");
  EXPECT_EQ(second.datasets[1].id(), "set-1");
  const auto last = store_->List(second.next, 2);
  EXPECT_EQ(last.datasets[0].id(), "set-0");
  EXPECT_EQ(last.next, 0);
}

// A server that dies, or is stopped, at any stage.
TEST_F(DatasetStoreTest, EveryStageSurvivesARestart) {
  const std::string rows = GoodRows(200);
  v1::UploadHeader header = HeaderOf(rows);
  header.set_model("slow");
  // After the record, before the directory.
  const Write created = CreateRecord{Collection::kDatasets, "set", "",
                                     ToJson(DatasetRecord{.header = header, .model = "slow"})};
  ASSERT_THAT(records_.Commit({&created, 1}), IsOk());
  Open();
  EXPECT_EQ(Get().state(), v1::DATASET_STATE_UPLOADING);
  EXPECT_EQ(Get().received_bytes(), 0);
  const std::string uid = Get().uid();
  // In the middle of the upload.
  ASSERT_THAT(Begin(header), IsOk());
  ASSERT_THAT(Append(rows.substr(0, 1000)), IsOk());
  Open();
  EXPECT_EQ(Get().received_bytes(), 1000);
  // After the last byte, before the record says so.
  header.set_offset(1000);
  ASSERT_THAT(Begin(header), IsOk());
  ASSERT_THAT(Append(rows.substr(1000)), IsOk());
  Open();
  EXPECT_EQ(Get().state(), v1::DATASET_STATE_UPLOADING);
  EXPECT_EQ(Get().received_bytes(), std::ssize(rows));
  // In the middle of the validation.
  model_calls_ = 1;
  header.set_offset(std::ssize(rows));
  ASSERT_THAT(Upload(header, rows), IsOk());
  begun_.wait(false);
  EXPECT_EQ(Get().state(), v1::DATASET_STATE_VALIDATING);
  std::thread stop([this] { store_.reset(); });
  Raise(release_);
  stop.join();
  Open();
  store_->Flush();
  const v1::Dataset ready = Get();
  EXPECT_EQ(ready.state(), v1::DATASET_STATE_READY);
  EXPECT_EQ(ready.uid(), uid);
  Open();
  EXPECT_EQ(Get().DebugString(), ready.DebugString());
  // After the deletion of the record, before that of the files.
  const Write erased = DeleteRecord{Collection::kDatasets, "set"};
  ASSERT_THAT(records_.Commit({&erased, 1}), IsOk());
  engine::WriteBytes(directory_ / "notes", "not ours");
  Open();
  EXPECT_THAT(Ids(), IsEmpty());
  EXPECT_EQ(directory_.entries(), 1);
}

// What a file system may leave of bytes that were not made durable: their number without them.
TEST_F(DatasetStoreTest, ACrashOfTheMachineCostsNoMoreThanWhatWasNotDurable) {
  const std::string rows = GoodRows(300);
  options_.bytes_between_syncs = 1000;
  Open();
  v1::UploadHeader header = HeaderOf(rows);
  ASSERT_THAT(Begin(header), IsOk());
  ASSERT_THAT(Append(rows.substr(0, 1000)), IsOk());
  ASSERT_THAT(Append(rows.substr(1000, 500)), IsOk());
  EXPECT_EQ(Get().received_bytes(), 1000);
  const fs::path files = directory_ / Get().uid(), disk = directory_ / "disk";
  fs::copy(files, disk);
  store_->Flush();
  upload_.reset();
  store_.reset();
  fs::remove_all(files);
  fs::rename(disk, files);
  engine::WriteBytes(files / "data.jsonl", rows.substr(0, 1000) + std::string(500, '\0'));
  const std::string mark = engine::ReadBytes(files / "data.jsonl.durable");
  engine::WriteBytes(files / "data.jsonl.durable", mark.substr(0, 20) + std::string(36, '0'));
  Open();
  EXPECT_EQ(Get().received_bytes(), 1000);
  header.set_offset(1000);
  EXPECT_EQ(Validated(header, rows).state(), v1::DATASET_STATE_READY);
}

TEST_F(DatasetStoreTest, ADamagedRecordHarmsNoOther) {
  const std::string rows = GoodRows(2);
  for (const char* id : {"damaged", "good"}) Validated(HeaderOf(rows, id), rows);
  const Write damage = UpdateRecord{Collection::kDatasets, "damaged", "{\"version\": 2}"};
  ASSERT_THAT(records_.Commit({&damage, 1}), IsOk());
  Open();
  EXPECT_THAT(Ids(), ElementsAre("good"));
  EXPECT_EQ(directory_.entries(), 2);  // an operator may want the file
}

// Random cuts, at random offsets, with restarts, full disks and syncs in between, give the bytes
// and the report of a direct scan.
TEST_F(DatasetStoreTest, CutsAndResumesLeaveNoTrace) {
  std::mt19937 random(7);
  const auto below = [&](size_t n) { return random() % n; };
  for (int round = 0; round < 20; ++round) {
    std::string rows = GoodRows(1 + static_cast<int>(below(300)));
    for (size_t damage = below(4); damage > 0; --damage) rows[below(rows.size())] = '"';
    v1::UploadHeader header = HeaderOf(rows, absl::StrCat("set-", round));
    header.set_task(below(2) == 0 ? "causal-lm" : "classification");
    if (below(2) == 0) header.set_model("bytes");
    options_.bytes_between_syncs = 1 + static_cast<int64_t>(below(2000));
    if (below(2) == 0) Open();
    int64_t uploads = 0;
    while (true) {
      ASSERT_THAT(Begin(header), IsOk());
      bool full = false;
      int64_t sent = header.offset();
      for (size_t pieces = below(6); pieces > 0 && !full; --pieces) {
        const std::string_view piece = std::string_view(rows).substr(sent, below(2000));
        if (below(5) == 0) room_ = static_cast<int64_t>(below(piece.size() + 1));
        full = !Append(piece).ok();
        sent += std::ssize(piece);
      }
      room_ = kAll;
      if (!full && sent == std::ssize(rows)) break;
      Cut();
      if (below(3) == 0) Open();
      const int64_t received = Get(header.id()).received_bytes();
      EXPECT_TRUE(full ? received <= sent : received == sent) << received << " of " << sent;
      header.set_offset(received);
      ASSERT_LT(++uploads, 1000);
    }
    ASSERT_THAT(Finish(), IsOk());
    store_->Flush();

    const v1::Dataset dataset = Get(header.id());
    const std::string direct = directory_ / "direct.jsonl";
    engine::WriteBytes(direct, rows);
    EXPECT_EQ(engine::ReadBytes(options_.directory + "/" + dataset.uid() + "/data.jsonl"), rows);
    const DatasetModel model = *BytesModel(header.model());
    const auto scanned =
        engine::ScanFile(*engine::DataFile::Open(direct), *OptionsFor(header, model),
                         model.tokenizer.get(), ledger_, nullptr);
    ASSERT_THAT(scanned, IsOk());
    const engine::DatasetReport& expected = scanned->report;
    EXPECT_EQ(dataset.state() == v1::DATASET_STATE_READY, Check(expected).ok());
    const v1::DatasetReport& report = dataset.report();
    EXPECT_EQ(report.good_rows(), expected.good_rows);
    EXPECT_EQ(report.bad_rows(), expected.bad_rows);
    EXPECT_EQ(report.first_bad_rows_size(), std::ssize(expected.first_bad_rows));
    for (int i = 0; i < report.first_bad_rows_size(); ++i) {
      EXPECT_EQ(report.first_bad_rows(i).line(), expected.first_bad_rows[i].line);
      EXPECT_EQ(report.first_bad_rows(i).message(), expected.first_bad_rows[i].message);
    }
    EXPECT_EQ(report.labels(), std::ssize(expected.labels));
    EXPECT_EQ(report.tokens(), expected.tokens);
    EXPECT_EQ(report.lengths().longest(), expected.lengths.longest);
    EXPECT_EQ(report.cut_rows(), expected.cut_rows);
    EXPECT_EQ(report.repeated_rows(), expected.repeated.count);
    EXPECT_EQ(report.contradicting_rows(), expected.contradicting.count);
    fs::remove(direct);
  }
}

}  // namespace
}  // namespace whipsnake::server
