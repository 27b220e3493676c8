#include <future>

#include "tests/server/support.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class ModelServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(testing::TempDir()) / ("whipsnake-models-" + std::to_string(getpid()));
    for (const char* name : {"one", "two", "broken"}) fs::create_directories(root_ / name);
    DaemonOptions options = FakeOptions(engine_);
    options.model_root = root_;
    server_.emplace(std::move(options));
  }
  void TearDown() override {
    server_.reset();
    fs::remove_all(root_);
  }

  grpc::Status Load(const std::string& path, const std::string& name = "",
                    const std::string& scheme = "", v1::LoadModelResponse* response = nullptr) {
    grpc::ClientContext context;
    v1::LoadModelRequest request;
    v1::LoadModelResponse unused;
    request.set_path(path);
    request.set_name(name);
    request.set_scheme(scheme);
    return server_->models->LoadModel(&context, request, response ? response : &unused);
  }

  grpc::Status Unload(const std::string& name) {
    grpc::ClientContext context;
    v1::UnloadModelRequest request;
    v1::UnloadModelResponse response;
    request.set_name(name);
    return server_->models->UnloadModel(&context, request, &response);
  }

  grpc::Status Get(const std::string& name, v1::Model* model) {
    grpc::ClientContext context;
    v1::GetModelRequest request;
    v1::GetModelResponse response;
    request.set_name(name);
    const grpc::Status status = server_->models->GetModel(&context, request, &response);
    *model = response.model();
    return status;
  }

  grpc::Status List(int page_size, const std::string& token, v1::ListModelsResponse* response) {
    grpc::ClientContext context;
    v1::ListModelsRequest request;
    request.set_page_size(page_size);
    request.set_page_token(token);
    return server_->models->ListModels(&context, request, response);
  }

  FakeEngine engine_;
  fs::path root_;
  std::optional<TestServer> server_;
};

TEST_F(ModelServiceTest, LoadsGetsListsUnloads) {
  v1::LoadModelResponse loaded;
  ASSERT_TRUE(Load("one", "", "bf16", &loaded).ok());
  EXPECT_EQ(loaded.model().name(), "one");
  EXPECT_EQ(loaded.model().state(), v1::MODEL_STATE_READY);
  EXPECT_EQ(loaded.model().scheme(), "bf16");
  EXPECT_EQ(loaded.model().path(), "one");
  EXPECT_EQ(loaded.model().architecture(), "fake");
  EXPECT_EQ(loaded.model().vocab_size(), 26);
  EXPECT_EQ(loaded.model().max_prompt_tokens(), 32768);
  EXPECT_GT(loaded.model().load_time().seconds(), 0);

  v1::Model model;
  ASSERT_TRUE(Get("one", &model).ok());
  EXPECT_EQ(model.SerializeAsString(), loaded.model().SerializeAsString());
  ASSERT_TRUE(Unload("one").ok());
  EXPECT_EQ(Get("one", &model).error_code(), grpc::NOT_FOUND);
  EXPECT_EQ(Unload("one").error_code(), grpc::NOT_FOUND);
}

TEST_F(ModelServiceTest, AModelIsCalledLikeItsDirectoryHoweverThatIsWritten) {
  for (const char* path : {"one", "one/", "one//", "one/.", "./one/./"}) {
    v1::LoadModelResponse loaded;
    const grpc::Status status = Load(path, "", "", &loaded);
    EXPECT_TRUE(status.ok()) << path << ": " << status.error_message();
    EXPECT_EQ(loaded.model().name(), "one") << path;
    Unload("one");
  }
}

TEST_F(ModelServiceTest, PagesGoThroughAllModels) {
  ASSERT_TRUE(Load("one").ok());
  ASSERT_TRUE(Load("two").ok());
  std::vector<std::string> names;
  std::string token;
  do {
    v1::ListModelsResponse page;
    ASSERT_TRUE(List(2, token, &page).ok());
    for (const auto& model : page.models()) names.push_back(model.name());
    token = page.next_page_token();
  } while (!token.empty());
  EXPECT_THAT(names, testing::ElementsAre("alphabet", "one", "two"));

  v1::ListModelsResponse page;
  EXPECT_EQ(FieldOf(List(-1, "", &page)), "page_size");
  EXPECT_EQ(FieldOf(List(1001, "", &page)), "page_size");
  EXPECT_EQ(FieldOf(List(1, "not a token", &page)), "page_token");
}

