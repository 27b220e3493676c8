// Files that change, disappear or are invalid while a server is running.
#include <sys/stat.h>

#include <fstream>

#include "tests/engine/base/support.h"
#include "tests/server/support.h"
#include "whipsnake/v1/state.grpc.pb.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;
using engine::TemporaryDirectory;
using testing::HasSubstr;
using testing::Not;

grpc::Status Generate(TestServer& server, const std::string& model, const std::string& text = "It",
                      int tokens = 2) {
  grpc::ClientContext context;
  v1::GenerateRequest request;
  v1::GenerateResponse response;
  *request.mutable_parameters() = Greedy(text, tokens);
  request.mutable_parameters()->set_model(model);
  return server.generation->Generate(&context, request, &response);
}

v1::Model Get(TestServer& server, const std::string& name) {
  grpc::ClientContext context;
  v1::GetModelRequest request;
  v1::GetModelResponse response;
  request.set_name(name);
  EXPECT_TRUE(server.models->GetModel(&context, request, &response).ok());
  return response.model();
}

grpc::Status Load(TestServer& server, const std::string& path) {
  grpc::ClientContext context;
  v1::LoadModelRequest request;
  v1::LoadModelResponse response;
  request.set_path(path);
  request.set_scheme("bf16");
  return server.models->LoadModel(&context, request, &response);
}

// A server with copies of the demo models, which a test may damage.
class ChangedModelTest : public testing::Test {
 protected:
  ChangedModelTest() {
    fs::copy("deploy/models/mamba-demo", root_ / "mamba");
    fs::copy("deploy/models/gpt2-crrelu-demo", root_ / "gpt2");
    DaemonOptions options;
    options.listen = "127.0.0.1:0";
    options.http = "127.0.0.1:0";
    options.model_root = root_.path();
    options.models = {{"mamba", root_ / "mamba"}, {"gpt2", root_ / "gpt2"}};
    options.scheme = "bf16";  // the type of the files, so weights stay in the mapping
    options.threads = 2;
    server_.emplace(std::move(options));
  }

  // Expects that the model fails and says why, and that the other one serves.
  void ExpectFailure(const std::string& model, const std::string& other) {
    const grpc::Status status = Generate(*server_, model);
    // The second reason appears if the server's own check found the change first.
    EXPECT_THAT(ReasonOf(status), testing::AnyOf("WEIGHTS_CHANGED", "MODEL_FAILED"));
    EXPECT_THAT(status.error_message(), HasSubstr("model.safetensors"));
    EXPECT_THAT(status.error_message(), Not(HasSubstr(root_.path())));
    while (Get(*server_, model).state() != v1::MODEL_STATE_FAILED) continue;
    EXPECT_THAT(Get(*server_, model).error(), HasSubstr("model.safetensors"));
    EXPECT_EQ(ReasonOf(Generate(*server_, model)), "MODEL_FAILED");
    EXPECT_TRUE(Generate(*server_, other).ok());
  }

  TemporaryDirectory root_;
  std::optional<TestServer> server_;
};

