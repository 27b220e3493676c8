#include "server/registry/model_versions.h"

#include <array>
#include <atomic>
#include <fstream>
#include <thread>

#include "engine/base/files.h"
#include "engine/base/status.h"
#include "server/errors.h"
#include "server/registry/version_files.h"
#include "tests/server/map_store.h"
#include "tests/server/support.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// The digest of a model is the text of the file "config.json" in its directory. A model whose text
// is "broken" does not load, and none while the memory is full.
struct VersionsEngine {
  FakeEngine fake;
  std::atomic<bool> full{false};
  std::function<void()> before_load;

  ModelLoader Loader() {
    return [this](const std::string& directory, const engine::ModelOptions& options,
                  engine::GenerationObserver* observer) -> absl::StatusOr<ModelParts> {
      if (before_load) before_load();
      if (full) return absl::ResourceExhaustedError("no memory for the model");
      ASSIGN_OR_RETURN(const std::string text, engine::ReadTextFile(directory + "/config.json"));
      if (text == "broken") return absl::InvalidArgumentError("truncated");
      ASSIGN_OR_RETURN(ModelParts parts, fake.Load(directory, options, observer));
      parts.digest = text;
      return parts;
    };
  }
};

// A server's part that knows versions. A second one over the same contents is a restarted server.
struct VersionsServer {
  explicit VersionsServer(const fs::path& directory, MapStore::Contents contents = {},
                          std::vector<ModelSource> command_line = {})
      : store(std::move(contents)),
        versions(&store, &registry,
                 {.directory = directory / "models",
                  .model_root = directory / "root",
                  .job_with = [this](const std::string& key, const std::string&) {
                    return key == trained ? "tuning" : "";
                  }}) {
    const auto keys = versions.Open(command_line);
    EXPECT_TRUE(keys.ok()) << keys.status();
    for (const std::string& key : *keys) registry.Load(key).IgnoreError();
  }

  std::string Answer(std::string_view name) {
    const auto model = registry.Acquire(name);
    return model.ok() ? model->digest()
                      : std::string(absl::StatusCodeToString(model.status().code()));
  }
  void WaitUntilLoaded(std::vector<std::string> expected) {
    while (Keys() != expected) std::this_thread::yield();
  }
  std::vector<std::string> Keys() {
    std::vector<std::string> keys;
    for (const ModelSnapshot& model : registry.List()) keys.push_back(model.source.name);
    return keys;
  }

  MapStore store;
  std::string trained;  // the key of the version that the job "tuning" began with
  VersionsEngine engine;
  Metrics metrics;
  std::map<std::string, ModelState> told;  // guarded by the registry's lock
  ModelRegistry registry{engine.Loader(), metrics,
                         [this](const std::string& name, std::optional<ModelState> state) {
                           if (state) told[name] = *state;
                           if (!state) told.erase(name);
                         }};
  ModelVersions versions;
};

class ModelVersionsTest : public testing::Test {
 protected:
  void SetUp() override {
    base_ = fs::path(testing::TempDir()) / "versions";
    fs::create_directories(base_ / "models");
    fs::create_directories(base_ / "root");
    Restart();
  }
  void TearDown() override {
    server_.reset();
    fs::remove_all(base_);
  }

  // Makes a model directory whose model answers with `text`.
  std::string Directory(const std::string& text) {
    const fs::path path = base_ / "root" / text;
    fs::create_directories(path / "below");
    std::ofstream(path / "config.json") << text;
    return path;
  }
  ModelSource CommandLine(const std::string& name, const std::string& text) {
    return {.name = name,
            .directory = Directory(text),
            .shown_path = "/srv/" + text,
            .options = {},
            .at_startup = true};
  }
  void Restart(std::vector<ModelSource> command_line = {}) {
    MapStore::Contents contents;
    if (server_) contents = server_->store.contents();
    server_.reset();
    server_.emplace(base_, std::move(contents), std::move(command_line));
  }
  absl::StatusOr<ModelVersion> Promote(const std::string& text, const std::string& alias = "") {
    return server_->versions.Promote({.name = "m",
                                      .directory = Directory(text),
                                      .source_job = "job",
                                      .checkpoint_step = 7,
                                      .alias = alias});
  }
  absl::StatusOr<ModelVersion> RollBack(std::optional<int64_t> version = {}) {
    return server_->versions.RollBack("m", version, /*keep_loaded=*/false, /*etag=*/"");
  }
  std::vector<std::string> Directories() {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(base_ / "models")) {
      names.push_back(entry.path().filename());
    }
    return names;
  }

  fs::path base_;
  std::optional<VersionsServer> server_;
};

