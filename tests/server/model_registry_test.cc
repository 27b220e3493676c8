#include "server/registry/model_registry.h"

#include <fstream>
#include <future>

#include "engine/base/status.h"
#include "server/errors.h"
#include "server/registry/model_path.h"
#include "server/registry/quantizer.h"
#include "tests/server/support.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class ModelPathTest : public testing::Test {
 protected:
  void SetUp() override {
    base_ = fs::path(testing::TempDir()) / ("whipsnake-path-" + std::to_string(getpid()));
    fs::create_directories(base_ / "root/good/inner");
    fs::create_directories(base_ / "root-beside");
    fs::create_directories(base_ / "outside");
    std::ofstream(base_ / "root/file") << "x";
    fs::create_directory_symlink(base_ / "outside", base_ / "root/link-out");
    fs::create_directory_symlink(base_ / "root/good", base_ / "root/link-in");
    root_ = base_ / "root";
  }
  void TearDown() override { fs::remove_all(base_); }

  fs::path base_;
  std::string root_;
};

TEST_F(ModelPathTest, TakesWhatLiesBelowTheRoot) {
  EXPECT_EQ(*ResolveModelPath(root_, "good"), root_ + "/good");
  EXPECT_EQ(*ResolveModelPath(root_, "good/"), root_ + "/good");
  EXPECT_EQ(*ResolveModelPath(root_, "good/../good/inner"), root_ + "/good/inner");
  EXPECT_EQ(*ResolveModelPath(root_, "link-in"), root_ + "/good");
}

TEST_F(ModelPathTest, RefusesWhatLeavesTheRoot) {
  for (const std::string& path :
       {std::string(""), std::string("."), std::string("/"), root_ + "/good", std::string(".."),
        std::string("../outside"), std::string("../root-beside"), std::string("link-out"),
        std::string("good/../../outside"), std::string("link-out/not-there"),
        std::string("../not-there"), std::string("good\0/../..", 11), std::string("not-there/.."),
        std::string("not-there/../link-out"), std::string("not-there/../link-out/not-there")}) {
    const auto resolved = ResolveModelPath(root_, path);
    EXPECT_EQ(resolved.status().code(), absl::StatusCode::kInvalidArgument) << path;
    EXPECT_EQ(engine::FieldOf(resolved.status()), "path") << path;
    EXPECT_EQ(engine::FieldOf(ResolveFile(root_, path, "f").status()), "f") << path;
    EXPECT_EQ(engine::FieldOf(ResolveNewDirectory(root_, path, "f").status()), "f") << path;
  }
}

TEST_F(ModelPathTest, TakesFilesForFiles) {
  EXPECT_EQ(*ResolveFile(root_, "good/../file", "f"), root_ + "/file");
  EXPECT_TRUE(absl::IsNotFound(ResolveFile(root_, "good", "f").status()));
  EXPECT_TRUE(absl::IsNotFound(ResolveFile(root_, "not-there", "f").status()));
}

TEST_F(ModelPathTest, ANewDirectoryHasAParentAndIsNotThere) {
  for (const char* path : {"new", "new/", "good/../new", "not-there/../new"}) {
    EXPECT_EQ(*ResolveNewDirectory(root_, path, "f"), root_ + "/new") << path;
  }
  EXPECT_EQ(*ResolveNewDirectory(root_, "link-in/new", "f"), root_ + "/good/new");
  fs::create_symlink("nowhere", fs::path(root_) / "dangling");
  for (const char* path : {"good", "good/inner/", "file", "link-in", "dangling"}) {
    EXPECT_TRUE(absl::IsAlreadyExists(ResolveNewDirectory(root_, path, "f").status())) << path;
  }
  for (const char* path : {"not-there/new", "file/new"}) {
    EXPECT_TRUE(absl::IsNotFound(ResolveNewDirectory(root_, path, "f").status())) << path;
  }
}