TEST_F(ChangedModelTest, AFileThatShrinksFailsItsModelAndNoOther) {
  for (const auto& [model, other] : {std::pair("mamba", "gpt2"), {"gpt2", "mamba"}}) {
    ASSERT_TRUE(Generate(*server_, model).ok());
    const std::string file = root_ / model + "/model.safetensors";
    fs::resize_file(file, 100'000);
    ExpectFailure(model, other);
    fs::copy_file(std::string("deploy/models/") + (model[0] == 'm' ? "mamba" : "gpt2-crrelu") +
                      "-demo/model.safetensors",
                  file, fs::copy_options::overwrite_existing);
    grpc::Status loaded;
    do loaded = Load(*server_, model);
    while (loaded.error_code() == grpc::ALREADY_EXISTS);  // while the old one is freed
    EXPECT_TRUE(loaded.ok()) << loaded.error_message();
    EXPECT_TRUE(Generate(*server_, model).ok());
  }
}

TEST_F(ChangedModelTest, AFileThatIsOverwrittenInPlaceFailsItsModel) {
  ASSERT_TRUE(Generate(*server_, "mamba").ok());
  std::fstream file(root_ / "mamba/model.safetensors",
                    std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(-4096, std::ios::end);
  file << std::string(4096, 'x') << std::flush;
  ExpectFailure("mamba", "gpt2");
}

TEST_F(ChangedModelTest, ARequestThatRunsEndsWithDataLoss) {
  grpc::ClientContext context;
  v1::StreamGenerateRequest request;
  *request.mutable_parameters() = Greedy("It", 4000);
  request.mutable_parameters()->set_model("mamba");
  request.mutable_parameters()->mutable_stopping()->set_ignore_eos(true);
  const auto reader = server_->generation->StreamGenerate(&context, request);
  v1::StreamGenerateResponse event;
  while (reader->Read(&event) && !event.has_delta()) continue;
  fs::resize_file(root_ / "mamba/model.safetensors", 100'000);
  while (reader->Read(&event)) continue;
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::DATA_LOSS) << status.error_message();
  EXPECT_EQ(ReasonOf(status), "WEIGHTS_CHANGED");
  EXPECT_THAT(status.error_message(), Not(HasSubstr(root_.path())));
}

TEST_F(ChangedModelTest, AFileThatIsReplacedByRenamingIsServedOn) {
  fs::copy_file(root_ / "mamba/model.safetensors", root_ / "mamba/new");
  fs::rename(root_ / "mamba/new", root_ / "mamba/model.safetensors");
  EXPECT_TRUE(Generate(*server_, "mamba").ok());
  fs::remove(root_ / "mamba/model.safetensors");
  EXPECT_TRUE(Generate(*server_, "mamba").ok());
}

// Faults in a model's files are DATA_LOSS, and the error contains no path of the server.
TEST_F(ChangedModelTest, ALoadThatFailsSaysWhyWithoutPaths) {
  const std::vector<std::pair<std::string, std::function<void(const std::string&)>>> faults = {
      {"no-config", [](const std::string& d) { fs::remove(d + "/config.json"); }},
      {"no-weights", [](const std::string& d) { fs::remove(d + "/model.safetensors"); }},
      {"no-tokenizer", [](const std::string& d) { fs::remove(d + "/tokenizer.json"); }},
      {"bad-config", [](const std::string& d) { engine::WriteBytes(d + "/config.json", "{"); }},
      {"bad-tokenizer",
       [](const std::string& d) { engine::WriteBytes(d + "/tokenizer.json", "{"); }},
      {"bad-defaults",
       [](const std::string& d) {
         engine::WriteBytes(d + "/generation_config.json", "{\"top_p\": 7}");
       }},
      {"short", [](const std::string& d) { fs::resize_file(d + "/model.safetensors", 5000); }},
      {"directory",
       [](const std::string& d) {
         fs::remove(d + "/config.json");
         fs::create_directory(d + "/config.json");
       }},
      {"other-tensors",
       [](const std::string& d) {
         fs::copy_file("deploy/models/gpt2-crrelu-demo/model.safetensors", d + "/model.safetensors",
                       fs::copy_options::overwrite_existing);
       }},
  };
  for (const auto& [name, spoil] : faults) {
    fs::copy("deploy/models/mamba-demo", root_ / name);
    spoil(root_ / name);
    const grpc::Status status = Load(*server_, name);
    EXPECT_EQ(status.error_code(), grpc::DATA_LOSS) << name << ": " << status.error_message();
    EXPECT_EQ(ReasonOf(status), "BAD_CHECKPOINT") << name;
    EXPECT_THAT(status.error_message(), Not(HasSubstr(root_.path()))) << name;
    EXPECT_THAT(Get(*server_, name).error(), Not(HasSubstr(root_.path()))) << name;
    EXPECT_THAT(Generate(*server_, name).error_message(), Not(HasSubstr(root_.path()))) << name;
  }
  fs::remove_all(root_.path());
  const grpc::Status gone = Load(*server_, "mamba2");
  EXPECT_THAT(gone.error_message(), Not(HasSubstr(root_.path())));
  EXPECT_EQ(gone.error_code(), grpc::INTERNAL) << gone.error_message();
}

// Weights that are copied on loading, here because the model computes in another type, are not
// affected by changes of the file.
TEST_F(ChangedModelTest, AModelThatWasCopiedIsServedOn) {
  grpc::ClientContext context;
  v1::LoadModelRequest request;
  v1::LoadModelResponse response;
  request.set_path("mamba");
  request.set_name("copied");
  ASSERT_TRUE(server_->models->LoadModel(&context, request, &response).ok());
  fs::resize_file(root_ / "mamba/model.safetensors", 0);
  ExpectFailure("mamba", "copied");
}

// A server with a data directory and a fake model.
class DataDirectoryTest : public testing::Test {
 protected:
  DataDirectoryTest() {
    options_ = FakeOptions(engine_);
    options_.data = data_ / "data";
  }

  grpc::Status Save(v1::State* state = nullptr) {
    grpc::ClientContext context;
    v1::SaveStateRequest request;
    v1::SaveStateResponse response;
    request.set_text("abc");
    request.mutable_retention()->set_on_disk(true);
    const grpc::Status status = states()->SaveState(&context, request, &response);
    if (state != nullptr) *state = response.state();
    return status;
  }
  grpc::Status Delete(const std::string& handle) {
    grpc::ClientContext context;
    v1::DeleteStateRequest request;
    v1::DeleteStateResponse response;
    request.set_handle(handle);
    return states()->DeleteState(&context, request, &response);
  }
  v1::ListStatesResponse List() {
    grpc::ClientContext context;
    v1::ListStatesResponse response;
    EXPECT_TRUE(states()->ListStates(&context, {}, &response).ok());
    return response;
  }
  std::unique_ptr<v1::StateService::Stub> states() {
    if (!server_) server_.emplace(options_);
    return v1::StateService::NewStub(server_->channel);
  }

  TemporaryDirectory data_;
  FakeEngine engine_;
  DaemonOptions options_;
  std::optional<TestServer> server_;
};

TEST_F(DataDirectoryTest, IsOneServersAlone) {
  ASSERT_TRUE(Save().ok());
  const auto second = Daemon::Start(options_);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.status().message(), HasSubstr("process " + std::to_string(getpid())));
  server_.reset();
  EXPECT_TRUE(Daemon::Start(options_).ok());
}

// A new directory is private to its user, however its path is written.
TEST_F(DataDirectoryTest, ANewOneIsForItsUserAlone) {
  const mode_t before = umask(022);
  for (const char* path : {"plain", "slash/", "slashes//", "dot/.", "dots/././/", "below/it/",
                           "./here", "absent/../up/"}) {
    const std::string whole = data_ / path;
    ASSERT_TRUE(DataDirectory::Open(whole).ok()) << path;
    EXPECT_EQ(fs::status(whole).permissions(), fs::perms::owner_all) << path;
    EXPECT_EQ(fs::status(whole + "/states").permissions(), fs::perms::owner_all) << path;
  }
  EXPECT_NE(fs::status(data_ / "below").permissions(), fs::perms::owner_all) << "a parent";
  umask(before);
}

TEST_F(DataDirectoryTest, ListingAndFilesShowNoHandle) {
  v1::State state;
  ASSERT_TRUE(Save(&state).ok());
  const v1::ListStatesResponse listed = List();
  ASSERT_EQ(listed.states_size(), 1);
  EXPECT_EQ(listed.states(0).handle(), "");
  EXPECT_THAT(listed.ShortDebugString(), Not(HasSubstr(state.handle())));
  for (const fs::directory_entry& file : fs::recursive_directory_iterator(options_.data)) {
    EXPECT_THAT(file.path().string(), Not(HasSubstr(state.handle())));
    struct stat info;
    ASSERT_EQ(stat(file.path().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, file.is_directory() ? 0700 : 0600) << file.path();
    if (file.is_regular_file()) {
      EXPECT_THAT(engine::ReadBytes(file.path()), Not(HasSubstr(state.handle())));
    }
  }
  EXPECT_EQ(fs::status(options_.data).permissions(), fs::perms::owner_all);
}

TEST_F(DataDirectoryTest, ADirectoryThatIsGoneIsTheServersFault) {
  v1::State state;
  ASSERT_TRUE(Save(&state).ok());
  fs::remove_all(options_.data);
  const grpc::Status status = Save();
  EXPECT_EQ(status.error_code(), grpc::INTERNAL) << status.error_message();
  EXPECT_EQ(ReasonOf(status), "STORAGE_FAILED");
  EXPECT_THAT(status.error_message(), Not(HasSubstr(data_.path())));
  grpc::ClientContext context;
  v1::GenerateRequest request;
  v1::GenerateResponse response;
  *request.mutable_parameters() = Greedy("d", 1);
  request.mutable_parameters()->set_state(state.handle());
  const grpc::Status read = server_->generation->Generate(&context, request, &response);
  EXPECT_EQ(read.error_code(), grpc::DATA_LOSS) << read.error_message();
  EXPECT_THAT(read.error_message(), Not(HasSubstr(data_.path())));
}

// Puts a directory in the place of the file: not even root can unlink it.
TEST_F(DataDirectoryTest, AFileThatCannotBeRemovedIsNotCalledDeleted) {
  v1::State state;
  ASSERT_TRUE(Save(&state).ok());
  fs::path file;
  for (const auto& entry : fs::directory_iterator(fs::path(options_.data) / "states")) {
    if (entry.path().extension() == ".state") file = entry.path();
  }
  fs::rename(file, data_ / "kept");
  fs::create_directories(file / "full");
  const grpc::Status status = Delete(state.handle());
  EXPECT_EQ(status.error_code(), grpc::INTERNAL) << status.error_message();
  EXPECT_THAT(status.error_message(), Not(HasSubstr(data_.path())));
  fs::remove_all(file);
  fs::rename(data_ / "kept", file);
  EXPECT_TRUE(Delete(state.handle()).ok());
  EXPECT_FALSE(fs::exists(file));
  EXPECT_EQ(Delete(state.handle()).error_code(), grpc::NOT_FOUND);
}

TEST_F(DataDirectoryTest, WhatACrashLeftIsSweptAtTheStart) {
  ASSERT_TRUE(Save().ok());
  server_.reset();
  const fs::path states = fs::path(options_.data) / "states";
  engine::WriteBytes(states / "st-0123.state.tmp-1-0", "of an older version");
  engine::WriteBytes(states / "0123.state.tmp-0123456789abcdef", "half");
  options_.model_root = data_ / "root";
  fs::create_directories(data_ / "root/one/inner.tmp-0123456789abcdef/deep");
  engine::WriteBytes(data_ / "root/one/mine.tmp-notes", "kept");
  EXPECT_EQ(List().states_size(), 1);
  EXPECT_EQ(std::distance(fs::directory_iterator(states), {}), 1);
  EXPECT_FALSE(fs::exists(data_ / "root/one/inner.tmp-0123456789abcdef"));
  EXPECT_TRUE(fs::exists(data_ / "root/one/mine.tmp-notes"));
}

TEST_F(DataDirectoryTest, OneThatCannotBeReadIsAnErrorAtTheStart) {
  fs::create_directories(options_.data);
  fs::create_symlink("states", fs::path(options_.data) / "states");  // a loop
  EXPECT_FALSE(Daemon::Start(options_).ok());
}

}  // namespace
}  // namespace whipsnake::server