TEST_F(ModelVersionsTest, APromotedVersionServesAndTheOneBeforeIsUnloaded) {
  const auto first = Promote("one");
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->key(), "m:1");
  EXPECT_TRUE(first->serves);
  EXPECT_EQ(server_->Answer("m"), "one");
  EXPECT_EQ(server_->registry.Acquire("m")->name(), "m:1");
  const auto second = Promote("two", "stable");
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_THAT(second->aliases, ElementsAre("stable"));
  for (const char* name : {"m", "m:2", "m:stable", ""}) EXPECT_EQ(server_->Answer(name), "two");
  server_->WaitUntilLoaded({"m:2"});

  const auto shown = server_->registry.Get("m");
  EXPECT_EQ(shown->version, 2);
  EXPECT_TRUE(shown->serves);
  EXPECT_THAT(shown->aliases, ElementsAre("m:stable"));
  EXPECT_EQ(shown->source.source_job, "job");
  EXPECT_EQ(shown->source.checkpoint_step, 7);
  const auto list = server_->versions.List("m");
  ASSERT_TRUE(list.ok());
  EXPECT_EQ(list->versions.size(), 2);
  EXPECT_EQ(list->versions[1].checkpoint_step, 7);
  EXPECT_FALSE(list->versions[0].serves);
  EXPECT_TRUE(list->versions[1].serves);
}

TEST_F(ModelVersionsTest, AllSurvivesARestart) {
  ASSERT_TRUE(Promote("one", "stable").ok());
  ASSERT_TRUE(Promote("two").ok());
  Restart();
  EXPECT_EQ(server_->Answer("m"), "two");
  EXPECT_EQ(server_->Answer("m:stable"), "one");
  EXPECT_THAT(server_->Keys(), ElementsAre("m:1", "m:2"));
  ASSERT_TRUE(RollBack().ok());
  Restart();
  EXPECT_EQ(server_->Answer("m"), "one");
  EXPECT_THAT(server_->Keys(), ElementsAre("m:1"));
}

TEST_F(ModelVersionsTest, ARollbackOfARollbackReturns) {
  EXPECT_TRUE(absl::IsNotFound(RollBack().status()));
  ASSERT_TRUE(Promote("one").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(RollBack().status()));
  ASSERT_TRUE(Promote("two").ok());
  ASSERT_TRUE(Promote("three").ok());
  for (const char* expected : {"two", "three", "two"}) {
    ASSERT_TRUE(RollBack().ok());
    EXPECT_EQ(server_->Answer("m"), expected);
  }
  ASSERT_TRUE(RollBack(1).ok());
  EXPECT_EQ(server_->Answer("m"), "one");
  ASSERT_TRUE(server_->versions.Delete("m:2", "").ok());
  ASSERT_TRUE(RollBack().ok());
  EXPECT_EQ(server_->Answer("m"), "three") << "the one before was deleted";
  EXPECT_TRUE(absl::IsNotFound(RollBack(2).status()));
  const auto next = Promote("four");
  EXPECT_EQ(next->number, 4);
}

// The model of the command line is version 0, before and after restarts.
TEST_F(ModelVersionsTest, AVersionTakesThePlaceOfAModelOfTheCommandLineAndGivesItBack) {
  const std::vector<ModelSource> command_line = {CommandLine("m", "base")};
  Restart(command_line);
  EXPECT_EQ(server_->Answer("m"), "base");
  ASSERT_TRUE(Promote("one").ok());
  EXPECT_EQ(server_->Answer("m"), "one");
  server_->WaitUntilLoaded({"m:1"});
  EXPECT_TRUE(absl::IsAlreadyExists(server_->registry.Register(CommandLine("m", "base"))));
  Restart(command_line);
  EXPECT_EQ(server_->Answer("m"), "one");
  EXPECT_THAT(server_->Keys(), ElementsAre("m:1"));
  const auto base = RollBack();
  ASSERT_TRUE(base.ok()) << base.status();
  EXPECT_EQ(base->number, 0);
  EXPECT_EQ(server_->Answer("m"), "base");
  server_->WaitUntilLoaded({"m:0"});
  Restart(command_line);
  EXPECT_EQ(server_->Answer("m"), "base");
  EXPECT_THAT(server_->Keys(), ElementsAre("m"));
  ASSERT_TRUE(RollBack().ok());
  EXPECT_EQ(server_->Answer("m"), "one");
  Restart();  // without the command line's model
  const absl::Status gone = RollBack().status();
  EXPECT_TRUE(absl::IsFailedPrecondition(gone));
  EXPECT_THAT(std::string(gone.message()), HasSubstr("--model m=DIR"));
  EXPECT_EQ(server_->Answer("m"), "one");
}

