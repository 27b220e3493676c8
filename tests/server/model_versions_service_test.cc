// Versions through the RPCs of a daemon, and under load with a real model.
#include <atomic>
#include <fstream>
#include <thread>

#include "tests/server/map_store.h"
#include "tests/server/support.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// A directory for the daemon's data, removed at the end.
struct DataFolder {
  DataFolder() { fs::create_directories(path); }
  ~DataFolder() { fs::remove_all(path); }

  const fs::path path = fs::path(testing::TempDir()) / "versions-data";
};

template <typename Request, typename Response>
grpc::Status Call(TestServer& server,
                  grpc::Status (v1::ModelService::Stub::*method)(grpc::ClientContext*,
                                                                 const Request&, Response*),
                  const Request& request, Response* response) {
  grpc::ClientContext context;
  return (server.models.get()->*method)(&context, request, response);
}

class VersionServiceTest : public testing::Test {
 protected:
  using Stub = v1::ModelService::Stub;

  void Start(bool with_store = true) {
    DaemonOptions options = FakeOptions(engine_);
    if (with_store) options.data = data_.path;
    server_.emplace(std::move(options));
  }
  void Promote(const std::string& name, const std::string& alias = "") {
    const fs::path directory = data_.path / "result";
    fs::create_directories(directory);
    std::ofstream(directory / "config.json") << "{}";
    const auto version = server_->daemon->versions().Promote({.name = name,
                                                              .directory = directory,
                                                              .source_job = "job-1",
                                                              .checkpoint_step = 40,
                                                              .alias = alias});
    ASSERT_TRUE(version.ok()) << version.status();
  }
  grpc::Status List(const std::string& name, v1::ListModelVersionsResponse* response,
                    int page_size = 0, const std::string& token = "") {
    v1::ListModelVersionsRequest request;
    request.set_name(name);
    request.set_page_size(page_size);
    request.set_page_token(token);
    return Call(*server_, &Stub::ListModelVersions, request, response);
  }
  grpc::Status RollBack(std::optional<int64_t> version, const std::string& etag = "") {
    v1::RollBackModelRequest request;
    request.set_name("alphabet");
    if (version) request.set_version(*version);
    request.set_etag(etag);
    return Call(*server_, &Stub::RollBackModel, request, &rolled_back_);
  }
  grpc::Status Alias(const std::string& alias, int64_t version) {
    v1::SetModelAliasRequest request;
    v1::SetModelAliasResponse response;
    request.set_alias(alias);
    request.set_version(version);
    return Call(*server_, &Stub::SetModelAlias, request, &response);
  }
  grpc::Status Unalias(const std::string& alias) {
    v1::DeleteModelAliasRequest request;
    v1::DeleteModelAliasResponse response;
    request.set_alias(alias);
    return Call(*server_, &Stub::DeleteModelAlias, request, &response);
  }
  grpc::Status Delete(const std::string& name, const std::string& etag = "") {
    v1::DeleteModelVersionRequest request;
    v1::DeleteModelVersionResponse response;
    request.set_name(name);
    request.set_etag(etag);
    return Call(*server_, &Stub::DeleteModelVersion, request, &response);
  }
  // Returns the model that answered, or the reason of the error.
  std::string Generate(const std::string& model, v1::GenerateResponse* response = nullptr,
                       const std::string& state = "") {
    grpc::ClientContext context;
    v1::GenerateRequest request;
    v1::GenerateResponse own;
    if (response == nullptr) response = &own;
    *request.mutable_parameters() = Greedy("a", 2);
    request.mutable_parameters()->set_model(model);
    request.mutable_parameters()->set_state(state);
    if (state.empty()) request.mutable_parameters()->mutable_output()->mutable_save_state();
    const grpc::Status status = server_->generation->Generate(&context, request, response);
    return status.ok() ? response->resolved().model() : ReasonOf(status);
  }

  DataFolder data_;
  FakeEngine engine_;
  v1::RollBackModelResponse rolled_back_;
  std::optional<TestServer> server_;
};