// The only rule about links: a target outside the root does not exist for clients.
TEST_F(ModelPathTest, RefusesAModelOneOfWhoseEntriesLeavesTheRoot) {
  fs::create_symlink("../file", base_ / "root/good/config.json");
  EXPECT_TRUE(ResolveModelPath(root_, "good").ok());
  fs::create_symlink("../good/../nowhere-yet", base_ / "root/good/absent");
  EXPECT_TRUE(ResolveModelPath(root_, "good").ok());
  std::ofstream(base_ / "outside/secret") << "x";
  for (const fs::path& target : {fs::path("../../outside/secret"), base_ / "outside/secret",
                                 fs::path("../../outside"), fs::path("../../not-there")}) {
    fs::create_symlink(target, base_ / "root/good/model.safetensors");
    for (const char* path : {"good", "link-in"}) {
      const absl::Status status = ResolveModelPath(root_, path).status();
      EXPECT_EQ(engine::FieldOf(status), "path") << target;
      EXPECT_THAT(std::string(status.message()), HasSubstr("model.safetensors")) << target;
    }
    fs::remove(base_ / "root/good/model.safetensors");
  }
}

// A cache of the Hugging Face hub: the snapshot's files are links to those in blobs.
TEST_F(ModelPathTest, TakesAModelOfAHubCacheByItsPathOrItsName) {
  const fs::path model = fs::path(root_) / "models--Org--Name";
  fs::create_directories(model / "blobs");
  fs::create_directories(model / "snapshots/abc");
  fs::create_directories(model / "refs");
  std::ofstream(model / "blobs/0") << "x";
  fs::create_symlink("../../blobs/0", model / "snapshots/abc/config.json");
  const std::string snapshot = model / "snapshots/abc";
  for (const char* path : {"models--Org--Name", "Org/Name", "models--Org--Name/snapshots/abc"}) {
    EXPECT_EQ(*ResolveModelPath(root_, path), snapshot) << path;
  }
  // A root within the model allows the model's own files, and no others.
  const std::string inner = model / "snapshots";
  EXPECT_EQ(*ResolveModelPath(inner, "abc"), snapshot);
  std::ofstream(base_ / "outside/secret") << "x";
  fs::create_symlink(base_ / "outside/secret", model / "snapshots/abc/model.safetensors");
  for (const auto& [root, path] : {std::pair(root_, "Org/Name"), {inner, "abc"}}) {
    const absl::Status status = ResolveModelPath(root, path).status();
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("\"model.safetensors\" in it, which leaves"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("--model-root"));
  }
  fs::remove(model / "snapshots/abc/model.safetensors");

  fs::create_directories(model / "snapshots/def");
  EXPECT_EQ(engine::FieldOf(ResolveModelPath(root_, "Org/Name").status()), "path");
  std::ofstream(model / "refs/main") << "def";
  EXPECT_EQ(*ResolveModelPath(root_, "Org/Name"), model / "snapshots/def");
  fs::remove(model / "snapshots/def");
  fs::create_directory_symlink(base_ / "outside", model / "snapshots/def");
  EXPECT_EQ(engine::FieldOf(ResolveModelPath(root_, "Org/Name").status()), "path");
  EXPECT_TRUE(absl::IsNotFound(ResolveModelPath(root_, "Org/Other").status()));
}

TEST_F(ModelPathTest, ANewDirectoryHasAPlainNameAndLiesInNoModel) {
  for (const std::string& path :
       {std::string("-rf"), std::string("good/-x"), std::string("a\nb"), std::string("a\x7f"),
        std::string("\x1b[31m"), std::string(201, 'a'), std::string("x.tmp-0123456789abcdef")}) {
    EXPECT_EQ(engine::FieldOf(ResolveNewDirectory(root_, path, "f").status()), "f") << path;
  }
  for (const std::string& path : {std::string("a-b c"), std::string(200, 'a'),
                                  std::string("\xC3\xA4"), std::string("x.tmp-1")}) {
    EXPECT_TRUE(ResolveNewDirectory(root_, path, "f").ok()) << path;
  }
  fs::create_directories(base_ / "root/model/deep");
  std::ofstream(base_ / "root/model/config.json") << "{}";
  for (const char* path : {"model/new", "model/deep/new"}) {
    EXPECT_EQ(engine::FieldOf(ResolveNewDirectory(root_, path, "f").status()), "f") << path;
  }
}