TEST_F(ModelVersionsTest, AModelThatAClientLoadedIsVersionZeroToo) {
  ModelSource source{
      .name = "m", .directory = Directory("base"), .shown_path = "base", .options = {}};
  ASSERT_TRUE(server_->registry.Ensure(source).ok());
  ASSERT_TRUE(Promote("one").ok());
  Restart();
  ASSERT_TRUE(RollBack().ok());
  EXPECT_EQ(server_->Answer("m"), "base");
  EXPECT_EQ(server_->registry.Acquire("m")->name(), "m:0");
}

TEST_F(ModelVersionsTest, AKeptVersionStaysLoaded) {
  Restart({CommandLine("m", "base")});
  const auto version =
      server_->versions.Promote({.name = "m", .directory = Directory("one"), .keep_loaded = true});
  ASSERT_TRUE(version.ok()) << version.status();
  EXPECT_THAT(server_->Keys(), ElementsAre("m", "m:1"));
  EXPECT_EQ(server_->Answer("m"), "one");
  EXPECT_EQ(server_->Answer(""), "one");
  ASSERT_TRUE(RollBack().ok());
  EXPECT_EQ(server_->registry.Acquire("m")->name(), "m");
  server_->WaitUntilLoaded({"m"});
}

TEST_F(ModelVersionsTest, AFailedPromotionChangesNothing) {
  ASSERT_TRUE(Promote("one", "stable").ok());
  const auto same = [&] {
    EXPECT_EQ(server_->Answer("m"), "one");
    EXPECT_EQ(server_->Answer("m:stable"), "one");
    EXPECT_THAT(server_->Keys(), ElementsAre("m:1"));
    EXPECT_EQ(Directories().size(), 1);
    EXPECT_EQ(server_->versions.List("m")->versions.size(), 1);
    EXPECT_EQ(server_->registry.NotReadyReason(), "");
  };
  server_->engine.full = true;
  EXPECT_TRUE(absl::IsResourceExhausted(Promote("two", "stable").status()));
  server_->engine.full = false;
  same();
  EXPECT_TRUE(absl::IsDataLoss(Promote("broken", "stable").status()));
  same();
  EXPECT_FALSE(server_->versions.Promote({.name = "m", .directory = base_ / "absent"}).ok());
  same();
  // The second commit, after the load.
  server_->engine.before_load = [&] { server_->store.error = absl::InternalError("disk"); };
  EXPECT_FALSE(Promote("two", "stable").ok());
  server_->engine.before_load = nullptr;
  server_->store.error = absl::OkStatus();
  server_->WaitUntilLoaded({"m:1"});
  same();
  EXPECT_EQ(Promote("two")->number, 5) << "a number is not used again";
}

TEST_F(ModelVersionsTest, WrongFieldsAreNamed) {
  const auto field = [](const auto& result) { return engine::FieldOf(result.status()); };
  auto& versions = server_->versions;
  EXPECT_EQ(field(versions.Promote({.name = "m:1", .directory = Directory("one")})), "name");
  EXPECT_EQ(field(versions.Promote({.name = "m", .directory = Directory("one"), .alias = "3"})),
            "alias");
  EXPECT_EQ(field(versions.Promote({.name = "m", .directory = Directory("one"), .scheme = "x"})),
            "scheme");
  EXPECT_EQ(field(versions.RollBack("../m", {}, false, "")), "name");
  EXPECT_EQ(field(versions.SetAlias("m", 1, "")), "alias");
  EXPECT_EQ(field(versions.SetAlias("m:3", 1, "")), "alias");
  EXPECT_EQ(field(versions.SetAlias("m:a", 0, "")), "version");
  EXPECT_EQ(field(versions.List("m:a")), "name");
  EXPECT_EQ(engine::FieldOf(versions.Delete("m", "")), "name");
  EXPECT_EQ(engine::FieldOf(versions.Delete("m:a", "")), "name");
  EXPECT_THAT(Directories(), IsEmpty());
}

