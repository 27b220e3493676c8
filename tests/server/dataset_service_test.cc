// Data sets over gRPC.
#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>

#include "tests/engine/base/support.h"
#include "tests/server/dataset_support.h"
#include "tests/server/support.h"
#include "whipsnake/v1/dataset.grpc.pb.h"

namespace whipsnake::server {
namespace {

using engine::TemporaryDirectory;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// A call of UploadDataset.
class Sender {
 public:
  explicit Sender(v1::DatasetService::Stub& stub)
      : writer_(stub.UploadDataset(&context, &response)) {}

  bool Send(const v1::UploadHeader& header) {
    v1::UploadDatasetRequest request;
    *request.mutable_header() = header;
    return writer_->Write(request);
  }
  bool Send(std::string_view data) {
    v1::UploadDatasetRequest request;
    request.set_data(std::string(data));
    return writer_->Write(request);
  }
  bool SendEmpty() { return writer_->Write(v1::UploadDatasetRequest()); }
  // Says that all data are sent, and waits for the answer.
  grpc::Status End() {
    writer_->WritesDone();
    return writer_->Finish();
  }
  // Waits for the answer of a call that the server ends by itself.
  grpc::Status Wait() { return writer_->Finish(); }

  grpc::ClientContext context;
  v1::UploadDatasetResponse response;

 private:
  std::unique_ptr<grpc::ClientWriter<v1::UploadDatasetRequest>> writer_;
};

class DatasetServiceTest : public testing::Test {
 protected:
  DatasetServiceTest() {
    options_ = FakeOptions(engine_);
    engine_.loads.Open();
    engine_.steps.Open();
    options_.data = directory_.path();
    options_.models.clear();  // a fake has no tokenizer on disk
  }

  void TearDown() override {
    EXPECT_THAT(seen_,
                Not(HasSubstr(std::filesystem::path(directory_.path()).filename().string())));
  }

  TestServer& server() {
    if (!server_) {
      server_.emplace(options_);
      stub_ = v1::DatasetService::NewStub(server_->channel);
    }
    return *server_;
  }
  void Restart() {
    stub_.reset();
    server_.reset();
    server();
  }
  Sender& NewSender() {
    server();
    return senders_.emplace_back(*stub_);
  }
  // Remembers what the client saw.
  grpc::Status Seen(const grpc::Status& status, const google::protobuf::Message& response) {
    absl::StrAppend(&seen_, status.error_message(), status.error_details(), response.DebugString());
    return status;
  }

  grpc::Status Upload(const v1::UploadHeader& header, std::string_view bytes, size_t piece = 1000) {
    Sender& sender = NewSender();
    sender.Send(header);
    for (size_t i = header.offset(); i < bytes.size(); i += piece) {
      sender.Send(bytes.substr(i, piece));
    }
    const grpc::Status status = Seen(sender.End(), sender.response);
    uploaded_ = sender.response.dataset();
    return status;
  }
  v1::Dataset Get(const std::string& id = "set") {
    server();
    grpc::ClientContext context;
    v1::GetDatasetRequest request;
    v1::GetDatasetResponse response;
    request.set_id(id);
    status_ = Seen(stub_->GetDataset(&context, request, &response), response);
    return response.dataset();
  }
  v1::Dataset Validated(const std::string& id = "set") {
    while (Get(id).state() == v1::DATASET_STATE_VALIDATING) continue;
    return Get(id);
  }
  v1::ListDatasetsResponse List(int page_size, const std::string& token) {
    server();
    grpc::ClientContext context;
    v1::ListDatasetsRequest request;
    v1::ListDatasetsResponse response;
    request.set_page_size(page_size);
    request.set_page_token(token);
    status_ = Seen(stub_->ListDatasets(&context, request, &response), response);
    return response;
  }
  grpc::Status Delete(const std::string& id, const std::string& etag = "") {
    server();
    grpc::ClientContext context;
    v1::DeleteDatasetRequest request;
    v1::DeleteDatasetResponse response;
    request.set_id(id);
    request.set_etag(etag);
    return Seen(stub_->DeleteDataset(&context, request, &response), response);
  }
  // Waits until the server has this many bytes.
  void WaitForBytes(int64_t bytes, const std::string& id = "set") {
    while (Get(id).received_bytes() < bytes) continue;
  }
  // Sends the rest of an upload that was cut off, as soon as the server has noticed the cut.
  grpc::Status Resume(v1::UploadHeader header, std::string_view bytes) {
    while (true) {
      header.set_offset(Get(header.id()).received_bytes());
      const grpc::Status status = Upload(header, bytes);
      const std::string reason = ReasonOf(status);
      if (reason != "UPLOAD_IN_PROGRESS" && reason != "WRONG_OFFSET") return status;
    }
  }