TEST_F(ModelServiceTest, BadLoadsAreRefusedByField) {
  EXPECT_EQ(FieldOf(Load("../elsewhere")), "path");
  EXPECT_EQ(FieldOf(Load("/etc")), "path");
  EXPECT_EQ(FieldOf(Load("")), "path");
  EXPECT_EQ(FieldOf(Load("one", "Not A Name")), "name");
  EXPECT_EQ(FieldOf(Load("one", "", "fp64")), "scheme");
  EXPECT_EQ(Load("absent").error_code(), grpc::NOT_FOUND);
  const grpc::Status exists = Load("one", "alphabet");
  EXPECT_EQ(exists.error_code(), grpc::ALREADY_EXISTS);
  EXPECT_EQ(DetailOf<google::rpc::ResourceInfo>(exists)->resource_name(), "alphabet");
}

TEST_F(ModelServiceTest, ABrokenModelIsShownAndTheOthersServe) {
  const grpc::Status status = Load("broken");
  EXPECT_EQ(status.error_code(), grpc::DATA_LOSS);
  EXPECT_EQ(ReasonOf(status), "BAD_CHECKPOINT");
  EXPECT_THAT(status.error_message(), HasSubstr("truncated"));
  v1::Model model;
  ASSERT_TRUE(Get("broken", &model).ok());
  EXPECT_EQ(model.state(), v1::MODEL_STATE_FAILED);
  EXPECT_THAT(model.error(), HasSubstr("truncated"));

  grpc::ClientContext context;
  v1::GenerateRequest request;
  v1::GenerateResponse response;
  *request.mutable_parameters() = Greedy("a", 1);
  request.mutable_parameters()->set_model("alphabet");
  EXPECT_TRUE(server_->generation->Generate(&context, request, &response).ok());
  EXPECT_TRUE(Unload("broken").ok());
}

TEST_F(ModelServiceTest, ASecondLoadOfANameIsRefusedWhileTheFirstRuns) {
  engine_.loads.Close();
  std::future<grpc::Status> first =
      std::async(std::launch::async, [this] { return Load("one", "same"); });
  engine_.loads.WaitForArrivals(2);  // "alphabet" was the first
  EXPECT_EQ(Load("two", "same").error_code(), grpc::ALREADY_EXISTS);
  v1::Model model;
  ASSERT_TRUE(Get("same", &model).ok());
  EXPECT_EQ(model.state(), v1::MODEL_STATE_LOADING);
  engine_.loads.Open();
  EXPECT_TRUE(first.get().ok());
}

TEST_F(ModelServiceTest, UnloadWaitsForTheRequestThatRuns) {
  engine_.steps.Close();
  std::future<grpc::Status> call = std::async(std::launch::async, [this] {
    grpc::ClientContext context;
    v1::GenerateRequest request;
    v1::GenerateResponse response;
    *request.mutable_parameters() = Greedy("a", 3);
    return server_->generation->Generate(&context, request, &response);
  });
  engine_.steps.WaitForArrivals(1);
  std::future<grpc::Status> unload =
      std::async(std::launch::async, [this] { return Unload("alphabet"); });
  v1::Model model;
  do {
    ASSERT_TRUE(Get("alphabet", &model).ok());
  } while (model.state() == v1::MODEL_STATE_READY);
  EXPECT_EQ(model.state(), v1::MODEL_STATE_UNLOADING);
  EXPECT_EQ(unload.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  engine_.steps.Open();
  EXPECT_TRUE(call.get().ok());
  EXPECT_TRUE(unload.get().ok());
}

}  // namespace
}  // namespace whipsnake::server