TEST_F(ModelVersionsTest, AnAliasLoadsItsVersionAndLetsItGo) {
  ASSERT_TRUE(Promote("one").ok());
  ASSERT_TRUE(Promote("two").ok());
  server_->WaitUntilLoaded({"m:2"});
  EXPECT_TRUE(absl::IsNotFound(server_->versions.SetAlias("m:old", 9, "").status()));
  const auto version = server_->versions.SetAlias("m:old", 1, "");
  ASSERT_TRUE(version.ok()) << version.status();
  EXPECT_THAT(version->aliases, ElementsAre("old"));
  EXPECT_EQ(server_->Answer("m:old"), "one");
  EXPECT_EQ(server_->Answer("m"), "two");
  EXPECT_EQ(server_->Answer(""), "two") << "the only model that serves";
  ASSERT_TRUE(server_->versions.SetAlias("m:old", 2, "").ok());
  server_->WaitUntilLoaded({"m:2"});
  ASSERT_TRUE(server_->versions.DeleteAlias("m:old", "").ok());
  EXPECT_EQ(server_->Answer("m:old"), "NOT_FOUND");
  EXPECT_EQ(server_->Answer("m"), "two");
  EXPECT_TRUE(absl::IsNotFound(server_->versions.DeleteAlias("m:old", "")));
}

TEST_F(ModelVersionsTest, AVersionInUseIsNotDeleted) {
  ASSERT_TRUE(Promote("one", "stable").ok());
  ASSERT_TRUE(Promote("two").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(server_->versions.Delete("m:1", "")));
  EXPECT_TRUE(absl::IsFailedPrecondition(server_->versions.Delete("m:2", "")));
  EXPECT_TRUE(absl::IsNotFound(server_->versions.Delete("m:0", "")));
  ASSERT_TRUE(server_->versions.DeleteAlias("m:stable", "").ok());
  server_->trained = "m:1";
  const absl::Status trained = server_->versions.Delete("m:1", "");
  EXPECT_EQ(ReasonOf(trained), "VERSION_IN_USE");
  EXPECT_THAT(std::string(trained.message()), HasSubstr("job tuning"));
  server_->trained = "";
  ASSERT_TRUE(server_->versions.Delete("m:1", "").ok());
  EXPECT_EQ(Directories().size(), 1);
  EXPECT_EQ(server_->versions.List("m")->versions.size(), 1);
}

TEST_F(ModelVersionsTest, AStaleEtagIsRefused) {
  ASSERT_TRUE(Promote("one").ok());
  ASSERT_TRUE(Promote("two").ok());
  const std::string stale = server_->versions.List("m")->etag;
  ASSERT_TRUE(RollBack().ok());
  auto& versions = server_->versions;
  EXPECT_TRUE(absl::IsAborted(versions.RollBack("m", 2, false, stale).status()));
  EXPECT_TRUE(absl::IsAborted(versions.SetAlias("m:a", 1, stale).status()));
  EXPECT_TRUE(absl::IsAborted(versions.DeleteAlias("m:a", stale)));
  EXPECT_TRUE(absl::IsAborted(versions.Delete("m:2", stale)));
  EXPECT_TRUE(absl::IsAborted(
      versions.Promote({.name = "m", .directory = Directory("x"), .etag = stale}).status()));
  EXPECT_TRUE(versions.Delete("m:2", versions.List("m")->etag).ok());
}

TEST_F(ModelVersionsTest, ADamagedVersionIsFailedAndTheOthersServe) {
  ASSERT_TRUE(Promote("one", "stable").ok());
  ASSERT_TRUE(Promote("two").ok());
  const std::string directory = server_->registry.Get("m:2")->source.directory;
  fs::remove_all(directory);
  Restart();
  EXPECT_EQ(server_->Answer("m"), "FAILED_PRECONDITION");
  EXPECT_EQ(server_->Answer("m:stable"), "one");
  EXPECT_EQ(server_->registry.NotReadyReason(), "model m:2 is failed");
  ASSERT_TRUE(RollBack().ok());
  EXPECT_EQ(server_->Answer("m"), "one");
  EXPECT_EQ(server_->registry.NotReadyReason(), "");
  EXPECT_THAT(server_->Keys(), ElementsAre("m:1"));
}