  const TemporaryDirectory directory_;
  FakeEngine engine_;
  DaemonOptions options_;
  std::optional<TestServer> server_;
  std::unique_ptr<v1::DatasetService::Stub> stub_;
  std::deque<Sender> senders_;
  v1::Dataset uploaded_;
  grpc::Status status_;
  std::string seen_;
};

TEST_F(DatasetServiceTest, UploadsListsAndDeletes) {
  const std::string rows = GoodRows(200);
  v1::UploadHeader header = HeaderOf(rows);
  ASSERT_TRUE(Upload(header, rows, 777).ok());
  EXPECT_EQ(uploaded_.id(), "set");
  EXPECT_GE(uploaded_.state(), v1::DATASET_STATE_VALIDATING);
  const v1::Dataset dataset = Validated();
  EXPECT_EQ(dataset.state(), v1::DATASET_STATE_READY);
  EXPECT_EQ(dataset.report().good_rows(), 200);
  EXPECT_EQ(engine::ReadBytes(directory_ / ("datasets/" + dataset.uid() + "/data.jsonl")), rows);

  for (const char* id : {"b", "c"}) {
    header.set_id(id);
    ASSERT_TRUE(Upload(header, rows).ok());
    Validated(id);
  }
  const auto first = List(2, "");
  EXPECT_EQ(first.datasets(0).id(), "c");
  EXPECT_EQ(first.datasets(1).id(), "b");
  EXPECT_FALSE(first.datasets(0).has_report());
  const auto last = List(2, first.next_page_token());
  EXPECT_EQ(last.datasets(0).id(), "set");
  EXPECT_EQ(last.next_page_token(), "");
  List(1001, "");
  EXPECT_EQ(FieldOf(status_), "page_size");
  List(1, "x");
  EXPECT_EQ(FieldOf(status_), "page_token");

  EXPECT_THAT(server_->Metrics(), HasSubstr("whipsnake_datasets{state=\"ready\"} 3"));
  EXPECT_THAT(server_->Metrics(),
              HasSubstr("whipsnake_dataset_uploads_total{result=\"complete\"} 3"));
  EXPECT_THAT(server_->Metrics(),
              HasSubstr(absl::StrCat("whipsnake_dataset_bytes ", 3 * rows.size())));
  EXPECT_EQ(ReasonOf(Delete("set", "0-0")), "ETAG_MISMATCH");
  EXPECT_TRUE(Delete("set", dataset.etag()).ok());
  EXPECT_EQ(ReasonOf(Delete("set")), "DATASET_NOT_FOUND");
  Get();
  EXPECT_EQ(status_.error_code(), grpc::NOT_FOUND);
}

TEST_F(DatasetServiceTest, AnUploadOfWhatIsThereEndsAtOnce) {
  const std::string rows = GoodRows(10);
  ASSERT_TRUE(Upload(HeaderOf(rows), rows).ok());
  const std::string uid = uploaded_.uid();
  Sender& again = NewSender();
  again.Send(HeaderOf(rows));
  EXPECT_TRUE(again.Wait().ok());
  EXPECT_EQ(again.response.dataset().uid(), uid);
}

TEST_F(DatasetServiceTest, RefusesCallsThatAreNoUploads) {
  const std::string rows = GoodRows(10);
  const auto field_of = [&](auto send) {
    Sender& sender = NewSender();
    send(sender);
    return FieldOf(Seen(sender.End(), sender.response));
  };
  EXPECT_EQ(field_of([](Sender&) {}), "header");
  EXPECT_EQ(field_of([&](Sender& sender) { sender.Send(rows); }), "header");
  EXPECT_EQ(field_of([](Sender& sender) { sender.SendEmpty(); }), "header");
  EXPECT_EQ(field_of([&](Sender& sender) {
              sender.Send(HeaderOf(rows));
              sender.Send(HeaderOf(rows));
            }),
            "header");
  EXPECT_TRUE(Delete("set").ok());
  EXPECT_EQ(field_of([&](Sender& sender) {
              sender.Send(HeaderOf(rows));
              sender.Send(std::string((1 << 20) + 1, 'x'));
            }),
            "data");
  v1::UploadHeader header = HeaderOf(rows, "../../etc");
  EXPECT_EQ(FieldOf(Upload(header, rows)), "id");
  std::string other = rows;
  other[9] ^= 1;
  EXPECT_EQ(FieldOf(Upload(HeaderOf(rows), other)), "digest");
  EXPECT_EQ(FieldOf(Upload(HeaderOf(rows), rows + "x")), "size_bytes");
}

TEST_F(DatasetServiceTest, GoesOnAfterTheClientWasGone) {
  const std::string rows = GoodRows(300);
  options_.jobs.datasets.bytes_between_syncs = 1;
  Sender& gone = NewSender();
  gone.Send(HeaderOf(rows));
  gone.Send(rows.substr(0, 1000));
  WaitForBytes(1000);
  EXPECT_EQ(ReasonOf(Upload(HeaderOf(rows), rows)), "UPLOAD_IN_PROGRESS");
  gone.context.TryCancel();
  EXPECT_EQ(gone.Wait().error_code(), grpc::CANCELLED);
  ASSERT_TRUE(Resume(HeaderOf(rows), rows).ok());
  EXPECT_EQ(Validated().report().good_rows(), 300);
}

TEST_F(DatasetServiceTest, AStalledUploadIsCutOff) {
  const std::string rows = GoodRows(300);
  options_.upload_stall_timeout = std::chrono::milliseconds(50);
  Sender& silent = NewSender();
  const grpc::Status no_header = silent.Wait();
  EXPECT_EQ(no_header.error_code(), grpc::DEADLINE_EXCEEDED);
  EXPECT_EQ(ReasonOf(no_header), "UPLOAD_STALLED");
  Sender& stalled = NewSender();
  stalled.Send(HeaderOf(rows));
  stalled.Send(rows.substr(0, 1000));
  EXPECT_EQ(ReasonOf(Seen(stalled.Wait(), stalled.response)), "UPLOAD_STALLED");
  options_.upload_stall_timeout = std::chrono::minutes(1);
  Restart();
  EXPECT_LE(Get().received_bytes(), 1000);
  ASSERT_TRUE(Resume(HeaderOf(rows), rows).ok());
  EXPECT_EQ(Validated().state(), v1::DATASET_STATE_READY);
}

TEST_F(DatasetServiceTest, EightUploadsAtATime) {
  const std::string rows = GoodRows(10);
  for (int i = 0; i < 8; ++i) {
    const std::string id = absl::StrCat("set-", i);
    NewSender().Send(HeaderOf(rows, id));
    while (Get(id).state() != v1::DATASET_STATE_UPLOADING) continue;
  }
  Sender& ninth = NewSender();
  const grpc::Status refused = Seen(ninth.Wait(), ninth.response);
  EXPECT_EQ(refused.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(refused), "TOO_MANY_UPLOADS");
  EXPECT_TRUE(HasRetry(refused));
  senders_[3].Send(rows);
  EXPECT_TRUE(senders_[3].End().ok());
  grpc::Status status;
  do status = Upload(HeaderOf(rows, "ninth"), rows);
  while (ReasonOf(status) == "TOO_MANY_UPLOADS");
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(DatasetServiceTest, ASilentUploadGivesItsPlaceToAnother) {
  const std::string rows = GoodRows(10);
  const auto now = std::make_shared<std::atomic<WallTime>>(std::chrono::system_clock::now());
  options_.jobs.datasets.now = [now] { return now->load(); };
  for (int i = 0; i < 8; ++i) {
    const std::string id = absl::StrCat("set-", i);
    NewSender().Send(HeaderOf(rows, id));
    while (Get(id).state() != v1::DATASET_STATE_UPLOADING) continue;
  }
  grpc::Status status;
  do {
    *now = now->load() + std::chrono::seconds(6);
    status = Upload(HeaderOf(rows, "ninth"), rows);
  } while (ReasonOf(status) == "TOO_MANY_UPLOADS");
  EXPECT_TRUE(status.ok()) << status.error_message();
  std::vector<std::string> displaced;
  for (int i = 0; i < 8; ++i) {
    senders_[i].Send(rows);
    const grpc::Status end = Seen(senders_[i].End(), senders_[i].response);
    if (end.ok()) continue;
    EXPECT_EQ(ReasonOf(end), "UPLOAD_DISPLACED");
    EXPECT_EQ(end.error_code(), grpc::UNAVAILABLE);
    displaced.push_back(absl::StrCat("set-", i));
  }
  ASSERT_EQ(displaced.size(), 1);
  EXPECT_TRUE(Resume(HeaderOf(rows, displaced[0]), rows).ok());
}

TEST_F(DatasetServiceTest, ADrainCutsUploadsOffAndTheNextServerGoesOn) {
  const std::string rows = GoodRows(300);
  options_.jobs.datasets.bytes_between_syncs = 1;
  Sender& reads = NewSender();
  reads.Send(HeaderOf(rows));
  reads.Send(rows.substr(0, 500));
  WaitForBytes(500);
  server_->daemon->RequestDrain();
  const grpc::Status drained = Seen(reads.Wait(), reads.response);
  EXPECT_EQ(drained.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(drained), "SERVER_DRAINING");
  Sender& late = NewSender();
  EXPECT_EQ(ReasonOf(Seen(late.Wait(), late.response)), "SERVER_DRAINING");
  Restart();
  EXPECT_EQ(Get().received_bytes(), 500);
  ASSERT_TRUE(Resume(HeaderOf(rows), rows).ok());
  EXPECT_EQ(Validated().state(), v1::DATASET_STATE_READY);
}

TEST_F(DatasetServiceTest, WithoutADirectoryThereAreNoDataSets) {
  options_.data = "";
  const std::string rows = GoodRows(10);
  EXPECT_EQ(ReasonOf(Upload(HeaderOf(rows), rows)), "NO_DATA_DIRECTORY");
  Get();
  EXPECT_EQ(ReasonOf(status_), "NO_DATA_DIRECTORY");
  List(0, "");
  EXPECT_EQ(status_.error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonOf(Delete("set")), "NO_DATA_DIRECTORY");
}

}  // namespace
}  // namespace whipsnake::server