// Nothing is made in a directory that took the place of a resolved one.
TEST_F(ModelPathTest, AnOpenDirectoryStaysTheSame) {
  const std::string good = *ResolveModelPath(root_, "good");
  const std::string inner = *ResolveModelPath(root_, "good/inner");
  const auto held = OpenDirectory::Open(root_, inner, "f");
  ASSERT_TRUE(held.ok()) << held.status();
  EXPECT_TRUE(OpenDirectory::Open(root_, root_, "f").ok());
  fs::rename(good, root_ + "/moved");
  fs::create_directories(base_ / "outside/inner");
  fs::create_directory_symlink(base_ / "outside", good);
  std::ofstream(held->path() + "/file") << "x";
  EXPECT_TRUE(fs::exists(root_ + "/moved/inner/file"));
  EXPECT_TRUE(fs::is_empty(base_ / "outside/inner"));
  for (const std::string& path : {good, inner, root_ + "/../outside", root_ + "/absent"}) {
    EXPECT_EQ(engine::FieldOf(OpenDirectory::Open(root_, path, "f").status()), "f") << path;
  }
}

// A request that waited is resolved again when its turn comes.
TEST_F(ModelPathTest, AQuantizationWhoseDirectoriesWereExchangedIsRefused) {
  fs::create_directories(base_ / "root/parent");
  QuantizationRequest request;
  request.model_root = root_;
  request.path = "good/inner";
  request.output_path = "parent/out";
  request.directory = *ResolveModelPath(root_, request.path);
  request.output_directory = *ResolveNewDirectory(root_, request.output_path, "output_path");
  engine::Ledger ledger;
  engine::Executor executor(1);
  const auto run = [&] {
    return engine::FieldOf(
        MakeDirectoryQuantizer({&executor, &ledger})(request, [](std::string_view, double) {
          return absl::OkStatus();
        }).status());
  };
  EXPECT_EQ(run(), "") << "there is no model";
  for (const auto& [directory, field] :
       {std::pair("parent", "output_path"), std::pair("good", "path")}) {
    for (const fs::path& target : {base_ / "outside", base_ / "root/other"}) {
      fs::create_directories(target / "inner");
      fs::rename(base_ / "root" / directory, base_ / "root/aside");
      fs::create_directory_symlink(target, base_ / "root" / directory);
      EXPECT_EQ(run(), field) << target;
      fs::remove(base_ / "root" / directory);
      fs::rename(base_ / "root/aside", base_ / "root" / directory);
    }
  }
  EXPECT_FALSE(fs::exists(base_ / "outside/out"));
}