TEST_F(VersionServiceTest, VersionsAreListedRolledBackAliasedAndDeleted) {
  Start();
  EXPECT_EQ(Generate("alphabet"), "alphabet");
  Promote("alphabet");
  Promote("alphabet", "stable");
  EXPECT_EQ(Generate("alphabet"), "alphabet:2");
  EXPECT_EQ(Generate("alphabet:stable"), "alphabet:2");
  EXPECT_EQ(Generate(""), "alphabet:2");

  v1::ListModelVersionsResponse list;
  ASSERT_TRUE(List("alphabet", &list).ok());
  ASSERT_EQ(list.versions_size(), 3) << "with the model of the command line, version 0";
  EXPECT_EQ(list.versions(1).name(), "alphabet:1");
  EXPECT_EQ(list.versions(1).source_job(), "job-1");
  EXPECT_EQ(list.versions(1).checkpoint_step(), 40);
  EXPECT_TRUE(list.versions(2).serving());
  EXPECT_EQ(list.versions(2).aliases(0), "alphabet:stable");
  EXPECT_EQ(list.history_size(), 3);

  ASSERT_TRUE(RollBack({}, list.etag()).ok());
  EXPECT_EQ(rolled_back_.version().name(), "alphabet:1");
  EXPECT_EQ(Generate("alphabet"), "alphabet:1");
  ASSERT_TRUE(RollBack(0).ok());
  EXPECT_EQ(Generate("alphabet"), "alphabet:0");
  ASSERT_TRUE(Alias("alphabet:old", 1).ok());
  EXPECT_EQ(Generate("alphabet:old"), "alphabet:1");
  ASSERT_TRUE(Unalias("alphabet:old").ok());
  EXPECT_EQ(Generate("alphabet:old"), "MODEL_NOT_FOUND");
  ASSERT_TRUE(Delete("alphabet:1").ok());
  ASSERT_TRUE(List("alphabet", &list).ok());
  EXPECT_EQ(list.versions_size(), 2);
}