TEST_F(ModelVersionsTest, TheStateOfANameIsThatOfTheVersionThatServes) {
  using State = ModelState;
  Restart({CommandLine("m", "base")});
  const auto told = [&](const std::string& name) { return server_->told.at(name); };
  EXPECT_EQ(told("m"), State::kReady);
  server_->engine.before_load = [&] {
    EXPECT_EQ(told("m"), State::kReady);
    EXPECT_EQ(told("m:1"), State::kLoading);
  };
  ASSERT_TRUE(Promote("one", "stable").ok());
  server_->WaitUntilLoaded({"m:1"});
  EXPECT_EQ(server_->told,
            (std::map<std::string, State>{
                {"m", State::kReady}, {"m:1", State::kReady}, {"m:stable", State::kReady}}));
  EXPECT_THAT(server_->metrics.registry.Text(), HasSubstr("model=\"m:1\""));
  EXPECT_THAT(server_->metrics.registry.Text(), testing::Not(HasSubstr("model=\"m\"")));
  const auto handle = server_->registry.Acquire("m");
  static_cast<engine::FakeModel&>(handle->model()).weights_changed = true;
  server_->registry.CheckWeights();
  for (const char* name : {"m", "m:1", "m:stable"}) EXPECT_EQ(told(name), State::kFailed);
}

TEST_F(ModelVersionsTest, FilesAreLinkedAndTheSourceStays) {
  const std::string source = Directory("one");
  fs::create_symlink("config.json", source + "/link.json");
  ASSERT_TRUE(Promote("one").ok());
  const fs::path version = base_ / "models" / Directories().front();
  EXPECT_EQ(fs::hard_link_count(version / "config.json"), 3) << "the source, the file, its link";
  EXPECT_FALSE(fs::is_symlink(version / "link.json"));
  EXPECT_FALSE(fs::exists(version / "below"));
  EXPECT_TRUE(fs::exists(source + "/config.json"));
  fs::remove_all(source);
  Restart();
  EXPECT_EQ(server_->Answer("m"), "one");
}