TEST_F(ModelPathTest, SaysWhatIsNotThere) {
  EXPECT_TRUE(absl::IsNotFound(ResolveModelPath(root_, "not-there").status()));
  EXPECT_TRUE(absl::IsNotFound(ResolveModelPath(root_, "file").status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(ResolveModelPath("", "good").status()));
}

ModelSource Source(const std::string& name, const std::string& directory, bool at_startup = false) {
  ModelSource source;
  source.name = name;
  source.directory = directory;
  source.at_startup = at_startup;
  return source;
}

class ModelRegistryTest : public testing::Test {
 protected:
  absl::Status RegisterAndLoad(const std::string& name, const std::string& directory) {
    const absl::Status status = registry_.Register(Source(name, directory));
    return status.ok() ? registry_.Load(name) : status;
  }

  FakeEngine engine_;
  Metrics metrics_;
  std::vector<std::string> told_;  // guarded by the registry's lock
  ModelRegistry registry_{
      engine_.Loader(), metrics_, [this](const std::string& name, std::optional<ModelState> state) {
        told_.push_back(name + " " + (state ? std::string(Name(*state)) : "forgotten"));
      }};
};

TEST_F(ModelRegistryTest, LoadsUsesAndUnloads) {
  ASSERT_TRUE(RegisterAndLoad("a", "/fake").ok());
  EXPECT_EQ(registry_.Acquire("a")->name(), "a");
  EXPECT_EQ(registry_.Acquire("")->name(), "a");
  ASSERT_TRUE(registry_.Unload("a").ok());
  EXPECT_TRUE(absl::IsNotFound(registry_.Acquire("a").status()));
  EXPECT_THAT(told_, testing::ElementsAre("a loading", "a ready", "a unloading", "a forgotten"));
  EXPECT_THAT(metrics_.registry.Text(), testing::Not(HasSubstr("model=\"a\"")));
}

TEST_F(ModelRegistryTest, AnEmptyNameNeedsExactlyOneModel) {
  EXPECT_THAT(registry_.Acquire("").status().message(), HasSubstr("no model is loaded"));
  ASSERT_TRUE(RegisterAndLoad("a", "/fake").ok());
  ASSERT_TRUE(RegisterAndLoad("b", "/fake").ok());
  const absl::Status status = registry_.Acquire("").status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_EQ(status.message(), "model: no name seen, expected one of: a, b");
  EXPECT_EQ(engine::FieldOf(status), "model");
}

TEST_F(ModelRegistryTest, AnEmptyNameIsNoModelThatHasFailed) {
  ASSERT_TRUE(RegisterAndLoad("a", "/fake").ok());
  EXPECT_FALSE(RegisterAndLoad("b", "/broken").ok());
  EXPECT_EQ(registry_.Acquire("")->name(), "a");
}

TEST_F(ModelRegistryTest, LoadsThatFailLeaveABoundedListAndNoSeries) {
  constexpr int kLoads = 3 * ModelRegistry::kMaxFailed;
  for (int i = 0; i < kLoads; ++i) {
    EXPECT_FALSE(RegisterAndLoad("m" + std::to_string(i), "/broken").ok());
    // A second failure replaces the first.
    EXPECT_FALSE(RegisterAndLoad("m" + std::to_string(i), "/broken").ok());
  }
  EXPECT_EQ(std::ssize(registry_.List()), ModelRegistry::kMaxFailed);
  EXPECT_TRUE(registry_.Get("m" + std::to_string(kLoads - 1)).ok());
  EXPECT_TRUE(absl::IsNotFound(registry_.Get("m0").status()));
  EXPECT_THAT(metrics_.registry.Text(), testing::Not(HasSubstr("model=\"m")));
  EXPECT_EQ(std::ranges::count_if(told_, [](const auto& t) { return t.ends_with("forgotten"); }),
            2 * kLoads - ModelRegistry::kMaxFailed);
}

TEST_F(ModelRegistryTest, AFailedModelOfTheCommandLineStaysAndIsInTheMetrics) {
  ASSERT_TRUE(registry_.Register(Source("mine", "/broken", true)).ok());
  EXPECT_FALSE(registry_.Load("mine").ok());
  for (int i = 0; i <= ModelRegistry::kMaxFailed; ++i) {
    EXPECT_FALSE(RegisterAndLoad("m" + std::to_string(i), "/broken").ok());
  }
  EXPECT_EQ(registry_.Get("mine")->state, ModelState::kFailed);
  EXPECT_THAT(metrics_.registry.Text(),
              HasSubstr("whipsnake_model_state{model=\"mine\",state=\"failed\"} 1\n"));
}

TEST_F(ModelRegistryTest, ABrokenModelDisturbsNoOther) {
  ASSERT_TRUE(RegisterAndLoad("good", "/fake").ok());
  EXPECT_THAT(RegisterAndLoad("bad", "/broken").message(), HasSubstr("truncated"));
  EXPECT_TRUE(registry_.Acquire("good").ok());
  const absl::Status status = registry_.Acquire("bad").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(status.message(), HasSubstr("truncated"));
  EXPECT_EQ(registry_.Get("bad")->state, ModelState::kFailed);
  // A second attempt replaces the failed one.
  EXPECT_TRUE(RegisterAndLoad("bad", "/fake").ok());
  EXPECT_TRUE(registry_.Acquire("bad").ok());
}

TEST_F(ModelRegistryTest, ANameIsTakenFromTheRegistrationOn) {
  engine_.loads.Close();
  std::future<absl::Status> loading =
      std::async(std::launch::async, [&] { return RegisterAndLoad("a", "/fake"); });
  engine_.loads.WaitForArrivals(1);
  EXPECT_TRUE(absl::IsAlreadyExists(registry_.Register(Source("a", "/fake"))));
  EXPECT_TRUE(absl::IsUnavailable(registry_.Acquire("a").status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(registry_.Unload("a")));
  EXPECT_TRUE(absl::IsFailedPrecondition(registry_.Load("a")));
  engine_.loads.Open();
  EXPECT_TRUE(loading.get().ok());
}

TEST_F(ModelRegistryTest, UnloadWaitsForTheLastHandle) {
  ASSERT_TRUE(RegisterAndLoad("a", "/fake").ok());
  std::optional<ModelHandle> handle(*registry_.Acquire("a"));
  std::future<absl::Status> unloading =
      std::async(std::launch::async, [&] { return registry_.Unload("a"); });
  // Requests are refused once the unload has begun; from then on it can only be waiting.
  while (registry_.Get("a")->state == ModelState::kReady) std::this_thread::yield();
  EXPECT_TRUE(absl::IsUnavailable(registry_.Acquire("a").status()));
  EXPECT_EQ(unloading.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  // A request that had the handle before is still served.
  engine::GenerationRequest request;
  request.prompt = {0};
  request.max_new_tokens = 1;
  const auto stream = handle->generator().Submit(std::move(request), [] {});
  EXPECT_TRUE(stream.ok()) << stream.status();
  while (stream.ok() && !(*stream)->PollDone()) std::this_thread::yield();
  handle.reset();
  EXPECT_TRUE(unloading.get().ok());
}

TEST_F(ModelRegistryTest, EnsureLoadsAModelOnce) {
  ASSERT_TRUE(registry_.Register(Source("a", "/fake")).ok());
  EXPECT_TRUE(registry_.Ensure(Source("a", "/fake")).ok()) << "registered and not yet loaded";
  EXPECT_TRUE(absl::IsFailedPrecondition(registry_.Load("a")));
  EXPECT_TRUE(registry_.Ensure(Source("a", "/broken")).ok()) << "is ready already";
  EXPECT_TRUE(absl::IsDataLoss(registry_.Ensure(Source("b", "/broken"))));
  EXPECT_TRUE(registry_.Ensure(Source("b", "/fake")).ok()) << "replaces what has failed";

  engine_.loads.Close();
  std::future<absl::Status> loading =
      std::async(std::launch::async, [&] { return RegisterAndLoad("c", "/fake"); });
  engine_.loads.WaitForArrivals(4);
  std::future<absl::Status> ensured =
      std::async(std::launch::async, [&] { return registry_.Ensure(Source("c", "/fake")); });
  engine_.loads.Open();
  EXPECT_TRUE(loading.get().ok());
  EXPECT_TRUE(ensured.get().ok());
  engine_.loads.WaitForArrivals(4);
}

TEST_F(ModelRegistryTest, ARetiredModelIsFreedWithItsLastHandleOrKept) {
  ASSERT_TRUE(RegisterAndLoad("m:1", "/fake").ok());
  ASSERT_TRUE(RegisterAndLoad("m:2", "/fake").ok());
  registry_.SetAlias("m", "m:1");
  std::optional<ModelHandle> handle(*registry_.Acquire("m"));
  registry_.Retire("m:1");
  EXPECT_EQ(registry_.Get("m:1")->state, ModelState::kReady) << "serves";
  registry_.SetAlias("m", "m:2");
  registry_.Retire("m:1");
  EXPECT_EQ(registry_.Get("m:1")->state, ModelState::kUnloading);
  EXPECT_TRUE(absl::IsUnavailable(registry_.Acquire("m:1").status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(registry_.Unload("m:1")));
  EXPECT_EQ(registry_.Acquire("m")->name(), "m:2");
  EXPECT_TRUE(registry_.Keep("m:1"));
  EXPECT_EQ(registry_.Acquire("m:1")->name(), "m:1");
  registry_.Retire("m:1");
  handle.reset();
  while (registry_.Get("m:1").ok()) std::this_thread::yield();
  EXPECT_FALSE(registry_.Keep("m:1"));
  EXPECT_THAT(metrics_.registry.Text(), testing::Not(HasSubstr("model=\"m:1\"")));
}

// A model that is to be unloaded while it still loads is gone after the load.
TEST_F(ModelRegistryTest, AModelThatIsRetiredWhileItLoadsIsFreed) {
  ASSERT_TRUE(registry_.Register(Source("m:1", "/fake")).ok());
  registry_.Retire("m:1");
  EXPECT_TRUE(absl::IsNotFound(registry_.Get("m:1").status())) << "its load had not begun";
  for (const char* directory : {"/fake", "/broken"}) {
    engine_.loads.Close();
    std::future<absl::Status> loading =
        std::async(std::launch::async, [&] { return RegisterAndLoad("m:1", directory); });
    while (!registry_.Get("m:1").ok()) std::this_thread::yield();
    engine_.loads.WaitForArrivals(directory == std::string("/fake") ? 1 : 2);
    registry_.Retire("m:1");
    engine_.loads.Open();
    EXPECT_EQ(loading.get().ok(), directory == std::string("/fake"));
    while (registry_.Get("m:1").ok()) std::this_thread::yield();
  }
}

TEST_F(ModelRegistryTest, AnAliasHidesTheModelOfItsName) {
  ASSERT_TRUE(RegisterAndLoad("m", "/fake").ok());
  ASSERT_TRUE(RegisterAndLoad("m:1", "/fake").ok());
  ASSERT_TRUE(RegisterAndLoad("other", "/fake").ok());
  EXPECT_TRUE(registry_.Get("m")->serves);
  EXPECT_FALSE(registry_.Get("m:1")->serves);
  registry_.SetAlias("m", "m:1");
  registry_.SetAlias("m:stable", "m:1");
  EXPECT_EQ(registry_.Acquire("m")->name(), "m:1");
  EXPECT_EQ(registry_.Get("m")->source.name, "m:1");
  EXPECT_THAT(registry_.Get("m")->aliases, testing::ElementsAre("m:stable"));
  EXPECT_EQ(registry_.Acquire("").status().message(),
            "model: no name seen, expected one of: m, other");
  EXPECT_TRUE(absl::IsAlreadyExists(registry_.Register(Source("m", "/fake"))));
  EXPECT_EQ(engine::FieldOf(registry_.Register(Source("m:stable", "/fake"))), "name");
  registry_.RemoveAlias("m");
  EXPECT_EQ(registry_.Acquire("m")->name(), "m");
}

TEST_F(ModelRegistryTest, AModelWhoseFilesChangeFailsAndIsFreed) {
  ASSERT_TRUE(RegisterAndLoad("good", "/fake").ok());
  ASSERT_TRUE(RegisterAndLoad("bad", "/fake").ok());
  registry_.CheckWeights();
  std::optional<ModelHandle> handle(*registry_.Acquire("bad"));
  static_cast<engine::FakeModel&>(handle->model()).weights_changed = true;
  registry_.CheckWeights();
  EXPECT_EQ(registry_.Get("bad")->state, ModelState::kFailed);
  EXPECT_TRUE(absl::IsDataLoss(registry_.Get("bad")->error));
  EXPECT_EQ(told_.back(), "bad failed");
  const absl::Status status = registry_.Acquire("bad").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("model.safetensors: changed"));
  EXPECT_THAT(std::string(status.message()), testing::Not(HasSubstr("/srv")));
  EXPECT_TRUE(registry_.Acquire("good").ok());
  EXPECT_TRUE(absl::IsAlreadyExists(registry_.Register(Source("bad", "/fake")))) << "in use";
  EXPECT_EQ(handle->info().vocab_size, 26);  // still usable
  std::future<absl::Status> unloading =
      std::async(std::launch::async, [&] { return registry_.Unload("bad"); });
  while (registry_.Get("bad")->state == ModelState::kFailed) std::this_thread::yield();
  handle.reset();
  EXPECT_TRUE(unloading.get().ok());
  EXPECT_TRUE(RegisterAndLoad("bad", "/fake").ok());
}

TEST_F(ModelRegistryTest, OnlyModelsOfTheCommandLineMakeTheServerUnready) {
  EXPECT_EQ(registry_.NotReadyReason(), "");
  ASSERT_TRUE(registry_.Register(Source("a", "/broken", true)).ok());
  EXPECT_EQ(registry_.NotReadyReason(), "model a is loading");
  EXPECT_FALSE(registry_.Load("a").ok());
  EXPECT_EQ(registry_.NotReadyReason(), "model a is failed");
  ASSERT_TRUE(registry_.Unload("a").ok());
  EXPECT_FALSE(RegisterAndLoad("b", "/broken").ok());
  EXPECT_EQ(registry_.NotReadyReason(), "");
}

// A model of the command line still counts for readiness, whatever clients load under its name.
TEST_F(ModelRegistryTest, AModelOfTheCommandLineThatIsLoadedAnewInVainStaysPromised) {
  ASSERT_TRUE(registry_.Register(Source("a", "/broken", true)).ok());
  EXPECT_FALSE(registry_.Load("a").ok());
  EXPECT_FALSE(RegisterAndLoad("a", "/broken/too").ok());
  EXPECT_EQ(registry_.NotReadyReason(), "model a is failed");
  EXPECT_THAT(metrics_.registry.Text(),
              HasSubstr("whipsnake_model_state{model=\"a\",state=\"failed\"} 1\n"));
  for (int i = 0; i <= ModelRegistry::kMaxFailed; ++i) {
    EXPECT_FALSE(RegisterAndLoad("m" + std::to_string(i), "/broken").ok());
  }
  EXPECT_EQ(registry_.NotReadyReason(), "model a is failed") << "it is not among those forgotten";
  ASSERT_TRUE(registry_.Register(Source("a", "/fake")).ok());
  EXPECT_EQ(registry_.NotReadyReason(), "model a is loading");
  EXPECT_TRUE(registry_.Load("a").ok());
  EXPECT_EQ(registry_.NotReadyReason(), "");
  ASSERT_TRUE(registry_.Unload("a").ok());
  EXPECT_EQ(registry_.NotReadyReason(), "") << "who unloads it takes the promise back";
}

TEST_F(ModelRegistryTest, ACancelledRegistrationRestoresTheModelItReplaced) {
  ASSERT_TRUE(registry_.Register(Source("mine", "/broken", true)).ok());
  EXPECT_FALSE(registry_.Load("mine").ok());
  EXPECT_FALSE(RegisterAndLoad("theirs", "/broken").ok());
  for (const char* name : {"mine", "theirs"}) {
    ASSERT_TRUE(registry_.Register(Source(name, "/elsewhere")).ok());
    registry_.CancelRegistration(name);
    EXPECT_EQ(told_.back(), absl::StrCat(name, " failed"));
    const auto model = registry_.Get(name);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(model->state, ModelState::kFailed);
    EXPECT_THAT(std::string(model->error.message()), HasSubstr("truncated"));
    EXPECT_EQ(model->source.directory, "/broken");
    EXPECT_TRUE(absl::IsFailedPrecondition(registry_.Load(name))) << "its load has been";
  }
  EXPECT_EQ(registry_.NotReadyReason(), "model mine is failed");
  EXPECT_THAT(metrics_.registry.Text(),
              HasSubstr("whipsnake_model_state{model=\"mine\",state=\"failed\"} 1\n"));
  EXPECT_THAT(metrics_.registry.Text(), testing::Not(HasSubstr("model=\"theirs\"")));
  // A cancelled registration that replaced nothing leaves nothing.
  ASSERT_TRUE(registry_.Register(Source("new", "/fake")).ok());
  registry_.CancelRegistration("new");
  EXPECT_TRUE(absl::IsNotFound(registry_.Get("new").status()));
}

}  // namespace
}  // namespace whipsnake::server