TEST_F(VersionServiceTest, ListModelsShowsVersionsAndPagesThroughThem) {
  Start();
  Promote("acme/support", "stable");
  v1::ListModelsRequest request;
  request.set_page_size(1);
  std::vector<v1::Model> models;
  do {
    v1::ListModelsResponse page;
    ASSERT_TRUE(Call(*server_, &Stub::ListModels, request, &page).ok());
    models.insert(models.end(), page.models().begin(), page.models().end());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  ASSERT_EQ(models.size(), 2);
  EXPECT_EQ(models[0].name(), "acme/support:1");
  EXPECT_EQ(models[0].version(), 1);
  EXPECT_TRUE(models[0].serving());
  EXPECT_EQ(models[0].aliases(0), "acme/support:stable");
  EXPECT_EQ(models[0].source_job(), "job-1");
  EXPECT_EQ(models[1].name(), "alphabet");
  EXPECT_EQ(models[1].version(), 0);
  EXPECT_TRUE(models[1].serving());
}

TEST_F(VersionServiceTest, PagesGoThroughAllVersions) {
  Start();
  for (int i = 0; i < 3; ++i) Promote("alphabet");
  std::vector<int64_t> numbers;
  std::string token;
  do {
    v1::ListModelVersionsResponse page;
    ASSERT_TRUE(List("alphabet", &page, 2, token).ok());
    for (const auto& version : page.versions()) numbers.push_back(version.version());
    token = page.next_page_token();
  } while (!token.empty());
  EXPECT_THAT(numbers, testing::ElementsAre(0, 1, 2, 3));
  v1::ListModelVersionsResponse page;
  EXPECT_EQ(FieldOf(List("alphabet", &page, 2, "x")), "page_token");
  EXPECT_EQ(FieldOf(List("alphabet", &page, -1)), "page_size");
}

TEST_F(VersionServiceTest, ErrorsHaveTheirDetails) {
  Start();
  v1::ListModelVersionsResponse list;
  const grpc::Status nothing = List("alphabet", &list);
  EXPECT_EQ(nothing.error_code(), grpc::NOT_FOUND);
  EXPECT_EQ(DetailOf<google::rpc::ResourceInfo>(nothing)->resource_name(), "alphabet");
  Promote("alphabet", "stable");
  const grpc::Status absent = RollBack(9);
  EXPECT_EQ(absent.error_code(), grpc::NOT_FOUND);
  EXPECT_EQ(DetailOf<google::rpc::ResourceInfo>(absent)->resource_name(), "alphabet:9");
  const grpc::Status stale = RollBack({}, "x");
  EXPECT_EQ(stale.error_code(), grpc::ABORTED);
  EXPECT_EQ(ReasonOf(stale), "ETAG_MISMATCH");
  const grpc::Status used = Delete("alphabet:1");
  EXPECT_EQ(used.error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_EQ(DetailOf<google::rpc::PreconditionFailure>(used)->violations(0).subject(),
            "alphabet:1");
  EXPECT_EQ(FieldOf(Alias("alphabet", 1)), "alias");
  EXPECT_EQ(FieldOf(Alias("alphabet:x", 0)), "version");
  EXPECT_EQ(Unalias("alphabet:x").error_code(), grpc::NOT_FOUND);
  EXPECT_EQ(FieldOf(Delete("alphabet")), "name");
}

TEST_F(VersionServiceTest, WithoutAStoreThereAreNoVersions) {
  Start(/*with_store=*/false);
  v1::ListModelVersionsResponse list;
  const grpc::Status status = List("alphabet", &list);
  EXPECT_EQ(status.error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonOf(status), "NO_DATA_DIRECTORY");
  EXPECT_EQ(Generate("alphabet"), "alphabet");
}

// The digest of a model says which states it can continue.
TEST_F(VersionServiceTest, AStateBelongsToTheVersionThatMadeIt) {
  engine_.digest = "base";
  Start();
  v1::GenerateResponse made;
  ASSERT_EQ(Generate("alphabet", &made), "alphabet");
  const std::string state = made.completions(0).state();
  engine_.digest = "tuned";
  Promote("alphabet");
  v1::GenerateResponse unused;
  EXPECT_EQ(Generate("alphabet", &unused, state), "STATE_OF_ANOTHER_MODEL");
  engine_.digest = "base";
  ASSERT_TRUE(RollBack({}).ok());
  EXPECT_EQ(Generate("alphabet", &unused, state), "alphabet:0");
}

// 16 clients stream from the demo model while a copy of it is promoted and rolled back.
TEST(VersionsUnderLoadTest, NoStreamFailsWhenTheModelIsExchanged) {
  constexpr int kClients = 16;
  const DataFolder data;
  DaemonOptions options;
  options.listen = "127.0.0.1:0";
  options.http = "127.0.0.1:0";
  options.models = {{"demo", "deploy/models/mamba-demo"}};
  options.threads = 2;
  options.data = data.path;
  TestServer server(std::move(options));

  std::atomic<bool> stop{false};
  std::atomic<int> failures{0};
  std::array<std::atomic<int>, kClients> streams{};
  const auto client = [&](int index) {
    while (!stop) {
      grpc::ClientContext context;
      v1::StreamGenerateRequest request;
      *request.mutable_parameters() = Greedy("Elizabeth was", 16);
      request.mutable_parameters()->set_model("demo");
      request.mutable_parameters()->set_client("client-" + std::to_string(index));
      const auto reader = server.generation->StreamGenerate(&context, request);
      v1::StreamGenerateResponse message;
      while (reader->Read(&message)) {
      }
      const grpc::Status status = reader->Finish();
      if (!status.ok()) {
        ADD_FAILURE() << status.error_message();
        ++failures;
        return;
      }
      ++streams[index];
    }
  };
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) clients.emplace_back(client, i);
  // Every client ends a stream that began after the change before.
  const auto pass = [&] {
    std::array<int, kClients> before;
    std::copy(streams.begin(), streams.end(), before.begin());
    for (int i = 0; i < kClients; ++i) {
      while (streams[i] < before[i] + 2 && failures == 0) std::this_thread::yield();
    }
  };
  pass();
  const auto promoted =
      server.daemon->versions().Promote({.name = "demo", .directory = "deploy/models/mamba-demo"});
  EXPECT_TRUE(promoted.ok()) << promoted.status();
  pass();
  v1::RollBackModelRequest request;
  v1::RollBackModelResponse response;
  request.set_name("demo");
  const grpc::Status status =
      Call(server, &v1::ModelService::Stub::RollBackModel, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.version().name(), "demo:0");
  pass();
  stop = true;
  for (std::thread& thread : clients) thread.join();
  EXPECT_EQ(failures, 0);
}

}  // namespace
}  // namespace whipsnake::server