TEST(ModelVersionsWithoutStoreTest, NothingIsKept) {
  FakeEngine engine;
  Metrics metrics;
  ModelRegistry registry(engine.Loader(), metrics, nullptr);
  ModelVersions versions(nullptr, &registry, {});
  const ModelSource source{.name = "m", .directory = "/fake", .shown_path = "", .options = {}};
  EXPECT_THAT(*versions.Open({source}), ElementsAre("m"));
  EXPECT_TRUE(
      absl::IsFailedPrecondition(versions.Promote({.name = "m", .directory = "/fake"}).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(versions.RollBack("m", 1, false, "").status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(versions.List("m").status()));
}

// Copies what is durable at every step of a change, and starts a server from each copy, as after a
// crash there.
class CrashTest : public ModelVersionsTest {
 protected:
  void WatchSteps() {
    const auto copy = [this] {
      const fs::path path = base_.string() + "-" + std::to_string(copies_.size());
      fs::copy(base_, path, fs::copy_options::recursive);
      copies_.emplace_back(path, server_->store.contents());
    };
    server_->store.around_commit = copy;
    server_->engine.before_load = copy;
  }
  // Returns what each restarted server answers for "m", after checking that its records and its
  // directories match.
  std::vector<std::string> AnswersAfterCrashes(std::vector<ModelSource> command_line = {}) {
    std::vector<std::string> answers;
    for (const auto& [path, contents] : copies_) {
      VersionsServer restarted(path, contents, command_line);
      answers.push_back(restarted.Answer("m"));
      std::set<std::string> recorded, found;
      for (const auto& [key, record] : contents.records) {
        if (key.first != Collection::kModelVersions) continue;
        recorded.insert(ParseVersionRecord(record.value)->directory);
      }
      for (const auto& entry : fs::directory_iterator(path / "models")) {
        found.insert(entry.path().filename());
      }
      EXPECT_EQ(recorded, found);
    }
    for (const auto& [path, contents] : copies_) fs::remove_all(path);
    copies_.clear();
    return answers;
  }

  std::vector<std::pair<fs::path, MapStore::Contents>> copies_;
};

TEST_F(CrashTest, ACrashOfAPromotionLeavesTheOldOrTheNew) {
  ASSERT_TRUE(Promote("old").ok());
  WatchSteps();
  ASSERT_TRUE(Promote("new", "stable").ok());
  // Before and after the number is taken, before the load, before and after the last commit.
  EXPECT_THAT(AnswersAfterCrashes(), ElementsAre("old", "old", "old", "old", "new"));
}

TEST_F(CrashTest, ACrashOfTheFirstPromotionLeavesTheModelOfTheCommandLine) {
  const std::vector<ModelSource> command_line = {CommandLine("m", "base")};
  Restart(command_line);
  WatchSteps();
  ASSERT_TRUE(Promote("new").ok());
  EXPECT_THAT(AnswersAfterCrashes(command_line),
              ElementsAre("base", "base", "base", "base", "new"));
}

// The last commit has failed, but may be found by the next start.
TEST_F(CrashTest, ACommitInDoubtLeavesTheOldOrTheNew) {
  ASSERT_TRUE(Promote("old").ok());
  server_->engine.before_load = [&] {
    server_->store.error = WithReason(absl::InternalError("disk"), "COMMIT_IN_DOUBT");
  };
  EXPECT_FALSE(Promote("new").ok());
  EXPECT_EQ(server_->Answer("m"), "old");
  for (const auto& contents : {server_->store.contents(), server_->store.doubtful}) {
    const fs::path path = base_.string() + "-" + std::to_string(copies_.size());
    fs::copy(base_, path, fs::copy_options::recursive);
    copies_.emplace_back(path, contents);
  }
  EXPECT_THAT(AnswersAfterCrashes(), ElementsAre("old", "new"));
}

TEST_F(CrashTest, ACrashOfARollbackOrADeletionLeavesTheOldOrTheNew) {
  ASSERT_TRUE(Promote("one").ok());
  ASSERT_TRUE(Promote("two").ok());
  server_->WaitUntilLoaded({"m:2"});
  WatchSteps();
  ASSERT_TRUE(RollBack().ok());
  EXPECT_THAT(AnswersAfterCrashes(), ElementsAre("two", "two", "one"));
  ASSERT_TRUE(server_->versions.Delete("m:2", "").ok());
  EXPECT_THAT(AnswersAfterCrashes(), ElementsAre("one", "one"));
}

// Generates two tokens and waits for their end.
absl::Status Generate(const ModelHandle& model) {
  engine::GenerationRequest request;
  request.prompt = {0};
  request.max_new_tokens = 2;
  ASSIGN_OR_RETURN(const auto stream, model.generator().Submit(std::move(request), [] {}));
  while (!stream->PollDone()) std::this_thread::yield();
  return stream->Take().status;
}

// 16 threads use the model by its name and by an alias while it is promoted and rolled back.
TEST_F(ModelVersionsTest, NoRequestFailsWhileVersionsAreExchanged) {
  constexpr int kThreads = 16, kChanges = 200;
  ASSERT_TRUE(Promote("v0", "stable").ok());
  std::atomic<bool> stop{false};
  std::atomic<int64_t> answers{0}, failures{0};
  const auto use = [&](int thread) {
    const std::array<std::string, 2> names = {"m", "m:stable"};
    for (int64_t i = 0; !stop; ++i) {
      auto model = server_->registry.Acquire(i % 8 == 7 ? "" : names[(thread + i) % 2]);
      if (!model.ok() || !model->digest().starts_with("v")) {
        ADD_FAILURE() << model.status();
        ++failures;
        return;
      }
      const absl::Status status = Generate(*model);
      if (!status.ok()) {
        ADD_FAILURE() << status;
        ++failures;
        return;
      }
      ++answers;
      std::this_thread::yield();
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(use, i);
  for (int change = 1; change <= kChanges && failures == 0; ++change) {
    const auto version =
        change % 3 == 0 ? RollBack() : Promote("v" + std::to_string(change % 10), "stable");
    EXPECT_TRUE(version.ok()) << version.status();
    const int64_t seen = answers;
    while (answers < seen + kThreads && failures == 0) std::this_thread::yield();
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  const std::string serving = server_->registry.KeyOf("m");
  const std::string stable = server_->registry.KeyOf("m:stable");
  std::set<std::string> left = {serving, stable};
  server_->WaitUntilLoaded({left.begin(), left.end()});
  EXPECT_EQ(failures, 0);
  EXPECT_GE(answers, kThreads * kChanges);
}

}  // namespace
}  // namespace whipsnake::server
